"""Heap's side of the job: signed pages of one segment, posted by several senders until each is answered 200."""

import asyncio
import random
import time
from collections.abc import Sequence

import aiohttp

from service.sandbox.heap_pages import build_pages, post_page

SEGMENT_NAME = "Peers"
_SEGMENT_ID = 1
_PAUSE_SECONDS = 0.2
_MAX_SECONDS = 300.0


def make_users(number: int) -> list[str]:
    """Return so many distinct users, in no order that a store could profit from."""
    users = [f"user-{index}@example.com" for index in range(number)]
    random.shuffle(users)
    return users


class Senders:
    """Posts the pages of a job; `answered_seconds` is how long each page took from its first post to its 200."""

    def __init__(self, url: str, secret: str, users: Sequence[str], *, page_size: int, number: int) -> None:
        self._url = url
        self._secret = secret
        self._number = number
        self._pages = iter(build_pages(_SEGMENT_ID, SEGMENT_NAME, users, task_id="peers-1", page_size=page_size))
        self.answered_seconds: list[float] = []

    async def send_all(self) -> None:
        """Return when every page has been answered 200; a page that is not answered so is posted again, as Heap does.

        Raises `RuntimeError` when a page is refused for minutes.
        """
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session, asyncio.TaskGroup() as group:
            for _ in range(self._number):
                group.create_task(self._work(session))

    async def _work(self, session: aiohttp.ClientSession) -> None:
        for page in self._pages:
            started = time.perf_counter()
            while (answer := await post_page(session, self._url, self._secret, page)).status != 200:
                if time.perf_counter() > started + _MAX_SECONDS:
                    raise RuntimeError(f"a page is answered {answer.status} again and again: {answer.text}")
                await asyncio.sleep(_PAUSE_SECONDS)
            self.answered_seconds.append(time.perf_counter() - started)
