"""The files of a new installation: a short configuration, and secrets that only their owner may read."""

import json
import os
import re
import secrets
from pathlib import Path

from service.commands.initial.answers import Answers
from service.config import loading

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_API_KEY_BYTES = 24


class InitialFilesError(Exception):
    """The files cannot be written; the message says why and what to do."""


class InitialFiles:
    """Where the files of an installation in `directory` stand; nothing is written before `write`."""

    def __init__(self, directory: Path, account: str) -> None:
        self.directory = directory.resolve()
        self.config = self.directory / "config.toml"
        self.secrets = self.directory / "secrets"
        self.api_key = self.secrets / "api-key"
        self.heap_secret = self.secrets / f"{account}-heap-secret"
        self.cordial_api_key = self.secrets / f"{account}-cordial-api-key"

    def write(self, answers: Answers, *, force: bool) -> list[Path]:
        """Write what is missing and return which files; `force` also replaces the configuration, never a secret.

        Raises `InitialFilesError`, and `ConfigurationError` when the answers make no valid configuration; then nothing
        is written.
        """
        if self.config.exists() and not force:
            raise InitialFilesError(f"{self.config} exists and is left alone; --force replaces it")
        given = {
            self.heap_secret: answers.heap_secret,
            self.cordial_api_key: answers.cordial_api_key,
        }
        for path, secret in given.items():
            if secret and path.exists():
                raise InitialFilesError(f"{path} exists, and a secret is never replaced; remove the file first")
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
# Heap demands HTTPS: a proxy that ends it passes requests on to this port.
port = 8080
api_key_file = {_quoted(self.api_key)}

[store]
path = {_quoted(self.directory / "data" / "heap-cordial.db")}

[accounts.{account}]
heap_secret_file = {_quoted(self.heap_secret)}
cordial_api_key_file = {_quoted(self.cordial_api_key)}
cordial_base_url = {_quoted(answers.cordial_base_url)}
# What Heap's user ids are in Cordial: "email" or the name of a secondary key.
identify_by = {_quoted(answers.identify_by)}
# true: nothing is written to Cordial; `heap-cordial preview` shows what would be. false: it is sent.
dry_run = {"true" if answers.dry_run else "false"}
# true: a segment that comes for the first time waits for `heap-cordial approve`, Heap's sample segment among them.
hold_new_segments = true
"""


def _quoted(value: object) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(str(value), ensure_ascii=False)


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
