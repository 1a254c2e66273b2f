"""What a request to the API may say: filters and pages in the query, documents in the body."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from service.errors import ErrorCode, ServiceError
from service.model.changes import MemberState
from service.model.imports import DoubtEnd
from service.model.lists import ListState
from service.model.views import FailureSort, ListSort, ListStanding, SyncSort, SyncState
from service.observe.api.meter import Span

Asked = TypeVar("Asked", bound=msgspec.Struct)

LARGEST_ID = 2**63 - 1
_MAX_ROWS = 200
_ROWS = 50
_MAX_FAILURES = 1_000
_MAX_BODY_BYTES = 524_288
# Fits into a body, however long the addresses are.
_MAX_ADDRESSES = 150

Id = Annotated[int, Meta(ge=1, le=LARGEST_ID)]
# Short enough that all filters together fit into an address, percent-encoded.
Filter = Annotated[str, Meta(min_length=1, max_length=200)]
AccountFilter = Annotated[Filter, Meta(description="only of this account")]
ListFilter = Annotated[Id, Meta(description="only of this list, by `id` as `/api/v1/lists` has it")]

# Set for a request that does something, and does not only ask.
IS_ACTION = web.RequestKey("is_action", bool)


DeadFilter = Annotated[
    bool,
    Meta(description="`true`: only those that the service does not retry by itself; `false`: only those that it does"),
]
WantedFilter = Annotated[bool, Meta(description="`true`: only who should be on the list; `false`: only who should not")]


class Format(StrEnum):
    """How rows are answered: as a page in JSON, or all of them as a file."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


FileFormat = Annotated[
    Format, Meta(description="`csv` or `ndjson`: every row that matches the filters, as a file, whatever `limit` says")
]


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list of things."""

    after: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9a-f]{1,15}\Z",
                description="the value of `next` in the previous answer; leave it out to get the first page",
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, Meta(ge=1, le=_MAX_ROWS, description="the most items in an answer")] = _ROWS


class ExportQuery(PageQuery, frozen=True):
    """Which page, or all as a file."""

    format: FileFormat = Format.JSON


_ORDER = (
    "A sorted list may show a row twice or not at all if rows change places between two answers. Without it, the order is "
    "that of the ids. Files are always in the order of the ids."
)
Reverse = Annotated[bool, Meta(description="the order of `sort` the other way round")]


class SyncQuery(ExportQuery, frozen=True):
    """Which syncs."""

    sort: (
        Annotated[
            SyncSort,
            Meta(
                description=f"`trouble`: those that need somebody or are not settled come first; a number: the largest first. {_ORDER}"
            ),
        ]
        | UnsetType
    ) = UNSET

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    state: Annotated[SyncState, Meta(description="only in this state")] | UnsetType = UNSET


class ListQuery(PageQuery, frozen=True):
    """Which lists."""

    account: AccountFilter | UnsetType = UNSET
    state: Annotated[ListState, Meta(description="only in this state")] | UnsetType = UNSET
    standing: Annotated[ListStanding, Meta(description="only lists with this standing")] | UnsetType = UNSET
    sort: (
        Annotated[
            ListSort,
            Meta(
                description=f"`trouble`: the worst first; a number: the largest first; `updated`: the latest sync first. {_ORDER}"
            ),
        ]
        | UnsetType
    ) = UNSET
    reverse: Reverse = False
    search: (
        Annotated[Filter, Meta(description="a part of the segment's or the list's name, or Heap's id of the segment")]
        | UnsetType
    ) = UNSET


class FailureQuery(ExportQuery, frozen=True):
    """Which failures."""

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    reason: (
        Annotated[Filter, Meta(description="only with this reason, as `/api/v1/failures/groups` has it")] | UnsetType
    ) = UNSET
    dead: DeadFilter | UnsetType = UNSET
    wanted: WantedFilter | UnsetType = UNSET
    sort: (
        Annotated[
            FailureSort,
            Meta(description=f"`trouble`: first who waits for a person; `name`: by account, then by contact. {_ORDER}"),
        ]
        | UnsetType
    ) = UNSET


class PeopleSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to find, by a part of the user's id as well; `after` is the `next` of the page before."""

    user: Annotated[str, Meta(min_length=1, max_length=1_000)] | UnsetType = UNSET
    account: Filter | UnsetType = UNSET
    list: Id | UnsetType = UNSET
    wanted: bool | UnsetType = UNSET
    after: Annotated[str, Meta(pattern=r"^[0-9a-f]{1,15}$")] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=_MAX_ROWS)] = _ROWS


class FailureSearch(PeopleSearch, frozen=True):
    """Which failures, by a part of the contact as well; `after` is the `next` of the page before."""

    reason: Filter | UnsetType = UNSET
    dead: bool | UnsetType = UNSET
    sort: FailureSort | UnsetType = UNSET


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far back."""

    span: Annotated[Span, Meta(description="the last hour, day or week")] = Span.HOUR


class FailureGroupQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The failures of what to group."""

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    dead: DeadFilter | UnsetType = UNSET
    wanted: WantedFilter | UnsetType = UNSET


class DeliveryQuery(PageQuery, frozen=True):
    """Which deliveries."""

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    sync: Annotated[Id, Meta(description="only of this sync, by `id` as `/api/v1/syncs` has it")] | UnsetType = UNSET


class UnusableQuery(ExportQuery, frozen=True):
    """Which users that cannot be synced."""

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    wanted: (
        Annotated[
            bool,
            Meta(
                description="`true`: only those that a list's sum counts, not of users who left or from before a drain; "
                "`false`: only the others"
            ),
        ]
        | UnsetType
    ) = UNSET
    sync: Annotated[Id, Meta(description="only of this sync, by `id` as `/api/v1/syncs` has it")] | UnsetType = UNSET


class UnusableSearch(PeopleSearch, frozen=True):
    """Which users that cannot be synced, by a part of the id as well; `after` is the `next` of the page before."""

    sync: Id | UnsetType = UNSET


class AuditQuery(ExportQuery, frozen=True):
    """Which actions of people."""

    actor: Annotated[Filter, Meta(description="only with this key, by the name that the audit has")] | UnsetType = UNSET
    list: (
        Annotated[
            Id,
            Meta(description="only on this list, its syncs and its failures; a retry by ids belongs to no list"),
        ]
        | UnsetType
    ) = UNSET


class MembersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which members of a list, as a file of which form."""

    format: Annotated[
        Literal["csv", "ndjson"],
        Meta(description="the form of the file; it has all members, because their ids must not be in addresses"),
    ]
    state: Annotated[MemberState, Meta(description="only in this state")] | UnsetType = UNSET
    wanted: WantedFilter | UnsetType = UNSET


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class RetryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which failures to retry: those that meet every condition given, without any all. `list` is the list's `id`."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=_MAX_FAILURES)] | UnsetType = UNSET
    account: Filter | UnsetType = UNSET
    list: Id | UnsetType = UNSET
    reason: Filter | UnsetType = UNSET
    dead: bool | UnsetType = UNSET
    wanted: bool | UnsetType = UNSET


class RebuildRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to rebuild a list; `include_removed` also takes off again who has left the segment."""

    include_removed: bool = False


class EndDoubtRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What you saw of the import's job in Cordial's web interface: it is `over`, or it was `never_started`."""

    job: DoubtEnd


class RejectedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses of Cordial's file of rejected rows; several requests where they are more."""

    addresses: Annotated[
        list[Annotated[str, Meta(min_length=3, max_length=320)]], Meta(min_length=1, max_length=_MAX_ADDRESSES)
    ]


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object: the action has no options."""


class MemberRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's id as Heap sends it."""

    user: Annotated[str, Meta(min_length=1, max_length=1_000)]


def read_query(request: web.Request, query: type[Asked]) -> Asked:
    """Return the query of a request, whole and in bounds; raises `ServiceError` (422) that names the parameter."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"the query parameter {name} is given twice")
        given[name] = value
    try:
        return msgspec.convert(given, query, strict=False)
    except msgspec.ValidationError as error:
        message, place = _split(error)
        subject = f"query parameter {place.removeprefix('$.')}: " if place not in {None, "$"} else "query: "
        raise ServiceError(ErrorCode.INVALID_REQUEST, subject + message) from None


async def read_body(request: web.Request, document: type[Asked]) -> Asked:
    """Return the JSON body of a request, which takes no query; an empty body means `{}`.

    Raises `ServiceError`: `BODY_UNREADABLE` for what is not JSON, `INVALID_REQUEST` with the place for another shape,
    `BODY_TOO_LARGE`.
    """
    read_query(request, NoQuery)
    try:
        return msgspec.convert(_decode(await _read_bounded(request) or b"{}"), document)
    except msgspec.ValidationError as error:
        message, place = _split(error)
        raise ServiceError(ErrorCode.INVALID_REQUEST, message, path=place) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is not JSON") from None


async def read_action(request: web.Request, document: type[Asked], check_runs: Callable[[], None]) -> Asked:
    """Return the body of an action as `read_body` does; `check_runs` raises `ServiceError` while the service starts or stops."""
    check_runs()
    request[IS_ACTION] = True
    return await read_body(request, document)


def _number(text: str) -> float:
    """Return a number written with a point or an exponent; JSON Schema, and so our document, holds 24.0 to be an integer."""
    number = float(text)
    return int(number) if number.is_integer() else number


_decode = msgspec.json.Decoder(float_hook=_number).decode


async def _read_bounded(request: web.Request) -> bytes:
    body = b""
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ServiceError(ErrorCode.BODY_TOO_LARGE, f"the body is larger than {_MAX_BODY_BYTES} bytes")
    return body


def given_filters(query: msgspec.Struct) -> dict[str, Any]:
    """Return what a query says, by the names that the store's reader has for it; what was left out is left out."""
    names = {"list": "list_id", "sync": "sync_id", "user": "search"}
    no_filters = {"format", "sort", "reverse"}
    filters = {
        names.get(name, name): value for name, value in msgspec.structs.asdict(query).items() if name not in no_filters
    }
    return {name: value for name, value in filters.items() if value is not UNSET}


def path_id(request: web.Request) -> int:
    """Return the `{id}` of the address; raises `ServiceError` (404) for what can be no id."""
    text = request.match_info["id"]
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > LARGEST_ID:
        raise ServiceError(ErrorCode.NOT_FOUND, "there is nothing with this id")
    return int(text)


def query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """Describe a query for the OpenAPI document."""
    parameters = []
    for field in msgspec.structs.fields(query):
        schema = msgspec.json.schema(field.type)
        # An enumeration comes as a reference into definitions of its own.
        for definition in schema.pop("$defs", {}).values():
            schema = {**definition, **schema}
            del schema["$ref"]
        description = schema.pop("description", "")
        parameters.append(
            {
                "in": "query",
                "name": field.encode_name,
                "description": description,
                "required": field.required,
                "schema": schema,
            }
        )
    return parameters


def _split(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """Return the sentence and the place of one of msgspec's messages."""
    message, separator, place = str(error).rpartition(" - at `")
    return (message, place.removesuffix("`")) if separator else (str(error), "$")
