"""A running service tells of its conditions, takes up a changed target when it reads its configuration anew, and loses no notice
by kill -9.
"""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.command_fixtures import PATIENCE_SECONDS, Installation, eventually

REJECTS_KEY = "heap-cordial: Cordial rejects the API key for acme"
REJECTED_KEY = "heap-cordial: over: Cordial does not serve the account (acme)"

# Otherwise each test waits for seconds again and again.
LOOKS_OFTEN = """
from service.observe.notices import notices
timings = notices.Timings(look=0.05, first_wait=0.05)
notices.Timings = lambda: timings
"""


class Receiver:
    """An HTTP receiver: what it took, each with its message id."""

    def __init__(self) -> None:
        self.url = ""
        self.taken: list[tuple[str | None, Any]] = []
        self.answers = True
        # Set once somebody has been answered, has read that, and has gone.
        self.was_read = asyncio.Event()
        # Whoever is answered cannot write that down, for this file of theirs is locked.
        self.locks: Path | None = None
        self._lock = contextlib.ExitStack()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.taken.append((request.headers.get("webhook-id"), msgspec.json.decode(await request.read())))
        if not self.answers:
            await asyncio.sleep(600)
        if self.locks is not None:
            connection = self._lock.enter_context(contextlib.closing(sqlite3.connect(self.locks, isolation_level=None)))
            connection.execute("BEGIN IMMEDIATE")
        answer = web.Response()
        await answer.prepare(request)
        await answer.write_eof()
        try:
            # Ends when the other side goes.
            await asyncio.sleep(600)
        finally:
            self.was_read.set()
        return answer

    def unlock(self) -> None:
        self.locks = None
        self._lock.close()

    async def first_lines(self) -> list[str]:
        return [document["text"].splitlines()[0].strip("*") for _, document in self.taken]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/hook", found.take)
    async with TestServer(app) as server:
        found.url = str(server.make_url("/hook"))
        yield found
        found.unlock()


def tell(installation: Installation, receiver: Receiver, kind: str, **keys: str) -> None:
    """Configure the receiver as a target."""
    (installation.folder / "url").write_text(receiver.url)
    settings = {"KIND": kind, "URL_FILE": str(installation.folder / "url"), **keys}
    installation.environment |= {f"HEAP_CORDIAL__NOTICES__OPS__{key}": value for key, value in settings.items()}


async def conditions(installation: Installation) -> set[str]:
    found = await installation.ask("conditions")
    return {each["id"] for each in found["items"] if each["severity"] != "info"}


async def test_a_wrong_key_is_told_and_its_end_too(installation, receiver):
    right = installation.key_file.read_text()
    installation.key_file.write_text("another-key")
    tell(installation, receiver, "slack", PATIENCE_MINUTES="0", SEVERITY="critical")
    async with installation.serving(first=LOOKS_OFTEN) as process:
        await installation.deliver("Active Users", ["jane@example.com"], task="task-1")
        await eventually(receiver.first_lines, [REJECTS_KEY])
        [(_, document)] = receiver.taken
        assert "unauthorized" in document["text"]
        assert "people concerned: 1" in document["text"]
        process.send_signal(signal.SIGHUP)
        installation.key_file.write_text(right)
        await eventually(receiver.first_lines, [REJECTS_KEY, REJECTED_KEY])


@pytest.mark.parametrize("killed", ["before the answer", "before the answer is written down"])
async def test_a_notice_that_kill_9_cuts_comes_again_and_can_be_told_by_its_id(installation, receiver, killed):
    right = installation.key_file.read_text()
    installation.key_file.write_text("another-key")
    tell(installation, receiver, "webhook", PATIENCE_MINUTES="0", SEVERITY="critical")
    if killed == "before the answer":
        receiver.answers = False
    else:
        receiver.locks = installation.database
    async with installation.serving(killed=True, first=LOOKS_OFTEN):
        await installation.deliver("Active Users", ["jane@example.com"], task="task-1")
        await eventually(receiver.first_lines, [REJECTS_KEY])
        if receiver.locks is not None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await receiver.was_read.wait()
    receiver.answers = True
    receiver.unlock()
    async with installation.serving(first=LOOKS_OFTEN):
        await eventually(receiver.first_lines, [REJECTS_KEY] * 2)
        # Until Cordial has answered again, nobody knows that it lasts, nor that it is over.
        await eventually(lambda: conditions(installation), {"account_stopped"})
        assert await receiver.first_lines() == [REJECTS_KEY] * 2
        installation.key_file.write_text(right)
        await eventually(receiver.first_lines, [REJECTS_KEY, REJECTS_KEY, REJECTED_KEY])
    (first, document), (again, repeated), (last, _) = receiver.taken
    assert first
    assert (again, repeated) == (first, document)
    assert last != first
