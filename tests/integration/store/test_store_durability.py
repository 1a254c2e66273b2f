"""What was acknowledged is on disk (R1, R6), told by other processes and connections."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path

import pytest

from service.store.sqlite import queries
from service.store.sqlite.opening import APPLICATION_ID
from tests.store_harness import Store, check_invariants, fold_all, page, send_all
from tests.store_sqlite import SqliteStoreMaker

ROOT = Path(__file__).parents[3]


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


async def cancel_while_writing(store: Store, asking: Coroutine[object, object, object]) -> None:
    """Let someone ask for a write and go away before it is done."""
    task = asyncio.create_task(asking)
    while not store._writer._waiting:  # noqa: ASYNC110  nothing tells of a request that came in
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def process(program: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.store_process", program, str(directory)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def said_by(program: str, directory: Path) -> str:
    command = [sys.executable, "-m", "tests.store_process", program, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


async def test_a_delivery_is_committed_when_accept_returns(store, maker):
    for number in range(5):
        await store.accept(page("t1", add=[f"a{number}"], number=number))
        assert maker.facts().deliveries == number + 1


async def test_results_are_committed_when_settle_returns(store, maker):
    await store.accept(page("t1", add=["a"]))
    await fold_all(store)
    assert maker.facts().sync("t1").settled == 0
    await send_all(store)
    assert maker.facts().sync("t1").settled == 1


async def test_the_file_is_set_up_to_survive_a_power_cut(store):
    def read(connection):
        names = ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    full, newest = 2, queries.migrations()[-1][0]
    assert await store._writer._connection.run(read) == ["wal", full, 1, APPLICATION_ID, newest]


async def test_those_who_come_together_share_a_commit(store):
    commits = []

    def watch(connection):
        connection.set_trace_callback(lambda statement: commits.append(1) if statement == "COMMIT" else None)

    await store._writer._connection.run(watch)
    receipts = await asyncio.gather(*(store.accept(page(f"t{number}", add=["a"])) for number in range(200)))
    assert len({receipt.delivery_id for receipt in receipts}) == 200
    assert 1 <= len(commits) <= 10


async def test_one_that_fails_does_not_take_the_others_of_its_commit_along(store, maker):
    def fail_half_way(connection):
        connection.execute("DELETE FROM delivery")
        raise ZeroDivisionError

    results = await asyncio.gather(
        store.accept(page("t1", add=["a"])),
        store._writer.run(fail_half_way),
        store.accept(page("t2", add=["b"])),
        return_exceptions=True,
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert [sync.task_id for sync in maker.facts().syncs] == ["t1", "t2"]
    assert maker.facts().deliveries == 2


async def test_a_fault_after_the_commit_does_not_stop_the_writer(store, maker):
    with pytest.raises(ZeroDivisionError):
        await store._writer.run(lambda _: 0, on_commit=lambda zero: 1 / zero)
    await store.accept(page("t1", add=["a"]))
    assert maker.facts().deliveries == 1


async def test_who_stops_waiting_for_accept_leaves_memory_and_disk_equal(store, maker):
    tasks = [asyncio.create_task(store.accept(page(f"t{number}", add=["a", "b"]))) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 25
    await store.accept(page("last", add=["a"]))
    check_invariants(maker.facts(), store)
    assert maker.facts().deliveries == store.backlog.total // 2 + 1


async def test_who_stops_waiting_for_fold_and_settle_leaves_memory_and_disk_equal(store, maker):
    await store.accept(page("t1", add=["a", "b"]))
    await cancel_while_writing(store, store.fold_next())
    await store.accept(page("t2", add=["c"]))
    check_invariants(maker.facts(), store)
    await fold_all(store)
    await cancel_while_writing(store, send_all(store))
    await store.accept(page("t3", add=["d"]))
    check_invariants(maker.facts(), store)


async def test_all_that_was_acknowledged_survives_a_kill(maker, tmp_path):
    with process("accept_without_end", tmp_path) as running:
        assert running.stdout is not None
        acknowledged = [running.stdout.readline().strip() for _ in range(150)]
        running.kill()
        acknowledged += [line.strip() for line in running.stdout if line.endswith("\n")]
    with maker.connection() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store = await maker.open()
    check_invariants(maker.facts(), store)
    await fold_all(store)
    facts = maker.facts()
    check_invariants(facts, store)
    syncs = {sync.task_id: sync for sync in facts.syncs}
    assert set(acknowledged) <= syncs.keys()
    assert {sync.changes for sync in facts.syncs} == {50}
    assert len(facts.wanted()) == 50 * len(syncs)
    await store.close()


async def test_out_of_room_it_refuses_and_recovers_by_itself(maker, tmp_path):
    said = said_by("fill_the_disk", tmp_path).splitlines()
    assert said[0].startswith("refused: the store cannot write: ")
    assert said[1].startswith("not folded: the store cannot write: ")
    assert said[2] != "fault: None"
    assert said[3] == "fault: None"
    store = await maker.open()
    facts = maker.facts()
    check_invariants(facts, store)
    accepted = facts.deliveries - 1
    assert accepted > 0
    assert said[4] == f"accepted: {accepted} backlog: {accepted * 1_000 + 1}"
    assert len(facts.wanted()) == accepted * 1_000 + 1
    await store.close()
