"""The store is locked, full, read-only or damaged under the running service: never a 200 that is not durable (R1, R2)."""

import asyncio
import contextlib
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StoreUnavailableError
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.store import SqliteStore
from tests.hostile_fixtures import LONG, HostileWorld, hostile_world, log_lines, page
from tests.service_fixtures import users

ROOT = Path(__file__).parents[3]
LOCKED_SECONDS = 35 if LONG else 3


async def refused(world: HostileWorld, body: bytes) -> None:
    """The page is not taken, in a way that makes Heap send it again; what else the service does goes on."""
    answer = await world.post(body)
    assert answer.status == 503, answer
    assert '"store_unavailable"' in answer.text
    assert answer.retry_after_seconds
    await alive_and_readable(world)


async def alive_and_readable(world: HostileWorld) -> None:
    assert (await world.get("/livez"))[0] == 200
    assert (await world.service.store.segments())[0].name == "Readers"


def digests(world: HostileWorld) -> int:
    [(count,)] = world.rows("SELECT count(*) FROM delivery")
    return int(count)


async def begin(world: HostileWorld) -> None:
    await world.accepted(page(["first@example.com"], task="first"))
    await world.settled()


async def recovered(world: HostileWorld, kept_out: bytes, expected: list[str]) -> None:
    """What was refused is taken when Heap repeats it; everything is delivered, without a restart."""
    await world.accepted(kept_out)
    await world.settled()
    assert world.members("Readers") == sorted(["first@example.com", *expected])
    await world.readiness(None)


async def test_locked_by_another_program(tmp_path):
    body = page(users(3), task="second")
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            await begin(world)
            with contextlib.closing(sqlite3.connect(world.store_file, isolation_level=None)) as other_program:
                other_program.execute("BEGIN IMMEDIATE")
                async with asyncio.timeout(LOCKED_SECONDS + 20):
                    for _ in range(LOCKED_SECONDS):
                        await refused(world, body)
                assert "store_trouble: database is locked" in await world.readiness("store_trouble")
                assert digests(world) == 1
                other_program.execute("ROLLBACK")
            await recovered(world, body, users(3))
    assert [line["reason"] for line in lines("store.failed")] == ["database is locked"]
    assert len(lines("store.recovered")) == 1


async def test_results_wait_for_a_locked_store_and_are_not_lost(tmp_path):
    async with hostile_world(tmp_path) as world:
        await begin(world)
        with contextlib.closing(sqlite3.connect(world.store_file, isolation_level=None)) as other_program:
            await world.accepted(page(users(40), task="second"))
            await world.until(lambda: len(world.members("Readers")) > 3)
            other_program.execute("BEGIN IMMEDIATE")
            await world.readiness("store_trouble: database is locked")
            other_program.execute("ROLLBACK")
        await world.settled()
        assert world.members("Readers") == sorted(["first@example.com", *users(40)])
        assert world.dead_letters() == []
        assert len(world.contact_calls()) == 41


async def test_no_room_left_in_the_database(tmp_path):
    body = page(users(5_000, "u" * 60), task="second")
    async with hostile_world(tmp_path) as world:
        await begin(world)
        writer = world.service.store._writer
        await writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
        for _ in range(3):
            await refused(world, body)
            assert "store_trouble: database or disk is full" in (await world.ready())[1]
            assert digests(world) == 1
        await writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
        await recovered(world, body, users(5_000, "u" * 60))


@contextlib.contextmanager
def no_file_may_grow_beyond(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_the_system_refuses_to_write(tmp_path):
    """The WAL cannot grow: the system stops a write half way, as a disk does that fills up or fails."""
    body = page(users(3_000, "v" * 60), task="second")
    async with hostile_world(tmp_path) as world:
        await begin(world)
        wal_file = world.store_file.with_name(world.store_file.name + "-wal")
        with no_file_may_grow_beyond(wal_file.stat().st_size + 10_000):
            for _ in range(2):
                await refused(world, body)
            assert re.search("store_trouble: (disk I/O error|database or disk is full)", (await world.ready())[1])
            assert digests(world) == 1
        await recovered(world, body, users(3_000, "v" * 60))
        [(verdict,)] = world.rows("PRAGMA integrity_check")
        assert verdict == "ok"


async def test_the_file_turns_read_only(tmp_path):
    body = page(users(3), task="second")
    async with hostile_world(tmp_path) as world:
        await begin(world)
        connection = world.service.store._writer._connection
        await connection.run(lambda each: each.execute("PRAGMA query_only = 1"))
        for _ in range(3):
            await refused(world, body)
        assert "store_trouble: attempt to write a readonly database" in (await world.ready())[1]
        await connection.run(lambda each: each.execute("PRAGMA query_only = 0"))
        await recovered(world, body, users(3))


OPEN_AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from service.store.sqlite import queries
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.store import SqliteStore

# Nobody may be kept out of the checkout: what is read from it later is read now.
scripts = queries.migrations()
queries.migrations = lambda: scripts

async def main(store):
    try:
        await SqliteStore.open(store, ["acme"], max_backlog=10)
    except StoreOpenError as error:
        print(error)

if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_file_that_cannot_be_written_is_refused_at_start():
    async def make_store(store: Path) -> None:
        await (await SqliteStore.open(store, ["acme"], max_backlog=10)).close()

    # Not in pytest's own directory, into which only its user may look; root may write to whatever it likes.
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "heap-cordial.db"
        asyncio.run(make_store(store))
        store.chmod(0o444)
        if os.geteuid() == 0:
            for each in (Path(name), store.with_name(store.name + ".acknowledged")):
                os.chown(each, 65534, 65534)
        command = [sys.executable, "-c", OPEN_AS_NOBODY, str(store)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "readonly database" in ended.stdout
        assert str(store) in ended.stdout


def overwrite_pages(store: Path, first: int, count: int) -> None:
    with store.open("r+b") as file:
        file.seek(first * 4096)
        file.write(os.urandom(count * 4096))


async def test_a_damaged_file_is_refused_at_start(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(2_000)))
        await world.settled()
        await world.stop()
        whole = tmp_path / "whole.db"
        shutil.copy(world.store_file, whole)
        overwrite_pages(world.store_file, 4, 20)
        with pytest.raises(StoreOpenError, match="damaged"):
            await world.start()
        overwrite_pages(world.store_file, 0, 1)
        with pytest.raises(StoreOpenError, match="not a database"):
            await world.start()
        shutil.copy(whole, world.store_file)
        await world.start()
        assert (await world.segment()).settled == 2_000


async def test_damage_met_while_running_stays_a_fault_and_nothing_more_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("service.store.sqlite.opening._MAX_CHECKED_BYTES", 0)
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            await world.accepted(page(users(2_000)))
            await world.settled()
            await world.stop()
            await world.start()
            size_pages = world.store_file.stat().st_size // 4096
            # What the start has read is kept in memory; the rest shows its damage when it is looked at.
            overwrite_pages(world.store_file, size_pages // 2, size_pages // 2)
            await world.post(page(users(2_000, "other"), task="second"))
            await world.readiness("store_damaged: database disk image is malformed; stop the service and restore")
            answer = await world.post(page(users(1), task="third"))
            assert (answer.status, '"store_unavailable"' in answer.text) == (503, True)
            assert (await world.get("/livez"))[0] == 200
            with pytest.raises(StoreUnavailableError, match="malformed"):
                await world.service.store.make_due_pending()
    assert len(lines("store.damaged")) == 1
