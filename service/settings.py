"""What can be configured, typed and frozen; `config.py` fills these from TOML and the environment."""

import os
from pathlib import Path

import msgspec


class SecretReference(msgspec.Struct, frozen=True):
    """Where a secret stands: an environment variable or a file, never the value itself.

    Read anew at each use, so a replaced file takes effect without a restart.
    """

    environment: str | None = None
    file: str | None = None

    def read(self) -> str:
        """Return the secret, without the one trailing newline that editors put at the end of a file.

        Raises `OSError` when the file cannot be read and `LookupError` when the variable is not set or the secret is
        empty; neither message holds the secret.
        """
        if self.file is not None:
            text = Path(self.file).read_text(encoding="utf-8")
            text = text.removesuffix("\n").removesuffix("\r")
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

    host: str = "0.0.0.0"  # noqa: S104  a container listens on all of its addresses
    port: int = 8080
    max_body_bytes: int = 33_554_432
    shutdown_grace_seconds: float = 20
    api_keys: tuple[SecretReference, ...] = ()


class StoreSettings(msgspec.Struct, frozen=True):
    """`[store]`: the SQLite file, its bounds, and how results are gathered into commits."""

    path: str = "data/heap-cordial.db"
    max_backlog: int = 5_000_000
    retention_days: int = 90
    settle_batch_results: int = 500
    settle_interval_seconds: float = 0.1


class LogSettings(msgspec.Struct, frozen=True):
    """`[log]`."""

    level: str = "info"
    format: str = "json"


class AccountSettings(msgspec.Struct, frozen=True):
    """`[accounts.NAME]`: one pairing of a Heap webhook secret with a Cordial API key."""

    name: str
    heap_secrets: tuple[SecretReference, ...]
    cordial_api_key: SecretReference
    heap_id_token: str = ""
    timestamp_tolerance_seconds: float = 300
    cordial_base_url: str = "https://api.cordial.io"
    identify_by: str = "email"
    identities: dict[str, str] = {}
    create_contacts: bool = True
    suppress_triggers: bool = True
    list_prefix: str = ""
    list_names: dict[str, str] = {}
    adopt_existing_lists: bool = False
    on_segment_rename: str = "keep"
    allow_drain: bool = False
    requests_per_second: float = 25
    max_concurrency: int = 16
    request_timeout_seconds: float = 30
    max_attempts: int = 5


class Settings(msgspec.Struct, frozen=True):
    """The whole configuration."""

    server: ServerSettings
    store: StoreSettings
    log: LogSettings
    accounts: dict[str, AccountSettings]
