"""What the queries of the busy paths read: by an index, or a bounded piece, never a whole table."""

import re
import sqlite3

import pytest

from service.store.sqlite import queries
from tests.store_sqlite import SqliteStoreMaker

LARGE = {"member", "due", "piece", "delivery", "sync", "failure"}
STATEMENTS = {
    f"{file}.{name}": text
    for file in ("accept", "fold", "ledger", "precedence", "spelling", "claim", "settle", "guard", "confirmed")
    for name, text in queries.load(file).items()
    if "CREATE " not in text
}
# It looks at the first row, and stops.
BOUNDED = {"ledger.any_failure"}


class Nothing(dict[str, None]):
    """Parameters for any statement: a plan does not depend on them."""

    def __missing__(self, name: str) -> None:
        return None


def plan(connection: sqlite3.Connection, text: str) -> list[str]:
    parameters = [None] * text.count("?") or Nothing()
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]


@pytest.fixture
async def plans(tmp_path):
    store = await SqliteStoreMaker(tmp_path).open()
    try:
        yield await store._writer._connection.run(
            lambda connection: {name: plan(connection, text) for name, text in STATEMENTS.items()}
        )
    finally:
        await store.close()


async def test_no_large_table_is_read_from_end_to_end(plans):
    assert len(plans) > 30
    # A table of the same name that a JSON array is read as is not meant: its scan says VIRTUAL TABLE.
    scans = {
        name: step
        for name, steps in plans.items()
        for step in steps
        if (found := re.match(r"SCAN (\w+)\b(?! VIRTUAL)", step)) and found[1] in LARGE
    }
    assert scans.keys() == BOUNDED


async def test_the_ledger_is_searched_by_contact(plans):
    """An account's whole part of the ledger is as good as all of it."""
    searches = {
        name: step for name, steps in plans.items() for step in steps if re.match(r"SEARCH (member|due)\b", step)
    }
    assert searches.keys() >= {
        "fold.stage_contacts",
        "fold.members_to_drain",
        "claim.claim",
        "ledger.settle",
        "ledger.make_pending",
    }
    assert {name: step for name, step in searches.items() if "account_id=? AND contact" not in step} == {}


async def test_what_people_sort_is_read_in_that_order(tmp_path):
    """There may be a million failures, and 200,000 syncs: an order is an index, or that of a few."""
    read = queries.load("read")
    orders = [
        "first_syncs",
        "other_syncs",
        "failures_by_latest",
        "failures_by_trouble",
        "failures_by_name",
        "failures_after",
    ]
    store = await SqliteStoreMaker(tmp_path).open()
    try:
        plans = await store._writer._connection.run(
            lambda connection: {name: plan(connection, read[name]) for name in orders}
        )
    finally:
        await store.close()
    assert {name for name in orders if "USE TEMP B-TREE FOR ORDER BY" in plans[name]} == {"first_syncs"}
    # Only those that are open, incomplete or failed.
    assert {step for step in plans["first_syncs"] if step.startswith("SCAN sync")} == {
        "SCAN sync USING INDEX sync_open",
        "SCAN sync USING INDEX sync_incomplete",
        "SCAN sync USING INDEX sync_failed",
    }


async def test_what_is_counted_each_second_is_few_or_in_an_index(tmp_path):
    read = queries.load("read")
    store = await SqliteStoreMaker(tmp_path).open()
    try:
        plans = await store._writer._connection.run(
            lambda connection: {name: plan(connection, read[name]) for name in ("sync_states", "failure_reasons")}
        )
    finally:
        await store.close()
    assert {step for step in plans["sync_states"] if step.startswith("SCAN sync")} == {
        "SCAN sync USING INDEX sync_open",
        "SCAN sync USING INDEX sync_incomplete",
        "SCAN sync USING INDEX sync_failed",
    }
    [step] = [step for step in plans["failure_reasons"] if "failure" in step]
    assert "COVERING INDEX failure_group" in step


async def test_nothing_is_sorted_that_could_be_large(plans):
    sorting = {name for name, steps in plans.items() for step in steps if "USE TEMP B-TREE FOR ORDER BY" in step}
    assert sorting == set()


async def test_writing_much_of_the_ledger_keeps_no_copy_of_its_pages(tmp_path):
    """SQLite keeps one, in memory, if a statement may have to be undone alone: where a broken rule aborts only it."""
    store = await SqliteStoreMaker(tmp_path).open()
    try:
        steps = await store._writer._connection.run(
            lambda connection: {
                name: connection.execute(f"EXPLAIN {STATEMENTS[name]}", Nothing()).fetchall()
                for name in ("ledger.write_known", "ledger.write_new", "ledger.settle")
            }
        )
    finally:
        await store.close()
    aborts_statement = 2
    for name, program in steps.items():
        halts = [step for step in program if step[1] in {"Halt", "HaltIfNull"} and step[2] != 0]
        assert halts, name
        assert all(on_error != aborts_statement for _, _, _, on_error, *_ in halts), name
