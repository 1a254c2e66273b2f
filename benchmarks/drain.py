"""What single calls cost, over a bare aiohttp client making the same calls to the same stand-in."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.bare_client import Drained
from benchmarks.processes import cpu_seconds, output_of
from benchmarks.report import Figure, median_of, progress, ratio_of
from benchmarks.service_process import HEAP_SECRET, running_service, watching
from benchmarks.stand_in import running_stand_in
from service.sandbox.heap_pages import build_pages, post_page

_CONCURRENCY = 16
_MIN_RATIO = 0.75
_MAX_CPU_MICROSECONDS = 150


async def measure(*, users: int, rounds: int) -> list[Figure]:
    """Alternate between both, each on a new stand-in; the figures are medians of the rounds."""
    bare: list[Drained] = []
    ours: list[Drained] = []
    for number in range(rounds):
        bare.append(await drain_bare(users))
        ours.append(await drain_service(users))
        progress(
            f"drain, round {number + 1}: bare {_rate(bare[-1:])}, {_cpu(bare[-1:])}; "
            f"service {_rate(ours[-1:])}, {_cpu(ours[-1:])}"
        )
    cpu_microseconds = median_of(ours, lambda drained: drained.cpu_microseconds_per_call)
    return [
        Figure("drain: bare aiohttp client", _rate(bare), _cpu(bare), ratio=1.0),
        Figure(
            "drain: service, accept to settled",
            _rate(ours),
            _cpu(ours),
            ratio=ratio_of(ours, bare, lambda drained: drained.calls_per_second),
            target=("≥", _MIN_RATIO),
        ),
        Figure(
            "drain: … CPU a call",
            "",
            f"{cpu_microseconds:.0f} µs",
            ratio=ratio_of(ours, bare, lambda drained: drained.cpu_microseconds_per_call),
            measured=cpu_microseconds,
            target=("≤", _MAX_CPU_MICROSECONDS),
            unit="µs",
        ),
    ]


def _rate(rounds: Sequence[Drained]) -> str:
    return f"{median_of(rounds, lambda drained: drained.calls_per_second):,.0f} calls/s"


def _cpu(rounds: Sequence[Drained]) -> str:
    return f"{median_of(rounds, lambda drained: drained.cpu_microseconds_per_call):.0f} µs a call"


async def drain_bare(users: int) -> Drained:
    """Make the calls, and nothing else."""
    async with running_stand_in() as url:
        arguments = ["--url", url, "--list", "bare", "--calls", str(users), "--concurrency", str(_CONCURRENCY)]
        return msgspec.json.decode(await output_of("benchmarks.bare_client", arguments), type=Drained)


async def drain_service(users: int) -> Drained:
    """Go from the first page posted to the last change settled: folding and committing are part of it."""
    ids = [f"user-{number}@service.example.com" for number in range(users)]
    pages = build_pages(1, "Benchmark", ids, task_id="drain")
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running_stand_in() as url,
            running_service(Path(directory), url, max_concurrency=_CONCURRENCY) as service,
            watching(service.database) as store,
            aiohttp.ClientSession() as session,
        ):
            started, cpu_started = time.perf_counter(), cpu_seconds(service.process_id)
            for page in pages:
                answer = await post_page(session, service.webhook_url, HEAP_SECRET, page)
                if answer.status != 200:
                    raise RuntimeError(f"a page was answered {answer.status}: {answer.text}")
            await store.until_settled(users)
            seconds, taken = time.perf_counter() - started, cpu_seconds(service.process_id) - cpu_started
            return Drained(users / seconds, taken * 1e6 / users)
