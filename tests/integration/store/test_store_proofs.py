"""What is to be read back, and what the readings came to (R5, R11): in which order, from when on, and what they change."""

from service.model.changes import MemberState
from service.model.proof import Finding, ReadBackReason
from tests.store_harness import START_MS, Store, StoreMaker, fold_all, page, send_all

LOST, CRASH = ReadBackReason.LOST_ANSWER, ReadBackReason.CRASH
NAMED, SAMPLE = ReadBackReason.NAMED, ReadBackReason.SAMPLE
A, B = "email:a", "email:b"


async def rows(store: Store, maker: StoreMaker, *, at_ms: int) -> list[tuple[str, ReadBackReason, int]]:
    maker.clock.ms = at_ms
    found = await store.proofs.due("acme", 10, only_doubts=False)
    return [(each.contact, each.reason, each.due_at_ms) for each in found]


async def settled(store: Store) -> None:
    await store.accept(page("t1", add=["a", "b"]))
    await fold_all(store)
    await send_all(store)


async def test_a_contact_in_doubt_is_due_when_its_last_call_is_over(store, maker):
    await store.proofs.ask("acme", [A], LOST, START_MS + 10)
    await store.proofs.ask("acme", [A], CRASH, START_MS + 30)
    await store.proofs.ask("acme", [A], LOST, START_MS + 20)
    assert await rows(store, maker, at_ms=START_MS + 29) == []
    assert await rows(store, maker, at_ms=START_MS + 30) == [(A, LOST, START_MS + 30)]
    assert await store.proofs.in_doubt() == {"acme": 1}


async def test_nobody_else_hastens_or_ends_a_doubt(store, maker):
    await store.proofs.ask("acme", [A], LOST, START_MS + 30)
    await store.proofs.ask("acme", [A, B], NAMED, START_MS)
    assert await rows(store, maker, at_ms=START_MS) == [(B, NAMED, START_MS)]
    await store.proofs.ask("acme", [B], LOST, START_MS + 5)
    maker.clock.ms = START_MS + 30
    in_doubt = await store.proofs.due("acme", 10, only_doubts=True)
    assert sorted(each.contact for each in in_doubt) == [A, B]


async def test_a_reading_counts_only_if_the_ledger_is_as_it_was(store, maker):
    await settled(store)
    before = await store.proofs.contact("acme", A)
    await store.accept(page("t2", remove=["a"]))
    await fold_all(store)
    finding = Finding(A, SAMPLE, before, (1,), (1,), mend=True)
    assert not await store.proofs.conclude("acme", finding, START_MS)
    await send_all(store)
    assert maker.facts().states() == {"a": MemberState.SETTLED, "b": MemberState.SETTLED}
    now = await store.proofs.contact("acme", A)
    assert await store.proofs.conclude("acme", Finding(A, SAMPLE, now, (1,), (1,), mend=True), START_MS)
    assert maker.facts().states() == {"a": MemberState.PENDING, "b": MemberState.SETTLED}
    await fold_all(store)
    (work,) = await send_all(store)
    assert (work.contact, [change.wanted for change in work.changes]) == (A, [False])


async def test_a_call_that_was_lost_during_the_reading_keeps_the_doubt(store, maker):
    await settled(store)
    await store.proofs.ask("acme", [A], LOST, START_MS)
    before = await store.proofs.contact("acme", A)
    await store.proofs.ask("acme", [A], LOST, START_MS + 50)
    assert await store.proofs.conclude("acme", Finding(A, LOST, before, (1,)), START_MS)
    assert await rows(store, maker, at_ms=START_MS + 50) == [(A, LOST, START_MS + 50)]


async def test_what_a_crash_left_claimed_is_in_doubt_and_what_was_let_go_is_not(store):
    first = await store.proofs.note_claimed("acme", [A], [])
    await store.proofs.note_claimed("acme", [B], [first])
    assert await store.proofs.take_up_claims("acme", START_MS) == 1
    assert await store.proofs.take_up_claims("acme", START_MS) == 0
    [due] = await store.proofs.due("acme", 10, only_doubts=True)
    assert (due.contact, due.reason) == (B, CRASH)


async def test_the_walk_begins_again_after_the_last(store):
    await settled(store)
    walked = []
    for _ in range(3):
        contact = await store.proofs.next_contact("acme")
        assert contact is not None
        await store.proofs.set_walked_to("acme", contact)
        walked.append(contact)
    assert walked == [A, B, A]
    assert set(await store.proofs.any_contacts("acme", 20)) <= {A, B}
