"""The whole service on a store that can be looked at and hurt, against a Cordial that can be told to misbehave."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from structlog.testing import capture_logs

from service.app import running_service
from service.config.settings import LogSettings, ServerSettings, Settings, StoreSettings
from service.model.deliveries import Action
from service.sandbox.heap_pages import PageAnswer, build_pages, post_page
from service.sandbox.journal import CallRecord
from service.sandbox.options import SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox
from service.store.sqlite.writer import Timings
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, World

# Set to make the tests of hostile conditions take minutes instead of seconds.
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"

LogLines = list[MutableMapping[str, Any]]

# What a call needs at most from being written by the service to being seen by the stand-in: both share one event loop.
_ON_THE_WAY_SECONDS = 0.1


class HostileWorld(World):
    """A world in which answers other than 200 are to be looked at, and the store's settings can be chosen."""

    def __init__(
        self, directory: Path, cordial: RunningSandbox, session: aiohttp.ClientSession, **account: Any
    ) -> None:
        super().__init__(directory, cordial, session, **account)
        self.store_settings = StoreSettings(path=str(self.store_file), settle_interval_seconds=0.02)
        self.store_timings = Timings(calm_seconds=0.2)
        # Accounts besides the one, with the same secrets.
        self.others: dict[str, dict[str, Any]] = {}

    @property
    def store_file(self) -> Path:
        return self._store_file

    def settings(self) -> Settings:
        return Settings(
            server=ServerSettings(host="127.0.0.1", port=self.port, shutdown_grace_seconds=5),
            store=self.store_settings,
            log=LogSettings(),
            accounts={ACCOUNT: self.account}
            | {name: msgspec.structs.replace(self.account, name=name, **own) for name, own in self.others.items()},
        )

    async def start(self, **account: Any) -> None:
        self.account = msgspec.structs.replace(self.account, **account)
        self._service = await self._stack.enter_async_context(running_service(self.settings(), timings=self.timings()))

    async def settled(self) -> None:
        """Wait until nothing is owed to Cordial any more, deliveries without users (drains) among it."""
        await super().settled()
        await self.until(lambda: not self.rows("SELECT 1 FROM sync WHERE drained_at_ms IS NULL LIMIT 1"))
        await super().settled()

    async def post(self, page: bytes, timestamp_ms: int | None = None, account: str = ACCOUNT) -> PageAnswer:
        """Sign and post one page; whatever comes back is returned."""
        url = f"{self.service.url}/webhooks/heap/{account}"
        return await post_page(self._session, url, HEAP_SECRET, page, timestamp_ms)

    async def accepted(self, page: bytes) -> None:
        answer = await self.post(page)
        assert answer.status == 200, answer

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(self.service.url + path) as answer:
            return answer.status, await answer.json()

    async def readiness(self, contains: str | None) -> str:
        """Wait for a condition whose `kind: detail` contains the words; None waits until all is well. Return what lasts."""
        async with asyncio.timeout(30):
            while True:
                status, message = await self.ready()
                if (status, message) == (200, "") if contains is None else contains in message:
                    return message
                await asyncio.sleep(0.05)


def page(
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    *,
    task: str = "task",
    segment: str = "Readers",
    segment_id: int = 1,
) -> bytes:
    """Return the body of a sync's only page."""
    [body] = build_pages(segment_id, segment, add, remove, task_id=task, page_size=1_000_000)
    return body


def drain_page(segment: str = "Readers", segment_id: int = 1) -> bytes:
    """Return what Heap sends to have everyone removed."""
    return msgspec.json.encode(
        {"action_type": Action.DRAIN.value, "data": {"segment": {"id": segment_id, "name": segment}}}
    )


@contextlib.asynccontextmanager
async def hostile_world(
    directory: Path,
    cordial: SandboxOptions | None = None,
    *,
    start: bool = True,
    store_timings: Timings | None = None,
    **account: Any,
) -> AsyncIterator[HostileWorld]:
    """Run a stand-in Cordial and a service that writes to it, for as long as the context lasts."""
    options = msgspec.structs.replace(cordial or SandboxOptions(), journal=True)
    async with running_sandbox(options) as sandbox, aiohttp.ClientSession() as session:
        world = HostileWorld(directory, sandbox, session, **account)
        if store_timings is not None:
            world.store_timings = store_timings
        if start:
            await world.start()
        try:
            yield world
        finally:
            await world.stop()


@contextlib.contextmanager
def log_lines() -> Iterator[Callable[[str], LogLines]]:
    """Gather the log; the function given returns the lines of one event."""
    with capture_logs() as lines:
        yield lambda event: [line for line in lines if line["event"] == event]


def max_in_a_window(calls: Sequence[CallRecord], window_seconds: float) -> int:
    """Return the largest number of calls that arrived within any stretch of time of that length."""
    arrivals = sorted(call.arrived_at_seconds for call in calls)
    most, first = 0, 0
    for last, arrival in enumerate(arrivals):
        while arrival - arrivals[first] >= window_seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def calls_before_retry_after(calls: Sequence[CallRecord], retry_after_seconds: float) -> list[CallRecord]:
    """Return the calls made to an endpoint that had said "not yet", apart from those that were on their way."""
    early = []
    for refused in (call for call in calls if call.status == 429):
        told_at = refused.finished_at_seconds
        early += [
            call
            for call in calls
            if (call.method, call.endpoint) == (refused.method, refused.endpoint)
            and told_at + _ON_THE_WAY_SECONDS < call.arrived_at_seconds < told_at + retry_after_seconds
        ]
    return early
