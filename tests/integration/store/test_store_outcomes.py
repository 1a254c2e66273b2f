"""Writing what Cordial answered (R5, R7): compare-and-set, waiting, giving up, and what is left to send."""

import msgspec

from service.model.changes import ClaimCursor, MemberState, Outcome, OutcomeKind
from service.store.sqlite import settling
from service.store.sqlite.ledger import NEVER_MS
from tests.store_harness import (
    ACCOUNTS,
    START_MS,
    Store,
    accepted_by_cordial,
    check_invariants,
    claim_all,
    failed,
    fold_all,
    page,
    send_all,
)

LATER_MS = START_MS + 60_000


async def one_member(store: Store) -> None:
    await store.accept(page("t1", add=["a"]))
    await fold_all(store)


async def settle_with_failure(store: Store, *, retry_at_ms: int | None, attempts: int = 0) -> None:
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=retry_at_ms, attempts=attempts))


async def test_a_claim_marks_nothing(store):
    await one_member(store)
    assert await claim_all(store) == await claim_all(store)


async def test_settled_changes_are_not_claimed_again_and_leave_nothing_behind(store, maker):
    await one_member(store)
    await send_all(store)
    assert await claim_all(store) == ([], [])
    facts = maker.facts()
    assert facts.states() == {"a": MemberState.SETTLED}
    assert not facts.to_send


async def test_an_outcome_of_something_no_longer_wanted_changes_nothing(store, maker):
    await one_member(store)
    ((work,), pieces) = await claim_all(store)
    await store.accept(page("t2", remove=["a"]))
    await fold_all(store)
    before = maker.facts()
    for outcome in (
        accepted_by_cordial(work, work.changes[0]),
        failed(work, work.changes[0], retry_at_ms=LATER_MS),
        failed(work, work.changes[0], retry_at_ms=None),
    ):
        await store.settle([outcome])
        assert maker.facts() == before
    await store.settle([], pieces)
    (again,) = await send_all(store)
    assert [change.wanted for change in again.changes] == [False]


async def test_an_outcome_settles_a_newer_change_that_wants_the_same(store, maker):
    await one_member(store)
    ((work,), pieces) = await claim_all(store)
    await store.accept(page("t2", remove=["a"]))
    await store.accept(page("t3", add=["a"]))
    await fold_all(store)
    await store.settle([accepted_by_cordial(work, work.changes[0])], pieces)
    facts = maker.facts()
    assert facts.states() == {"a": MemberState.SETTLED}
    assert (facts.sync("t1").settled, facts.sync("t3").settled) == (0, 1)


async def test_an_outcome_twice_counts_once(store, maker):
    await one_member(store)
    (works, pieces) = await claim_all(store)
    outcome = accepted_by_cordial(works[0], works[0].changes[0])
    await store.settle([outcome, outcome], pieces)
    await store.settle([outcome])
    assert maker.facts().sync("t1").settled == 1


async def test_an_outcome_for_nobody_known_changes_nothing(store, maker):
    await one_member(store)
    before = maker.facts()
    (segment,) = before.segments
    await store.settle(
        [
            Outcome("acme", "email:stranger", segment.id, True, OutcomeKind.SETTLED),
            Outcome("acme", "email:a", segment.id + 1, True, OutcomeKind.SETTLED),
            Outcome("globex", "email:a", segment.id, True, OutcomeKind.SETTLED),
        ]
    )
    assert maker.facts() == before


async def test_a_failed_change_waits_until_its_time(store, maker):
    await one_member(store)
    await settle_with_failure(store, retry_at_ms=LATER_MS, attempts=1)
    assert maker.facts().states() == {"a": MemberState.WAITING}
    assert maker.facts().sync("t1").drained_at_ms is None
    assert await store.make_due_pending() == LATER_MS
    assert await claim_all(store) == ([], [])
    maker.clock.ms = LATER_MS
    assert await store.make_due_pending() is None
    await fold_all(store)
    ((work,), _) = await claim_all(store)
    assert (work.changes[0].attempts, work.changes[0].failures) == (1, 1)


async def test_failures_and_attempts_are_counted_apart(store, maker):
    await one_member(store)
    for number, attempts in enumerate((0, 1, 1, 2), start=1):
        await settle_with_failure(store, retry_at_ms=maker.clock.ms, attempts=attempts)
        await store.make_due_pending()
        await fold_all(store)
        check_invariants(maker.facts(), store)
        ((work,), _) = await claim_all(store)
        assert (work.changes[0].failures, work.changes[0].attempts) == (number, attempts)


async def test_success_after_failures_forgets_them(store, maker):
    await one_member(store)
    await settle_with_failure(store, retry_at_ms=START_MS)
    await store.make_due_pending()
    await fold_all(store)
    await send_all(store)
    assert maker.facts().failures == []
    assert maker.facts().states() == {"a": MemberState.SETTLED}


async def test_a_change_given_up_is_kept_with_cordials_words(store, maker):
    await one_member(store)
    await settle_with_failure(store, retry_at_ms=None, attempts=5)
    facts = maker.facts()
    assert facts.states() == {"a": MemberState.DEAD}
    (failure,) = facts.failures
    assert (failure.contact, failure.dead, failure.failures, failure.attempts) == ("email:a", True, 1, 5)
    assert (failure.reason, failure.message, failure.status) == ("refused", "Cordial's own words", 422)
    assert facts.sync("t1").drained_at_ms is not None
    assert await claim_all(store) == ([], [])
    maker.clock.ms += 10**9
    assert await store.make_due_pending() is None


async def test_a_newer_change_forgets_the_failures_of_the_older(store, maker):
    for number, retry_at_ms in enumerate((LATER_MS, None)):
        await store.accept(page(f"old {number}", add=["a", "b"]))
        await fold_all(store)
        await settle_with_failure(store, retry_at_ms=retry_at_ms, attempts=3)
        await store.accept(page(f"new {number}", remove=["a"]))
        await fold_all(store)
        check_invariants(maker.facts(), store)
        assert {failure.contact for failure in maker.facts().failures} == {"email:b"}
        ((work,), _) = await claim_all(store)
        assert (work.contact, work.changes[0].attempts, work.changes[0].failures) == ("email:a", 0, 0)


async def test_haste_calls_those_who_wait_through_no_fault_of_their_own(store, maker):
    await store.accept(page("t1", add=["blameless", "faulty"]))
    await fold_all(store)
    await send_all(
        store,
        lambda work, change: failed(
            work, change, retry_at_ms=LATER_MS, attempts=0 if work.contact == "email:blameless" else 1
        ),
    )
    await store.hasten("globex")
    assert await store.make_due_pending() == LATER_MS
    assert store.waiting_changes == 2
    await store.hasten("acme")
    assert await store.make_due_pending() == LATER_MS
    assert maker.facts().states() == {"blameless": MemberState.PENDING, "faulty": MemberState.WAITING}


async def test_of_those_that_wait_the_first_to_fall_due_is_told_and_sent_first(store, maker, monkeypatch):
    monkeypatch.setattr(settling, "_MAX_DUE", 1)
    await store.accept(page("t1", add=["a", "b", "c"]))
    await fold_all(store)
    later_by = {"email:a": 2, "email:b": 0, "email:c": 5}
    await send_all(
        store, lambda work, change: failed(work, change, retry_at_ms=LATER_MS + later_by[work.contact], attempts=1)
    )
    assert await store.make_due_pending() == LATER_MS
    maker.clock.ms = LATER_MS + 3
    assert await store.make_due_pending() == LATER_MS + 2
    assert maker.facts().states() == {"a": MemberState.WAITING, "b": MemberState.PENDING, "c": MemberState.WAITING}


async def test_what_cannot_be_made_pending_is_put_off_by_an_hour_and_all_others_are_sent(store, maker):
    for account, segment in (("acme", "7"), ("acme", "8"), ("globex", "7")):
        await store.accept(page("t", add=["a", "b", "dead"], segment=segment, account=account))
    await fold_all(store)
    first = maker.facts().segments[0].id
    for account in ACCOUNTS:
        works, pieces = await claim_all(store, account)
        await store.settle(
            [
                failed(
                    work,
                    change,
                    account,
                    retry_at_ms=None
                    if work.contact == "email:dead"
                    else LATER_MS - ((change.segment_id, work.contact) != (first, "email:a")),
                )
                for work in works
                for change in work.changes
            ],
            pieces,
        )
    with maker.connection() as connection:
        connection.execute(
            "CREATE TRIGGER broken BEFORE UPDATE ON member"
            f" WHEN new.segment_id = {first} AND new.contact = 'email:a' BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    maker.clock.ms = LATER_MS
    assert await store.make_due_pending() is None
    with maker.connection() as connection:
        planned = connection.execute(
            "SELECT segment_id, contact FROM failure WHERE next_attempt_at_ms < ?", (NEVER_MS,)
        )
        assert planned.fetchall() == [(first, "email:a")]
        connection.execute("DROP TRIGGER broken")
    facts = maker.facts()
    assert {(row.segment_id, row.contact) for row in facts.members if row.state is MemberState.WAITING} == {
        (first, "email:a")
    }
    assert sum(row.state is MemberState.PENDING for row in facts.members) == 5
    assert sum(row.state is MemberState.DEAD for row in facts.members) == 3
    assert await store.make_due_pending() == LATER_MS + 3_600_000


async def test_a_piece_whose_contacts_are_dealt_with_is_not_looked_at_again(store, maker):
    await store.accept(page("t1", add=["a"]))
    await store.accept(page("t2", add=["b"]))
    await fold_all(store)
    [segment_id] = store.pending_segments("acme")
    claimed = await store.claim("acme", segment_id, ClaimCursor(), 100)
    stretch = claimed.stretches[0]
    [work] = stretch.works
    await store.settle([accepted_by_cordial(work, work.changes[0])], [stretch.piece_id])
    assert maker.facts().to_send == {(segment_id, "email:b")}


async def test_more_fall_due_than_one_transaction_releases(store, maker):
    users = [f"user{number}" for number in range(1_500)]
    await store.accept(page("t1", add=users))
    await fold_all(store)
    await settle_with_failure(store, retry_at_ms=START_MS)
    rounds = 1
    while (due := await store.make_due_pending()) is not None and due <= maker.clock.ms:
        rounds += 1
        check_invariants(maker.facts(), store)
    assert rounds == 2
    await fold_all(store)
    assert len(await send_all(store)) == 1_500


async def test_no_piece_stays_when_another_segments_calls_settle_its_contacts(store, maker):
    await store.accept(page("t1", add=["a"]))
    await store.accept(page("t2", add=["a"], segment="8"))
    await fold_all(store)
    (first, _) = store.pending_segments("acme")
    claimed = await store.claim("acme", first, ClaimCursor(), 100)
    (stretch,) = claimed.stretches
    outcomes = [accepted_by_cordial(work, change) for work in stretch.works for change in work.changes]
    assert len(outcomes) == 2
    await store.settle(outcomes, [stretch.piece_id])
    assert store.pending_segments("acme") == {}
    assert not maker.facts().to_send


async def test_no_piece_stays_when_a_released_contact_is_settled_before_its_piece_is_folded(store, maker):
    await one_member(store)
    # A piece of the same contact that nobody has looked at yet: a claim finds the contact there at once.
    await store.accept(page("t1", add=["a", "b"], number=2))
    await fold_all(store)
    ((work, _), _) = await claim_all(store)
    await store.settle([failed(work, work.changes[0], retry_at_ms=START_MS)])
    await store.make_due_pending()
    ((first, second), pieces) = await claim_all(store)
    await store.settle([accepted_by_cordial(each, each.changes[0]) for each in (first, second)], pieces)
    assert store.pending_segments("acme") == {}
    await fold_all(store)
    assert not maker.facts().to_send


async def test_a_stretch_at_a_time_finds_every_contact_once(store):
    users = [f"user{number:03}" for number in range(95)]
    await store.accept(page("t1", add=users[:50], remove=users[50:]))
    await fold_all(store)
    (segment_id,) = store.pending_segments("acme")
    cursor, contacts, complete = ClaimCursor(), [], []
    while not (claimed := await store.claim("acme", segment_id, cursor, 7)).exhausted:
        cursor = claimed.cursor
        for stretch in claimed.stretches:
            assert len(stretch.works) <= 7
            contacts += [work.contact for work in stretch.works]
            complete += [stretch.piece_id] if stretch.complete else []
    assert contacts == [f"email:{user}" for user in users]
    assert len(complete) == len(set(complete)) == 2
    # What comes later is found by going on from where the last claim ended.
    await store.accept(page("t1", add=["later"], number=2))
    await fold_all(store)
    claimed = await store.claim("acme", segment_id, cursor, 7)
    assert [work.contact for stretch in claimed.stretches for work in stretch.works] == ["email:later"]


async def test_what_another_lists_call_has_settled_before_it_is_looked_at_leaves_nothing_to_send(store, maker):
    for segment in ("7", "8", "9"):
        await store.accept(page("t", add=["a"], segment=segment))
    await fold_all(store)
    await send_all(store)
    await store.accept(page("t2", add=["a"], segment="7"))
    for segment in await store.segments():
        if segment.heap_id != "7":
            assert await store.repeat_members(segment.id) == 1
    # Only the page is looked at; the call for its contact speaks of all three lists.
    await store.fold_next(small=True)
    assert [len(work.changes) for work in await send_all(store)] == [3]
    assert (await store.fold_next()).users == 2
    assert maker.facts().to_send == set()


async def test_a_success_forgets_the_failures_of_what_it_settled_and_no_others(store, maker):
    for account, segment in (("acme", "7"), ("acme", "8"), ("globex", "7")):
        await store.accept(page("t", add=["a", "b"], segment=segment, account=account))
    await fold_all(store)
    for account in ACCOUNTS:
        works, pieces = await claim_all(store, account)
        outcomes = [
            failed(work, change, account, retry_at_ms=LATER_MS, attempts=3) for work in works for change in work.changes
        ]
        await store.settle(outcomes, pieces)
    maker.clock.ms = LATER_MS
    await store.make_due_pending()
    await fold_all(store)
    before = maker.facts().failures
    assert len(before) == 6
    works, _ = await claim_all(store)
    work = next(work for work in works if work.contact == "email:a")
    change = work.changes[0]
    # What is not wanted any more settles nothing.
    await store.settle([msgspec.structs.replace(accepted_by_cordial(work, change), wanted=not change.wanted)])
    assert maker.facts().failures == before
    await store.settle([accepted_by_cordial(work, change)])
    assert maker.facts().failures == [
        failure
        for failure in before
        if (failure.account, failure.contact, failure.segment_id) != ("acme", "email:a", change.segment_id)
    ]
