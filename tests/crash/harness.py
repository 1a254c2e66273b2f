"""Everything of one crash test together: the service, the stand-in, senders, the model, and their comparison."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from tests.crash.figures import CrashedStore, Peaks, StoreFigures, inspect_crashed, read_figures
from tests.crash.processes import ServiceOptions, ServiceProcess, running_stand_in
from tests.crash.senders import Senders
from tests.crash.stand_in import Epoch
from tests.crash.workload import SegmentPlan

_POLL_SECONDS = 0.2
_QUIET_SECONDS = 0.05
# So long without a call while something is owed is no pause but a stand-still: the longest pause the service makes of
# its own accord is a minute.
_STALLED_SECONDS = 180.0
_UP_SECONDS = 60.0


class Restart(NamedTuple):
    """A start but the first; `first_call_seconds` from the start of the process to its first call for a contact.

    `repeated_calls` are calls of the process before that had been answered and were made again; `first_call_seconds` is
    None if the process made none.
    """

    crashed: CrashedStore
    repeated_calls: int
    first_call_seconds: float | None


class ListFinding(NamedTuple):
    """How a list differs from the model, and how many contacts it has."""

    list_name: str
    missing: int
    unexpected: int
    contacts: int


class Harness:
    """One service under attack; made by `running_harness`."""

    def __init__(
        self,
        service: ServiceProcess,
        stand_in_url: str,
        session: aiohttp.ClientSession,
        senders: Senders,
        plans: Sequence[SegmentPlan],
        *,
        knows_removed: bool,
    ) -> None:
        self.service = service
        self.senders = senders
        self.plans = plans
        self.peaks = Peaks(service.store_path)
        self.session = session
        self._stand_in_url = stand_in_url
        self._knows_removed = knows_removed
        self._starts: list[tuple[CrashedStore, float]] = []
        self._restarts: list[Restart] = []

    @property
    def restart_total(self) -> int:
        """How often the service was started again."""
        return len(self._restarts) + len(self._starts)

    async def ask_stand_in(self, method: str, path: str, body: Any = None) -> Any:
        """Return the stand-in's answer to a call outside of Cordial's contract."""
        async with self.session.request(method, self._stand_in_url + path, json=body) as answer:
            answer.raise_for_status()
            return msgspec.json.decode(await answer.read())

    async def call_total(self) -> int:
        """Return how many calls the stand-in has seen."""
        return int((await self.ask_stand_in("GET", "/sandbox/state"))["calls"])

    async def wait_for_calls(self, total: int) -> None:
        """Return when the stand-in has seen so many calls."""
        while await self.call_total() < total:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(_QUIET_SECONDS)

    async def hold_calls(self, number: int) -> None:
        """Let no call for a contact through any more, and return when so many wait; `let_calls_through` ends this."""
        await self.ask_stand_in("POST", "/crash/gate")
        while await self.ask_stand_in("GET", "/crash/gate") < number:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(_QUIET_SECONDS)

    async def let_calls_through(self) -> None:
        """Serve the calls held back, though whoever made them may be gone, and all others as usual."""
        await self.ask_stand_in("DELETE", "/crash/gate")

    async def make_known(self, users: Sequence[str]) -> None:
        """Have contacts in Cordial: the removal of one that it does not have is looked at again a minute later."""
        await self.ask_stand_in("POST", "/crash/contacts", users)

    async def start(self) -> None:
        """Start the service for the first time and wait until it can take and deliver."""
        await self.service.start()
        await self.service.wait_until_answered(self.session, "/readyz")

    async def kill_and_restart(self) -> None:
        """End the service as kill -9 does and start it again; does not wait until it is up."""
        await self.service.kill()
        await self.restart()

    async def restart(self) -> None:
        """Start the service again, however it ended; does not wait until it is up."""
        crashed = await asyncio.to_thread(inspect_crashed, self.service.store_path)
        await self._wait_until_quiet()
        await self.ask_stand_in("POST", "/crash/epochs")
        await self.service.start()
        self._starts.append((crashed, self.service.started_at_seconds))

    async def stop(self) -> CrashedStore:
        """Stop the service in order and return what its store looks like then.

        Raises `AssertionError` when it ended otherwise.
        """
        self.service.send_signal(signal.SIGTERM)
        status = await self.service.wait()
        assert status == 0, f"the service ended with status {status}\n{self.service.last_log_lines()}"
        return await asyncio.to_thread(inspect_crashed, self.service.store_path)

    async def send_wave(
        self, pages: int, page_size: int, held_back: Sequence[bytes] = (), share_held_back: float = 0.0
    ) -> list[bytes]:
        """Begin one more sync of each segment and submit its pages, and with them the older ones in `held_back`.

        Return the share of the pages that is not submitted: it is to come late, after a newer sync's.
        """
        late: list[bytes] = []

        async def begin(plan: SegmentPlan) -> None:
            sync = plan.next_sync(pages, page_size)
            if self._knows_removed:
                await self.make_known(sync.removed)
            await self.senders.deliver(sync.opening)
            kept = int(len(sync.others) * share_held_back)
            late.extend(sync.others[:kept])
            self.senders.submit(sync.others[kept:])

        await asyncio.gather(*(begin(plan) for plan in self.plans))
        self.senders.submit(held_back)
        return late

    async def figures(self) -> StoreFigures:
        """Read the store's counters once the service is up: until then it is to be alone with what the crash left.

        Raises `AssertionError` when it does not come up.
        """
        deadline = time.monotonic() + _UP_SECONDS
        while not (self.service.is_running and await self.service.is_answered(self.session, "/livez")):
            assert time.monotonic() < deadline, f"the service is not up\n{self.service.last_log_lines()}"
            await asyncio.sleep(_QUIET_SECONDS)
        return await read_figures(self.service.store_path)

    async def wait_until_drained(self) -> StoreFigures:
        """Return when everything accepted is settled or given up.

        Raises `AssertionError` when nothing moves any more.
        """
        calls, moved_at = -1, time.monotonic()
        while (figures := await self.figures()).owed:
            now_calls = await self.call_total()
            if now_calls != calls:
                calls, moved_at = now_calls, time.monotonic()
            stalled_seconds = time.monotonic() - moved_at
            assert stalled_seconds < _STALLED_SECONDS, f"no call for long\n{self.service.last_log_lines()}"
            await asyncio.sleep(_POLL_SECONDS)
        return figures

    async def compare(self) -> list[ListFinding]:
        """Compare the list of each segment with the model."""
        findings = []
        for plan in self.plans:
            found = await self.ask_stand_in("GET", f"/sandbox/lists/{plan.list_name}/contacts?all=1")
            contacts = set(found["contacts"])
            missing, unexpected = len(plan.members - contacts), len(contacts - plan.members)
            findings.append(ListFinding(plan.list_name, missing, unexpected, len(contacts)))
        return findings

    async def restarts(self) -> list[Restart]:
        """Return every start but the first, with what it had to do again; of use once everything is drained."""
        epochs = msgspec.convert(await self.ask_stand_in("GET", "/crash/epochs"), list[Epoch])
        return self._restarts + [
            Restart(
                crashed,
                before.repeated_calls,
                None if after.first_call_at_seconds is None else after.first_call_at_seconds - started_at,
            )
            for (crashed, started_at), before, after in zip(self._starts, epochs, epochs[1:], strict=False)
        ]

    async def begin_round(self) -> None:
        """Let the plans mention everybody again; only once everything is drained."""
        self._restarts = await self.restarts()
        self._starts.clear()
        await self.ask_stand_in("DELETE", "/crash/epochs")
        for plan in self.plans:
            plan.begin_round()

    async def watch(self) -> None:
        """Look at the service's memory and files until cancelled."""
        while True:
            if self.service.is_running:
                self.peaks.sample(self.service.process.pid)
            await asyncio.sleep(_POLL_SECONDS)

    async def _wait_until_quiet(self) -> None:
        # Calls of the process killed may still be on their way to the stand-in.
        calls = -1
        while (now_calls := await self.call_total()) != calls:
            calls = now_calls
            await asyncio.sleep(_QUIET_SECONDS)


@contextlib.asynccontextmanager
async def running_harness(
    *,
    segments: int,
    senders: int,
    seed: int = 0,
    options: ServiceOptions | None = None,
    latency_ms: float = 0,
    knows_removed: bool = False,
) -> AsyncIterator[Harness]:
    """Run a service, not started yet, with all that belongs to it while the block lasts; senders work meanwhile.

    `knows_removed`: the stand-in has the contacts that a wave removes.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heap-cordial-crash-")))
        stand_in_url = await stack.enter_async_context(running_stand_in(directory, latency_ms))
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        service = ServiceProcess(directory, stand_in_url, options or ServiceOptions())
        stack.push_async_callback(service.kill)
        the_senders = Senders(session, service.webhook_url, senders)
        plans = [SegmentPlan(number, seed) for number in range(1, segments + 1)]
        await stack.enter_async_context(the_senders.working())
        harness = Harness(service, stand_in_url, session, the_senders, plans, knows_removed=knows_removed)
        watcher = asyncio.create_task(harness.watch())
        stack.callback(watcher.cancel)
        yield harness
