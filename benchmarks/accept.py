"""How fast pages are taken durably, over handlers that keep nothing; and how long an answer takes under load."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

from benchmarks.bare_server import running_bare_server
from benchmarks.load import Load, generate
from benchmarks.report import Figure, Target, progress
from benchmarks.service_process import HEAP_SECRET, ServiceUnderTest, running_service
from benchmarks.stand_in import running_stand_in

_USERS_PER_PAGE = 1_000
_SENDERS = 8
_WARM_UP_PAGES = 100
_STEADY_PAGES_PER_SECOND = 100
_SMALL_PAGE_USERS = 10
# About 10 MB as Heap writes it.
_LARGE_PAGE_USERS = 260_000
_LARGE_PAGES = 3

_RATIO_TARGET = 0.4
_DRAINING_TARGET_MS = 25.0
_LARGE_PAGE_TARGET_MS = 100.0


async def measure(*, pages: int, rounds: int, seconds: float) -> list[Figure]:
    """Return the figures; `seconds` is how long each steady load lasts."""
    return [*await _compare(pages, rounds), *await _while_draining(seconds), await _beside_large_page(seconds)]


@contextlib.asynccontextmanager
async def _service(requests_per_second: float) -> AsyncIterator[ServiceUnderTest]:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running_stand_in() as url,
            running_service(Path(directory), url, requests_per_second=requests_per_second) as service,
        ):
            yield service


async def _warm_and_load(url: str, pages: int) -> Load:
    await generate(url, HEAP_SECRET, pages=_WARM_UP_PAGES, users_per_page=_USERS_PER_PAGE, senders=_SENDERS)
    return await generate(url, HEAP_SECRET, pages=pages, users_per_page=_USERS_PER_PAGE, senders=_SENDERS)


async def _compare(pages: int, rounds: int) -> list[Figure]:
    read: list[float] = []
    verified: list[float] = []
    kept: list[Load] = []
    for number in range(rounds):
        async with running_bare_server("read", HEAP_SECRET) as url:
            read.append((await _warm_and_load(url, pages)).pages_per_second)
        async with running_bare_server("verify", HEAP_SECRET) as url:
            verified.append((await _warm_and_load(url, pages)).pages_per_second)
        # Next to nothing is sent meanwhile: this is about taking.
        async with _service(requests_per_second=1) as service:
            kept.append(await _warm_and_load(service.webhook_url, pages))
        progress(
            f"accept, round {number + 1}: bare {read[-1]:,.0f} pages/s, with HMAC and decoding {verified[-1]:,.0f}, "
            f"service {kept[-1].pages_per_second:,.0f}"
        )
    rates = [load.pages_per_second for load in kept]
    rate = f"{median(rates):,.0f} pages/s"
    return [
        Figure("accept: bare handler, body read", f"{median(read):,.0f} pages/s", ratio=1.0),
        Figure("accept: bare + HMAC + decode", f"{median(verified):,.0f} pages/s", ratio=_ratio(verified, read)),
        Figure("accept: service, durable, over bare", rate, ratio=_ratio(rates, read)),
        Figure(
            "accept: service, durable, over bare + HMAC + decode",
            rate,
            ratio=_ratio(rates, verified),
            target=("≥", _RATIO_TARGET),
        ),
        Figure("accept: ack p50, 8 senders", f"{median(load.p50_ms for load in kept):.1f} ms"),
        Figure("accept: ack p99, 8 senders", f"{median(load.p99_ms for load in kept):.1f} ms"),
    ]


def _ratio(ours: list[float], others: list[float]) -> float:
    """Compare within each round, so that what slows a whole round slows both."""
    return median(mine / other for mine, other in zip(ours, others, strict=True))


async def _while_draining(seconds: float) -> list[Figure]:
    """Pages at a steady rate, while changes are sent as fast as they will go, and at the rate accounts start with."""
    figures = []
    for requests_per_second, target in ((10_000, _DRAINING_TARGET_MS), (25, None)):
        async with _service(requests_per_second) as service:
            load = await _steady(service.webhook_url, seconds, _USERS_PER_PAGE)
        name = f"accept: ack p99 at {_STEADY_PAGES_PER_SECOND} pages/s, draining at up to {requests_per_second:,}/s"
        figures.append(_latency(name, load.p99_ms, target))
        progress(f"{name}: {load.p99_ms:.1f} ms")
    return figures


async def _beside_large_page(seconds: float) -> Figure:
    """Small pages at a steady rate on their own connections, while large ones come one after another."""
    async with _service(requests_per_second=1) as service:
        small, large = await asyncio.gather(
            _steady(service.webhook_url, seconds, _SMALL_PAGE_USERS),
            generate(service.webhook_url, HEAP_SECRET, pages=_LARGE_PAGES, users_per_page=_LARGE_PAGE_USERS, senders=1),
        )
    progress(
        f"accept: {_LARGE_PAGES} pages of 10 MB in {large.seconds:.1f} s, small ones beside: {small.p99_ms:.1f} ms"
    )
    return _latency("accept: ack p99 of a small page beside 10 MB pages", small.p99_ms, _LARGE_PAGE_TARGET_MS)


def _latency(name: str, measured_ms: float, target_ms: float | None) -> Figure:
    target: Target | None = None if target_ms is None else ("≤", target_ms)
    return Figure(name, f"{measured_ms:.1f} ms", measured=measured_ms, target=target, unit="ms")


async def _steady(url: str, seconds: float, users_per_page: int) -> Load:
    pages = int(seconds * _STEADY_PAGES_PER_SECOND)
    return await generate(
        url, HEAP_SECRET, pages=pages, users_per_page=users_per_page, pages_per_second=_STEADY_PAGES_PER_SECOND
    )
