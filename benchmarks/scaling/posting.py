"""Heap's side: syncs of many segments posted page by page, and how soon each page was answered."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import aiohttp

from benchmarks.scaling.population import SegmentPlan
from service.sandbox.heap_pages import each_page, post_page

_REPEAT_SECONDS = 1.0
_NOT_NOW = (429, 503)


class Sync(NamedTuple):
    """One sync: of whom, where to post it, signed by which secret."""

    segment: SegmentPlan
    url: str
    secret: str
    is_delta: bool


class Posted(NamedTuple):
    """What was posted: pages, users, seconds in all, how often a page had to come again, latencies of the answers."""

    pages: int
    users: int
    seconds: float
    put_off: int
    p50_ms: float
    p99_ms: float


class Poster:
    """Posts syncs from several senders at once; each takes one sync after the other, its pages in order.

    `pages_per_second` 0 means that each sender posts as fast as it is answered. Latencies are counted from the moment a
    page is due, and of the answer 200 alone: a page that was put off is Heap's to send again.
    """

    def __init__(self, session: aiohttp.ClientSession, *, senders: int, pages_per_second: float = 0) -> None:
        self._session = session
        self._senders = senders
        self._interval_seconds = 1 / pages_per_second if pages_per_second else 0.0
        self._latencies_seconds: list[float] = []
        self._users = 0
        self._put_off = 0
        self._due_at = 0.0

    async def post(self, syncs: Iterable[Sync]) -> Posted:
        """Post all of them. Raises `RuntimeError` when a page is refused for good."""
        started = self._due_at = time.perf_counter()
        waiting = iter(syncs)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._senders):
                group.create_task(self._work(waiting))
        seconds = time.perf_counter() - started
        ordered = sorted(self._latencies_seconds)
        p50_ms, p99_ms = (1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
        return Posted(len(ordered), self._users, seconds, self._put_off, p50_ms, p99_ms)

    async def _work(self, syncs: Iterator[Sync]) -> None:
        for sync in syncs:
            for page in _pages(sync):
                await self._until_taken(sync, page)
            self._users += sync.segment.changed if sync.is_delta else sync.segment.members

    async def _until_taken(self, sync: Sync, page: bytes) -> None:
        due_at = time.perf_counter()
        if self._interval_seconds:
            due_at = self._due_at = self._due_at + self._interval_seconds
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
        while (answer := await post_page(self._session, sync.url, sync.secret, page)).status != 200:
            if answer.status not in _NOT_NOW:
                raise RuntimeError(f"a page was answered {answer.status}: {answer.text}")
            self._put_off += 1
            await asyncio.sleep(answer.retry_after_seconds or _REPEAT_SECONDS)
            due_at = time.perf_counter()
        self._latencies_seconds.append(time.perf_counter() - due_at)


def _pages(sync: Sync) -> Iterator[bytes]:
    segment = sync.segment
    if sync.is_delta:
        return each_page(segment.heap_id, segment.name, segment.joining, segment.leaving, task_id="delta")
    return each_page(segment.heap_id, segment.name, segment.users, task_id="first")
