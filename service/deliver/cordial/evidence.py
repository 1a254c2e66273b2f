"""What an answer of Cordial's proves (R7): one table, the first row that fits decides. Pure; nothing raises.

docs/evidence.md explains each row and names where in Cordial's contract or recorded answers it comes from. Meaning comes
from the status together with Cordial's form and its `errorKey`, never from words alone: they may repeat what was asked.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from service.deliver.cordial.answers import (
    ERROR_PLACES,
    Answer,
    AnswerKind,
    AttributeRow,
    ContactRow,
    JobRow,
    ListRow,
    has_error_form,
    leaves_of,
    read_limits,
    words_of,
)
from service.deliver.cordial.requests import Request

_decode = msgspec.json.Decoder().decode

# Cordial's own marks that a record does not exist, for each endpoint: what means a list says nothing of a contact.
_ABSENT_KEYS = {
    "contacts": {"RECORD_NOT_FOUND", "CONTACTS_CONTACT_NOT_FOUND"},
    "accountlists": {"RECORD_NOT_FOUND", "ACCOUNT_LISTS_NOT_FOUND"},
    "accountlists/id": {"RECORD_NOT_FOUND", "ACCOUNT_LISTS_NOT_FOUND"},
    "accountlists/count": {"RECORD_NOT_FOUND", "ACCOUNT_LISTS_NOT_FOUND"},
    "jobs": {"RECORD_NOT_FOUND"},
    "contacts/search": {"RECORD_NOT_FOUND"},
    "jobs/id": {"RECORD_NOT_FOUND"},
}
_UNKNOWN_LIST_KEY = "ACCOUNT_LISTS_NOT_FOUND"
# Documents recorded or documented without an `errorKey`, as they stand.
_ABSENT_DOCUMENTS = (
    {"error": True, "message": "record not found"},
    {"error": True, "errorKey": "GENERIC_ERROR_KEY", "message": "List is not found"},
)
_NOT_IN_SCHEMA = "is not part of the schema"
# A whole message of Cordial's, not a part of one: a longer one may repeat somebody's id.
_NO_SECONDARY_KEY = "search field is not correct"

# The documented shape of what is read; writes say `success: true`.
_SHAPES: dict[str, Any] = {
    "GET accountlists": list[ListRow] | ListRow,
    "GET accountlists/id": ListRow,
    "GET accountlists/count": ListRow,
    "PUT accountlists/id": list[ListRow] | ListRow,
    "GET accountcontactattributes": list[AttributeRow],
    "GET contacts": ContactRow,
    "GET contacts/search": list[ContactRow],
    "GET jobs": list[JobRow],
    "GET jobs/id": JobRow,
}


def _is_2xx(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004


class Seen(NamedTuple):
    """What an answer consists of; `document` is None where it is not a JSON object or array."""

    request: Request
    status: int
    document: Any
    value: Any

    @property
    def is_2xx(self) -> bool:
        """Whether the status says success."""
        return _is_2xx(self.status)

    @property
    def is_4xx(self) -> bool:
        """Whether the status refuses."""
        return 400 <= self.status < 500 and self.status != 408  # noqa: PLR2004  408: the request did not arrive whole

    @property
    def fields(self) -> Mapping[str, Any]:
        """The document's fields; empty where it is no object."""
        return self.document if isinstance(self.document, dict) else {}

    @property
    def error_key(self) -> str:
        """Cordial's `errorKey`, empty where there is none."""
        key = self.fields.get("errorKey")
        return key if isinstance(key, str) else ""

    @property
    def has_error_form(self) -> bool:
        """Whether the document is an error in Cordial's form."""
        return has_error_form(self.document)


class Row(NamedTuple):
    """One row of the table: what is seen, and what it proves."""

    name: str
    kind: AnswerKind
    reason: str
    fits: Callable[[Seen], bool]


def _is_done(seen: Seen) -> bool:
    fields = seen.fields
    if not seen.is_2xx or fields.get("errors") or fields.get("error"):
        return False
    if seen.value is not None:
        return True
    if seen.request.endpoint == "contactimports":
        # An error in place of the job's id is judged with the import.
        return "jobId" in fields
    return seen.request.writes and fields.get("success") is True


def _is_absent(seen: Seen) -> bool:
    # What creates a contact or a list cannot find that it does not exist.
    if not seen.is_4xx or seen.request.method == "POST":
        return False
    keys = _ABSENT_KEYS.get(seen.request.endpoint, set())
    return seen.error_key in keys or (bool(keys) and seen.status == 404 and seen.document in _ABSENT_DOCUMENTS)  # noqa: PLR2004


def _is_unknown_list(seen: Seen) -> bool:
    return seen.is_4xx and bool(unknown_lists(seen))


def _is_no_secondary_key(seen: Seen) -> bool:
    if not (seen.status == 422 and seen.has_error_form and seen.request.contact):  # noqa: PLR2004
        return False
    places = (seen.fields.get("message"), *(seen.fields.get(place) for place in ERROR_PLACES))
    return any(text.strip(" .").lower() == _NO_SECONDARY_KEY for place in places for text in leaves_of(place))


def _is_refused(seen: Seen) -> bool:
    # What only reads cannot be refused for its own sake, and a 404 without a mark is a path that is not there.
    if not (seen.request.writes and seen.has_error_form):
        return seen.request.writes and seen.is_2xx and seen.fields.get("success") is False
    return seen.is_2xx or (seen.is_4xx and seen.status != 404)  # noqa: PLR2004


TABLE = (
    Row("done", AnswerKind.DONE, "", _is_done),
    Row("throttled", AnswerKind.THROTTLED, "throttled", lambda seen: seen.status == 429),  # noqa: PLR2004
    Row(
        "key refused",
        AnswerKind.UNAUTHORIZED,
        "unauthorized",
        lambda seen: seen.status == 401 and seen.document is not None,  # noqa: PLR2004
    ),
    Row(
        "forbidden",
        AnswerKind.UNAUTHORIZED,
        "forbidden",
        lambda seen: seen.status == 403 and seen.document is not None,  # noqa: PLR2004
    ),
    Row("unknown list", AnswerKind.REFUSED, "unknown_key", _is_unknown_list),
    Row("absent", AnswerKind.NOT_FOUND, "not_found", _is_absent),
    Row("no secondary key", AnswerKind.MISCONFIGURED, "not_a_secondary_key", _is_no_secondary_key),
    Row("refused", AnswerKind.REFUSED, "refused", _is_refused),
    Row("not JSON", AnswerKind.UNAVAILABLE, "not_json", lambda seen: seen.is_2xx and seen.document is None),
    Row("another shape", AnswerKind.UNAVAILABLE, "unexpected_answer", lambda seen: seen.is_2xx),
    # A firewall before Cordial answers in HTML, and perhaps only to what this one request holds.
    Row("firewall", AnswerKind.UNAVAILABLE, "forbidden", lambda seen: seen.status == 403),  # noqa: PLR2004
    Row("unavailable", AnswerKind.UNAVAILABLE, "", lambda _seen: True),
)


def read_answer(request: Request, status: int, headers: Mapping[str, str], raw: bytes, now_ms: int) -> Answer:
    """Return what Cordial's answer to a request proves; `now_ms` serves a `Retry-After` given as a date."""
    limits = read_limits(headers, now_ms)
    try:
        document = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict | list):
        document = None
    seen = Seen(request, status, document, _value(request, status, document))
    row = next(row for row in TABLE if row.fits(seen))
    if row.kind is AnswerKind.DONE:
        # Nearly every answer; nobody asks what it says.
        contact = seen.value if isinstance(seen.value, ContactRow) else None
        return Answer(AnswerKind.DONE, status, body=document, contact=contact, limits=limits)
    message = words_of(document) or (f"HTTP {status}" if document is not None else f"HTTP {status} without JSON")
    unknown = unknown_lists(seen) if row.kind is AnswerKind.REFUSED else ()
    return Answer(row.kind, status, row.reason or f"http_{status}", message, document, None, unknown, limits)


def unknown_lists(seen: Seen) -> tuple[str, ...]:
    """Return the lists of a contact's request that Cordial says it does not know; all, where it does not say which."""
    lists = seen.request.lists
    if seen.error_key == _UNKNOWN_LIST_KEY:
        return lists
    for holder in (seen.fields.get("messages"), seen.fields):
        errors = holder.get("validationErrors") if isinstance(holder, dict) else None
        if isinstance(errors, dict):
            return tuple(key for key in lists if any(_NOT_IN_SCHEMA in text for text in leaves_of(errors.get(key))))
    return ()


def _value(request: Request, status: int, document: Any) -> Any:
    """Return what was read, None if it does not have the documented shape."""
    shape = _SHAPES.get(request.operation)
    if shape is None or document is None or not _is_2xx(status):
        return None
    try:
        return msgspec.convert(document, shape)
    except (msgspec.ValidationError, RecursionError):
        return None
