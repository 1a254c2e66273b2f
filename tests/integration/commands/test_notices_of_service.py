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

from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import PATIENCE_SECONDS, Installation, eventually
from tests.reload_fixtures import Reloadable

REJECTS_KEY = "heap-cordial: Cordial rejects the API key for acme"
IS_OVER = "heap-cordial: over: Cordial does not serve the account (acme)"

# Otherwise each test waits for seconds again and again.
QUICK = """
from service import app
from service.deliver import retry
from service.observe.notices import notices
looks_often = notices.Timings(look=0.05, first_wait=0.05)
notices.Timings = lambda: looks_often
soon = retry.Timings(probe_base=0.05, probe_cap=0.2, retry_base=0.05, retry_cap=0.2)
tries_soon = app.Timings(deliver=app.delivering.Timings(retry=soon))
app.Timings = lambda: tries_soon
"""
# What lasts for a minute before it is told, otherwise.
IMPATIENT = """
import msgspec
from service.model.conditions import CATALOGUE
CATALOGUE["notices_fail"] = msgspec.structs.replace(CATALOGUE["notices_fail"], patience_seconds=0.0)
"""
# The service's clock goes ahead of the machine's by as much as the test says.
GOES_AHEAD = """
from pathlib import Path
from service import app
class AheadClock(app.SteadyClock):
    def now_ms(self):
        return super().now_ms() + int(Path({place!r}).read_text() or 0)
    def wall_ms(self):
        return super().wall_ms() + int(Path({place!r}).read_text() or 0)
app.SteadyClock = AheadClock
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


def tell(installation: Installation, url: str, kind: str, name: str = "OPS", **keys: str) -> None:
    """Configure a target."""
    (installation.folder / f"url of {name}").write_text(url)
    settings = {"KIND": kind, "URL_FILE": str(installation.folder / f"url of {name}"), **keys}
    installation.environment |= {f"HEAP_CORDIAL__NOTICES__{name}__{key}": value for key, value in settings.items()}


async def conditions(installation: Installation) -> set[str]:
    found = await installation.ask("conditions")
    return {each["id"] for each in found["items"] if each["severity"] != "info"}


async def test_a_wrong_key_is_told_and_its_end_too_and_who_cannot_be_told_is_a_condition(installation, receiver):
    right = installation.key_file.read_text()
    installation.key_file.write_text("another-key")
    tell(installation, receiver.url, "slack", PATIENCE_MINUTES="0", SEVERITY="critical")
    tell(installation, "http://127.0.0.1:1/", "webhook", "GONE", PATIENCE_MINUTES="0", SEVERITY="critical")
    async with installation.serving(first=QUICK + IMPATIENT) as process:
        await installation.deliver("Active Users", ["jane@example.com"], task="task-1")
        await eventually(receiver.first_lines, [REJECTS_KEY])
        [(_, document)] = receiver.taken
        assert "unauthorized" in document["text"]
        assert "people concerned: 1" in document["text"]
        installation.key_file.write_text(right)
        process.send_signal(signal.SIGHUP)
        await eventually(receiver.first_lines, [REJECTS_KEY, IS_OVER])
        await eventually(lambda: conditions(installation), {"notices_fail"})


@pytest.mark.parametrize("killed", ["before the answer", "before the answer is written down"])
async def test_a_notice_that_kill_9_cuts_comes_again_and_can_be_told_by_its_id(installation, receiver, killed):
    right = installation.key_file.read_text()
    installation.key_file.write_text("another-key")
    tell(installation, receiver.url, "webhook", PATIENCE_MINUTES="0", SEVERITY="critical")
    if killed == "before the answer":
        receiver.answers = False
    else:
        receiver.locks = installation.database
    async with installation.serving(killed=True, first=QUICK):
        await installation.deliver("Active Users", ["jane@example.com"], task="task-1")
        await eventually(receiver.first_lines, [REJECTS_KEY])
        if receiver.locks is not None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await receiver.was_read.wait()
    receiver.answers = True
    receiver.unlock()
    async with installation.serving(first=QUICK):
        await eventually(receiver.first_lines, [REJECTS_KEY] * 2)
        # Until Cordial has answered again, nobody knows that it lasts, nor that it is over.
        await eventually(lambda: conditions(installation), {"account_stopped"})
        assert await receiver.first_lines() == [REJECTS_KEY] * 2
        installation.key_file.write_text(right)
        await eventually(receiver.first_lines, [REJECTS_KEY, REJECTS_KEY, IS_OVER])
    (first, document), (again, repeated), (last, _) = receiver.taken
    assert first
    assert (again, repeated) == (first, document)
    assert last != first


async def test_by_default_a_healthy_day_tells_nothing_and_an_outage_of_some_minutes_does(tmp_path, cordial, receiver):
    service = Reloadable(tmp_path, cordial.url, "acme")
    service.accounts["acme"]["dry_run"] = True
    (tmp_path / "url").write_text(receiver.url)
    service.sections["notices.ops"] = {"kind": "webhook", "url_file": str(tmp_path / "url")}
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    first = QUICK + GOES_AHEAD.format(place=str(ahead))
    day = [f"user{number}@example.com" for number in range(5)]

    def minutes_pass(minutes: int) -> None:
        draft = tmp_path / "draft"
        draft.write_text(str(int(ahead.read_text()) + minutes * 60_000))
        draft.replace(ahead)

    async def is_logged(event: str, condition: str) -> bool:
        return f'"{event}","condition":"{condition}"' in service.log.read_text()

    async def members() -> list[str]:
        found: list[str] = []
        if "ActiveUsers" in cordial.state.lists_by_name:
            found = cordial.state.members("ActiveUsers")
        return found

    async def told_a_minute_later() -> list[str]:
        minutes_pass(1)
        lines: list[str] = await receiver.first_lines()
        return lines

    async def outage(minutes: int, status: int) -> None:
        """Cordial answers so for so long, and goes on."""
        cordial.faults.add(Fault(FaultKind.ANSWER, status=status, times=None))
        await service.deliver("Active Users", (f"late{minutes}@example.com",), task=f"late-{minutes}")
        await eventually(lambda: is_logged("condition.began", "account_stopped"), True)
        minutes_pass(minutes)

    async with service.running(first=first):
        await service.deliver("Active Users", tuple(day), task="first")
        await eventually(lambda: is_logged("condition.began", "account_dry_run"), True)
        minutes_pass(10)
        service.accounts["acme"]["dry_run"] = False
        await service.reload()
        await eventually(members, day)
        await service.deliver("Active Users", (), tuple(day[:1]), task="second")
        await eventually(members, day[1:])
        minutes_pass(10)
    # A restart is nothing to tell of either.
    async with service.running(first=first):
        await outage(minutes=4, status=503)
        cordial.faults.clear()
        await eventually(lambda: is_logged("condition.ended", "account_stopped"), True)
        minutes_pass(10)
    async with service.running(first=first):
        assert receiver.taken == []
        await outage(minutes=6, status=401)
        await eventually(receiver.first_lines, [REJECTS_KEY])
        cordial.faults.clear()
        await eventually(lambda: is_logged("condition.ended", "account_stopped"), True)
        await eventually(told_a_minute_later, [REJECTS_KEY, IS_OVER])
