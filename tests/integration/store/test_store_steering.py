"""What operators and repairs change in the ledger: whom they mean, and nobody else."""

import pytest

from service.model.changes import FailureSelection, MemberState
from tests.store_harness import (
    ACCOUNTS,
    START_MS,
    Facts,
    Store,
    StoreMaker,
    accepted_by_cordial,
    claim_all,
    drain,
    failed,
    fold_all,
    page,
)

LATER_MS = START_MS + 60_000
A, B = "email:a", "email:b"


async def send_of_both_accounts(store: Store, *, fails: bool = False, retry_at_ms: int | None = None) -> None:
    for account in ACCOUNTS:
        works, pieces = await claim_all(store, account)
        await store.settle(
            [
                failed(work, change, account, retry_at_ms=retry_at_ms, attempts=4)
                if fails
                else accepted_by_cordial(work, change, account)
                for work in works
                for change in work.changes
            ],
            pieces,
        )


@pytest.fixture
async def lists(store: Store, maker: StoreMaker) -> list[int]:
    """Make three segments with the same two members: two of one account and one of another; return their ids."""
    for account, segment in (("acme", "7"), ("acme", "8"), ("globex", "7")):
        await store.accept(page("t", add=["a", "b"], segment=segment, account=account))
    await fold_all(store)
    return [segment.id for segment in maker.facts().segments]


def in_state(facts: Facts, state: MemberState) -> set[tuple[int, str]]:
    return {(row.segment_id, row.contact) for row in facts.members if row.state is state}


@pytest.mark.parametrize("retry_at_ms", [None, LATER_MS], ids=["dead", "waiting"])
@pytest.mark.parametrize("is_one", [False, True], ids=["a segment's", "one"])
async def test_a_retry_gives_the_chosen_failures_their_attempts_anew(store, maker, lists, retry_at_ms, is_one):
    await send_of_both_accounts(store, fails=True, retry_at_ms=retry_at_ms)
    selection = FailureSelection(segment_id=lists[0])
    if is_one:
        with maker.connection() as connection:
            ids = connection.execute("SELECT id FROM failure WHERE segment_id = ? AND contact = ?", (lists[0], A))
            selection = FailureSelection(ids=[row[0] for row in ids])
    chosen = {(lists[0], A)} if is_one else {(lists[0], A), (lists[0], B)}
    assert (await store.steering.retry_failures(selection, "ann")).changes == len(chosen)
    facts = maker.facts()
    assert in_state(facts, MemberState.PENDING) == chosen
    for failure in facts.failures:
        is_chosen = (failure.segment_id, failure.contact) in chosen
        assert (failure.dead, failure.attempts) == ((False, 0) if is_chosen else (retry_at_ms is None, 4))
        assert failure.failures == 1
    await fold_all(store)
    works, _ = await claim_all(store)
    assert {(change.segment_id, work.contact) for work in works for change in work.changes} == chosen
    # Of what may be sent now no call is planned.
    assert await store.make_due_pending() == retry_at_ms


@pytest.mark.parametrize("include_removed", [False, True])
async def test_a_rebuild_sends_one_segment_again_as_if_nothing_had_been_sent(store, maker, lists, include_removed):
    await send_of_both_accounts(store)
    await store.accept(page("t2", remove=["b"]))
    await fold_all(store)
    await send_of_both_accounts(store)
    chosen = {(lists[0], A), (lists[0], B)} if include_removed else {(lists[0], A)}
    assert await store.steering.rebuild(lists[0], include_removed=include_removed, actor="ann") == len(chosen)
    facts = maker.facts()
    assert in_state(facts, MemberState.PENDING) == chosen
    assert facts.wanted() == {"a"}
    await fold_all(store)
    works, _ = await claim_all(store)
    assert {(work.contact, change.wanted) for work in works for change in work.changes} == {
        (contact, contact == A) for _, contact in chosen
    }


async def test_a_rebuild_forgets_the_failures_of_its_segment_and_no_others(store, maker, lists):
    await send_of_both_accounts(store, fails=True)
    assert await store.steering.rebuild(lists[0], include_removed=False, actor="ann") == 2
    facts = maker.facts()
    assert in_state(facts, MemberState.PENDING) == {(lists[0], A), (lists[0], B)}
    assert {(failure.segment_id, failure.contact) for failure in facts.failures} == {
        (segment, contact) for segment in lists[1:] for contact in (A, B)
    }


async def test_who_came_on_anothers_list_by_mistake_is_removed_there_until_heap_wants_it(store, maker):
    await store.accept(page("t1", add=["a", "b"]))
    await store.accept(page("t2", add=["b"], segment="8", signed_at_ms=START_MS - 5_000))
    await store.accept(page("t3", add=["c"], segment="9"))
    await fold_all(store)
    await send_of_both_accounts(store)
    own, other = (segment.id for segment in maker.facts().segments if segment.heap_id in {"7", "8"})
    # One is removed, and the other list's own member is sent again.
    assert await store.take_back(own, other, within_seconds=60) == 1 + 1
    facts = maker.facts()
    assert in_state(facts, MemberState.PENDING) == {(other, A), (other, B)}
    assert facts.wanted("8") == {"b"}
    with maker.connection() as connection:
        said_by = connection.execute(
            "SELECT sync_id, delivery_id FROM member WHERE segment_id = ? AND contact = ?", (other, A)
        )
        assert said_by.fetchall() == [(0, 0)]
    await fold_all(store)
    works, _ = await claim_all(store)
    assert {(work.contact, change.segment_id, change.wanted) for work in works for change in work.changes} == {
        (A, other, False),
        (B, other, True),
    }
    # No sync has said that he is not wanted there, so one signed before counts.
    await store.accept(page("t2", add=["a"], segment="8", number=2, of=2, signed_at_ms=START_MS - 5_000))
    await fold_all(store)
    assert maker.facts().wanted("8") == {"a", "b"}


async def test_what_is_queued_has_it_looked_at_and_what_is_settled_does_not(store, maker, lists):
    """Folding would otherwise wake itself, again and again."""
    store.inbox_grew.clear()
    await fold_all(store)
    await send_of_both_accounts(store)
    assert not store.inbox_grew.is_set()
    await store.steering.rebuild(lists[0], include_removed=False, actor="ann")
    assert store.inbox_grew.is_set()
    await store.accept(page("without users", segment="9"))
    await fold_all(store)
    await send_of_both_accounts(store)
    empty = next(segment.id for segment in maker.facts().segments if segment.heap_id == "9")
    store.inbox_grew.clear()
    assert await store.take_back(lists[0], empty, within_seconds=60) == 2
    assert store.inbox_grew.is_set()
    await store.accept(drain("1", signed_at_ms=START_MS + 1))
    store.inbox_grew.clear()
    await fold_all(store)
    assert store.inbox_grew.is_set()
