"""Draining a segment (R12): everyone this service put there before, nobody else."""

import pytest

from service.model.changes import Change, ContactWork, MemberState, Outcome
from tests.store_harness import (
    START_MS,
    MemberFact,
    Store,
    StoreMaker,
    accepted_by_cordial,
    check_invariants,
    claim_all,
    drain,
    failed,
    fold_all,
    page,
    send_all,
)

USERS = [f"user{number:02}" for number in range(17)]


async def fold_with_checks(store: Store, maker: StoreMaker) -> int:
    """Fold everything, checking after each transaction; return how many there were."""
    steps = 1
    while (await store.fold_next()).more:
        check_invariants(maker.facts(), store)
        steps += 1
    return steps


@pytest.fixture(params=["as it is", "in small pieces"], autouse=True)
def size_of_pieces(request):
    if request.param == "in small pieces":
        request.getfixturevalue("small_pieces")


async def test_it_removes_every_member_of_its_segment_only(store, maker):
    await store.accept(page("t1", add=USERS))
    await store.accept(page("t2", add=USERS[:5], segment="8"))
    await store.accept(page("t3", add=USERS[:5], account="globex"))
    await store.accept(drain("1"))
    await fold_with_checks(store, maker)
    facts = maker.facts()
    assert facts.wanted() == set()
    assert facts.wanted("8") == facts.wanted(account="globex") == set(USERS[:5])
    calls = [(work.contact, change.wanted) for work in await send_all(store) for change in work.changes]
    assert sorted(calls) == sorted(
        [(f"email:{user}", False) for user in USERS] + [(f"email:{user}", True) for user in USERS[:5]]
    )


async def test_it_takes_a_bounded_number_of_members_at_a_time(request, store, maker):
    await store.accept(page("t1", add=USERS))
    await store.accept(page("t2", add=[f"other{number}" for number in range(40)], segment="8"))
    await fold_all(store)
    await store.accept(drain("1"))
    steps = await fold_with_checks(store, maker)
    # Members of other segments lie between those to be drained, and looking at them is work as well.
    if "small_pieces" in request.fixturenames:
        assert 1 <= steps / ((len(USERS) + 40) / 4) < 1.5
    assert maker.facts().wanted() == set()


async def test_members_in_every_state_are_drained(store, maker):
    await store.accept(page("t1", add=["settled", "waiting", "dead"], remove=["gone"]))
    await fold_all(store)

    def answer(work: ContactWork, change: Change) -> Outcome:
        if work.contact == "email:waiting":
            return failed(work, change, retry_at_ms=START_MS + 9_999)
        if work.contact == "email:dead":
            return failed(work, change, retry_at_ms=None)
        return accepted_by_cordial(work, change)

    await send_all(store, answer)
    await store.accept(page("t1", add=["pending"], number=2))
    await store.accept(drain("1"))
    await fold_with_checks(store, maker)
    facts = maker.facts()
    assert facts.failures == []
    pending = {name for name, state in facts.states().items() if state is MemberState.PENDING}
    assert pending == {"settled", "waiting", "dead", "pending"}
    assert facts.sync("drain:1").changes == 4


async def test_a_newer_sync_wins_over_it(store, maker):
    await store.accept(page("t1", add=USERS))
    await store.accept(drain("1"))
    await store.accept(page("t2", add=USERS[:3]))
    await fold_with_checks(store, maker)
    assert maker.facts().wanted() == set(USERS[:3])
    await store.accept(drain("1"))
    await fold_with_checks(store, maker)
    assert maker.facts().wanted() == set(USERS[:3])


async def test_a_late_page_of_an_older_sync_cannot_undo_it(store, maker):
    await store.accept(page("t1", add=["a"], of=2))
    await store.accept(drain("1"))
    await store.accept(page("t1", add=["a", "never seen before"], number=2, of=2))
    await fold_with_checks(store, maker)
    assert maker.facts().wanted() == set()
    await send_all(store)
    facts = maker.facts()
    assert store.backlog.total == 0
    assert facts.sync("t1").drained_at_ms is not None


async def test_it_begins_anew_if_its_segment_is_put_off_in_the_middle(store, maker):
    await store.accept(page("t1", add=USERS))
    await fold_all(store)
    await store.accept(drain("1"))
    await store.fold_next(small=True)
    await store.accept(page("t2", add=USERS[:3], segment="8"))
    await store.put_off_first()
    await fold_with_checks(store, maker)
    assert maker.facts().wanted() == set()
    assert maker.facts().wanted("8") == set(USERS[:3])


async def test_of_an_empty_segment(store, maker):
    await store.accept(drain("1"))
    await fold_with_checks(store, maker)
    assert await claim_all(store) == ([], [])
    assert maker.facts().sync("drain:1").drained_at_ms is not None


async def test_it_goes_on_after_a_restart_in_the_middle(maker):
    store = await maker.open()
    await store.accept(page("t1", add=USERS))
    await fold_all(store)
    await send_all(store)
    await store.accept(drain("1"))
    more = True
    while more:
        more = (await store.fold_next()).more
        await store.close()
        store = await maker.open()
        check_invariants(maker.facts(), store)
    assert {MemberFact._fields.index("wanted"): row.wanted for row in maker.facts().members} == {3: False}
    assert len(await send_all(store)) == len(USERS)
    check_invariants(maker.facts(), store)
    await store.close()
