"""What a large backlog costs: taking it, memory of the service that carries it, and how soon it goes on after a restart."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.load import generate
from benchmarks.processes import cpu_seconds, written_bytes
from benchmarks.report import Figure, median_of, progress
from benchmarks.service_process import HEAP_SECRET, StoreWatcher, running_service, watching
from benchmarks.stand_in import running_stand_in

_USERS_PER_PAGE = 1_000
_POLL_SECONDS = 0.005
_WAL_POLL_SECONDS = 0.1
_LONGEST_START_SECONDS = 60.0
_MIB_BYTES = 1_048_576

_MAX_RESIDENT_MIB = 110
_MAX_WAL_MIB = 128
_MAX_START_SECONDS = 1


class Resident(NamedTuple):
    """Memory of a process, in MiB: now, and the most it ever had."""

    now_mib: float
    max_mib: float


class _Filled(NamedTuple):
    """What accepting and folding everything cost, and left the service with."""

    resident: Resident
    seconds: float
    cpu_seconds: float
    written_bytes: int
    max_wal_bytes: int


class _Start(NamedTuple):
    """Seconds from starting the process until its first call is at Cordial, and its time on a core until then."""

    seconds: float
    cpu_seconds: float


async def measure(*, pending: int, rounds: int) -> list[Figure]:
    """Fill a service whose account allows one call a second, look at it, and start it once more."""
    filled: list[_Filled] = []
    starts: list[_Start] = []
    pages = pending // _USERS_PER_PAGE
    for number in range(rounds):
        async with running_stand_in() as url:
            with tempfile.TemporaryDirectory() as directory:
                filled.append(await _fill(Path(directory), url, pages))
                starts.append(await _start(Path(directory), url))
        progress(
            f"memory, round {number + 1}: {filled[-1].resident.now_mib:.0f} MiB with {pending:,} pending, "
            f"first call after {starts[-1].seconds:.2f} s"
        )
    now_mib = median_of(filled, lambda each: each.resident.now_mib)
    wal_mib = max(each.max_wal_bytes for each in filled) / _MIB_BYTES
    start_seconds = median_of(starts, lambda start: start.seconds)
    return [
        Figure(
            f"memory: {pages:,} pages accepted and folded",
            f"{median_of(filled, lambda each: pages / each.seconds):,.0f} pages/s, "
            f"{median_of(filled, lambda each: each.written_bytes / pages / 1024):.0f} KiB written a page",
            f"{median_of(filled, lambda each: each.cpu_seconds * 1e6 / pages):,.0f} µs a page",
        ),
        Figure(
            f"memory: resident, {pending:,} pending",
            f"{now_mib:.0f} MiB, once {median_of(filled, lambda each: each.resident.max_mib):.0f}",
            measured=now_mib,
            target=("≤", _MAX_RESIDENT_MIB),
            unit="MiB",
        ),
        Figure("memory: WAL at most", f"{wal_mib:.0f} MiB", measured=wal_mib, target=("≤", _MAX_WAL_MIB), unit="MiB"),
        Figure(
            f"start: process to first call, {pending:,} pending",
            f"{start_seconds:.2f} s",
            f"{median_of(starts, lambda start: start.cpu_seconds):.2f} s",
            measured=start_seconds,
            target=("≤", _MAX_START_SECONDS),
            unit="s",
        ),
    ]


async def _fill(directory: Path, cordial_url: str, pages: int) -> _Filled:
    """Post and fold that many pages as fast as may be."""
    async with (
        running_service(directory, cordial_url, requests_per_second=1) as service,
        watching(service.database) as store,
    ):
        cpu_before, written_before = cpu_seconds(service.process_id), written_bytes(service.process_id)
        watch = asyncio.create_task(_max_wal_bytes(service.database, store, pages * _USERS_PER_PAGE))
        load = await generate(service, HEAP_SECRET, pages=pages, users_per_page=_USERS_PER_PAGE)
        answered = time.perf_counter()
        max_wal_bytes = await watch
        return _Filled(
            resident(service.process_id),
            load.seconds + time.perf_counter() - answered,
            cpu_seconds(service.process_id) - cpu_before,
            written_bytes(service.process_id) - written_before,
            max_wal_bytes,
        )


async def _max_wal_bytes(database: Path, store: StoreWatcher, users: int) -> int:
    """Watch the WAL until so many users are folded."""
    wal = database.with_name(f"{database.name}-wal")
    most = 0
    while (await store.figures()).members < users:
        most = max(most, wal.stat().st_size)
        await asyncio.sleep(_WAL_POLL_SECONDS)
    return most


def resident(process_id: int) -> Resident:
    """Return how much memory a process has."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    now_kib, max_kib = (int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return Resident(now_kib / 1024, max_kib / 1024)


async def _start(directory: Path, cordial_url: str) -> _Start:
    async with aiohttp.ClientSession() as session:
        calls_before = await _calls(session, cordial_url)
        started = time.perf_counter()

        async def until_first_call() -> float:
            while await _calls(session, cordial_url) == calls_before:  # noqa: ASYNC110  another process calls
                await asyncio.sleep(_POLL_SECONDS)
            return time.perf_counter() - started

        first_call = asyncio.create_task(until_first_call())
        async with running_service(directory, cordial_url, requests_per_second=1) as service:
            seconds = await asyncio.wait_for(first_call, _LONGEST_START_SECONDS)
            return _Start(seconds, cpu_seconds(service.process_id))


async def _calls(session: aiohttp.ClientSession, cordial_url: str) -> int:
    async with session.get(f"{cordial_url}/sandbox/state") as response:
        calls: int = (await response.json())["calls"]
        return calls
