"""What every peer is told and has to do, alike for all: the settings, the signature, the call. Standard library only."""

import base64
import hashlib
import hmac
import os
from typing import NamedTuple

SIGNATURE_HEADER = "Heap-Hash"


class JobSettings(NamedTuple):
    """What a peer's process reads from its environment; `directory` is where it may keep things.

    `concurrency` bounds the calls to Cordial at a time. `redis_url` is empty for peers without Redis.
    """

    heap_secret: str
    port: int
    cordial_url: str
    cordial_api_key: str
    list_name: str
    concurrency: int
    directory: str
    redis_url: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every call to Cordial."""
        token = base64.b64encode(f"{self.cordial_api_key}:".encode()).decode()
        return {"Authorization": f"Basic {token}", "Content-Type": "application/json"}


def environment_of(settings: JobSettings) -> dict[str, str]:
    """Return the environment variables by which a process is told its settings."""
    return {_variable(name): str(value) for name, value in settings._asdict().items()}


def read_settings() -> JobSettings:
    """Return what `environment_of` put there. Raises `KeyError` for what is missing."""
    kinds = JobSettings.__annotations__
    return JobSettings(**{name: kinds[name](os.environ[_variable(name)]) for name in JobSettings._fields})


def _variable(name: str) -> str:
    return f"PEER_{name.upper()}"


def is_signed(secret: str, header: str, body: bytes) -> bool:
    """Tell whether the body is signed as Heap's spec has it: base64 of the HMAC-SHA256 over timestamp and body."""
    parts = dict(part.strip().split(":", 1) for part in header.split(",") if ":" in part)
    mac = hmac.new(secret.encode(), parts.get("ts", "").encode() + body, hashlib.sha256).digest()
    return hmac.compare_digest(base64.b64encode(mac).decode(), parts.get("hmac", ""))


def membership_of(list_name: str, user_id: str) -> dict[str, object]:
    """Return the body of `POST /v2/contacts` that puts a user on the list, as Cordial's contract has it."""
    return {"channels": {"email": {"address": user_id}}, list_name: True, "suppressTriggers": True}
