"""What an answer of Cordial means: one pure function from status, headers and body to a closed set of kinds.

Cordial's error bodies come in several shapes, and what stands in front of it (a proxy, a firewall) answers in HTML;
nothing here assumes JSON before it has seen it, and nothing raises.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import msgspec

_MESSAGE_LIMIT = 500
_NOT_FOUND_KEYS = {"RECORD_NOT_FOUND", "CONTACTS_CONTACT_NOT_FOUND", "ACCOUNT_LISTS_NOT_FOUND"}
_NOT_FOUND_WORDS = ("not found", "doesn't exist", "does not exist")
_UNKNOWN_KEY_WORDS = "not part of the schema"
# Cordial's words when a path names a key that is not a secondary key of the account: no contact is at fault.
_SEARCH_FIELD_WORDS = "search field is not correct"
_decode = msgspec.json.Decoder().decode


class AnswerKind(StrEnum):
    """What to make of an answer (R7).

    `done`: it took effect. `not_found`: there is no such contact or list. `refused`: this request cannot succeed as it
    is. The others say nothing of the request: `throttled` (429), `unauthorized` (401, 403), `misconfigured` (every
    request of this form would be refused) and `unavailable` (no answer, 5xx, 408, or nothing Cordial would say).
    `withheld` is no answer of Cordial's: permission for the call was withdrawn and it was not made.
    """

    DONE = "done"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    THROTTLED = "throttled"
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"
    UNAVAILABLE = "unavailable"
    WITHHELD = "withheld"


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What the headers say of the rate limit; seconds from now, None where nothing was said.

    `limit`: the most calls in a period, of which `remaining` are left until `reset_seconds` have passed.
    """

    retry_after_seconds: float | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
    limit: int | None = None


NO_LIMITS = Limits()


class Answer(msgspec.Struct, frozen=True):
    """An answer, or the lack of one: `status` is None when none came.

    `reason` is a stable word for grouping, `message` Cordial's own words, `unknown_keys` the keys of the request that
    Cordial has neither as a list nor as an attribute.
    """

    kind: AnswerKind
    status: int | None = None
    reason: str = ""
    message: str = ""
    body: Any = None
    unknown_keys: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS


WITHHELD = Answer(AnswerKind.WITHHELD, reason="withdrawn", message="what was to be sent is to be sent no more")


def no_answer(reason: str, message: str) -> Answer:
    """Return what a timeout or a broken connection amounts to."""
    return Answer(AnswerKind.UNAVAILABLE, None, reason, message)


def classify(status: int, headers: Mapping[str, str], raw: bytes, now_ms: int) -> Answer:
    """Return what Cordial's answer means; `now_ms` serves a `Retry-After` given as a date."""
    limits = read_limits(headers, now_ms)
    try:
        body = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if 200 <= status < 300 and _is_success(body):  # noqa: PLR2004
        # Nearly every answer; nobody asks what it says.
        return Answer(AnswerKind.DONE, status, body=body, limits=limits)
    is_json = isinstance(body, (dict, list))
    message = _message(body) if is_json else ""
    fallback = f"HTTP {status}" if is_json else f"HTTP {status} without JSON"

    def answer(kind: AnswerKind, reason: str, unknown_keys: tuple[str, ...] = ()) -> Answer:
        return Answer(kind, status, reason, message or fallback, body, unknown_keys, limits)

    if 200 <= status < 300:  # noqa: PLR2004
        # A login page or a proxy's greeting with status 200 must never pass for a membership that was set.
        return answer(AnswerKind.REFUSED, "refused") if is_json else answer(AnswerKind.UNAVAILABLE, "not_json")
    if status == 429:  # noqa: PLR2004
        return answer(AnswerKind.THROTTLED, "throttled")
    if status in {401, 403}:
        reason = "unauthorized" if status == 401 else "forbidden"  # noqa: PLR2004
        # A firewall in front of Cordial answers in HTML, and perhaps only to what this one request holds.
        return answer(AnswerKind.UNAUTHORIZED if is_json else AnswerKind.UNAVAILABLE, reason)
    if not 400 <= status < 500 or status == 408 or not isinstance(body, dict):  # noqa: PLR2004
        return answer(AnswerKind.UNAVAILABLE, f"http_{status}")
    return _classify_refusal(answer, status, body, message)


def read_limits(headers: Mapping[str, str], now_ms: int) -> Limits:
    """Read `Retry-After` (seconds or a date) and `X-Rate-Limit-*`; `-Reset` counts seconds in Cordial's articles."""
    retry_after = _retry_after(headers.get("Retry-After"), now_ms)
    remaining = _number(headers.get("X-Rate-Limit-Remaining"))
    reset = _number(headers.get("X-Rate-Limit-Reset"))
    limit = _number(headers.get("X-Rate-Limit-Limit"))
    if retry_after is None and remaining is None and reset is None and limit is None:
        return NO_LIMITS
    if reset is not None and reset > 1_000_000_000:  # noqa: PLR2004  an epoch after all
        reset = max(0.0, reset - now_ms / 1000)
    return Limits(
        retry_after, None if remaining is None else int(remaining), reset, None if limit is None else int(limit)
    )


def _is_success(body: Any) -> bool:
    if isinstance(body, dict):
        return not (body.get("errors") or body.get("error") or body.get("success") is False)
    return isinstance(body, list)


def _classify_refusal(answer: Any, status: int, body: dict[str, Any], message: str) -> Answer:
    words = message.lower()
    unknown_keys = _unknown_keys(body)
    if body.get("errorKey") in _NOT_FOUND_KEYS or (status in {404, 422} and any(w in words for w in _NOT_FOUND_WORDS)):
        result: Answer = answer(AnswerKind.NOT_FOUND, "not_found")
    elif status == 404:  # noqa: PLR2004  a route, not a record: the base URL or a proxy is at fault
        result = answer(AnswerKind.UNAVAILABLE, "http_404")
    elif unknown_keys:
        result = answer(AnswerKind.REFUSED, "unknown_key", unknown_keys)
    elif _SEARCH_FIELD_WORDS in words:
        result = answer(AnswerKind.MISCONFIGURED, "not_a_secondary_key")
    else:
        result = answer(AnswerKind.REFUSED, "refused")
    return result


def _unknown_keys(body: dict[str, Any]) -> tuple[str, ...]:
    for holder in (body.get("messages"), body):
        errors = holder.get("validationErrors") if isinstance(holder, dict) else None
        if isinstance(errors, dict):
            return tuple(key for key, text in errors.items() if _UNKNOWN_KEY_WORDS in str(text))
    return ()


def _message(body: Any) -> str:
    """Return the first words found where Cordial puts them."""
    if not isinstance(body, dict):
        return ""
    for key in ("message", "messages", "validationErrors", "fieldErrors", "errors", "error"):
        text = _flatten(body.get(key))
        if text:
            return text[:_MESSAGE_LIMIT]
    return ""


def _flatten(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "; ".join(filter(None, (_flatten(item) for item in value.values())))
    if isinstance(value, list):
        return "; ".join(filter(None, (_flatten(item) for item in value)))
    return ""


def _retry_after(value: str | None, now_ms: int) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_ms / 1000)
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
