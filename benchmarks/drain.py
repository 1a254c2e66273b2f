"""How fast single calls drain the ledger, over a bare aiohttp client making the same calls to the same stand-in."""

import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp
import msgspec
import psutil

from benchmarks.bare_client import Drained
from benchmarks.processes import output_of
from benchmarks.report import Figure, progress
from benchmarks.service_process import HEAP_SECRET, running_service, watching
from benchmarks.stand_in import running_stand_in
from service.sandbox.heap_pages import build_pages, post_page

_MIN_RATIO = 0.75
_MAX_CPU_MICROSECONDS = 150


async def measure(*, users: int, concurrency: int, rounds: int) -> list[Figure]:
    """Alternate between both, each on a new stand-in; the figures are medians of the rounds."""
    bare: list[Drained] = []
    ours: list[Drained] = []
    for number in range(rounds):
        async with running_stand_in() as url:
            bare.append(await _drain_bare(url, f"bare{number}", users, concurrency))
        async with running_stand_in() as url:
            ours.append(await _drain_service(url, f"ours{number}", users, concurrency))
        progress(f"drain, round {number + 1}: bare {_words(bare[-1:])}; service {_words(ours[-1:])}")
    pairs = list(zip(ours, bare, strict=True))
    cpu_microseconds = median(drained.cpu_microseconds_per_call for drained in ours)
    return [
        Figure("drain: bare aiohttp client", _words(bare), ratio=1.0),
        Figure(
            "drain: service, accept to settled",
            _words(ours),
            ratio=median(mine.calls_per_second / other.calls_per_second for mine, other in pairs),
            target=("≥", _MIN_RATIO),
        ),
        Figure(
            "drain: CPU per call, service",
            f"{cpu_microseconds:.0f} µs",
            target=("≤", _MAX_CPU_MICROSECONDS),
            measured=cpu_microseconds,
            unit="µs",
        ),
        Figure(
            "drain: CPU per call, bare over service",
            "",
            ratio=median(other.cpu_microseconds_per_call / mine.cpu_microseconds_per_call for mine, other in pairs),
        ),
    ]


def _words(rounds: list[Drained]) -> str:
    rate = median(drained.calls_per_second for drained in rounds)
    cpu_microseconds = median(drained.cpu_microseconds_per_call for drained in rounds)
    return f"{rate:,.0f} calls/s, {cpu_microseconds:.0f} µs each"


async def _drain_bare(url: str, name: str, users: int, concurrency: int) -> Drained:
    arguments = ["--url", url, "--list", name, "--calls", str(users), "--concurrency", str(concurrency)]
    return msgspec.json.decode(await output_of("benchmarks.bare_client", arguments), type=Drained)


async def _drain_service(url: str, name: str, users: int, concurrency: int) -> Drained:
    """Time from the first page posted to the last change settled: folding and committing are part of it."""
    ids = [f"user-{number}@{name}.example.com" for number in range(users)]
    pages = build_pages(1, name, ids, task_id=name)
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running_service(Path(directory), url, max_concurrency=concurrency) as service,
            watching(service.database) as store,
            aiohttp.ClientSession() as session,
        ):
            started, cpu_started = time.perf_counter(), _cpu_seconds(service.process_id)
            for page in pages:
                answer = await post_page(session, service.webhook_url, HEAP_SECRET, page)
                if answer.status != 200:
                    raise RuntimeError(f"a page was answered {answer.status}: {answer.text}")
            await store.until_settled(users)
            seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds(service.process_id) - cpu_started
            return Drained(users / seconds, cpu_seconds * 1e6 / users)


def _cpu_seconds(process_id: int) -> float:
    times = psutil.Process(process_id).cpu_times()
    return times.user + times.system
