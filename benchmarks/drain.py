"""How fast single calls drain the ledger, over a bare aiohttp client making the same calls to the same stand-in."""

import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.processes import output_of
from benchmarks.report import Figure, progress
from benchmarks.service_process import HEAP_SECRET, running_service, watching
from benchmarks.stand_in import running_stand_in
from service.sandbox.heap_pages import build_pages, post_page

_TARGET = 0.8


async def measure(*, users: int, concurrency: int, rounds: int) -> list[Figure]:
    """Alternate between both, each round on a new list; the figures are medians of the rounds."""
    bare: list[float] = []
    ours: list[float] = []
    for number in range(rounds):
        async with running_stand_in() as url:
            bare.append(await _bare_rate(url, f"bare{number}", users, concurrency))
        async with running_stand_in() as url:
            ours.append(await _service_rate(url, f"ours{number}", users, concurrency))
        progress(f"drain, round {number + 1}: bare client {bare[-1]:,.0f} calls/s, service {ours[-1]:,.0f}")
    ratio = median(mine / other for mine, other in zip(ours, bare, strict=True))
    return [
        Figure("drain: bare aiohttp client", f"{median(bare):,.0f} calls/s", ratio=1.0),
        Figure("drain: service, accept to settled", f"{median(ours):,.0f} calls/s", ratio=ratio, target=("≥", _TARGET)),
    ]


async def _bare_rate(url: str, name: str, users: int, concurrency: int) -> float:
    arguments = ["--url", url, "--list", name, "--calls", str(users), "--concurrency", str(concurrency)]
    return float(await output_of("benchmarks.bare_client", arguments))


async def _service_rate(url: str, name: str, users: int, concurrency: int) -> float:
    """Time from the first page posted to the last change settled: folding and committing are part of it."""
    ids = [f"user-{number}@{name}.example.com" for number in range(users)]
    pages = build_pages(1, name, ids, task_id=name)
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running_service(Path(directory), url, max_concurrency=concurrency) as service,
            watching(service.database) as store,
            aiohttp.ClientSession() as session,
        ):
            started = time.perf_counter()
            for page in pages:
                answer = await post_page(session, service.webhook_url, HEAP_SECRET, page)
                if answer.status != 200:
                    raise RuntimeError(f"a page was answered {answer.status}: {answer.text}")
            await store.until_settled(users)
            return users / (time.perf_counter() - started)
