"""Newest wins (R4): what the ledger wants after pages in any order."""

import asyncio

import pytest

from service.model.changes import MemberState
from service.model.deliveries import Delivery, ReceiptStatus
from tests.store_harness import START_MS, Store, check_invariants, claim_all, drain, fold_all, page, send_all


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


async def test_precedence_is_that_of_the_first_page_not_of_the_last(store, maker):
    await accept_and_fold(
        store,
        page("first", add=["a"], number=1, of=2),
        page("second", remove=["a", "b"]),
        page("first", add=["b"], number=2, of=2),
    )
    assert maker.facts().wanted() == set()


async def accept(store: Store, delivery: Delivery) -> ReceiptStatus:
    return (await store.accept(delivery)).status


@pytest.mark.parametrize("folded_between", [False, True])
async def test_a_sync_signed_earlier_loses_although_it_arrives_later(store, maker, folded_between):
    await store.accept(page("signed 80 s ago", remove=["a"], signed_at_ms=START_MS - 80_000))
    if folded_between:
        await fold_all(store)
    late = page("signed 200 s ago", add=["a"], signed_at_ms=START_MS - 200_000)
    # Not yet in the ledger, what the newer one says is found when the late page is folded.
    assert await accept(store, late) is (ReceiptStatus.SUPERSEDED if folded_between else ReceiptStatus.ACCEPTED)
    await fold_all(store)
    facts = maker.facts()
    assert facts.wanted() == set()
    assert (facts.sync("signed 200 s ago").changes, facts.sync("signed 200 s ago").overtaken_users) == (0, 1)
    assert maker.facts().superseded == 1
    check_invariants(facts, store)


async def test_a_signature_from_the_future_is_no_newer_than_its_arrival(store, maker):
    await accept_and_fold(
        store,
        page("ahead", add=["a"], signed_at_ms=START_MS + 100_000, received_at_ms=START_MS),
        page("right", remove=["a"], signed_at_ms=START_MS + 1_000, received_at_ms=START_MS + 1_000),
    )
    assert maker.facts().wanted() == set()


async def test_of_syncs_signed_at_one_moment_the_later_received_wins(store, maker):
    await accept_and_fold(store, page("one", add=["a"]), page("two", remove=["a"]))
    assert maker.facts().wanted() == set()


async def test_a_later_page_signed_earlier_does_not_age_its_sync(store, maker):
    await accept_and_fold(
        store,
        page("t", add=["a"], number=2, of=2, signed_at_ms=START_MS - 1_000),
        page("between", remove=["b"], signed_at_ms=START_MS - 2_000),
        page("t", add=["b"], number=1, of=2, signed_at_ms=START_MS - 3_000),
    )
    assert maker.facts().wanted() == {"a", "b"}


async def test_a_page_overtaken_in_part_is_accepted_and_counts_who_came_too_late(store, maker):
    await accept_and_fold(store, page("new", remove=["a"]))
    late = page("old", add=["a", "b"], signed_at_ms=START_MS - 1_000)
    assert await accept(store, late) is ReceiptStatus.ACCEPTED
    await fold_all(store)
    assert maker.facts().wanted() == {"b"}
    assert maker.facts().sync("old").overtaken_users == 1
    assert maker.facts().superseded == 0


async def test_a_page_that_still_removes_somebody_is_not_answered_as_overtaken(store, maker):
    """Whom it adds and whom it removes are kept apart; those alone of whom it adds were named by the newer one."""
    await accept_and_fold(store, page("new", add=["a"]))
    assert await accept(store, page("old", add=["a"], remove=["b"], signed_at_ms=START_MS - 1_000)) is (
        ReceiptStatus.ACCEPTED
    )
    await fold_all(store)
    assert maker.facts().sync("old").overtaken_users == 1


async def test_a_page_that_names_nobody_is_overtaken_by_nothing(store):
    await accept_and_fold(store, page("new", add=["a"]))
    for signed_at_ms in (START_MS - 1_000, START_MS + 1_000):
        empty = page(f"empty {signed_at_ms}", signed_at_ms=signed_at_ms, received_at_ms=signed_at_ms)
        assert await accept(store, empty) is ReceiptStatus.ACCEPTED


async def test_a_page_found_to_be_overtaken_when_it_is_folded_is_shown_so(store, maker):
    await store.accept(page("new", remove=["a"]))
    assert await accept(store, page("old", add=["a"], signed_at_ms=START_MS - 1_000)) is ReceiptStatus.ACCEPTED
    assert maker.facts().superseded == 0
    await fold_all(store)
    assert maker.facts().superseded == 1


@pytest.mark.parametrize(("newer", "superseded"), [(["a", "b"], 1), (["a"], 0), (["b"], 0)])
async def test_a_page_is_overtaken_once_both_whom_it_adds_and_whom_it_removes_are(store, maker, newer, superseded):
    await store.accept(page("new", add=newer))
    await store.accept(page("old", add=["a"], remove=["b"], signed_at_ms=START_MS - 1_000))
    await fold_all(store)
    assert maker.facts().sync("old").overtaken_users == len(newer)
    assert maker.facts().superseded == superseded


@pytest.mark.parametrize("folded_between", [False, True])
async def test_what_a_drain_has_overtaken_is_answered_so_before_it_is_folded(store, maker, folded_between):
    await accept_and_fold(store, page("t", add=["a"], of=2, signed_at_ms=START_MS - 9_000))
    await store.accept(drain("1", signed_at_ms=START_MS - 5_000))
    if folded_between:
        await fold_all(store)
    assert await accept(store, page("t", add=["b", "c"], number=2, of=2)) is ReceiptStatus.SUPERSEDED
    assert await accept(store, drain("0", signed_at_ms=START_MS - 8_000)) is ReceiptStatus.SUPERSEDED
    await fold_all(store)
    assert maker.facts().wanted() == set()
    assert maker.facts().sync("t").overtaken_users == 2


async def test_an_older_drain_that_comes_late_lets_no_older_page_in_again(store, maker):
    await accept_and_fold(
        store,
        drain("new", signed_at_ms=START_MS - 1_000),
        drain("old", signed_at_ms=START_MS - 9_000),
        page("between", add=["a"], signed_at_ms=START_MS - 5_000),
    )
    assert maker.facts().wanted() == set()


async def test_a_drain_takes_off_only_what_older_syncs_put_on(store, maker):
    await accept_and_fold(
        store,
        page("older", add=["a"], signed_at_ms=START_MS - 9_000),
        page("newer", add=["b"], signed_at_ms=START_MS - 1_000),
        drain("between", signed_at_ms=START_MS - 5_000),
    )
    assert maker.facts().wanted() == {"b"}


async def test_within_one_sync_the_later_received_wins(store, maker):
    await accept_and_fold(store, page("t", add=["a"], number=2), page("t", remove=["a"], number=1))
    assert maker.facts().wanted() == set()
    # A sync does not overtake itself.
    assert await accept(store, page("t", add=["a"], number=3)) is ReceiptStatus.ACCEPTED
    await fold_all(store)
    assert maker.facts().wanted() == {"a"}
    assert (maker.facts().sync("t").changes, maker.facts().sync("t").overtaken_users) == (1, 0)


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
