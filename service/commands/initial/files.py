"""The files of a new installation: a short configuration, and secrets that only their owner may read."""

import json
import os
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from service.config import loading
from service.config.accounts import is_loopback, read_accounts
from service.config.keys import ACCOUNTS
from service.config.reading import Document, Faults

# Stands for a host that is not known yet.
DEFAULT_URL = "https://your-host"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_API_KEY_BYTES = 24
# The service may run as another user than the one who writes its configuration, in which no secret stands.
_CONFIG_MODE = 0o644


class Answers(msgspec.Struct, frozen=True):
    """What a new configuration needs to know.

    `url` is where the world reaches the service. Empty secrets are put in later. Without a certificate a proxy on this
    machine ends HTTPS.
    """

    account: str
    url: str
    cordial_base_url: str
    identify_by: str
    dry_run: bool
    hold_removals: bool
    heap_secret: str = ""
    cordial_api_key: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""

    @property
    def webhook_url(self) -> str:
        """The address to give to Heap."""
        return f"{self.url.rstrip('/')}/webhooks/heap/{self.account}"

    def fault(self) -> str | None:
        """Return what is wrong with the account's name, its URLs or its identification: the first fault there is."""
        faults = Faults(Document({}, Path("/")))
        table = {
            "heap_secret_file": "later",
            "cordial_api_key_file": "later",
            "cordial_base_url": self.cordial_base_url,
            "identify_by": self.identify_by,
            "public_url": self.url,
        }
        read_accounts({self.account: table}, faults)
        if not faults.lines:
            is_here = is_loopback(urlsplit(self.url).hostname or "")
            return "must be a URL that Heap can reach; this one is only for this machine" if is_here else None
        line = faults.lines[0].removeprefix(f"{ACCOUNTS}.{self.account}").removeprefix(": ").removeprefix(".")
        for key in ("cordial_base_url", "identify_by", "public_url"):
            line = line.removeprefix(f"{key}: ")
        # Left out of a configuration, it is empty; here the default is taken.
        return line.replace("must be empty or a URL", "must be a URL")


class InitialFilesError(Exception):
    """The files cannot be written; the message says why and what to do."""


class InitialFiles:
    """Where the files of an installation in `directory` are; nothing is written before `write`."""

    def __init__(self, directory: Path, account: str, store: Path | None = None) -> None:
        self.directory = directory.resolve()
        self.config = self.directory / "config.toml"
        self.secrets = self.directory / "secrets"
        self.api_key = self.secrets / "api-key"
        self.heap_secret = self.secrets / f"{account}-heap-secret"
        self.cordial_api_key = self.secrets / f"{account}-cordial-api-key"
        self.store = store.absolute() if store is not None else self.directory / "data" / "heap-cordial.db"

    def refuse_existing(self, *, force: bool) -> None:
        """Raise `InitialFilesError` if there is a configuration already, unless `force` is to replace it."""
        if self.config.exists() and not force:
            raise InitialFilesError(f"{self.config} exists and was not changed; --force replaces it")

    def write(self, answers: Answers, *, force: bool) -> list[Path]:
        """Write what is missing and return which files; `force` also replaces the configuration, never a secret.

        Raises `InitialFilesError`, and `ConfigurationError` when the answers make no valid configuration; then nothing
        is written.
        """
        self.refuse_existing(force=force)
        given = {
            self.heap_secret: answers.heap_secret,
            self.cordial_api_key: answers.cordial_api_key,
        }
        for path, secret in given.items():
            if secret and path.exists():
                raise InitialFilesError(f"{path} exists, and init never replaces a secret; delete the file first")
        draft = self.directory / ".config.toml.new"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            draft.write_text(self._text(answers), encoding="utf-8")
            loading.load(draft, {})
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            if not self.api_key.exists():
                given[self.api_key] = secrets.token_hex(_API_KEY_BYTES)
            written = [path for path, secret in given.items() if secret]
            for path in written:
                _write_secret(path, given[path])
            draft.chmod(_CONFIG_MODE)
            draft.replace(self.config)
        except OSError as error:
            raise InitialFilesError(f"{error.filename} cannot be written: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
        return [*written, self.config]

    def _text(self, answers: Answers) -> str:
        account = answers.account if _BARE_KEY.match(answers.account) else _quoted(answers.account)
        return f"""\
# What differs from the defaults. The config.toml that comes with heap-cordial documents every key.

[server]
{_listening(answers)}
api_key_file = {_quoted(self.api_key)}

[store]
# The service and every command that is given this file use this store.
path = {_quoted(self.store)}

[accounts.{account}]
heap_secret_file = {_quoted(self.heap_secret)}
cordial_api_key_file = {_quoted(self.cordial_api_key)}
cordial_base_url = {_quoted(answers.cordial_base_url)}
# What Heap's user ids are in Cordial: "email" or the name of a secondary key.
identify_by = {_quoted(answers.identify_by)}
# The URL at which Heap and Cordial reach this service. After a trial, large changes are sent as files: docs/bulk.md.
{"#" if answers.url == DEFAULT_URL else ""}public_url = {_quoted(answers.url)}
# true: nothing is written to Cordial; `heap-cordial preview` shows what would be. false: it is sent.
dry_run = {"true" if answers.dry_run else "false"}
# true: a segment that comes for the first time waits for `heap-cordial approve`, Heap's sample segment among them.
hold_new_segments = true
# A sync that removes more than 100 people and more than half of a list waits for a person. share = 1.0: none does.
hold_removals = {{ share = {"0.5" if answers.hold_removals else "1.0"}, least = 100 }}
"""


def _listening(answers: Answers) -> str:
    if answers.tls_certificate_file:
        return f"""\
# The service speaks HTTPS itself; Heap must reach this port.
host = "0.0.0.0"
port = 8080
tls_certificate_file = {_quoted(Path(answers.tls_certificate_file).absolute())}
tls_key_file = {_quoted(Path(answers.tls_key_file).absolute())}"""
    return """\
# Only this machine can reach it. Heap requires HTTPS, so a proxy on this machine must forward Heap's requests to this port.
host = "127.0.0.1"
port = 8080"""


def _quoted(value: object) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(str(value), ensure_ascii=False)


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
