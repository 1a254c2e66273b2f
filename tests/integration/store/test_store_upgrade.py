"""Files of every older schema: brought up to date with all they hold, and never without a way back."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.model.deliveries import ReceiptStatus
from service.model.lists import HeldFor, ListState
from service.store.sqlite import copying, migrating, queries
from service.store.sqlite.copying import partial_copy
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.migrating import copy_before
from tests.store_harness import check_invariants, fold_all, page, send_all
from tests.store_sqlite import SqliteStoreMaker, read_facts
from tests.store_versions import (
    VERSIONS,
    add_settled_members,
    faults_of,
    make_store_file,
    schema_of,
    tables_without_rows,
    version_of,
)

ROOT = Path(__file__).parents[3]
NEWEST = VERSIONS[-1]
OLDER = VERSIONS[:-1]


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


@contextlib.asynccontextmanager
async def opened(maker: SqliteStoreMaker):
    store = await maker.open()
    try:
        yield store
    finally:
        await store.close()


def facts_in(file: Path):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return read_facts(connection)


@pytest.mark.parametrize("version", [1, 5])
async def test_what_was_taken_in_the_order_of_arrival_keeps_that_order(maker, version):
    make_store_file(maker.database, version)
    with contextlib.closing(sqlite3.connect(maker.database)) as connection, connection:
        # The clock was set back between two syncs.
        connection.execute(
            "INSERT INTO sync (id, segment_id, task_id, action, total_pages, first_received_at_ms, last_received_at_ms)"
            " VALUES (3, 1, 't2', 'segment.users.sync', 1, 5, 5)"
        )
    async with opened(maker) as store:
        await store.accept(page("t2", remove=["anna"]))
        await fold_all(store)
        assert (await store.accept(page("t1", add=["anna"], number=3))).status is ReceiptStatus.SUPERSEDED
        assert "anna" not in maker.facts().wanted()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_to_upgrade_have_rows_in_every_table(maker, version):
    make_store_file(maker.database, version)
    assert tables_without_rows(maker.database) == []
    assert faults_of(maker.database) == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_file_of_any_schema_is_brought_up_to_date_with_all_it_holds(maker, tmp_path, version):
    make_store_file(maker.database, version)
    before = maker.facts()
    async with opened(maker) as store:
        assert maker.facts() == before
        check_invariants(before, store)
    fresh = SqliteStoreMaker(tmp_path / "fresh")
    await (await fresh.open()).close()
    assert schema_of(maker.database) == schema_of(fresh.database)
    assert version_of(maker.database) == NEWEST
    assert faults_of(maker.database) == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_list_that_was_held_says_why_and_one_that_was_asked_for_is_doubted(maker, version):
    make_store_file(maker.database, version)
    async with opened(maker) as store:
        lists = {each.name: each for each in await store.segments()}
    assert {name: each.list_held_for for name, each in lists.items() if each.list_held_for} == {
        "New": HeldFor.AWAITING_APPROVAL,
        "Gone": HeldFor.DELETED,
        "Odd": HeldFor.NOT_ACCEPTED,
        "Bad": HeldFor.NAME_REFUSED,
        "Theirs": HeldFor.NOT_OURS,
    }
    assert (lists["Asked"].list_state, lists["Asked"].list_asked_at_ms) == (ListState.CREATING, 1)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_an_older_program_was_told_and_called_is_waited_for(maker, version):
    """It did not say when its last call was: before the store was ours, and later ones are of this life."""
    make_store_file(maker.database, version)
    began = time.monotonic()
    async with opened(maker) as store:
        assert 0 < (await store.take_over_calls("acme")).since_seconds <= time.monotonic() - began
        assert (await store.take_over_calls("acme")).since_seconds == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_work_goes_on_where_the_older_program_left_it(maker, version):
    make_store_file(maker.database, version)
    async with opened(maker) as store:
        await store.accept(page("t2", add=["hugo"], remove=["anna"]))
        await fold_all(store)
        assert {work.contact for work in await send_all(store)} == {
            "email:anna", "email:bert", "email:fritz", "email:gina", "email:hugo"
        }  # fmt: skip
        maker.clock.ms += 60_000
        await store.make_due_pending()
        await fold_all(store)
        assert [work.contact for work in await send_all(store)] == ["email:cleo"]
        assert maker.facts().wanted() == {"bert", "cleo", "dora", "fritz", "gina", "hugo"}
        check_invariants(maker.facts(), store)


@pytest.mark.parametrize("version", OLDER)
async def test_the_copy_made_before_is_the_older_file(maker, version):
    make_store_file(maker.database, version)
    before, schema = maker.facts(), schema_of(maker.database)
    async with opened(maker) as store:
        await store.accept(page("after", add=["hugo"]))
    copy = copy_before(maker.database, NEWEST)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (version_of(copy), schema_of(copy), faults_of(copy)) == (version, schema, [])
    assert facts_in(copy) == before


@pytest.mark.parametrize("version", [0, NEWEST])
async def test_nothing_is_copied_where_there_is_nothing_to_upgrade(maker, tmp_path, version):
    if version:
        make_store_file(maker.database, version)
    await (await maker.open()).close()
    assert {path.name for path in tmp_path.iterdir()} == {"store.db", "store.db.acknowledged"}


async def test_only_the_newest_copies_are_kept(maker, tmp_path, monkeypatch):
    make_store_file(maker.database, OLDER[0])
    real = queries.migrations()
    for added in range(4):
        number = NEWEST + added
        migrations = [*real, *((NEWEST + extra, "SELECT 1;") for extra in range(1, added + 1))]
        monkeypatch.setattr(queries, "migrations", lambda: migrations)  # noqa: B023
        await (await maker.open()).close()
        assert version_of(copy_before(maker.database, number)) == (NEWEST + added - 1 if added else OLDER[0])
    copies = {path.name for path in tmp_path.iterdir() if "before" in path.name}
    assert copies == {f"store.db.before-schema-{NEWEST + added}" for added in (1, 2, 3)}
    assert migrating.copies_before(maker.database)[-1].name == f"store.db.before-schema-{NEWEST + 3}"


async def test_without_room_for_the_copy_nothing_is_touched_and_the_need_is_named(maker, tmp_path, monkeypatch):
    make_store_file(maker.database, OLDER[0])
    before = maker.facts()
    monkeypatch.setattr(copying, "_SPARE_BYTES", 10**18)
    with pytest.raises(StoreOpenError, match=r"needs a copy .* needs 1,000,000,000,001 MB, and .* MB are free"):
        await maker.open()
    assert (version_of(maker.database), maker.facts()) == (OLDER[0], before)
    assert not list(tmp_path.glob("*before*"))


async def test_a_copy_that_cannot_be_written_stops_the_upgrade(maker):
    make_store_file(maker.database, OLDER[0])
    copy_before(maker.database, NEWEST).mkdir()
    with pytest.raises(StoreOpenError, match="before-schema"):
        await maker.open()
    assert version_of(maker.database) == OLDER[0]


async def test_a_migration_that_fails_leaves_the_older_file(maker, monkeypatch):
    make_store_file(maker.database, OLDER[0])
    before, schema = maker.facts(), schema_of(maker.database)
    migrations = [*queries.migrations(), (NEWEST + 1, "CREATE TABLE half (id INTEGER); INSERT INTO none VALUES (1);")]
    monkeypatch.setattr(queries, "migrations", lambda: migrations)
    with pytest.raises(StoreOpenError, match="no such table: none"):
        await maker.open()
    assert (version_of(maker.database), schema_of(maker.database)) == (OLDER[0], schema)
    assert maker.facts() == before


def kill_when(directory: Path, is_time: Callable[[], bool]) -> None:
    """Upgrade in another process and kill it as soon as it has come so far."""
    command = [sys.executable, "-m", "tests.store_upgrade_process", str(directory)]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not is_time():
            assert running.poll() is None, "the upgrade was over before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.0005)
    finally:
        running.kill()
        running.wait()


def size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


async def test_killed_while_copying_the_older_file_is_as_it_was_and_the_next_start_upgrades_it(maker):
    make_store_file(maker.database, OLDER[-1])
    add_settled_members(maker.database, 30_000)
    before = maker.facts()
    partial = partial_copy(copy_before(maker.database, NEWEST + 1))
    kill_when(maker.database.parent, lambda: size_of(partial) > 1_000_000)
    assert version_of(maker.database) == OLDER[-1]
    assert not copy_before(maker.database, NEWEST + 1).exists()
    assert facts_in(maker.database) == before
    await (await maker.open()).close()
    assert (version_of(maker.database), faults_of(maker.database)) == (NEWEST, [])
    assert version_of(copy_before(maker.database, NEWEST)) == OLDER[-1]


async def test_killed_while_migrating_the_older_file_is_as_it_was_and_the_next_start_upgrades_it(maker):
    make_store_file(maker.database, OLDER[-1])
    before, schema = maker.facts(), schema_of(maker.database)
    wal = maker.database.with_name("store.db-wal")
    kill_when(maker.database.parent, lambda: size_of(wal) > 1_000_000)
    assert facts_in(copy_before(maker.database, NEWEST + 1)) == before
    assert (version_of(maker.database), schema_of(maker.database)) == (OLDER[-1], schema)
    async with opened(maker):
        assert (version_of(maker.database), maker.facts()) == (NEWEST, before)
    assert faults_of(maker.database) == []
