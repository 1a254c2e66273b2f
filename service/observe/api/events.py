"""Server-Sent Events: progress as it happens, put together once a second for all who watch."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs

from service.errors import ServiceError, StoreFaultError, StoreUnavailableError
from service.model.conditions import Condition
from service.model.views import Minute
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import ApiKeys
from service.observe.api.changes import Changes, Progress
from service.observe.api.documents import AccountDocument
from service.observe.api.meter import Meter
from service.observe.api.requests import NoQuery, read_query
from service.observe.api.sending import Sending
from service.observe.api.stream import Stream
from service.store.port import History, Reading

log = structlog.get_logger()

_TICK_SECONDS = 1.0
_WRITE_TIMEOUT_SECONDS = 10.0
_MAX_DELIVERIES = 20
_BROWSER_RETRY_MS = 2_000


class AnsweredDelivery(msgspec.Struct, frozen=True):
    """A request to the webhook that was answered; what was not understood has no segment, task and figures.

    `outcome` is `accepted`, `duplicate`, `superseded`, an error's code, or `client_gone`.
    """

    at: datetime
    account: str | None
    status: int
    outcome: str
    reason: str | None
    segment_name: str | None = None
    task_id: str | None = None
    page_number: int | None = None
    total_pages: int | None = None
    added: int | None = None
    removed: int | None = None
    rejected: int | None = None


class AnsweredDeliveries(msgspec.Struct, frozen=True):
    """The deliveries answered within the last second; the earliest are left out when there are more than 20."""

    deliveries: list[AnsweredDelivery]
    left_out: int


class Events:
    """Tells all who watch what is going on; `run` is to run as long as the service does."""

    def __init__(
        self,
        keys: ApiKeys,
        reader: Reading,
        sending: Sending,
        meter: Meter,
        *,
        history: History,
        account_documents: Callable[[], Awaitable[list[AccountDocument]]],
        conditions: Callable[[], Sequence[Condition]],
        heartbeat_seconds: float,
    ) -> None:
        self._keys = keys
        self._meter = meter
        self._history = history
        self._account_documents = account_documents
        self._conditions = conditions
        # Something is sent at least so often, so that either side sees when the other has gone, or when something between
        # them keeps the stream back. Without an id: nobody asks for what came after it.
        self._heartbeat_seconds = heartbeat_seconds
        self._alive = b'event: alive\ndata: {"again_in_seconds":%g}\n\n' % heartbeat_seconds
        self._changes = Changes(reader, sending)
        self._stream = Stream(run=f"{time.time_ns():x}")
        self._deliveries: deque[AnsweredDelivery] = deque(maxlen=_MAX_DELIVERIES)
        self._delivered = 0
        self._told: object = None

    def add_routes(self, app: web.Application) -> None:
        """Serve the events."""
        app.router.add_get("/events", self.watch, allow_head=False)

    def delivery_answered(self, delivery: AnsweredDelivery) -> None:
        """Take note of a delivery, to be told with others at the next tick."""
        self._deliveries.append(delivery)
        self._delivered += 1

    def end(self) -> None:
        """Send those who watch away."""
        self._stream.end()

    async def run(self) -> None:
        """Measure and tell, once a second."""
        while True:
            await self._keep(self._meter.tick())
            self._tell_deliveries()
            if self._stream.is_watched:
                try:
                    await self._tell_progress()
                except ServiceError as error:
                    log.warning("events.skipped", reason=error.message)
                except Exception:
                    log.exception("events.failed")
            await asyncio.sleep(_TICK_SECONDS)

    async def keep_last_minute(self) -> None:
        """Keep for the picture what was since the last whole minute: once, after `run`."""
        await self._keep(self._meter.last_minute())

    async def _keep(self, minute: Minute | None) -> None:
        if minute is not None:
            # A gap in a picture is nothing to stop for.
            with contextlib.suppress(StoreUnavailableError, StoreFaultError):
                await self._history.add(minute)

    @docs(
        **described.operation(
            "events",
            "Progress as it happens",
            "Server-Sent Events, at most two a second after the first. `progress`: all accounts, and the lists, "
            "syncs and imports that changed, each of which replaces the one with its `id`. `delivery`: requests to the webhook that "
            "were answered. `reset`, always the first for who comes without `Last-Event-ID`: load everything again, after "
            "this event. `alive`: nothing happened, and the next event comes within `again_in_seconds`; if none does, something "
            "on the way keeps the stream back. With `Last-Event-ID`, which browsers send by themselves, what was missed comes first, or "
            "`reset` if that is too much.",
            answer={
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "examples": {"progress": {"value": examples.EVENTS}},
                }
            },
            query=NoQuery,
        )
    )
    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /events`."""
        read_query(request, NoQuery)
        last_id = request.headers.get("Last-Event-ID", "")
        if not last_id and not self._stream.is_watched:
            with contextlib.suppress(ServiceError):
                await self._skip_what_is_past()
        watcher = self._stream.add(last_id)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        )
        try:
            await response.prepare(request)
            await response.write(b"retry: %d\n\n" % _BROWSER_RETRY_MS + await watcher.next(0) + self._alive)
            while not watcher.is_dropped and self._keys.is_still_valid(request):
                text = await watcher.next(self._heartbeat_seconds)
                async with asyncio.timeout(_WRITE_TIMEOUT_SECONDS):
                    await response.write(text or self._alive)
        except (TimeoutError, ConnectionError):
            # Gone, or too slow to read.
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._stream.remove(watcher)
        return response

    def _tell_deliveries(self) -> None:
        if self._delivered:
            left_out = self._delivered - len(self._deliveries)
            self._stream.emit("delivery", AnsweredDeliveries(list(self._deliveries), left_out))
            self._deliveries.clear()
            self._delivered = 0

    async def _tell_progress(self) -> None:
        changed = await self._changes.take()
        accounts = await self._account_documents()
        steady = self._steady(accounts)
        if any(changed) or steady != self._told:
            self._told = steady
            self._stream.emit("progress", Progress(datetime.now(UTC), self._meter.backlog, accounts, *changed))

    async def _skip_what_is_past(self) -> None:
        """Tell of nothing that was so before now: who begins to watch reads everything itself."""
        await self._changes.take(most=None)
        self._told = self._steady(await self._account_documents())

    def _steady(self, accounts: list[AccountDocument]) -> object:
        """Return what is news once it is another, though nothing was written for it."""
        # The time of the next call is counted from now, and so is a little another each time.
        return (
            [msgspec.structs.replace(account, next_call_at=None, kept_back="") for account in accounts],
            self._meter.backlog,
            [(each.id, each.account, each.subject, each.list_id) for each in self._conditions()],
        )
