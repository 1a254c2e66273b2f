"""The store's files under a running service, and commits beside checkpoints (R1)."""

import asyncio
import os
import shutil
import sqlite3
import threading

import pytest
from structlog.testing import capture_logs

from service.errors import StoreFaultError, StoreUnavailableError
from service.store.sqlite.files import StoreOpenError, has_wal_reset_fault
from service.store.sqlite.store import SqliteStore
from service.store.sqlite.writer import Timings
from tests.store_harness import ACCOUNTS, check_invariants, fold_all, page
from tests.store_sqlite import SqliteStoreMaker


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


def delete(maker):
    maker.database.unlink()


def replace(maker):
    other = maker.database.with_name("other.db")
    shutil.copy(maker.database, other)
    other.replace(maker.database)


def delete_wal(maker):
    maker.database.with_name("store.db-wal").unlink()


def move(maker):
    maker.database.rename(maker.database.with_name("elsewhere.db"))


@pytest.mark.parametrize("disturb", [delete, replace, delete_wal, move])
async def test_no_page_is_acknowledged_into_files_that_the_path_does_not_name(maker, disturb):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    disturb(maker)
    for number in range(20):
        with pytest.raises(StoreUnavailableError, match="is not the file that was opened"):
            await store.accept(page(f"lost {number}", add=["a"]))
    assert "is not the file that was opened" in (store.fault or "")
    await store.close()


async def test_a_removed_folder_is_told_without_a_page(tmp_path):
    maker = SqliteStoreMaker(tmp_path / "data")
    store = await SqliteStore.open(
        maker.database, ACCOUNTS, max_backlog=10, timings=Timings(look_seconds=0.05, checkpoint_seconds=0.05)
    )
    shutil.rmtree(maker.database.parent)
    async with asyncio.timeout(20):
        while store.fault is None:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)
    await store.close()


async def test_files_that_come_back_are_used_on(store, maker):
    await store.accept(page("t1", add=["a"]))
    away = maker.database.with_name("away.db")
    maker.database.rename(away)
    with pytest.raises(StoreUnavailableError):
        await store.accept(page("t2", add=["b"]))
    away.rename(maker.database)
    await store.accept(page("t2", add=["b"]))
    assert store.fault is None
    await fold_all(store)
    check_invariants(maker.facts(), store)


async def test_another_name_of_the_file_lets_no_second_service_in(store, maker, tmp_path):
    hard, symbolic = tmp_path / "hard.db", tmp_path / "symbolic.db"
    os.link(maker.database, hard)
    symbolic.symlink_to(maker.database)
    for name in (hard, symbolic, maker.database):
        with pytest.raises(StoreOpenError, match="in use by another process"):
            await SqliteStore.open(name, ACCOUNTS, max_backlog=10)
    await store.accept(page("t1", add=["a"]))


async def test_a_file_with_two_names_is_not_opened(maker, tmp_path):
    await (await maker.open()).close()
    os.link(maker.database, tmp_path / "hard.db")
    with pytest.raises(StoreOpenError, match="2 names"):
        await maker.open()


async def test_a_name_that_a_killed_restore_left_is_removed(maker, tmp_path):
    await (await maker.open()).close()
    os.link(maker.database, tmp_path / "store.db.replaced-20260101T000000Z")
    await (await maker.open()).close()
    assert maker.database.stat().st_nlink == 1


async def test_a_large_transaction_waits_while_the_wal_is_too_large_and_deliveries_do_not(maker):
    timings = Timings(checkpoint_seconds=0.02, cut_off_seconds=0.02, max_wal_bytes=100_000, large_wait_seconds=600)
    store = await SqliteStore.open(maker.database, ACCOUNTS, max_backlog=1_000_000, clock=maker.clock, timings=timings)
    wal = maker.database.with_name("store.db-wal")
    await store.accept(page("first", add=["a"]))
    with maker.connection() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sync").fetchone()
        number = 0
        while wal.stat().st_size <= timings.max_wal_bytes:
            await store.accept(page(f"t{number}", add=[f"{number}-{user}" for user in range(500)]))
            number += 1
        folding = asyncio.create_task(store.fold_next())
        for later in range(20):
            await store.accept(page(f"later {later}", add=["b"]))
        assert not folding.done()
    progress = await asyncio.wait_for(folding, 60)
    users = progress.users
    while progress.more:
        progress = await store.fold_next()
        users += progress.users
    assert users == 1 + 500 * number + 20
    await store.close()


async def test_a_large_transaction_does_not_wait_for_ever(maker):
    timings = Timings(checkpoint_seconds=0.02, cut_off_seconds=0.02, max_wal_bytes=0, large_wait_seconds=0.1)
    store = await SqliteStore.open(maker.database, ACCOUNTS, max_backlog=100, clock=maker.clock, timings=timings)
    with maker.connection() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sync").fetchone()
        await store.accept(page("first", add=["a"]))
        assert (await store.fold_next()).users == 1
    await store.close()


async def test_a_wal_that_ends_before_what_was_acknowledged_is_told_once(maker, tmp_path):
    store = await SqliteStore.open(
        maker.database, ACCOUNTS, max_backlog=100, clock=maker.clock, timings=Timings(checkpoint_seconds=3_600)
    )
    for number in range(7):
        await store.accept(page(f"t{number}", add=["a"]))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    shutil.copy(maker.database, crashed)
    shutil.copy(tmp_path / "store.db.acknowledged", crashed)
    await store.close()
    left = SqliteStoreMaker(crashed, maker.clock)
    with capture_logs() as lines:
        await (await left.open()).close()
        await (await left.open()).close()
    assert [line["missing"] for line in lines if line["event"] == "store.pages_missing"] == [7]
    with left.connection() as connection:
        assert connection.execute("SELECT action, changes FROM audit").fetchall() == [("store.pages_missing", 7)]


def remove_mark(mark):
    mark.unlink()


def replace_mark(mark):
    mark.rename(mark.with_name("old mark"))
    mark.write_bytes(bytes(8))


@pytest.mark.parametrize("disturb", [remove_mark, replace_mark])
async def test_the_mark_is_put_back_where_it_was_removed_or_replaced(maker, disturb):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    mark = maker.database.with_name("store.db.acknowledged")
    before = mark.read_bytes()
    disturb(mark)
    with capture_logs() as lines:
        await store.accept(page("t2", add=["b"]))
    assert [line["event"] for line in lines if line["event"].startswith("store.")] == ["store.mark_replaced"]
    await store.close()
    assert int.from_bytes(mark.read_bytes(), "little") == int.from_bytes(before, "little") + 1


async def test_a_damaged_mark_is_told_at_the_start_and_made_good_by_the_next_page(maker):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    await store.close()
    mark = maker.database.with_name("store.db.acknowledged")
    mark.write_bytes(b"x" * 100)
    with capture_logs() as lines:
        store = await maker.open()
        await store.accept(page("t2", add=["b"]))
        await store.close()
    assert "store.mark_damaged" in [line["event"] for line in lines]
    assert int.from_bytes(mark.read_bytes(), "little") == 2
    assert len(mark.read_bytes()) == 8


async def test_no_commit_can_start_while_a_checkpoint_runs(store, maker):
    """A barrier holds the checkpoint where it begins: there a commit that resets the WAL loses others in SQLite < 3.51.3."""
    await store.accept(page("t1", add=["a"]))
    begun, go_on = threading.Event(), threading.Event()

    def hold(statement: str) -> None:
        if "wal_checkpoint" in statement and not begun.is_set():
            begun.set()
            go_on.wait(30)

    await store._writer._connection.run(lambda _: store._writer._checkpoints.set_trace_callback(hold))
    emptying = asyncio.create_task(store._writer.empty_wal())
    await asyncio.to_thread(begun.wait, 30)
    accepting = asyncio.create_task(store.accept(page("t2", add=["b"])))
    # Neither another program nor the service itself commits.
    with maker.connection() as other:
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    await asyncio.sleep(0.1)
    assert not accepting.done()
    go_on.set()
    await emptying
    await accepting
    assert maker.facts().deliveries == 2


async def test_nobody_checkpoints_by_himself(store):
    def automatic(connection: sqlite3.Connection) -> int:
        pages: int = connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
        return pages

    assert await store._writer._connection.run(automatic) == 0
    assert await store._writer._connection.run(lambda _: automatic(store._writer._checkpoints)) == 0


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [
        ((3, 40, 1), True),
        ((3, 46, 1), True),
        ((3, 50, 6), True),
        ((3, 51, 2), True),
        ((3, 6, 0), False),
        ((3, 44, 6), False),
        ((3, 50, 7), False),
        ((3, 51, 3), False),
    ],
)
def test_which_sqlite_is_affected(version, is_affected):
    assert has_wal_reset_fault(version) is is_affected


async def test_a_broken_rule_fails_what_broke_it_and_nothing_else(store, maker):
    await store.accept(page("t1", add=["a"]))

    def trip(connection):
        connection.execute("UPDATE segment SET pending = -1")

    with capture_logs() as lines:
        results = await asyncio.gather(
            store._writer.run(trip),
            store.accept(page("t2", add=["b"])),
            store._writer.run(trip, alone=True),
            store._writer.run(lambda connection: connection.execute("SELECT nonsense")),
            return_exceptions=True,
        )
    assert [type(result) for result in results[::2]] == [StoreFaultError, StoreFaultError]
    assert isinstance(results[3], StoreFaultError)
    assert store.fault is None
    assert maker.facts().deliveries == 2
    assert len([line for line in lines if line["event"] == "store.fault"]) == 2


async def test_memory_is_read_anew_where_following_up_a_commit_failed(store, maker):
    def fail(_result):
        raise ZeroDivisionError

    await store.accept(page("t1", add=["a", "b"]))
    store.backlog.add_unfolded("acme", 77)
    with pytest.raises(ZeroDivisionError):
        await store._writer.run(lambda _: 0, on_commit=fail)
    await store.accept(page("t2", add=["c"]))
    await fold_all(store)
    check_invariants(maker.facts(), store)
