"""Stopping and crashing at any point (R6): what was promised is there, and nothing has to be repaired."""

import pytest

from service.model.changes import MemberState
from tests.store_harness import (
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

pytestmark = pytest.mark.usefixtures("small_pieces")

USERS = [f"user{number:02}" for number in range(9)]


async def finish(maker: StoreMaker) -> set[str]:
    """Open the store, send all there is, and return who is wanted."""
    store = await maker.open()
    check_invariants(maker.facts(), store)
    await fold_all(store)
    for _ in range(3):
        await send_all(store)
        maker.clock.ms += 10**7
        await store.make_due_pending()
        await fold_all(store)
    check_invariants(maker.facts(), store)
    facts = maker.facts()
    assert store.backlog.total == 0
    assert not facts.to_send
    assert {row.state for row in facts.members} == {MemberState.SETTLED}
    await store.close()
    return facts.wanted()


async def steps(store: Store):
    """Do everything a store can do, one transaction at a time."""
    yield await store.accept(page("t1", add=USERS))
    yield await store.accept(page("t2", remove=USERS[:4]))
    yield await store.fold_next()
    yield await store.fold_next()
    works, pieces = await claim_all(store)
    await store.settle([accepted_by_cordial(work, work.changes[0]) for work in works[:1]])
    yield
    await store.settle([failed(work, work.changes[0], retry_at_ms=1) for work in works[1:]], pieces)
    yield
    yield await store.make_due_pending()
    while (await store.fold_next()).more:
        yield
    yield await send_all(store)
    yield await store.accept(drain("1"))
    yield await store.accept(page("t3", add=USERS[:2]))
    while (await store.fold_next()).more:
        yield


async def test_opening_what_a_crash_left_at_any_step(maker, tmp_path):
    store = await maker.open()
    number, wanted = 0, []
    async for _ in steps(store):
        check_invariants(maker.facts(), store)
        copy = maker.crashed(tmp_path / f"crash {number}")
        assert copy.facts() == maker.facts()
        wanted.append(await finish(copy))
        number += 1
    await store.close()
    assert await finish(maker) == set(USERS[:2])
    assert wanted[0] == set(USERS)
    assert wanted[1] == set(USERS[4:])
    assert wanted[-1] == set(USERS[:2])
    assert number > 12


async def test_closing_and_opening_changes_nothing(maker):
    store = await maker.open()
    await store.accept(page("t1", add=USERS))
    await store.fold_next()
    works, _ = await claim_all(store)
    await store.settle([failed(works[0], works[0].changes[0], retry_at_ms=10**15)])
    before = maker.facts(), store.backlog.total, store.waiting_changes, store.pending_segments("acme")
    await store.close()
    store = await maker.open()
    assert (maker.facts(), store.backlog.total, store.waiting_changes, store.pending_segments("acme")) == before
    await store.close()


async def test_what_was_in_flight_is_claimed_again(maker):
    store = await maker.open()
    await store.accept(page("t1", add=USERS))
    await fold_all(store)
    in_flight, _ = await claim_all(store)
    await store.close()
    store = await maker.open()
    assert (await claim_all(store))[0] == in_flight
    await store.close()
