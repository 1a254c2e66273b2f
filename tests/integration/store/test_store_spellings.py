"""Several user ids of one contact (R4): wanted on the list as long as any of them is in the segment."""

import contextlib
import sqlite3

import pytest

from service.model.deliveries import ReceiptStatus
from tests.store_harness import START_MS, check_invariants, drain, fold_all, page, send_all

PLAIN, OTHER, THIRD = "jane@example.com", "Jane@Example.com", " JANE@example.com"


def spellings(maker) -> list[tuple[str, int]]:
    with contextlib.closing(sqlite3.connect(maker.database)) as connection:
        return connection.execute("SELECT user_id, wanted FROM spelling ORDER BY user_id").fetchall()


@pytest.mark.parametrize("removed", [PLAIN, OTHER])
async def test_who_has_another_user_id_in_the_segment_stays_on_the_list(store, maker, removed):
    await store.accept(page("t1", add=[OTHER, PLAIN]))
    await fold_all(store)
    assert [len(work.changes) for work in await send_all(store)] == [1]
    await store.accept(page("t2", remove=[removed]))
    await fold_all(store)
    assert maker.facts().wanted() == {PLAIN}
    assert await send_all(store) == []
    await store.accept(page("t3", remove=[PLAIN, OTHER]))
    await fold_all(store)
    assert [change.wanted for work in await send_all(store) for change in work.changes] == [False]
    assert maker.facts().wanted() == set()


async def test_a_member_put_on_the_list_by_its_plain_user_id_stays_when_another_goes(store, maker):
    await store.accept(page("t1", add=[PLAIN]))
    await fold_all(store)
    assert spellings(maker) == []
    await store.accept(page("t2", remove=[OTHER]))
    await fold_all(store)
    assert maker.facts().wanted() == {PLAIN}
    assert spellings(maker) == [(OTHER, 0), (PLAIN, 1)]
    await store.accept(page("t3", remove=[PLAIN]))
    await fold_all(store)
    assert maker.facts().wanted() == set()


async def test_the_newest_wins_for_each_user_id_alone(store, maker):
    await store.accept(page("new", add=[OTHER], remove=[PLAIN]))
    await fold_all(store)
    late = page("old", add=[PLAIN], remove=[OTHER], signed_at_ms=START_MS - 1_000)
    assert (await store.accept(late)).status is ReceiptStatus.SUPERSEDED
    await fold_all(store)
    assert maker.facts().wanted() == {PLAIN}
    assert spellings(maker) == [(OTHER, 1), (PLAIN, 0)]
    assert maker.facts().sync("old").overtaken_users == 2
    await store.accept(page("older", add=[THIRD], signed_at_ms=START_MS - 2_000))
    await store.accept(page("newest", remove=[OTHER], signed_at_ms=START_MS))
    await fold_all(store)
    assert maker.facts().wanted() == {PLAIN}


async def test_within_a_page_removing_comes_last_for_each_user_id(store, maker):
    await store.accept(page("t", add=[PLAIN, OTHER], remove=[OTHER]))
    await fold_all(store)
    assert maker.facts().wanted() == {PLAIN}
    assert spellings(maker) == [(OTHER, 0), (PLAIN, 1)]


async def test_a_drain_ends_all_user_ids_and_no_older_page_brings_one_back(store, maker):
    await store.accept(page("t1", add=[PLAIN, OTHER, THIRD], of=2))
    await store.accept(page("newer", add=["john@example.com", "John@example.com"], signed_at_ms=START_MS + 9))
    await fold_all(store)
    await store.accept(drain("1", signed_at_ms=START_MS))
    await store.accept(page("t1", add=[OTHER], number=2, of=2))
    await fold_all(store)
    assert maker.facts().wanted() == set()
    assert all(wanted == 0 for _, wanted in spellings(maker))


async def test_a_drain_of_the_only_member_ends_all_its_user_ids(store, maker):
    await store.accept(page("t1", add=[PLAIN, OTHER]))
    await store.accept(drain("1"))
    await fold_all(store)
    assert maker.facts().wanted() == set()
    assert spellings(maker) == [(OTHER, 0), (PLAIN, 0)]


async def test_the_page_that_removes_the_last_user_id_is_the_one_that_took_the_member_off(store, maker):
    await store.accept(page("t1", add=[OTHER, THIRD]))
    await fold_all(store)
    await store.accept(page("t2", remove=[OTHER], number=1, of=2))
    await store.accept(page("t2", remove=[THIRD], number=2, of=2))
    await fold_all(store)
    assert maker.facts().wanted() == set()
    with maker.connection() as connection:
        said_by = connection.execute("SELECT page_number FROM member JOIN delivery ON delivery.id = delivery_id")
        assert said_by.fetchall() == [(2,)]


async def test_the_same_sync_saying_the_same_of_user_ids_again_is_not_looked_at_when_sending(store, maker):
    await store.accept(page("t", add=[PLAIN, OTHER], of=2))
    await fold_all(store)
    await send_all(store)
    await store.accept(page("t", add=[PLAIN, OTHER], of=2, body="sent again, differently"))
    await store.accept(page("t", add=["john@example.com"], number=2, of=2))
    await fold_all(store)
    assert {contact for _, contact in maker.facts().to_send} == {"email:john@example.com"}


async def test_another_user_id_of_who_is_on_the_list_leaves_nothing_to_look_at(store, maker):
    await store.accept(page("t", add=[PLAIN], of=2))
    await fold_all(store)
    await send_all(store)
    await store.accept(page("t", add=[OTHER], number=2, of=2))
    await fold_all(store)
    assert spellings(maker) == [(OTHER, 1), (PLAIN, 1)]
    assert maker.facts().to_send == set()


async def test_plain_user_ids_cost_no_row_of_their_own(store, maker):
    await store.accept(
        page("t", add=[f"user{number}@example.com" for number in range(600)], remove=["gone@example.com"])
    )
    await fold_all(store)
    assert spellings(maker) == []


@pytest.mark.parametrize("is_folded", [False, True])
async def test_an_erasure_removes_every_user_id(store, maker, is_folded):
    await store.accept(page("t", add=[OTHER, THIRD, "john@example.com", "John@example.com"]))
    if is_folded:
        await fold_all(store)
    await store.erasures.request("acme", [f"email:{PLAIN}"], keep_on_lists=True, actor="key 1")
    await store.erasures.advance()
    await fold_all(store)
    await store.erasures.advance()
    check_invariants(maker.facts(), store)
    assert maker.facts().wanted() == {"john@example.com"}
    assert {user_id.lower() for user_id, _ in spellings(maker)} == {"john@example.com"}
    assert await store.empty_wal()
    assert b"jane@" not in maker.database.read_bytes().lower()


async def test_an_erasure_takes_a_member_with_several_user_ids_off_the_list(store, maker):
    await store.accept(page("t", add=[OTHER, PLAIN]))
    await fold_all(store)
    await send_all(store)
    await store.erasures.request("acme", [f"email:{PLAIN}"], keep_on_lists=False, actor="key 1")
    await store.erasures.advance()
    await fold_all(store)
    await send_all(store)
    await store.erasures.advance()
    assert await store.erasures.open() == []
    assert maker.facts().members == []
    assert spellings(maker) == []
