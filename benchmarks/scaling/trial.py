"""The trial itself: a first sync of everybody with a kill -9 amid the imports, then a delta, each compared to the last user."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.memory import resident
from benchmarks.report import progress
from benchmarks.scaling.population import SegmentPlan, Users
from benchmarks.scaling.posting import Posted, Poster, Sync
from benchmarks.scaling.service import AccountSettings, Service, Taken, heap_secret
from benchmarks.scaling.stand_ins import Limits, StandIns, Totals, running_stand_ins
from service.model.lists import Segment
from service.store.sqlite import opening
from service.store.sqlite.loading import read_backlog, read_segments

_SENDERS = 8
_DELTA_PAGES_PER_SECOND = 20
_LOOK_SECONDS = 0.25
_FIRST_CALL_POLL_SECONDS = 0.01
_TELL_EVERY_SECONDS = 30.0
_ROOM_IN_BACKLOG = 1.1

MIB_BYTES = 1 << 20


class Scale(NamedTuple):
    """What is tried: segments, the service's settings, the limits of Cordial, how long each phase may take at most."""

    segments: Sequence[SegmentPlan]
    accounts: int
    settings: AccountSettings
    limits: Limits
    at_most_seconds: float


class Phase(NamedTuple):
    """A first sync or a delta: what was posted, seconds from its first page until segments were exact, calls made.

    `small_seconds` is of the segments that travel by single calls.
    """

    posted: Posted
    seconds: float
    small_seconds: float
    calls: Totals
    taken: Taken


class Restart(NamedTuple):
    """A start after kill -9: changes owed, seconds from the process's start to its first call."""

    owed: int
    seconds: float


class Trial(NamedTuple):
    """Everything that was measured. `bytes_per_contact` is what the stand-ins' memory grew by, lists and all."""

    first: Phase
    restart: Restart
    folded_seconds: float
    delta: Phase
    compared: int
    bytes_per_contact: float


async def run(scale: Scale) -> Trial:
    """Run it all. Raises `RuntimeError` when a list is not exact, `TimeoutError` when a phase takes too long."""
    members = sum(segment.members for segment in scale.segments)
    async with running_stand_ins(scale.accounts, scale.limits) as cordial, aiohttp.ClientSession() as session:
        empty_mib = resident(cordial.process_id).now_mib
        with tempfile.TemporaryDirectory() as directory:
            service = Service(Path(directory), scale.settings, cordial.urls, round(members * _ROOM_IN_BACKLOG))
            conduct = _Conduct(scale, service, cordial, session)
            first, folded_seconds, restart = await conduct.first_sync()
            compared = await _compare(cordial, scale.segments, lambda segment: segment.users)
            async with service.running():
                delta = await conduct.delta()
            compared += await _compare(cordial, scale.segments, lambda segment: segment.users_after_delta)
        grown_mib = resident(cordial.process_id).max_mib - empty_mib
        return Trial(first, restart, folded_seconds, delta, compared, grown_mib * MIB_BYTES / delta.calls.contacts)


class _Conduct:
    """Posts, waits and measures, phase by phase."""

    def __init__(self, scale: Scale, service: Service, cordial: StandIns, session: aiohttp.ClientSession) -> None:
        self._scale = scale
        self._service = service
        self._cordial = cordial
        self._session = session
        self._members = sum(segment.members for segment in scale.segments)

    async def first_sync(self) -> tuple[Phase, float, Restart]:
        """Post everybody, kill the service once half are settled, start it again; return also when all were folded."""
        started = time.perf_counter()
        async with self._service.running():
            watch = await _Watch.open(self._service.database, self._scale, started)
            try:
                posted = await Poster(self._session, senders=_SENDERS).post(self._syncs(is_delta=False))
                _tell_posted("first sync", posted)
                await watch.until(lambda: not watch.unfolded)
                folded_seconds = time.perf_counter() - started
                progress(f"first sync: folded after {folded_seconds:.0f} s")
                await watch.until(lambda: watch.settled >= self._members / 2, or_this=self._imports_run)
                await self._service.kill()
            finally:
                await watch.close()
        calls_before = await self._calls_of_the_killed()
        restarted = time.perf_counter()
        owed = watch.owed
        first_call = asyncio.create_task(self._first_call(calls_before, restarted))
        try:
            async with self._service.running():
                phase = await self._drained(started, posted, Totals(0, 0, 0, 0, {}, 0), watch.small_seconds)
            if not first_call.done():
                raise RuntimeError("the service was killed too late: nothing was left to do")
            return phase, folded_seconds, Restart(owed, first_call.result())
        finally:
            first_call.cancel()

    async def _imports_run(self) -> bool:
        """Tell whether half of the accounts that have something for an import have begun it."""
        threshold = self._scale.settings.bulk_threshold
        importing = {segment.account for segment in self._scale.segments if segment.members > threshold}
        begun = (await self._cordial.totals()).calls_by_operation.get("POST /v2/contactimports", 0)
        return bool(importing) and begun >= len(importing) / 2

    async def _calls_of_the_killed(self) -> int:
        """Return how many calls there were once all that the killed service made are over, and so are counted."""
        while (totals := await self._cordial.totals()).in_flight:  # noqa: ASYNC110  another process calls
            await asyncio.sleep(_FIRST_CALL_POLL_SECONDS)
        return totals.calls

    async def _first_call(self, calls_before: int, restarted: float) -> float:
        while (await self._cordial.totals()).calls == calls_before:  # noqa: ASYNC110  another process calls
            await asyncio.sleep(_FIRST_CALL_POLL_SECONDS)
        seconds = time.perf_counter() - restarted
        progress(f"killed and started again: first call after {seconds:.2f} s")
        return seconds

    async def delta(self) -> Phase:
        """Post the changes of four hours, a few pages a second, and wait until they are settled."""
        before = await self._cordial.totals()
        started = time.perf_counter()
        poster = Poster(self._session, senders=_SENDERS, pages_per_second=_DELTA_PAGES_PER_SECOND)
        posted = await poster.post(self._syncs(is_delta=True))
        _tell_posted("delta", posted)
        return await self._drained(started, posted, before, 0.0)

    async def _drained(self, started: float, posted: Posted, before: Totals, small_seconds: float) -> Phase:
        watch = await _Watch.open(self._service.database, self._scale, started)
        watch.small_seconds = small_seconds
        try:
            await watch.until(lambda: not watch.unfolded and not watch.owed)
        finally:
            await watch.close()
        seconds = time.perf_counter() - started
        progress(f"everything is settled after {seconds:.0f} s")
        if watch.dead:
            raise RuntimeError(f"{watch.dead} changes were given up")
        after = await self._cordial.totals()
        if after.subscription_changes:
            raise RuntimeError(f"{after.subscription_changes} subscriptions were changed")
        return Phase(posted, seconds, watch.small_seconds, _difference(after, before), self._service.taken())

    def _syncs(self, *, is_delta: bool) -> list[Sync]:
        return [
            Sync(segment, self._service.webhook_url(segment.account), heap_secret(segment.account), is_delta)
            for segment in self._scale.segments
        ]


class _Watch:
    """What the store owes, read from outside, until it is what is waited for."""

    def __init__(self, connection: opening.Connection, scale: Scale, started: float) -> None:
        self.owed = self.unfolded = self.settled = self.dead = 0
        self.small_seconds = 0.0
        self._connection = connection
        self._started = started
        self._at_most_seconds = scale.at_most_seconds
        self._small = {
            str(segment.heap_id) for segment in scale.segments if segment.members <= scale.settings.bulk_threshold
        }

    @classmethod
    async def open(cls, database: Path, scale: Scale, started: float) -> "_Watch":
        """Open the store for reading."""
        return cls(await opening.open_reader(database), scale, started)

    async def close(self) -> None:
        await self._connection.close()

    async def until(self, is_reached: Callable[[], bool], or_this: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Return when one of them is so. Raises `TimeoutError`."""
        told_at = time.monotonic()
        async with asyncio.timeout(self._at_most_seconds):
            await self._look()
            while not is_reached() and not (or_this and await or_this()):
                if time.monotonic() - told_at >= _TELL_EVERY_SECONDS:
                    told_at = time.monotonic()
                    progress(f"settled {self.settled:,}, owed {self.owed:,}, not folded {self.unfolded:,}")
                await asyncio.sleep(_LOOK_SECONDS)
                await self._look()

    async def _look(self) -> None:
        segments = await self._connection.run(read_segments)
        self.unfolded = sum(each.unfolded for each in await self._connection.run(read_backlog))
        self.settled = sum(segment.settled for segment in segments)
        self.owed = sum(_owed(segment) for segment in segments)
        self.dead = sum(segment.dead for segment in segments)
        small = [segment for segment in segments if segment.heap_id in self._small]
        are_known = not self.unfolded and len(small) == len(self._small)
        if not self.small_seconds and are_known and not any(map(_owed, small)):
            self.small_seconds = time.perf_counter() - self._started


def _owed(segment: Segment) -> int:
    return segment.pending + segment.waiting


def _difference(after: Totals, before: Totals) -> Totals:
    return Totals(
        after.contacts,
        after.calls - before.calls,
        after.in_flight,
        after.refused - before.refused,
        {
            operation: calls - before.calls_by_operation.get(operation, 0)
            for operation, calls in after.calls_by_operation.items()
        },
        after.subscription_changes - before.subscription_changes,
    )


async def _compare(cordial: StandIns, segments: Sequence[SegmentPlan], wanted: Callable[[SegmentPlan], Users]) -> int:
    """Compare list by list, so that memory holds one list at a time; return how many members were compared."""
    compared = 0
    for segment in segments:
        on_list = await cordial.on_list(segment.account, segment.name)
        expected = sorted(wanted(segment))
        if on_list != expected:
            missing, excess = len(set(expected) - set(on_list)), len(set(on_list) - set(expected))
            raise RuntimeError(f"{segment.name}: {missing} users missing, {excess} in excess")
        compared += len(on_list)
    progress(f"{len(segments):,} lists compared: {compared:,} members, all as they must be")
    return compared


def _tell_posted(name: str, posted: Posted) -> None:
    progress(f"{name}: {posted.pages:,} pages of {posted.users:,} users taken in {posted.seconds:.0f} s")
