"""Syncs that are held because they remove an unusual share of a list (R17): look at one, approve it, discard it."""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs

from service.errors import ErrorCode, ServiceError
from service.model.views import HeldRemovals
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import ACTOR
from service.observe.api.kept_back import kept_back
from service.observe.api.requests import NoOptions, NoQuery, path_id, read_action, read_query
from service.observe.api.sending import Sending
from service.store.port import Guard, Reading

log = structlog.get_logger()


class Decided(msgspec.Struct, frozen=True):
    """Whether the sync was held until this decision; one that was not goes on as before.

    `kept_back` says what keeps an approved one from being sent now, and what ends that; empty where nothing does.
    """

    decided: bool
    kept_back: list[str]


class HeldSyncs:
    """Shows what a sync would remove, and takes a person's decision."""

    def __init__(self, reader: Reading, guard: Guard, sending: Sending, check_runs: Callable[[], None]) -> None:
        self._reader = reader
        self._guard = guard
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the question and the actions."""
        app.router.add_get("/syncs/{id}/removals", self.removals)
        app.router.add_post("/syncs/{id}/approve", self.approve)
        app.router.add_post("/syncs/{id}/discard", self.discard)

    @docs(
        **described.operation(
            "syncs",
            "What a sync would remove",
            "For a sync that is held (`hold_removals`): how many of the list's members it would remove, and "
            "some of them. Zero if the service did not need to count, because the sync cannot remove an unusual"
            " share.",
            answer=HeldRemovals,
            example=examples.HELD_REMOVALS,
            query=NoQuery,
            path=[described.SYNC_ID],
        )
    )
    async def removals(self, request: web.Request) -> web.Response:
        """Answer `GET /syncs/{id}/removals`."""
        read_query(request, NoQuery)
        return described.json_response(await self._find(path_id(request)))

    @docs(
        **described.operation(
            "syncs",
            "Approve a held sync",
            "The sync is sent: its removals, its additions, and its pages that have not arrived yet. The next "
            "sync is checked again. A sync that is not held does not change.",
            answer=Decided,
            example={"decided": True, "kept_back": []},
            body=NoOptions,
            path=[described.SYNC_ID],
        )
    )
    async def approve(self, request: web.Request) -> web.Response:
        """Answer `POST /syncs/{id}/approve`."""
        return await self._decide(request, "sync.approve", self._guard.approve, is_sent=True)

    @docs(
        **described.operation(
            "syncs",
            "Discard a held sync",
            "Nothing of the sync is sent, neither its removals nor its additions, nor its pages that have not "
            "arrived yet. It stays discarded if Heap sends it again. Later syncs of the segment continue. You "
            "cannot undo this: press Sync now in Heap to get the segment again. A sync that is not held does "
            "not change.",
            answer=Decided,
            example={"decided": True, "kept_back": []},
            body=NoOptions,
            path=[described.SYNC_ID],
        )
    )
    async def discard(self, request: web.Request) -> web.Response:
        """Answer `POST /syncs/{id}/discard`."""
        return await self._decide(request, "sync.discard", self._guard.discard, is_sent=False)

    async def _decide(
        self, request: web.Request, action: str, decide: Callable[[int, str], Awaitable[bool]], *, is_sent: bool
    ) -> web.Response:
        await read_action(request, NoOptions, self._check_runs)
        sync_id = path_id(request)
        await self._find(sync_id)
        decided = await decide(sync_id, request[ACTOR])
        sync = await self._reader.sync(sync_id) if decided and is_sent else None
        why = [] if sync is None else kept_back(self._sending.statuses(), [sync.account])
        log.info("action.done", action=action, actor=request[ACTOR], sync=sync_id, decided=decided)
        return described.json_response(Decided(decided, why))

    async def _find(self, sync_id: int) -> HeldRemovals:
        found = await self._reader.held_removals(sync_id)
        if found is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "there is no sync with this id")
        return found
