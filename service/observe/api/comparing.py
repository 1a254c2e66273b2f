"""Who is on a list by Cordial's own record, for whoever compares it with the ledger: `verify --members` and `compare`."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import Meta

from service.errors import ErrorCode, ServiceError
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.actions import find_list
from service.observe.api.authentication import ACTOR
from service.observe.api.requests import path_id, read_action
from service.observe.api.sending import Sending
from service.store.port import Reading, Steering

# The largest of them fit into a body.
_MAX_CONTACTS = 50

Contact = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+:", max_length=1_100, description="`key:value`")]


class AudienceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of the audience, from 1 on."""

    page: Annotated[int, Meta(ge=1, le=10_000_000)]


class ContactsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contacts as the ledger has them."""

    contacts: Annotated[list[Contact], Meta(min_length=1, max_length=_MAX_CONTACTS)]


class AudienceDocument(msgspec.Struct, frozen=True):
    """A page of those on the list: for each, the contacts that they may be in the ledger. Nobody after the last page."""

    people: list[list[str]]


class ReadMember(msgspec.Struct, frozen=True):
    """Whether Cordial has a contact on the list; null where it does not say."""

    contact: str
    on_list: bool | None


class ReadMembers(msgspec.Struct, frozen=True):
    """What was read, in the order of the request."""

    members: list[ReadMember]


class AskedReadBack(msgspec.Struct, frozen=True):
    """How many contacts will be read back."""

    contacts: int


class ListComparing:
    """Reads lists for comparing them, on behalf of the holder of an API key."""

    def __init__(self, reader: Reading, steering: Steering, sending: Sending, check_runs: Callable[[], None]) -> None:
        self._reader = reader
        self._steering = steering
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the readings."""
        app.router.add_post("/lists/{id}/members/audience", self.audience)
        app.router.add_post("/lists/{id}/members/read", self.read)
        app.router.add_post("/lists/{id}/members/read-back", self.read_back)

    @docs(
        **described.operation(
            "lists",
            "Read a page of the list's audience",
            "Reads a page of who is on the list in Cordial, through the saved audience that `audience_keys` names.",
            answer=AudienceDocument,
            example=examples.AUDIENCE,
            body=AudienceRequest,
            body_examples={"the first": {"value": {"page": 1}}},
            path=[described.LIST_ID],
            conflict="The list has no audience, the audience is for something else, or Cordial does not answer now.",
        )
    )
    async def audience(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/members/audience`."""
        body = await read_action(request, AudienceRequest, self._check_runs)
        segment = await find_list(self._reader, path_id(request))
        if body.page == 1:
            await self._steering.record(request[ACTOR], "list.read", str(segment.id), 0)
        found = await self._sending.account(segment.account).members.page(segment.id, body.page)
        return described.json_response(AudienceDocument(found.people))

    @docs(
        **described.operation(
            "lists",
            "Read contacts of a list",
            "Reads contacts one by one in Cordial, and says whether each is on the list. Changes nothing.",
            answer=ReadMembers,
            example=examples.READ_MEMBERS,
            body=ContactsRequest,
            body_examples={"one": {"value": {"contacts": ["email:jane@example.com"]}}},
            path=[described.LIST_ID],
            conflict="Not possible now: the list is not ready, or Cordial does not serve the account.",
        )
    )
    async def read(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/members/read`."""
        body = await read_action(request, ContactsRequest, self._check_runs)
        segment = await find_list(self._reader, path_id(request))
        found = await self._sending.account(segment.account).members.read(segment.id, body.contacts)
        members = [ReadMember(contact, on_list) for contact, on_list in zip(body.contacts, found, strict=True)]
        return described.json_response(ReadMembers(members))

    @docs(
        **described.operation(
            "lists",
            "Correct contacts",
            "Reads contacts back from Cordial soon, when no change waits, and sends again what differs from the"
            " ledger, in all lists of the account. Removes people whom this service never added only with "
            '`strangers = "remove"`.',
            answer=AskedReadBack,
            example={"contacts": 1},
            body=ContactsRequest,
            body_examples={"one": {"value": {"contacts": ["email:jane@example.com"]}}},
            path=[described.LIST_ID],
        )
    )
    async def read_back(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/members/read-back`."""
        body = await read_action(request, ContactsRequest, self._check_runs)
        segment = await find_list(self._reader, path_id(request))
        if segment.account not in self._sending.statuses():
            raise ServiceError(ErrorCode.NOT_FOUND, "the configuration no longer has this account")
        await self._steering.ask_read_back(segment.account, segment.id, body.contacts, actor=request[ACTOR])
        return described.json_response(AskedReadBack(len(body.contacts)))
