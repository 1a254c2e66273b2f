"""Concurrent senders that sign and repeat pages as Heap does, until each is answered 200."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import aiohttp
import msgspec

from service.sandbox.heap_pages import PageAnswer, post_page
from tests.crash.processes import HEAP_SECRET

_LONGEST_PAUSE_SECONDS = 0.2


class Senders:
    """A bounded number of senders, and what became of their pages.

    `acknowledged` holds the pages answered 200 in the order of their answers; `answers` counts every answer by its
    status, 0 for none. `posting` is set whenever a page is about to be posted.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, number: int) -> None:
        self._session = session
        self._url = url
        self._number = number
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.acknowledged: list[bytes] = []
        self.answers: Counter[int] = Counter()
        self.posting = asyncio.Event()
        self._acknowledged_grew = asyncio.Event()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work off what is submitted while the block lasts; a refusal that Heap would not repeat ends the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work()) for _ in range(self._number)]
            yield
            for task in tasks:
                task.cancel()

    def submit(self, pages: Iterable[bytes]) -> None:
        """Have pages sent, in about this order."""
        for page in pages:
            self._queue.put_nowait(page)

    async def wait_until_sent(self) -> None:
        """Return when every page submitted has been answered 200."""
        await self._queue.join()

    async def deliver(self, page: bytes) -> None:
        """Post a page until it is answered 200.

        Raises `AssertionError` when it is refused for good.
        """
        while (answer := await self._post(page)).status != 200:
            assert answer.status in {0, 429, 503}, f"a good page was refused: {answer}"
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  nothing hangs on the number
        self.acknowledged.append(page)
        self._acknowledged_grew.set()

    async def wait_for_acknowledged(self, number: int) -> None:
        """Return when so many pages have been answered 200."""
        while len(self.acknowledged) < number:
            self._acknowledged_grew.clear()
            await self._acknowledged_grew.wait()

    async def count_lost(self) -> int:
        """Post every acknowledged page once more; return how many the service does not know any more (R1, R3)."""
        turns = asyncio.Semaphore(self._number)

        async def is_lost(page: bytes) -> bool:
            async with turns:
                answer = await self._post(page)
            assert answer.status == 200, f"a known page was refused: {answer}"
            return bool(msgspec.json.decode(answer.text)["status"] != "duplicate")

        return sum(await asyncio.gather(*(is_lost(page) for page in self.acknowledged)))

    async def _work(self) -> None:
        while True:
            page = await self._queue.get()
            await self.deliver(page)
            self._queue.task_done()

    async def _post(self, page: bytes) -> PageAnswer:
        self.posting.set()
        answer = await post_page(self._session, self._url, HEAP_SECRET, page)
        self.answers[answer.status] += 1
        return answer
