"""Imports of many accounts at once take turns, so that what Heap waits for does not queue behind all of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.model.imports import ImportState
from service.store.sqlite.store import SqliteStore
from tests.store_harness import fold_all, page

ACCOUNTS = [f"account{number}" for number in range(20)]
USERS = 200


@pytest.fixture
async def store(tmp_path, monkeypatch) -> AsyncIterator[SqliteStore]:
    """A store in which every account has a segment to be gathered, in forty steps."""
    monkeypatch.setattr("service.store.sqlite.imports._MEMBERS_PER_STEP", USERS // 40)
    opened = await SqliteStore.open(tmp_path / "store.db", ACCOUNTS, max_backlog=1_000_000)
    try:
        for account in ACCOUNTS:
            await opened.accept(
                page("first", account=account, add=[f"user{number}@example.com" for number in range(USERS)])
            )
        await fold_all(opened)
        yield opened
    finally:
        await opened.close()


async def gather(store: SqliteStore, account: str) -> int:
    [segment_id] = [segment.id for segment in await store.segments() if segment.account == account]
    await store.imports.begin(account, [segment_id])
    while (current := await store.imports.current(account)) is None or current.state is ImportState.GATHERING:
        await store.imports.gather_some(account, (), 1_000_000)
    return current.contacts


async def test_a_page_waits_for_one_step_however_many_accounts_import(store):
    gathering = [asyncio.create_task(gather(store, account)) for account in ACCOUNTS]
    begun = store._writer.commits
    while store._writer.commits < begun + 2 * len(ACCOUNTS):  # noqa: ASYNC110  the writer tells nobody of its commits
        await asyncio.sleep(0)
    assert not any(task.done() for task in gathering)
    before = store._writer.commits
    await store.accept(page("second", account=ACCOUNTS[0], add=["late@example.com"]))
    # The step that was being committed, perhaps one more that was handed over, and the page itself.
    assert store._writer.commits - before <= 3
    assert not any(task.done() for task in gathering)
    assert await asyncio.gather(*gathering) == [USERS] * len(ACCOUNTS)
