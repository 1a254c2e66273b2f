"""What can be configured: typed, bounded and frozen. `loading.py` fills these from TOML and the environment.

The bounds are in the types (`msgspec.Meta`). Reading a configuration checks them, and its messages use the same words.
`config.toml` says what every key means and costs.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from service.config.files import read_small_file
from service.model.guard import RemovalGuard

_PRINTABLE = r"^[^\x00-\x1f\x7f]"

Text = Annotated[str, Meta(pattern=_PRINTABLE + r"*\Z", description="text without control characters")]
HostName = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f\x7f]+\Z", description="a host name or an IP address")]
OptionalHostName = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f\x7f]*\Z", description="a host name or an IP address")]
TimeOfDay = Annotated[
    str, Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?\Z", description='empty or a time such as "07:00" (UTC)')
]
# Relative to the folder of the configuration file: see `service/config/reading.py`.
LocalFile = Annotated[
    str,
    Meta(pattern=_PRINTABLE + r"*\Z", description="the path of a file", extra={"path": True}),
]
# R1: what is answered 200 must outlive the process, so SQLite's databases in memory are no choice here.
StoreFile = Annotated[
    str,
    Meta(
        pattern=r"^(?!:memory:|file:)[^\x00-\x1f\x7f]+\Z",
        description="the path of a file on a local disk",
        extra={"path": True},
    ),
]
CordialKey = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_.-]+\Z", description="a Cordial key, made of letters, digits, `_`, `.` and `-`"),
]
Identification = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_.-]+\Z", description='"email", the name of a Cordial secondary key, or "auto"'),
]
CallRate = Annotated[float, Meta(gt=0, le=10_000)]
# Cordial's contract: list names hold letters, numbers and dashes (its own examples also underscores), at most 128.
ListName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{1,128}\Z", description="a list name: at most 128 letters, digits, `-` and `_`"),
]
ListPrefix = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z", description="at most 64 letters, digits, `-` and `_`"),
]

# Cordial's contract refuses `cid` as a list name; the others are fields of a contact's own, where a list's name would
# stand beside them. In lower case: whether Cordial tells names apart by letter case is stated nowhere.
RESERVED_LIST_NAMES = frozenset(
    {
        "_id", "attributes", "channels", "cid", "createdat", "email", "forcesubscribe", "identifyby", "lastmodified",
        "listjoindate", "lists", "lj", "suppresstriggers",
    }
)  # fmt: skip


Strangers = Literal["report", "remove"]


class SecretReference(msgspec.Struct, frozen=True):
    """Where a secret stands: an environment variable or a file, never the value itself.

    Read anew at each use, so a replaced file takes effect without a restart.
    """

    environment: str | None = None
    file: str | None = None

    def read(self) -> str:
        """Return the secret, without the one trailing newline that editors put at the end of a file.

        Raises `OSError` when the file cannot be read and `LookupError` when the variable is not set or the secret is
        empty or not text; neither message holds the secret.
        """
        if self.file is not None:
            try:
                text = read_small_file(Path(self.file)).decode()
            except UnicodeDecodeError:
                # The original error quotes the bytes it stumbled over, which are the secret's.
                raise LookupError(f"the secret in {self.place} is not UTF-8 text") from None
            text = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        else:
            name = self.environment or ""
            value = os.environ.get(name)
            if value is None:
                raise LookupError(f"environment variable {name} is not set")
            text = value
        if not text:
            raise LookupError(f"the secret in {self.place} is empty")
        return text

    @property
    def place(self) -> str:
        """Name the place for messages: `file /run/key` or `environment variable KEY`."""
        return f"file {self.file}" if self.file is not None else f"environment variable {self.environment}"


class ServerSettings(msgspec.Struct, frozen=True):
    """`[server]`: where the service listens and how it stops."""

    host: HostName = "0.0.0.0"  # noqa: S104  a container listens on all of its addresses
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8080
    tls_certificate_file: LocalFile = ""
    tls_key_file: LocalFile = ""
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=1_073_741_824)] = 33_554_432
    shutdown_grace_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 20
    api_keys: tuple[SecretReference, ...] = ()
    metrics_open: bool = False
    max_connections: Annotated[int, Meta(ge=16, le=100_000)] = 512
    max_connections_per_address: Annotated[int, Meta(ge=4, le=100_000)] = 256
    header_timeout_seconds: Annotated[float, Meta(gt=0, le=3_600)] = 15
    keepalive_timeout_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 130


class StoreSettings(msgspec.Struct, frozen=True):
    """`[store]`: the SQLite file, its bounds, and how results are gathered into commits."""

    path: StoreFile = "data/heap-cordial.db"
    max_backlog: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 5_000_000
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] = 90
    settle_batch_results: Annotated[int, Meta(ge=1, le=10_000)] = 500
    settle_interval_seconds: Annotated[float, Meta(gt=0, le=60)] = 0.1


class LogSettings(msgspec.Struct, frozen=True):
    """`[log]`: how much is told, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class AccountSettings(msgspec.Struct, frozen=True):
    """`[accounts.NAME]`: one pairing of a Heap webhook secret with a Cordial API key."""

    name: str
    heap_secrets: tuple[SecretReference, ...]
    cordial_api_key: SecretReference
    heap_id_token: Text = ""
    timestamp_tolerance_seconds: Annotated[float, Meta(gt=0, le=604_800)] = 300
    cordial_base_url: Text = "https://api.cordial.io"
    identify_by: Identification = "email"
    identities: dict[Text, CordialKey] = {}
    create_contacts: bool = True
    suppress_triggers: bool = True
    list_prefix: ListPrefix = ""
    list_names: dict[Text, ListName] = {}
    adopt_existing_lists: bool = False
    on_segment_rename: Literal["keep", "rename"] = "keep"
    allow_drain: bool = False
    dry_run: bool = False
    hold_new_segments: bool = False
    hold_removals: RemovalGuard = RemovalGuard(share=1.0)
    public_url: Text = ""
    bulk_threshold: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 5_000
    bulk_untested: bool = False
    import_passwords: tuple[SecretReference, ...] = ()
    requests_per_second: CallRate | Literal["auto"] = 25
    max_concurrency: Annotated[int, Meta(ge=1, le=1_024)] = 64
    request_timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 30
    max_attempts: Annotated[int, Meta(ge=1, le=1_000)] = 5
    in_doubt_seconds: Annotated[float, Meta(ge=1, le=3_600)] = 120
    audience_keys: dict[Text, Text] = {}
    strangers: Strangers = "report"
    strangers_of: dict[Text, Strangers] = {}
    proof_sample: Annotated[int, Meta(ge=0, le=1_000)] = 20
    proof_reads_per_hour: Annotated[int, Meta(ge=0, le=100_000)] = 60
    max_backlog: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    expect_sync_hours: Annotated[float, Meta(ge=0, le=8_760)] = 0


class ApiKeySettings(msgspec.Struct, frozen=True):
    """`[api_keys.NAME]`: a key to the API, the dashboard and the commands, for somebody who may do what the role says."""

    name: str
    key: SecretReference
    role: Literal["read", "operate", "admin"] = "read"


class NoticeSettings(msgspec.Struct, frozen=True):
    """`[notices.NAME]`: somebody who is told when a condition begins and when it is over."""

    name: str
    kind: Literal["webhook", "slack", "email"]
    urls: tuple[SecretReference, ...] = ()
    secrets: tuple[SecretReference, ...] = ()
    severity: Literal["critical", "warning", "info"] = "warning"
    patience_minutes: Annotated[float, Meta(ge=0, le=1_440)] = 5
    summary_at: TimeOfDay = ""
    smtp_host: OptionalHostName = ""
    smtp_port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: Text = ""
    smtp_passwords: tuple[SecretReference, ...] = ()
    sender: Text = ""
    recipients: Text = ""


class Settings(msgspec.Struct, frozen=True):
    """The whole configuration."""

    server: ServerSettings
    store: StoreSettings
    log: LogSettings
    accounts: dict[str, AccountSettings]
    api_keys: dict[str, ApiKeySettings] = {}
    notices: dict[str, NoticeSettings] = {}
