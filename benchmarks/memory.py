"""What a large backlog costs: memory of the service that carries it, and how soon it goes on after a restart."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.load import generate
from benchmarks.report import Figure, progress
from benchmarks.service_process import HEAP_SECRET, running_service, watching
from benchmarks.stand_in import running_stand_in

_USERS_PER_PAGE = 1_000
_POLL_SECONDS = 0.005
_MAX_START_SECONDS = 60.0

_MEMORY_TARGET_MIB = 128.0
_START_TARGET_SECONDS = 1.0


class Resident(NamedTuple):
    """Memory of a process, in MiB: now, and the most it ever had."""

    now_mib: float
    max_mib: float


class _Start(NamedTuple):
    """Seconds from starting the process: until it listens, until its first call is at Cordial."""

    listening_seconds: float
    first_call_seconds: float


async def measure(*, pending: int) -> list[Figure]:
    """Fill a service whose account allows one call a second, look at it, and start it once more."""
    async with running_stand_in() as url:
        with tempfile.TemporaryDirectory() as directory:
            filled = await _fill(Path(directory), url, pending)
            progress(f"memory: {filled.now_mib:.0f} MiB resident with {pending:,} pending")
            start = await _start(Path(directory), url)
    progress(
        f"start: listening after {start.listening_seconds:.2f} s, first call after {start.first_call_seconds:.2f} s"
    )
    return [
        Figure(
            f"memory: resident, {pending:,} pending",
            f"{filled.now_mib:.0f} MiB, once {filled.max_mib:.0f}",
            measured=filled.now_mib,
            target=("≤", _MEMORY_TARGET_MIB),
            unit="MiB",
        ),
        Figure(f"start: process to listening, {pending:,} pending", f"{start.listening_seconds:.2f} s"),
        Figure(
            f"start: process to first call, {pending:,} pending",
            f"{start.first_call_seconds:.2f} s",
            measured=start.first_call_seconds,
            target=("≤", _START_TARGET_SECONDS),
            unit="s",
        ),
    ]


async def _fill(directory: Path, cordial_url: str, pending: int) -> Resident:
    """Post and fold that many users as fast as may be; return what this leaves the service with."""
    async with (
        running_service(directory, cordial_url, requests_per_second=1) as service,
        watching(service.database) as store,
    ):
        pages = pending // _USERS_PER_PAGE
        await generate(service.webhook_url, HEAP_SECRET, pages=pages, users_per_page=_USERS_PER_PAGE)
        await store.until_folded(pages * _USERS_PER_PAGE)
        return resident(service.process_id)


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
        async with running_service(directory, cordial_url, requests_per_second=1):
            listening_seconds = time.perf_counter() - started
            return _Start(listening_seconds, await asyncio.wait_for(first_call, _MAX_START_SECONDS))


async def _calls(session: aiohttp.ClientSession, cordial_url: str) -> int:
    async with session.get(f"{cordial_url}/sandbox/state") as response:
        calls: int = (await response.json())["calls"]
        return calls
