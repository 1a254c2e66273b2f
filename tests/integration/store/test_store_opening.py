"""Opening: whose file it is, who else has it, and that nothing is left behind by opening and closing."""

import asyncio
import contextlib
import gc
import os
import sqlite3
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from service.errors import StoreUnavailableError
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.opening import APPLICATION_ID, open_reader
from tests.integration.store.test_store_durability import process, said_by
from tests.store_harness import check_invariants, fold_all, page, send_all, wait_until_well
from tests.store_sqlite import SqliteStoreMaker


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


async def refused(maker: SqliteStoreMaker) -> str:
    with pytest.raises(StoreOpenError) as caught:
        await maker.open()
    return str(caught.value)


async def test_a_store_of_a_newer_program_is_refused(maker):
    await (await maker.open()).close()
    with maker.connection() as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "schema 99" in await refused(maker)


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(maker):
    with maker.connection() as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    before = maker.database.read_bytes()
    assert "another program" in await refused(maker)
    assert maker.database.read_bytes() == before
    with pytest.raises(StoreOpenError, match="another program"):
        await open_reader(maker.database)


async def test_a_marked_but_empty_database_of_another_program_is_refused(maker):
    with maker.connection() as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
    assert "another program" in await refused(maker)


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(maker):
    maker.database.write_text("a shopping list, long enough to be read as a header " * 20)
    before = maker.database.read_bytes()
    assert str(maker.database) in await refused(maker)
    assert maker.database.read_bytes() == before


async def test_a_directory_is_refused(maker):
    maker.database.mkdir()
    assert str(maker.database) in await refused(maker)


async def test_a_path_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be opened" in await refused(SqliteStoreMaker(tmp_path / "file"))


def test_a_directory_that_may_not_be_written_is_refused():
    # Not in the directory for this test, which other users may not enter.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        try:
            said = said_by("try_to_open", directory)
        finally:
            directory.chmod(0o755)
    assert said.startswith("refused: ")
    assert name in said


async def test_a_missing_directory_is_made(tmp_path):
    maker = SqliteStoreMaker(tmp_path / "some" / "where")
    await (await maker.open()).close()
    assert maker.database.exists()


async def test_there_is_nothing_to_read_where_no_store_is(maker):
    with pytest.raises(StoreOpenError, match="cannot be read"):
        await open_reader(maker.database)
    assert not maker.database.exists()


async def test_a_reader_cannot_write(store, maker):
    reader = await open_reader(maker.database)
    with pytest.raises(sqlite3.OperationalError):
        await reader.run(lambda connection: connection.execute("DELETE FROM account"))
    await reader.close()
    assert store.fault is None


async def test_a_second_process_is_refused_until_the_first_ends(maker, tmp_path):
    with process("hold", tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "open\n"
        assert "in use by another process" in await refused(maker)
        running.kill()
        running.wait()
    await (await maker.open()).close()


async def test_what_refused_to_open_lets_go_of_the_file(maker):
    maker.database.write_text("no database " * 100)
    await refused(maker)
    maker.database.unlink()
    await (await maker.open()).close()


async def test_a_store_locked_by_another_program_refuses_and_recovers_by_itself(store, maker):
    await store.accept(page("t1", add=["a"]))
    before = maker.facts()
    with maker.connection() as other:
        other.execute("BEGIN EXCLUSIVE")
        results = await asyncio.wait_for(
            asyncio.gather(
                *(store.accept(page(f"locked {number}", add=["b"])) for number in range(20)), return_exceptions=True
            ),
            timeout=30,
        )
        assert {type(result) for result in results} == {StoreUnavailableError}
        assert store.fault is not None
        with pytest.raises(StoreUnavailableError):
            await store.fold_next()
        other.execute("ROLLBACK")
    assert maker.facts() == before
    check_invariants(before, store)
    assert not (await store.accept(page("locked 1", add=["b"]))).is_duplicate
    await wait_until_well(store)
    await fold_all(store)
    assert len(await send_all(store)) == 2


async def test_a_store_locked_while_opening_is_refused_and_let_go(maker):
    await (await maker.open()).close()
    with maker.connection() as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in await refused(maker)
    await (await maker.open()).close()


async def test_closing_waits_for_what_is_being_written(maker):
    store = await maker.open()
    accepting = [asyncio.create_task(store.accept(page(f"t{number}", add=["a"]))) for number in range(100)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*accepting)
    assert maker.facts().deliveries == 100
    with pytest.raises(StoreUnavailableError):
        await store.accept(page("late", add=["a"]))


async def test_a_closed_store_leaves_one_file_and_a_mark(maker, tmp_path):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    await store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"store.db", "store.db.acknowledged"}


async def test_only_its_owner_may_read_the_store(maker, tmp_path):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("store.db", "store.db-wal", "store.db-shm", "store.db.acknowledged"), 0
    )
    await store.close()


async def test_opening_and_closing_leaks_nothing(maker):
    async def cycle() -> None:
        store = await maker.open()
        await store.accept(page("t1", add=["a"]))
        await store.fold_next()
        await store.close()
        (maker.database.parent / "none").mkdir(exist_ok=True)
        with contextlib.suppress(StoreOpenError):
            await open_reader(maker.database.parent / "none")

    def held() -> tuple[int, int, int]:
        gc.collect()
        return threading.active_count(), psutil.Process(os.getpid()).num_fds(), len(asyncio.all_tasks())

    await cycle()
    before = held()
    for _ in range(50):
        await cycle()
    assert held() == before
