"""Taking deliveries: each once, whatever repeats (R2, R3), and no more than the backlog may hold."""

import asyncio
import threading
import time

import pytest

from service.errors import BacklogFullError
from service.model.contacts import contact_of
from service.model.guard import RemovalGuard
from tests.store_harness import check_invariants, drain, fold_all, page, send_all, value


async def test_a_delivery_is_counted_in_its_sync(store, maker):
    receipt = await store.accept(page("t1", add=["a", "b"], remove=["c"], of=3))
    assert not receipt.is_duplicate
    sync = maker.facts().sync("t1")
    assert (sync.added, sync.removed, sync.pages_received, sync.total_pages) == (2, 1, 1, 3)
    assert store.backlog.total == 3


async def test_a_repeat_changes_nothing_but_the_count_of_repeats(store, maker):
    first = await store.accept(page("t1", add=["a"], remove=["b"]))
    await fold_all(store)
    await send_all(store)
    before = maker.facts()
    again = await store.accept(page("t1", add=["a"], remove=["b"], received_at_ms=1))
    assert (again.is_duplicate, again.delivery_id, again.segment_id) == (True, first.delivery_id, first.segment_id)
    await fold_all(store)
    after = maker.facts()
    assert after.sync("t1").duplicates == 1
    assert after.members == before.members
    assert after.segments == before.segments
    assert after.deliveries == before.deliveries
    assert after.sync("t1")._replace(duplicates=0) == before.sync("t1")


async def test_repeats_that_arrive_together_are_one_delivery(store, maker):
    receipts = await asyncio.gather(*(store.accept(page("t1", add=["a"])) for _ in range(50)))
    assert sum(not receipt.is_duplicate for receipt in receipts) == 1
    assert len({receipt.delivery_id for receipt in receipts}) == 1
    assert maker.facts().deliveries == 1
    assert store.backlog.total == 1


async def test_a_repeat_is_known_after_a_restart(maker):
    store = await maker.open()
    await store.accept(page("t1", add=["a"]))
    await store.close()
    store = await maker.open()
    assert (await store.accept(page("t1", add=["a"]))).is_duplicate
    await store.close()


@pytest.mark.parametrize(
    "other",
    [
        page("t1", add=["a"], body="another body"),
        page("t1", add=["a"], number=2),
        page("t2", add=["a"]),
        page("t1", add=["a"], segment="8"),
        page("t1", add=["a"], account="globex"),
    ],
    ids=["body", "page", "task", "segment", "account"],
)
async def test_what_differs_in_one_part_of_its_identity_is_another_delivery(store, maker, other):
    await store.accept(page("t1", add=["a"]))
    assert not (await store.accept(other)).is_duplicate
    assert maker.facts().deliveries == 2


async def test_an_add_page_and_a_remove_page_of_one_number_are_both_taken(store, maker):
    await store.accept(page("t1", add=["a", "b"], number=1, of=2))
    await store.accept(page("t1", remove=["b", "c"], number=1, of=2))
    await fold_all(store)
    facts = maker.facts()
    assert facts.wanted() == {"a"}
    assert facts.sync("t1").pages_received == 1
    assert facts.sync("t1").changes == 3


async def test_a_page_without_users_is_kept_and_its_sync_is_done(store, maker):
    await store.accept(page("t1"))
    assert not (await store.fold_next()).users
    assert maker.facts().sync("t1").drained_at_ms is not None
    assert (await store.accept(page("t1"))).is_duplicate


async def test_a_late_page_reopens_its_sync(store, maker):
    await store.accept(page("t1", add=["a"], of=2))
    await fold_all(store)
    await send_all(store)
    assert maker.facts().sync("t1").drained_at_ms is not None
    await store.accept(page("t1", add=["b"], number=2, of=2))
    assert maker.facts().sync("t1").drained_at_ms is None
    await fold_all(store)
    await send_all(store)
    assert maker.facts().sync("t1").drained_at_ms is not None


async def test_any_text_is_a_user_id(store, maker):
    users = [
        '"quoted"',
        "back\\slash",
        "käse@example.com",
        "🙂",
        "\u2028line",
        "a:b:c",
        "%41",
        "'; DROP TABLE member;--",
    ]
    await store.accept(page("t1", add=users))
    await fold_all(store)
    contacts = {contact_of(user, "email") for user in users}
    assert {row.contact for row in maker.facts().members if row.wanted} == contacts
    assert {work.contact for work in await send_all(store)} == contacts
    await store.accept(drain("1"))
    await fold_all(store)
    assert {work.contact for work in await send_all(store)} == contacts
    assert maker.facts().wanted() == set()


async def test_a_full_backlog_refuses_and_takes_again_once_there_is_room(maker):
    store = await maker.open(max_backlog=3)
    await store.accept(page("t1", add=["a", "b", "c"]))
    with pytest.raises(BacklogFullError):
        await store.accept(page("t2", add=["d"]))
    await fold_all(store)
    with pytest.raises(BacklogFullError):
        await store.accept(page("t2", add=["d"]))
    await send_all(store)
    assert not (await store.accept(page("t2", add=["d"]))).is_duplicate
    check_invariants(maker.facts(), store)
    await store.close()


async def test_the_segment_is_called_what_its_newest_sync_calls_it(store, maker):
    def name() -> str:
        (segment,) = maker.facts().segments
        return str(segment.name)

    await store.accept(page("t1", add=["a"], name="Old"))
    await store.accept(page("t2", add=["a"], name="New"))
    assert name() == "New"
    await store.accept(page("t1", add=["b"], name="Old", number=2))
    assert name() == "New"
    await store.accept(page("t1", add=["a"], name="Old"))
    assert name() == "New"
    await store.accept(page("t2", add=["b"], name="Newer", number=2))
    assert name() == "Newer"


async def test_a_repeat_does_not_rename(store, maker):
    first = page("t1", add=["a"], name="Old")
    await store.accept(first)
    await store.accept(page("t1", add=["b"], name="New", number=2))
    await store.accept(first)
    assert [segment.name for segment in maker.facts().segments] == ["New"]


async def test_a_segment_that_cannot_be_folded_goes_behind_all_others_and_keeps_its_own_order(store, maker):
    assert await store.put_off_first() is None
    await store.accept(page("first", add=["x"], segment="1"))
    await fold_all(store)
    await store.accept(page("t", add=["a", "b"], number=1, of=2, segment="1"))
    await store.accept(page("other", add=["c"], segment="2"))
    await store.accept(page("t", remove=["a"], number=2, of=2, segment="1"))
    first = next(segment.id for segment in await store.segments() if segment.heap_id == "1")
    assert await store.put_off_first() == (first, True)
    # What is behind is not lost, and the next to be folded is the other segment's.
    await store.fold_next(small=True)
    assert {value(member.contact) for member in maker.facts().members if member.wanted} == {"x", "c"}
    assert await store.put_off_first() == (first, False)
    await store.accept(page("t", add=["d"], number=3, of=3, segment="1"))
    await fold_all(store)
    assert {value(member.contact) for member in maker.facts().members if member.wanted} == {"x", "b", "c", "d"}
    assert await store.put_off_first() is None
    check_invariants(maker.facts(), store)


async def test_the_segment_whose_piece_comes_first_is_the_one_that_is_put_off(store, maker):
    await store.accept(page("t", add=["a"], segment="1"))
    await store.accept(page("t", add=["b"], segment="2"))
    first = next(segment.id for segment in await store.segments() if segment.heap_id == "1")
    assert await store.put_off_first() == (first, True)
    await store.fold_next(small=True)
    assert {value(member.contact) for member in maker.facts().members} == {"b"}
    await fold_all(store)


@pytest.mark.usefixtures("small_pieces")
async def test_one_transaction_folds_about_as_many_users_as_it_may_whatever_they_are(store):
    """A fold takes three users here, and a piece has two at most."""
    users = [f"user{number}" for number in range(7)]
    await store.accept(page("t1", add=["a", "b"], remove=users[:6]))
    assert [(await store.fold_next()).users for _ in range(3)] == [4, 4, 0]
    for number in range(5):
        await store.accept(page("t1", add=[f"other{number}"], number=2 + number))
    assert [(await store.fold_next()).users for _ in range(3)] == [3, 2, 0]
    # What is set aside to be judged is counted in the same way; a drain names nobody, but is looked at.
    store.guard.serve({"acme": RemovalGuard(share=0.5, least=3)})
    await store.accept(page("t2", remove=users))
    await store.accept(drain("1"))
    assert [(await store.fold_next()).users for _ in range(4)] == [4, 3, 1, 0]


async def test_folds_become_small_where_each_takes_long(store):
    """A page from Heap waits for the fold under way, on a slow disk perhaps longer than the service lets it wait."""
    await store.accept(page("t1", add=[f"user{number}" for number in range(5_000)]))
    connection = store._writer._connection
    await connection.run(lambda slowed: slowed.set_progress_handler(lambda: time.sleep(0.002), 300))
    folded = [(await store.fold_next()).users for _ in range(2)]
    await connection.run(lambda slowed: slowed.set_progress_handler(None, 0))
    assert folded == [1_000, 500]
    await fold_all(store)
    assert store.backlog.unfolded_of("acme") == 0


async def test_a_delivery_that_waits_for_its_commit_counts_as_one_that_comes(store):
    """Folding would go on in large steps otherwise, in whose queue the senders stand."""
    await store.accept(page("t1", add=["a"]))
    go_on = threading.Event()
    blocked = asyncio.create_task(store._writer.run(lambda _: go_on.wait(60), alone=True))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(store.accept(page("t2", add=["b"])))
    await asyncio.sleep(0.05)
    assert store.seconds_since_accept == 0
    go_on.set()
    await asyncio.gather(blocked, waiting)
    assert 0 <= store.seconds_since_accept < 60
