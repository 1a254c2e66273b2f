"""What a service meets that runs for years: old records, a growing WAL, many starts, renamed segments (R10)."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest

from service.clock import SteadyClock
from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite import opening
from service.store.sqlite.loading import read_segments_of
from service.store.sqlite.writer import Timings
from tests.hostile_fixtures import LONG, HostileWorld, hostile_world, page
from tests.service_fixtures import ACCOUNT, World, users

DAY_MS = 86_400_000


class Calendar(SteadyClock):
    """Advances as time does, and by days when told to."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + Calendar.ahead_ms


@pytest.fixture
def calendar(monkeypatch):
    monkeypatch.setattr(Calendar, "ahead_ms", 0)
    monkeypatch.setattr("service.app.SteadyClock", Calendar)
    return Calendar


async def test_retention_forgets_what_is_old_and_nothing_that_is_worked_on(tmp_path, calendar):
    async with hostile_world(tmp_path, start=False, max_attempts=1) as world:
        world.store_settings = msgspec.structs.replace(world.store_settings, retention_days=30)
        await world.start()
        steering = world.service.store.steering
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:dead@example.com", status=422, times=None))
        await world.accepted(page(users(3), task="done"))
        await world.accepted(page(["dead@example.com"], task="given-up", segment="Writers", segment_id=2))
        await world.settled()
        await steering.set_paused(ACCOUNT, paused=True, actor="someone")
        world.service.deliverer.account(ACCOUNT).pause()
        await world.accepted(page(["late@example.com"], task="worked-on"))

        assert await forget_old(world) == 0
        calendar.ahead_ms = 29 * DAY_MS
        assert await forget_old(world) == 0
        calendar.ahead_ms = 31 * DAY_MS
        assert await forget_old(world) == 4
        assert world.rows("SELECT task_id FROM sync ORDER BY id") == [("given-up",), ("worked-on",)]
        assert world.rows("SELECT sync.task_id FROM delivery JOIN sync ON sync.id = sync_id") == [("worked-on",)]
        assert world.rows("SELECT count(*) FROM audit") == [(0,)]
        assert [letter.contact for letter in world.dead_letters()] == ["email:dead@example.com"]

        await world.restart()
        assert (await world.segment()).members == 4
        await world.service.store.steering.set_paused(ACCOUNT, paused=False, actor="someone")
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert world.members("Readers") == ["late@example.com", *users(3)]
        # What is known of a member outlives the sync that said it.
        await world.accepted(page([], users(1), task="much later"))
        await world.service.store.steering.rebuild((await world.segment()).id, include_removed=True, actor="someone")
        await world.settled()
        assert world.members("Readers") == ["late@example.com", *users(3)[1:]]
        segment = await world.segment()
        assert (segment.members, segment.settled, segment.pending) == (3, 3, 0)


async def forget_old(world: HostileWorld) -> int:
    retention = world.service.store._retention
    assert retention is not None
    return await retention.forget_old()


async def fill(world: HostileWorld, pages: range) -> list[int]:
    """Write pages while somebody reads after each; return the size of the WAL, in bytes, after each."""
    wal_file = world.store_file.with_name(world.store_file.name + "-wal")
    sizes = []
    for number in pages:
        await world.accepted(page(users(2_000, f"page{number}-{'x' * 100}-"), task=f"task-{number}"))
        await read_segments_of(world.store_file)
        await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
        sizes.append(wal_file.stat().st_size)
    return sizes


async def test_the_wal_stays_bounded_under_steady_writes_with_readers(tmp_path, monkeypatch):
    """Readers come and go, and one keeps its view open for a while, as a slow backup does: then it is used up again."""
    # A quarter of what ships, so that little writing shows the same.
    pages, bound = (320, 2 * opening.MAX_WAL_BYTES) if LONG else (24, opening.MAX_WAL_BYTES // 4)
    monkeypatch.setattr(opening, "MAX_WAL_BYTES", bound)
    timings = Timings(cut_off_seconds=0.5, max_wal_bytes=bound, large_wait_seconds=0.05)
    async with hostile_world(tmp_path, store_timings=timings) as world:
        world.service.deliverer.account(ACCOUNT).pause()
        largest = max(await fill(world, range(pages)))
        assert largest <= bound
        with contextlib.closing(sqlite3.connect(world.store_file, isolation_level=None)) as backup:
            backup.execute("BEGIN")
            backup.execute("SELECT count(*) FROM sync").fetchone()
            held = max(await fill(world, range(pages, 2 * pages)))
            assert held > bound
        after = (await fill(world, range(2 * pages, 2 * pages + 4)))[-1]
        assert after <= bound
        assert world.service.store.backlog.total == 2_000 * (2 * pages + 4)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_fifty_starts_and_stops_leave_nothing_behind(tmp_path):
    async with hostile_world(tmp_path, start=False) as world:
        for _ in range(3):
            await world.start()
            await world.stop()
        tasks, threads, descriptors = len(asyncio.all_tasks()), threading.active_count(), open_descriptors()
        for number in range(50):
            await world.start()
            await world.accepted(page([f"user{number}@example.com"], task=f"task-{number}"))
            await world.stop()
        # Connections whose other end has gone are let go in the next turns of the event loop.
        await world.until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert threading.active_count() <= threads + 2
        assert open_descriptors() <= descriptors + 4
        await world.start()
        await world.settled()
        assert len(world.members("Readers")) == 50


@pytest.fixture
def soon_followed(monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, follow=0.05))


@pytest.mark.usefixtures("soon_followed")
async def test_a_renamed_segment_keeps_its_list_unless_told_otherwise(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(3), task="before", segment="Readers"))
        await world.settled()
        await world.accepted(page(["late@example.com"], task="after", segment="Book Lovers"))
        await world.settled()
        assert list(world.cordial.state.lists_by_name) == ["Readers"]
        assert world.members("Readers") == ["late@example.com", *users(3)]
        segment = await world.segment()
        assert (segment.name, segment.list_name) == ("Book Lovers", "Readers")
        await world.restart(on_segment_rename="rename")
        await world.until(lambda: "BookLovers" in world.cordial.state.lists_by_name)


@pytest.mark.usefixtures("soon_followed")
async def test_a_list_follows_its_segment_where_the_account_wants_it(tmp_path):
    async with hostile_world(tmp_path, on_segment_rename="rename") as world:
        await world.accepted(page(users(3), task="before", segment="Readers"))
        await world.settled()
        before = (await world.segment()).list_id
        await world.accepted(page(users(40, "late"), task="after", segment="Book Lovers"))
        await world.until(lambda: list(world.cordial.state.lists_by_name) == ["BookLovers"])
        await world.accepted(page([], users(1), task="later", segment="Book Lovers"))
        await world.settled()
        assert world.members("BookLovers") == sorted([*users(40, "late"), *users(3)[1:]])
        segment = await world.segment()
        assert (segment.list_name, segment.list_id) == ("BookLovers", before)
        # A late page of the sync that knew the old name does not bring it back.
        await world.accepted(page(["stray@example.com"], task="before", segment="Readers"))
        await world.settled()
        assert (await world.segment()).name == "Book Lovers"
        assert list(world.cordial.state.lists_by_name) == ["BookLovers"]
        assert "stray@example.com" in world.members("BookLovers")
        assert world.dead_letters() == []
