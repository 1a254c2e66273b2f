"""What is counted over all that an import carries: in steps, because SQLite keeps in memory what it groups."""

import re

import pytest

from service.model.imports import Expected, ImportState
from service.store.sqlite import queries
from service.store.sqlite.store import SqliteStore
from tests.store_harness import ACCOUNTS, fold_all, page

USERS = [f"user{number:02}@example.com" for number in range(40)]


@pytest.fixture
async def store(tmp_path):
    opened = await SqliteStore.open(tmp_path / "store.db", ACCOUNTS, max_backlog=1_000_000)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.mark.parametrize("users_per_step", [1, 7, 40, 10_000])
async def test_the_counts_are_those_of_all_steps_together(store, users_per_step, monkeypatch):
    """Steps end between contacts, though some have changes for two lists; a third list's changes wait for them."""
    await store.accept(page("one", segment="1", add=USERS))
    await store.accept(page("two", segment="2", add=USERS[:25]))
    await store.accept(page("two more", segment="2", remove=USERS[20:25]))
    await store.accept(page("three", segment="3", add=USERS[30:]))
    await fold_all(store)
    ids = {segment.heap_id: segment.id for segment in await store.segments()}
    await store.imports.begin("acme", [ids["1"], ids["2"]])
    while (current := await store.imports.current("acme")) is None or current.state is ImportState.GATHERING:
        await store.imports.gather_some("acme", (), 1_000_000)
    monkeypatch.setattr("service.store.sqlite.imports._MEMBERS_PER_STEP", users_per_step)
    assert await store.imports.held_back("acme") == {ids["1"]: 40, ids["2"]: 25, ids["3"]: 10}
    assert await store.imports.expected_counts("acme") == [
        Expected(ids["1"], "", least=40, most=40, additions=40, removals=0),
        Expected(ids["2"], "", least=20, most=20, additions=20, removals=5),
    ]


async def test_only_a_step_is_sorted(store):
    class Nothing(dict[str, None]):
        def __missing__(self, name: str) -> None:
            return None

    plans = await store._writer._connection.run(
        lambda connection: {
            name: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", Nothing())]
            for name, text in queries.load("imports").items()
        }
    )
    sorting = {name: plan for name, plan in plans.items() if any("TEMP B-TREE FOR GROUP BY" in step for step in plan)}
    # `late` reads few pieces (`many_late`).
    assert sorting.keys() >= {"held_back", "travelling"}
    for name in sorting.keys() - {"late"}:
        [search] = [step for step in sorting[name] if re.match("SEARCH import_change", step)]
        assert "contact>? AND contact<?" in search, name
