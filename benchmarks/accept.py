"""What taking pages durably costs, over handlers that keep nothing; and how long an answer takes under load."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.bare_server import running_bare_server
from benchmarks.load import Load, Target, generate
from benchmarks.report import Figure, median_of, progress, ratio_of
from benchmarks.service_process import HEAP_SECRET, ServiceUnderTest, running_service, watching
from benchmarks.stand_in import running_stand_in

_USERS_PER_PAGE = 1_000
_WARM_UP_PAGES = 100
_STEADY_PAGES_PER_SECOND = 100
_SMALL_PAGE_USERS = 10
# About 10 MB as Heap writes it.
_LARGE_PAGE_USERS = 260_000
_LARGE_PAGES = 3

_MIN_RATIO = 0.45
_MAX_CPU_MICROSECONDS = 650
_MAX_WRITTEN_KIB = 60
_MAX_DRAINING_MS = 60
_MAX_LARGE_PAGE_MS = 100


class _Steady(NamedTuple):
    """A load at a steady rate: its name, the most that p99 may be, and how it is made."""

    name: str
    max_p99_ms: float
    run: Callable[[float], Awaitable[Load]]


async def measure(*, pages: int, rounds: int, seconds: float) -> list[Figure]:
    """Return the figures; `seconds` is how long each steady load lasts."""
    return [*await _compare(pages, rounds), *[await _wait(steady, rounds, seconds) for steady in _STEADY]]


async def load_bare(pages: int, mode: str = "verify") -> Load:
    """Post to a handler that only reads the body, or also verifies and decodes it, as fast as it answers."""
    async with running_bare_server(mode, HEAP_SECRET) as server:
        await _post(server, _WARM_UP_PAGES)
        return await _post(server, pages)


async def load_service(pages: int) -> Load:
    """Post as fast as the service answers; it sends next to nothing meanwhile and has folded what warmed it up."""
    async with _service(requests_per_second=1) as service, watching(service.database) as store:
        await _post(service, _WARM_UP_PAGES)
        await store.until_folded(_WARM_UP_PAGES * _USERS_PER_PAGE)
        return await _post(service, pages)


async def _post(target: Target, pages: int) -> Load:
    return await generate(target, HEAP_SECRET, pages=pages, users_per_page=_USERS_PER_PAGE)


@contextlib.asynccontextmanager
async def _service(requests_per_second: float) -> AsyncIterator[ServiceUnderTest]:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            running_stand_in() as url,
            running_service(Path(directory), url, requests_per_second=requests_per_second) as service,
        ):
            yield service


async def _compare(pages: int, rounds: int) -> list[Figure]:
    read: list[Load] = []
    verified: list[Load] = []
    kept: list[Load] = []
    for number in range(rounds):
        read.append(await load_bare(pages, "read"))
        verified.append(await load_bare(pages))
        kept.append(await load_service(pages))
        progress(
            f"accept, round {number + 1}: bare {_rate(read[-1:])}, {_cpu(read[-1:])}; "
            f"with HMAC and decoding {_rate(verified[-1:])}, {_cpu(verified[-1:])}; "
            f"service {_rate(kept[-1:])}, {_cpu(kept[-1:])}"
        )
    cpu_microseconds = median_of(kept, lambda load: load.cpu_microseconds_per_page)
    written_kib = median_of(kept, lambda load: load.written_bytes / load.pages / 1024)
    return [
        Figure("accept: bare handler, body read", _rate(read), _cpu(read)),
        Figure("accept: bare + HMAC + decode", _rate(verified), _cpu(verified), ratio=1.0),
        Figure(
            "accept: service, durable, 8 senders",
            _rate(kept),
            _cpu(kept),
            ratio=ratio_of(kept, verified, lambda load: load.pages_per_second),
            target=("≥", _MIN_RATIO),
        ),
        Figure(
            "accept: … CPU a page",
            "",
            f"{cpu_microseconds:,.0f} µs",
            ratio=ratio_of(kept, verified, lambda load: load.cpu_microseconds_per_page),
            measured=cpu_microseconds,
            target=("≤", _MAX_CPU_MICROSECONDS),
            unit="µs",
        ),
        Figure(
            "accept: … written a page of 33 KiB",
            f"{written_kib:.0f} KiB",
            measured=written_kib,
            target=("≤", _MAX_WRITTEN_KIB),
            unit="KiB",
        ),
        Figure("accept: … answer, p50 / p99", _latencies(kept)),
    ]


def _rate(loads: Sequence[Load]) -> str:
    return f"{median_of(loads, lambda load: load.pages_per_second):,.0f} pages/s"


def _cpu(loads: Sequence[Load]) -> str:
    return f"{median_of(loads, lambda load: load.cpu_microseconds_per_page):,.0f} µs a page"


def _latencies(loads: Sequence[Load]) -> str:
    p50_ms, p99_ms = median_of(loads, lambda load: load.p50_ms), median_of(loads, lambda load: load.p99_ms)
    return f"{p50_ms:.1f} / {p99_ms:.1f} ms"


async def _wait(steady: _Steady, rounds: int, seconds: float) -> Figure:
    loads = []
    for number in range(rounds):
        loads.append(await steady.run(seconds))
        progress(f"{steady.name}, round {number + 1}: {_latencies(loads[-1:])}")
    return Figure(
        f"{steady.name}, p50 / p99",
        _latencies(loads),
        f"{median_of(loads, lambda load: load.cpu_seconds / load.seconds):.0%} of a core",
        measured=median_of(loads, lambda load: load.p99_ms),
        target=("≤", steady.max_p99_ms),
        unit="ms",
    )


async def _while_draining(seconds: float) -> Load:
    """Pages at a steady rate, while changes are sent as fast as they will go."""
    async with _service(requests_per_second=10_000) as service:
        return await _post_steadily(service, seconds, _USERS_PER_PAGE)


async def _beside_large_pages(seconds: float) -> Load:
    """Small pages at a steady rate on their own connections, while large ones come one after another."""
    async with _service(requests_per_second=1) as service:
        small, _ = await asyncio.gather(
            _post_steadily(service, seconds, _SMALL_PAGE_USERS),
            generate(service, HEAP_SECRET, pages=_LARGE_PAGES, users_per_page=_LARGE_PAGE_USERS, senders=1),
        )
    return small


async def _post_steadily(service: ServiceUnderTest, seconds: float, users_per_page: int) -> Load:
    return await generate(
        service,
        HEAP_SECRET,
        pages=int(seconds * _STEADY_PAGES_PER_SECOND),
        users_per_page=users_per_page,
        pages_per_second=_STEADY_PAGES_PER_SECOND,
    )


_STEADY = (
    _Steady("answer at 100 pages/s, draining flat out", _MAX_DRAINING_MS, _while_draining),
    _Steady("answer to small pages beside 10 MB ones", _MAX_LARGE_PAGE_MS, _beside_large_pages),
)
