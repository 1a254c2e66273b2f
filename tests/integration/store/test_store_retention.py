"""What is forgotten, and when: by the time that the service has run, whatever still has to stay."""

import msgspec
import pytest

from service.errors import ForgottenDeliveryError
from service.model.deliveries import Rejected
from tests.store_harness import START_MS, Store, accepted_by_cordial, claim_all, drain, fold_all, page, send_all
from tests.store_sqlite import SqliteStoreMaker

DAY_MS = 86_400_000


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


async def forget_old(store: Store) -> int:
    assert store._retention is not None
    return await store._retention.forget_old()


async def live(store: Store, maker: SqliteStoreMaker, days: int) -> int:
    """Let the service run for so many days; return how many rows it forgot at their end."""
    forgotten = await forget_old(store)
    maker.clock.ms += days * DAY_MS
    return forgotten + await forget_old(store)


def rows(maker: SqliteStoreMaker, statement: str) -> list[tuple[object, ...]]:
    with maker.connection() as connection:
        return connection.execute(statement).fetchall()


async def test_what_is_still_owed_does_not_keep_what_came_after_it(store, maker):
    """More owed pages than one step looks at: a held segment, a dry run, an account that was removed."""
    for number in range(600):
        await store.accept(page("owed", add=[f"user{number}"], number=number, of=600, segment="8"))
    await store.accept(page("done", add=["anna"]))
    await fold_all(store)
    await send_all_of(store, "7")
    assert await live(store, maker, 91) == 2
    assert rows(maker, "SELECT task_id FROM sync") == [("owed",)]
    assert rows(maker, "SELECT count(*) FROM delivery") == [(600,)]


async def send_all_of(store: Store, heap_id: str) -> None:
    (segment_id,) = [segment.id for segment in await store.segments() if segment.heap_id == heap_id]
    works, _ = await claim_all(store)
    done = [(work, change) for work in works for change in work.changes if change.segment_id == segment_id]
    await store.settle([accepted_by_cordial(work, change) for work, change in done])


async def test_rejected_users_are_people_and_go_even_where_the_page_has_to_stay(store, maker):
    rejected = [Rejected("$.data.add[0].id", "too_long", "jane")]
    await store.accept(msgspec.structs.replace(page("owed", add=["anna"]), rejected=rejected, rejected_count=1))
    await fold_all(store)
    await live(store, maker, 91)
    assert rows(maker, "SELECT rejected, rejected_users FROM delivery") == [(1, "[]")]


async def test_a_start_with_a_clock_far_ahead_forgets_nothing(maker):
    store = await maker.open()
    await store.accept(page("t1", add=["anna"]))
    await fold_all(store)
    await send_all(store)
    await store.close()
    for ahead_days in (400, 800):
        maker.clock.ms = START_MS + ahead_days * DAY_MS
        store = await maker.open()
        assert await live(store, maker, 1) == 0
        assert (await store.accept(page("t1", add=["anna"]))).is_duplicate
        await store.close()
    maker.clock.ms = START_MS
    store = await maker.open()
    assert await live(store, maker, 91) == 2
    await store.close()


async def test_time_that_the_service_has_run_counts_over_restarts(maker):
    store = await maker.open()
    await store.accept(page("t1", add=["anna"]))
    await fold_all(store)
    await send_all(store)
    await store.close()
    for _ in range(8):
        store = await maker.open()
        assert await live(store, maker, 10) == 0
        await store.close()
    store = await maker.open()
    assert await live(store, maker, 11) == 2
    assert len(rows(maker, "SELECT lived_ms FROM lived")) < 20
    await store.close()


async def test_an_older_drain_that_comes_again_lets_no_older_page_in(store, maker):
    await store.accept(page("old", add=["x"], of=2))
    await store.accept(drain("1"))
    await store.accept(page("between", add=["y"], of=2))
    await store.accept(drain("2"))
    await fold_all(store)
    again = msgspec.structs.replace(drain("1"), digest=b"another body".ljust(32))
    assert not (await store.accept(again)).is_duplicate
    await store.accept(page("between", add=["z"], number=2, of=2))
    await fold_all(store)
    assert maker.facts().wanted() == set()


async def test_what_is_forgotten_is_not_taken_again_whatever_tolerance_and_clock_say_by_then(maker):
    """A recorded page that removes Anna comes again, after a longer tolerance was set or the clock was put back."""
    store = await maker.open()
    await store.accept(page("out", remove=["anna"], signed_at_ms=START_MS))
    await store.accept(page("in", add=["anna"], signed_at_ms=START_MS + 1_000))
    await fold_all(store)
    await send_all(store)
    assert await live(store, maker, 91) == 4
    await store.close()
    maker.clock.ms = START_MS
    store = await maker.open()
    with pytest.raises(ForgottenDeliveryError):
        await store.accept(page("out", remove=["anna"], signed_at_ms=START_MS))
    await store.accept(page("new", add=["bert"], signed_at_ms=START_MS + 1_001))
    await fold_all(store)
    assert maker.facts().wanted() == {"anna", "bert"}
    await store.close()


async def test_a_page_signed_in_the_future_is_kept_and_refuses_nobody(maker):
    """Ours and the sender's clock were a year ahead; what Heap signs from now on is earlier than that."""
    store = await maker.open()
    await store.accept(page("ahead", add=["anna"], signed_at_ms=START_MS + 365 * DAY_MS))
    await fold_all(store)
    await send_all(store)
    assert await live(store, maker, 91) == 0
    assert (await store.accept(page("ahead", add=["anna"], signed_at_ms=START_MS + 365 * DAY_MS))).is_duplicate
    assert not (await store.accept(page("now", add=["bert"], signed_at_ms=START_MS + 91 * DAY_MS))).is_duplicate
    await store.close()
