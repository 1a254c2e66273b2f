"""Newest wins (R4): what the ledger wants after pages in any order."""

import asyncio

import pytest

from service.model.changes import MemberState
from service.model.deliveries import Delivery
from tests.store_harness import Store, check_invariants, claim_all, fold_all, page, send_all


async def accept_and_fold(store: Store, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        await store.accept(delivery)
    await fold_all(store)


@pytest.mark.parametrize("sent_between", [False, True])
async def test_a_late_page_of_an_old_sync_cannot_undo_a_newer_one(store, maker, sent_between):
    await accept_and_fold(store, page("old", add=["x"], of=2), page("new", remove=["a"]))
    if sent_between:
        await send_all(store)
    await accept_and_fold(store, page("old", add=["a", "b"], number=2, of=2))
    assert maker.facts().wanted() == {"x", "b"}
    assert maker.facts().sync("old").changes == 2


async def test_precedence_is_the_order_of_first_sight_not_of_the_last_page(store, maker):
    await accept_and_fold(
        store,
        page("first", add=["a"], number=1, of=2),
        page("second", remove=["a", "b"]),
        page("first", add=["b"], number=2, of=2),
    )
    assert maker.facts().wanted() == set()


async def test_within_one_sync_the_later_received_wins(store, maker):
    await accept_and_fold(store, page("t", add=["a"], number=2), page("t", remove=["a"], number=1))
    assert maker.facts().wanted() == set()
    await accept_and_fold(store, page("t", add=["a"], number=3))
    assert maker.facts().wanted() == {"a"}
    assert maker.facts().sync("t").changes == 1


async def test_added_then_removed_costs_one_call(store, maker):
    await accept_and_fold(store, page("t", add=["a"], number=1), page("t", remove=["a"], number=2))
    (work,) = await send_all(store)
    assert [change.wanted for change in work.changes] == [False]
    assert maker.facts().states() == {"a": MemberState.SETTLED}


async def test_the_same_sync_saying_the_same_again_says_nothing_new(store, maker):
    await accept_and_fold(store, page("t", add=["a"], remove=["b"]))
    await send_all(store)
    await accept_and_fold(store, page("t", add=["a"], remove=["b"], body="sent again, differently"))
    assert store.backlog.total == 0
    assert await send_all(store) == []
    assert maker.facts().sync("t").changes == 2


async def test_a_newer_sync_saying_the_same_sends_it_again(store, maker):
    await accept_and_fold(store, page("t1", add=["a"]))
    await send_all(store)
    await accept_and_fold(store, page("t2", add=["a"]))
    assert len(await send_all(store)) == 1
    facts = maker.facts()
    assert (facts.sync("t1").settled, facts.sync("t2").settled) == (1, 1)
    assert facts.segments[0].members == facts.segments[0].settled == 1


async def test_what_a_newer_sync_overtakes_counts_as_superseded(store, maker):
    await accept_and_fold(store, page("t1", add=["a", "b"]), page("t2", remove=["a"]))
    sync = maker.facts().sync("t1")
    assert (sync.changes, sync.pending, sync.superseded) == (2, 1, 1)
    await send_all(store)
    assert maker.facts().sync("t1").drained_at_ms is not None


async def test_segments_and_accounts_do_not_touch_each_other(store, maker):
    await accept_and_fold(
        store,
        page("t1", add=["a"]),
        page("t2", remove=["a"], segment="8"),
        page("t3", remove=["a"], account="globex"),
    )
    facts = maker.facts()
    assert facts.wanted() == {"a"}
    assert facts.wanted("8") == facts.wanted(account="globex") == set()
    works, _ = await claim_all(store)
    # Both lists of the contact travel in one call (R5); the other account's do not.
    assert [[change.wanted for change in work.changes] for work in works] == [[True, False]]
    works, _ = await claim_all(store, "globex")
    assert [[change.wanted for change in work.changes] for work in works] == [[False]]


@pytest.mark.usefixtures("small_pieces")
async def test_order_holds_across_pieces_and_folds(store, maker):
    users = [f"user{number}" for number in range(25)]
    await store.accept(page("t1", add=users))
    await store.accept(page("t2", remove=users[::2]))
    await store.accept(page("t1", add=users, number=2))
    while (await store.fold_next()).more:
        check_invariants(maker.facts(), store)
        await asyncio.sleep(0)
    assert maker.facts().wanted() == set(users[1::2])


async def test_pages_folded_together_repeat_each_other_without_effect(store, maker):
    """Of pages that say the same of a user the first counts; one that says nothing new leaves nothing to send."""
    await accept_and_fold(
        store,
        page("t", add=["a", "b"], number=1, of=3),
        page("t", add=["b", "c"], number=2, of=3),
        page("t", add=["c", "a"], number=3, of=3),
    )
    assert maker.facts().wanted() == {"a", "b", "c"}
    assert maker.facts().sync("t").changes == 3
    assert sorted(work.contact for work in await send_all(store)) == ["email:a", "email:b", "email:c"]
    with maker.connection() as connection:
        said_by = dict(
            connection.execute("SELECT contact, page_number FROM member JOIN delivery ON delivery.id = delivery_id")
        )
    assert said_by == {"email:a": 1, "email:b": 1, "email:c": 2}
    check_invariants(maker.facts(), store)


async def test_thousands_of_users_in_a_page(store, maker):
    users = [f"user{number}@example.com" for number in range(5_500)]
    await accept_and_fold(store, page("t1", add=users[:4_000], remove=users[4_000:]))
    assert maker.facts().wanted() == set(users[:4_000])
    works = await send_all(store)
    assert len(works) == 5_500
    assert store.backlog.total == 0
