"""A job from the first page to the exact list, undisturbed or with a kill -9 in the middle."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.peers.contenders import Contender, Ending, make_settings
from benchmarks.peers.processes import Processes
from benchmarks.peers.programs.job import environment_of
from benchmarks.peers.senders import SEGMENT_NAME, Senders, make_users
from benchmarks.peers.stand_in import Progress, StandIn
from benchmarks.service_process import HEAP_SECRET
from benchmarks.stand_in import running_stand_in
from service.sandbox.options import DEFAULT_API_KEY

_SENDERS = 8
_POLL_SECONDS = 0.05


class Job(NamedTuple):
    """How much is to be done, how long Cordial takes for a call, and the interpreter that has the peers' packages."""

    users: int
    page_size: int
    latency_ms: float
    python: str


class Done(NamedTuple):
    """An undisturbed job: seconds from the first page to the exact list, calls of all kinds, the time to an answer.

    `cpu_seconds`: what the contender's processes took on a core, their start included.
    """

    seconds: float
    cpu_seconds: float
    calls: int
    p50_ms: float
    p99_ms: float
    max_resident_mib: float


class Killed(NamedTuple):
    """A job with a kill -9 in the middle.

    `users_at_kill` were on the list then. Of the users of pages answered 200, `lost` never came onto it; `repeated`
    calls were made for users who were on it already.
    """

    users_at_kill: int
    lost: int
    repeated: int


class _Trial:
    """The parts of a trial that has begun."""

    def __init__(self, contender: Contender, processes: Processes, stand_in: StandIn, senders: Senders) -> None:
        self.contender = contender
        self.processes = processes
        self.stand_in = stand_in
        self.senders = senders

    async def until_on_list(self, users: int) -> Progress:
        """Return when so many users are on the list, or once nothing has moved for as long as the contender may take."""
        before, moved_at = await self.stand_in.progress(), time.monotonic()
        while before.members < users and time.monotonic() < moved_at + self.contender.patience_seconds:
            await asyncio.sleep(_POLL_SECONDS)
            progress = await self.stand_in.progress()
            if progress != before:
                before, moved_at = progress, time.monotonic()
        return before


async def measure(contender: Contender, job: Job) -> Done:
    """Have the job done once. Raises `RuntimeError` unless the list is exact at the end."""
    users = make_users(job.users)
    async with _running(contender, job, users, {}) as trial:
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(trial.senders.send_all())
            progress = await trial.until_on_list(len(users))
            seconds, cpu_seconds = time.perf_counter() - started, trial.processes.cpu_seconds()
        missing = len(set(users) ^ await trial.stand_in.members())
        if missing:
            raise RuntimeError(f"{contender.name}: {missing:,} of {len(users):,} users are wrong on the list")
        answered = sorted(trial.senders.answered_seconds)
        p50, p99 = (1000 * answered[min(len(answered) - 1, int(share * len(answered)))] for share in (0.5, 0.99))
        return Done(seconds, cpu_seconds, progress.calls, p50, p99, trial.processes.max_resident_mib())


async def kill(contender: Contender, ending: Ending, job: Job) -> Killed:
    """Have the job done with a kill -9 once half of the users are on the list, and a start after it."""
    users = make_users(job.users)
    async with _running(contender, job, users, ending.environment) as trial:
        async with asyncio.TaskGroup() as group:
            group.create_task(trial.senders.send_all())
            await trial.until_on_list(len(users) // 2)
            await trial.processes.kill(ending.spared)
            at_kill = await trial.stand_in.progress()
            await trial.processes.start()
        await trial.until_on_list(len(users))
        members = await trial.stand_in.members()
        contact_calls = (await trial.stand_in.progress()).contact_calls
        return Killed(at_kill.members, len(set(users) - members), contact_calls - len(members))


@contextlib.asynccontextmanager
async def _running(
    contender: Contender, job: Job, users: list[str], environment: Mapping[str, str]
) -> AsyncIterator[_Trial]:
    """Start a stand-in Cordial and the contender on it, and end both with the block."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with running_stand_in(job.latency_ms) as cordial_url, aiohttp.ClientSession() as session:
            settings = make_settings(cordial_url, DEFAULT_API_KEY, HEAP_SECRET, SEGMENT_NAME, directory)
            programs = contender.make_programs(settings, job.python)
            processes = Processes(programs, environment_of(settings) | dict(environment), directory)
            url = f"http://127.0.0.1:{settings.port}{contender.path}"
            senders = Senders(url, HEAP_SECRET, users, page_size=job.page_size, number=_SENDERS)
            try:
                await processes.start()
                yield _Trial(contender, processes, StandIn(session, cordial_url, SEGMENT_NAME), senders)
            finally:
                await processes.kill()
