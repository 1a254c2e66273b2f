"""Imports of many accounts at once take turns, so that what Heap waits for does not queue behind all of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection

import pytest

from service.store.sqlite.store import SqliteStore
from tests.store_harness import fold_all, page

ACCOUNTS = [f"account{number}" for number in range(20)]
USERS = 200


@contextlib.asynccontextmanager
async def no_calls() -> AsyncIterator[Collection[str]]:
    """Stand for an account that has no calls on their way."""
    yield ()


@pytest.fixture
async def store(tmp_path, monkeypatch) -> AsyncIterator[SqliteStore]:
    """A store in which every account has a segment to be gathered, in forty steps."""
    monkeypatch.setattr("service.store.sqlite.importing._MEMBERS_PER_STEP", USERS // 40)
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
    gathered = await store.imports.gather(account, [segment_id], no_calls, 1_000_000)
    assert gathered is not None
    return gathered.contacts


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
