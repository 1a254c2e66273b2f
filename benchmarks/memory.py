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
_MOST_START_SECONDS = 60.0

_MEMORY_TARGET_MIB = 128.0
_START_TARGET_SECONDS = 1.0


class _Start(NamedTuple):
    """Seconds from starting the process: until it answers, until its first call is at Cordial."""

    alive_seconds: float
    first_call_seconds: float


async def measure(*, pending: int) -> list[Figure]:
    """Fill a service whose account allows one call a second, look at it, and start it once more."""
    async with running_stand_in() as url:
        with tempfile.TemporaryDirectory() as directory:
            resident_mib = await _fill(Path(directory), url, pending)
            progress(f"memory: {resident_mib:.0f} MiB resident with {pending:,} pending")
            start = await _start(Path(directory), url)
    progress(f"start: alive after {start.alive_seconds:.2f} s, first call after {start.first_call_seconds:.2f} s")
    return [
        Figure(
            f"memory: most resident, {pending:,} pending",
            f"{resident_mib:.0f} MiB",
            measured=resident_mib,
            target=("≤", _MEMORY_TARGET_MIB),
            unit="MiB",
        ),
        Figure(f"start: process to first answer, {pending:,} pending", f"{start.alive_seconds:.2f} s"),
        Figure(
            f"start: process to first call, {pending:,} pending",
            f"{start.first_call_seconds:.2f} s",
            measured=start.first_call_seconds,
            target=("≤", _START_TARGET_SECONDS),
            unit="s",
        ),
    ]


async def _fill(directory: Path, cordial_url: str, pending: int) -> float:
    """Return the most memory in MiB that the service ever had resident, from its start to the last user folded."""
    async with (
        running_service(directory, cordial_url, requests_per_second=1) as service,
        watching(service.database) as store,
    ):
        pages = pending // _USERS_PER_PAGE
        await generate(service.webhook_url, HEAP_SECRET, pages=pages, users_per_page=_USERS_PER_PAGE)
        await store.until_folded(pages * _USERS_PER_PAGE)
        return _most_resident_mib(service.process_id)


def _most_resident_mib(process_id: int) -> float:
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    (most_kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return most_kib / 1024


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
            alive_seconds = time.perf_counter() - started
            return _Start(alive_seconds, await asyncio.wait_for(first_call, _MOST_START_SECONDS))


async def _calls(session: aiohttp.ClientSession, cordial_url: str) -> int:
    async with session.get(f"{cordial_url}/sandbox/state") as response:
        calls: int = (await response.json())["calls"]
        return calls
