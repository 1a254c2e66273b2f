"""Answers of Cordial's as typed values. Whatever comes from outside is bounded here; nothing raises.

What an answer proves is judged in `evidence.py`.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

_MAX_MESSAGE = 500
# Statuses of a request that what stands before Cordial has passed on, and perhaps of no more than that.
_PASSED_ON = frozenset({202, 408, 499, 502, 504})
_SERVER_ERROR = 500
# Where Cordial puts what it refuses.
ERROR_PLACES = ("messages", "validationErrors", "fieldErrors", "errors")
# How deep Cordial's words are looked for, and in how many places: its own errors nest three levels.
_MAX_DEPTH = 6
_MAX_PLACES = 200
# R8: no wait is longer than this, whatever a header says.
MAX_WAIT_SECONDS = 21_600.0
_MAX_COUNT = 2**53
# A number this near to now, in days, is a moment and not a duration: seconds or milliseconds since 1970.
_MOMENT_WITHIN_SECONDS = 7 * 86_400.0


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

    `limit`: the most calls in a period, of which `remaining` are left until `reset_seconds` have passed. `is_cut`: more
    than six hours were asked for, and six are kept to.
    """

    retry_after_seconds: float | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
    limit: int | None = None
    is_cut: bool = False

    @property
    def wait_seconds(self) -> float:
        """How long a refused call is to wait; 0 where the headers do not say."""
        return max(self.retry_after_seconds or 0.0, self.reset_seconds or 0.0)


NO_LIMITS = Limits()

Identifier = Annotated[int, Meta(ge=0, le=_MAX_COUNT)] | Annotated[str, Meta(min_length=1, max_length=200)]
_Name = Annotated[str, Meta(max_length=1_000)]


class ListRow(msgspec.Struct, frozen=True):
    """A list as Cordial's contract describes it."""

    id: Identifier
    name: _Name
    count: Annotated[int, Meta(ge=0, le=_MAX_COUNT)] | msgspec.UnsetType = msgspec.UNSET


class AttributeRow(msgspec.Struct, frozen=True):
    """A contact attribute; its key shares a namespace with lists."""

    key: str = ""
    name: str = ""
    unique: Any = False


_ListNames = Annotated[list[_Name], Meta(max_length=100_000)]


class _ContactAttributes(msgspec.Struct, frozen=True):
    lists: _ListNames | msgspec.UnsetType = msgspec.UNSET


class ContactRow(msgspec.Struct, frozen=True):
    """A contact as it is read; `lists` stands beside its attributes or among them, by Cordial's recorded answers."""

    id: Annotated[str, Meta(min_length=1, max_length=200)] = msgspec.field(name="_id")
    lists: _ListNames | msgspec.UnsetType = msgspec.UNSET
    attributes: _ContactAttributes | msgspec.UnsetType = msgspec.UNSET

    @property
    def list_names(self) -> frozenset[str] | None:
        """The names of the lists that the contact is on; None where the answer does not speak of lists at all."""
        if not isinstance(self.lists, msgspec.UnsetType):
            return frozenset(self.lists)
        if not isinstance(self.attributes, msgspec.UnsetType) and not isinstance(
            self.attributes.lists, msgspec.UnsetType
        ):
            return frozenset(self.attributes.lists)
        return None


def list_names_of(document: Any) -> frozenset[str] | None:
    """Return the names of the lists in a contact's document; None where it does not speak of lists."""
    try:
        return msgspec.convert(document, ContactRow).list_names
    except (msgspec.ValidationError, RecursionError):
        return None


class JobRow(msgspec.Struct, frozen=True):
    """A job, such as an import; its figures are read where imports are judged."""

    status: Annotated[str, Meta(max_length=100)]


class Answer(msgspec.Struct, frozen=True):
    """An answer, or the lack of one: `status` is None when none came.

    `reason` is a stable word for grouping, `message` Cordial's own words, `unknown_keys` the lists of the request that
    Cordial does not know. `body` is the document, which has the documented shape where the kind is `done`; `contact` is
    what was read of one. `is_own`: the answer is about what was asked for and nobody else; other calls of its kind pass.
    `is_cut`: a connection that had been kept from an earlier call was closed before any of an answer came.
    """

    kind: AnswerKind
    status: int | None = None
    reason: str = ""
    message: str = ""
    body: Any = None
    contact: ContactRow | None = None
    unknown_keys: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    is_own: bool = False
    is_cut: bool = False

    @property
    def may_still_act(self) -> bool:
        """Whether Cordial may carry the request out later: there was no answer, or none of Cordial's own.

        Where what stands before Cordial stops waiting, most say 502 or 504, others 500 or 503, Cloudflare 520 to 524.
        """
        if self.kind is not AnswerKind.UNAVAILABLE:
            return False
        if self.status is None or self.status in _PASSED_ON:
            return True
        return self.status >= _SERVER_ERROR and not has_error_form(self.body)

    def message_without(self, contact: str) -> str:
        """Return the message for a log, where no user id may be: Cordial's words may repeat that of the contact."""
        value = contact.partition(":")[2].lower()
        return f"HTTP {self.status}" if value and value in self.message.lower() else self.message


WITHHELD = Answer(AnswerKind.WITHHELD, reason="withdrawn", message="this change no longer has to be sent")


def no_answer(reason: str, message: str) -> Answer:
    """Return what a timeout or a broken connection amounts to."""
    return Answer(AnswerKind.UNAVAILABLE, None, reason, message[:_MAX_MESSAGE])


def has_error_form(document: Any) -> bool:
    """Return whether a document is an error in Cordial's form, as opposed to that of a gateway before it."""
    if not isinstance(document, dict):
        return False
    key = document.get("errorKey")
    return (
        document.get("error") is True
        or (isinstance(key, str) and bool(key))
        or any(isinstance(document.get(place), dict | list) and document[place] for place in ERROR_PLACES)
    )


def words_of(document: Any) -> str:
    """Return the first words found where Cordial puts them, shortened."""
    if not isinstance(document, dict):
        return ""
    for key in ("message", "messages", "validationErrors", "fieldErrors", "errors", "error"):
        if text := "; ".join(leaves_of(document.get(key))):
            return text[:_MAX_MESSAGE]
    return ""


def leaves_of(value: Any, depth: int = 0) -> Iterator[str]:
    """Return the texts in a value, as far down and as many as Cordial's own errors may have."""
    if isinstance(value, str):
        if value:
            yield value[:_MAX_MESSAGE]
        return
    if depth == _MAX_DEPTH:
        return
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in items[:_MAX_PLACES]:
        yield from leaves_of(item, depth + 1)


def read_limits(headers: Mapping[str, str], now_ms: int) -> Limits:
    """Read `Retry-After` (seconds or a date) and `X-Rate-Limit-*`; `-Reset` counts seconds in Cordial's articles.

    Either may be a moment after all, in seconds or milliseconds since 1970. No wait is longer than six hours.
    """
    retry_after = _seconds(headers.get("Retry-After"), now_ms)
    remaining = _number(headers.get("X-Rate-Limit-Remaining"))
    reset = _seconds(headers.get("X-Rate-Limit-Reset"), now_ms)
    limit = _number(headers.get("X-Rate-Limit-Limit"))
    if retry_after is None and remaining is None and reset is None and limit is None:
        return NO_LIMITS
    return Limits(
        None if retry_after is None else min(retry_after, MAX_WAIT_SECONDS),
        None if remaining is None else int(min(remaining, _MAX_COUNT)),
        None if reset is None else min(reset, MAX_WAIT_SECONDS),
        None if limit is None else int(min(limit, _MAX_COUNT)),
        any(seconds > MAX_WAIT_SECONDS for seconds in (retry_after, reset) if seconds is not None),
    )


def _seconds(value: str | None, now_ms: int) -> float | None:
    """Return how long from now a header means, by a duration or by a moment."""
    if value is None:
        return None
    number = _number(value)
    now = now_ms / 1000
    if number is not None:
        moments = [moment - now for moment in (number, number / 1000) if abs(moment - now) < _MOMENT_WITHIN_SECONDS]
        return max(0.0, moments[0]) if moments else number
    try:
        moment = parsedate_to_datetime(value)
        # "-0000" says that the zone is not known; the time is UTC all the same (RFC 5322).
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
