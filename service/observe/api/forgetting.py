"""Erasing a person's data. The user's id stands in the body of the request, and in no address, log, answer or audit."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import UNSET, Meta, UnsetType

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.contacts import contact_of
from service.model.views import Count, ErasureView, RecordedAccount
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import ACTOR
from service.observe.api.kept_back import kept_back
from service.observe.api.members import possible_contacts
from service.observe.api.requests import Filter, NoQuery, read_action, read_query
from service.observe.api.sending import Sending
from service.store.port import Erasures

log = structlog.get_logger()


class ForgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to forget: a user's id as Heap sends it; in one account, or without it in all that the store knows."""

    user: Annotated[str, Meta(min_length=1, max_length=1_000)]
    account: Filter | UnsetType = UNSET
    keep_on_lists: Annotated[
        bool, Meta(description="`true`: erase here at once, and keep the contact on Cordial's lists")
    ] = False


class Forgotten(msgspec.Struct, frozen=True):
    """How many memberships of the user each account has at the moment, and the ids of the erasures to look for.

    `kept_on_lists`: the accounts whose lists in Cordial keep the user, because that was asked for, or because the
    configuration no longer has the account, and so its lists cannot be changed. `kept_back` says what keeps the removals
    from being sent now, and what ends that; empty where nothing does.
    """

    memberships: dict[str, Count]
    erasures: list[int]
    kept_on_lists: list[str]
    kept_back: list[str]


class OpenErasures(msgspec.Struct, frozen=True):
    """The erasures that are not over, without the users' ids."""

    items: list[ErasureView]


class Forgetting:
    """Erases on behalf of the holder of an API key."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        erasures: Erasures,
        recorded: Callable[[], Awaitable[Sequence[RecordedAccount]]],
        sending: Sending,
        check_runs: Callable[[], None],
    ) -> None:
        self._accounts = accounts
        self._erasures = erasures
        self._recorded = recorded
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the erasures."""
        app.router.add_post("/forget", self.forget)
        app.router.add_get("/erasures", self.erasures)

    @docs(
        **described.operation(
            "lists",
            "Forget a user",
            "Removes the user from every list to which this service added them, then erases every trace of them"
            " here, across restarts. `GET /api/v1/erasures` shows what is left to do. Erase the user in Heap "
            "first: a user whom Heap sends again is a member again.",
            answer=Forgotten,
            example={"memberships": {"acme": 2}, "erasures": [1], "kept_on_lists": [], "kept_back": []},
            body=ForgetRequest,
            body_examples={
                "everywhere": {"value": {"user": "jane@example.com"}},
                "one account": {"value": {"user": "jane@example.com", "account": "acme", "keep_on_lists": True}},
            },
            conflict="Neither the configuration nor the store has such an account.",
        )
    )
    async def forget(self, request: web.Request) -> web.Response:
        """Answer `POST /forget`."""
        asked = await read_action(request, ForgetRequest, self._check_runs)
        try:
            asked.user.encode()
        except UnicodeEncodeError:
            raise ServiceError(ErrorCode.INVALID_REQUEST, "the user id is not Unicode text") from None
        # As the configuration was then: a reload may take an account out of it meanwhile.
        accounts = dict(self._accounts)
        # Also those that the configuration has no more: the person is to be erased from all of the store.
        known = dict.fromkeys([*accounts, *(each.name for each in await self._recorded())])
        names = list(known) if asked.account is UNSET else [asked.account]
        memberships: dict[str, int] = {}
        erasures: list[int] = []
        kept_on_lists: list[str] = []
        for name in names:
            if name not in known:
                raise ServiceError(ErrorCode.CONFLICT, "there is no account of this name", path="$.account")
            keys = await self._erasures.keys(name)
            possible = possible_contacts(accounts[name], asked.user) if name in accounts else []
            contacts = list(dict.fromkeys([*possible, *(contact_of(asked.user, key) for key in keys)]))
            keep_on_lists = asked.keep_on_lists or name not in accounts
            if not contacts:
                continue
            made = await self._erasures.request(
                name,
                contacts,
                keep_on_lists=keep_on_lists,
                actor=request[ACTOR],
                follow=functools.partial(self._sending.withdraw, name, contacts),
            )
            memberships[name] = made.memberships
            if keep_on_lists and made.memberships:
                kept_on_lists.append(name)
            erasures += made.ids
        log.info("action.done", action="user.forget", actor=request[ACTOR], memberships=memberships)
        taken_off = [name for name, number in memberships.items() if number and name not in kept_on_lists]
        why = kept_back(self._sending.statuses(), taken_off)
        return described.json_response(Forgotten(memberships, erasures, kept_on_lists, why))

    @docs(
        **described.operation(
            "lists",
            "Erasures in progress",
            "Whose data is being erased (masked), and how many memberships Cordial has not confirmed yet.",
            answer=OpenErasures,
            example={"items": [examples.ERASURE]},
        )
    )
    async def erasures(self, request: web.Request) -> web.Response:
        """Answer `GET /erasures`."""
        read_query(request, NoQuery)
        return described.json_response(OpenErasures(await self._erasures.open()))
