"""Heap's request signature: the `Heap-Hash` header, how it is made, read and verified. Pure, no I/O.

`Heap-Hash: ts:<Unix time in ms>,hmac:<signature>`, where the signature is the base64 of HMAC-SHA256 with the shared
secret as UTF-8 text over the timestamp's text directly followed by the raw body (Heap's spec).
"""

import base64
import hmac
import json
import re
from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from service.errors import ErrorCode, ServiceError

HEADER_NAME = "Heap-Hash"

_MAC_BYTES = 32
# Looking for the cause of a wrong signature parses JSON of unknown origin: enough for a page, not for any size.
_MAX_DIAGNOSED_BYTES = 262_144
# Thirteen digits today; the bound only keeps the number harmless.
_TIMESTAMP = re.compile(r"[0-9]{1,20}")
_YEAR_MS = 31_557_600_000
_HEX_MAC = re.compile(r"[0-9A-Fa-f]{64}")


class SignatureHeader(msgspec.Struct, frozen=True):
    """A `Heap-Hash` header: the timestamp exactly as it was sent, and the 32 bytes of the MAC."""

    timestamp_text: str
    mac: bytes

    @property
    def timestamp_ms(self) -> int:
        """When the sender says it signed, as Unix time in milliseconds."""
        return int(self.timestamp_text)

    def age_seconds(self, now_ms: int) -> float:
        """Return how old the signature is; negative when it comes from the future."""
        return (now_ms - self.timestamp_ms) / 1000

    def wrong_unit(self, now_ms: int) -> str | None:
        """Return the unit that the timestamp seems to be in, if that is not milliseconds: read so, it is of this year."""
        as_ms = {
            "seconds": self.timestamp_ms * 1000,
            "microseconds": self.timestamp_ms // 1000,
            "nanoseconds": self.timestamp_ms // 1_000_000,
        }
        return next((unit for unit, read_ms in as_ms.items() if abs(now_ms - read_ms) < _YEAR_MS), None)


class Verdict(Enum):
    """What a signature is worth; only `VALID` lets a delivery in.

    `STALE`: right, but made too long ago or too far ahead. `REFORMATTED`: wrong for the bytes that came, right for
    their compact JSON form, so something on the way has rewritten the body.
    """

    VALID = auto()
    STALE = auto()
    REFORMATTED = auto()
    WRONG = auto()


def parse_header(values: Sequence[str]) -> SignatureHeader:
    """Read the `Heap-Hash` header, given the value of each header line of that name.

    Lenient where Heap's spec is silent: the parts stand in any order, with spaces around them, and unknown parts are
    ignored. The MAC is base64 or, as Heap may come to send, 64 hexadecimal digits of either case. Raises `ServiceError`
    (`HEADER_UNREADABLE`) when the header is missing, appears twice, lacks or repeats a part, or a part is malformed.
    """
    if not values:
        raise _unreadable("is missing")
    if len(values) > 1:
        raise _unreadable("appears twice")
    parts: dict[str, str] = {}
    for part in values[0].split(","):
        name, _, text = (piece.strip() for piece in part.partition(":"))
        if name not in {"ts", "hmac"}:
            continue
        if name in parts:
            raise _unreadable(f"has more than one {name} part")
        parts[name] = text
    for name in ("ts", "hmac"):
        if not parts.get(name):
            raise _unreadable(f"has no {name} part")
    if not _TIMESTAMP.fullmatch(parts["ts"]):
        raise _unreadable("has a ts part that is not Unix time in milliseconds")
    return SignatureHeader(parts["ts"], _parse_mac(parts["hmac"]))


def _parse_mac(text: str) -> bytes:
    if _HEX_MAC.fullmatch(text):
        return bytes.fromhex(text)
    try:
        mac = base64.b64decode(text, validate=True)
    except ValueError:
        mac = b""
    if len(mac) != _MAC_BYTES:
        raise _unreadable("has an hmac part that is neither the base64 nor the hex of 32 bytes")
    return mac


def _unreadable(fault: str) -> ServiceError:
    return ServiceError(
        ErrorCode.HEADER_UNREADABLE, f"the {HEADER_NAME} header {fault}; expected ts:<milliseconds>,hmac:<base64>"
    )


def sign(secret: str, timestamp_text: str, body: bytes) -> str:
    """Return the `Heap-Hash` header with which Heap sends `body` at the time `timestamp_text` (Unix time in ms)."""
    mac = _compute_mac(secret, timestamp_text, body)
    return f"ts:{timestamp_text},hmac:{base64.b64encode(mac).decode()}"


def verify(
    header: SignatureHeader,
    body: bytes,
    secrets: Sequence[str],
    now_ms: int,
    tolerance_seconds: float,
    *,
    find_cause: bool = True,
) -> Verdict:
    """Judge a signature over the raw `body` against several secrets, all of which are always tried.

    The tolerance holds both ways. The MAC is compared in constant time and leaves this function in no form. Without
    `find_cause` a wrong signature is `WRONG`, at no further cost: telling `REFORMATTED` apart takes twenty times as long.
    """
    if _matches_any(header, body, secrets):
        is_timely = abs(header.age_seconds(now_ms)) <= tolerance_seconds
        return Verdict.VALID if is_timely else Verdict.STALE
    compact = _compact_json(body) if find_cause else None
    if compact is not None and compact != body and _matches_any(header, compact, secrets):
        return Verdict.REFORMATTED
    return Verdict.WRONG


def _matches_any(header: SignatureHeader, body: bytes, secrets: Sequence[str]) -> bool:
    matches = [hmac.compare_digest(header.mac, _compute_mac(secret, header.timestamp_text, body)) for secret in secrets]
    return any(matches)


def _compute_mac(secret: str, timestamp_text: str, body: bytes) -> bytes:
    # An environment variable may hold bytes that are no UTF-8; Python hands them on as surrogates.
    key = secret.encode("utf-8", "surrogateescape")
    mac = hmac.new(key, timestamp_text.encode("ascii"), "sha256")
    # Apart from the timestamp, because a large body is not to be copied.
    mac.update(body)
    return mac.digest()


def _compact_json(body: bytes) -> bytes | None:
    """Return the body as Heap would have written it, or None if it is no JSON or too large to look into."""
    if len(body) > _MAX_DIAGNOSED_BYTES:
        return None
    try:
        return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
