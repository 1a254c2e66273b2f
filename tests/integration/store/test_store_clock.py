"""Moments that are stored and waited for, when the machine's clock is another at the next start."""

import msgspec
import pytest

from service.clock import Boot, SteadyClock
from service.model.accounts import AccountState, CallsBefore
from service.model.conditions import RecordedCondition
from service.model.lists import ListState
from service.model.proof import ReadBackReason
from tests.store_harness import failed, fold_all, page, send_all
from tests.store_sqlite import SqliteStoreMaker

YEAR_MS = 365 * 86_400_000
MINUTE_MS = 60_000
IMPORT_IN_DOUBT = """
INSERT INTO bulk_import (id, account_id, state, segments, gathered_to, contacts, jobs, started_at_ms)
VALUES (1, 1, 'sending', '[1]', 'email:anna', 1, 1, {ms});
INSERT INTO import_part (
    import_id, state, strategy, after_contact, last_contact, contacts, joining, contacts_bytes, joining_bytes, fetched_at_ms,
    doubt_ends_at_ms
) VALUES (1, 'in_doubt', 'updateOnly', '', 'email:anna', 1, 1, 4, 4, {ms}, {ms} + 120000);
"""
STORED_MOMENTS = """
SELECT (SELECT next_attempt_at_ms FROM failure), (SELECT due_at_ms FROM read_back),
    (SELECT fetched_at_ms FROM import_part), (SELECT doubt_ends_at_ms FROM import_part),
    (SELECT list_asked_at_ms FROM segment), (SELECT next_try_at_ms FROM notice), (SELECT began_at_ms FROM condition)
"""


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


@pytest.mark.parametrize("ending", ["stop", "crash"])
async def test_what_waits_when_the_clock_was_a_year_ahead_waits_as_long_as_it_was_meant_to(maker, tmp_path, ending):
    """Whatever moment is stored and waited for, by a clock that is put right between two lives; no less, no more."""
    right_ms, ahead_ms = maker.clock.ms, maker.clock.ms + YEAR_MS
    maker.clock.ms = ahead_ms
    store = await maker.open()
    await store.accept(page("t1", add=["anna"]))
    await fold_all(store)
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=ahead_ms + MINUTE_MS))
    await store.proofs.ask("acme", ["email:anna"], ReadBackReason.LOST_ANSWER, ahead_ms + MINUTE_MS)
    await store.set_account_state("acme", AccountState.SLOWED, "", 0, {"POST contacts": 60.0})
    [segment] = await store.segments()
    asked = msgspec.structs.replace(segment, list_state=ListState.CREATING, list_asked_at_ms=ahead_ms)
    await store.set_list(msgspec.structs.replace(asked, list_name="Buyers"))
    await store.conditions.record(
        [RecordedCondition("account_paused", "acme", "", "", 0, None, ahead_ms, None)], [], []
    )
    await store.notices.put("ops", b"{}", [], [])
    with maker.connection() as connection:
        connection.executescript(IMPORT_IN_DOUBT.format(ms=ahead_ms))
    if ending == "crash":
        crashed = maker.crashed(tmp_path / "crashed")
        await store.close()
        maker = crashed
    else:
        await store.close()
    maker.clock.ms = right_ms
    for _ in range(2):
        store = await maker.open()
        await store.close()
    with maker.connection() as connection:
        (waits,) = connection.execute(STORED_MOMENTS).fetchall()
    assert waits == (
        right_ms + MINUTE_MS,
        right_ms + MINUTE_MS,
        right_ms,
        right_ms + 2 * MINUTE_MS,
        right_ms,
        right_ms,
        right_ms,
    )
    store = await maker.open()
    assert (await store.take_over_calls("acme")).waits == {"POST contacts": 60.0}
    await store.close()


@pytest.mark.parametrize("years", [1, -1])
async def test_no_call_is_made_earlier_because_the_clock_jumps_between_two_lives(maker, years):
    store = await maker.open()
    await store.take_over_calls("acme")
    await store.end_calls("acme", CallsBefore({"POST contacts": 60.0}, 0.25))
    await store.close()
    maker.clock.ms += years * YEAR_MS
    store = await maker.open()
    before = await store.take_over_calls("acme")
    assert before.waits == {"POST contacts": 60.0}
    assert before.since_seconds <= 0.25
    await store.close()


@pytest.mark.parametrize("years", [1, -1])
async def test_no_doubt_ends_because_the_clock_jumps_between_two_lives(maker, years):
    store = await maker.open()
    due_ms = maker.clock.ms + MINUTE_MS
    await store.proofs.ask("acme", ["email:anna"], ReadBackReason.LOST_ANSWER, due_ms)
    await store.close()
    maker.clock.ms += years * YEAR_MS
    store = await maker.open()
    assert await store.proofs.due("acme", 10, only_doubts=True) == []
    maker.clock.ms += MINUTE_MS
    assert len(await store.proofs.due("acme", 10, only_doubts=True)) == 1
    await store.close()


@pytest.mark.parametrize("step_minutes", [4, 59, -4, 90])
async def test_where_the_machine_has_run_since_only_the_time_that_has_passed_counts(maker, step_minutes):
    maker.clock.booted = Boot("one", 1_000)
    store = await maker.open()
    due_ms = maker.clock.ms + 2 * MINUTE_MS
    await store.proofs.ask("acme", ["email:anna"], ReadBackReason.LOST_ANSWER, due_ms)
    await store.close()
    maker.clock.booted = Boot("one", 1_000 + MINUTE_MS)
    maker.clock.ms += (step_minutes + 1) * MINUTE_MS
    for _ in range(2):
        store = await maker.open()
        assert await store.proofs.due("acme", 10, only_doubts=True) == []
        await store.close()
    maker.clock.booted = Boot("one", 1_000 + 2 * MINUTE_MS)
    maker.clock.ms += MINUTE_MS
    store = await maker.open()
    assert len(await store.proofs.due("acme", 10, only_doubts=True)) == 1
    await store.close()


async def test_a_stop_of_a_day_is_believed_where_the_machine_has_run_since(maker):
    maker.clock.booted = Boot("one", 1_000)
    store = await maker.open()
    await store.proofs.ask("acme", ["email:anna"], ReadBackReason.LOST_ANSWER, maker.clock.ms + MINUTE_MS)
    await store.close()
    maker.clock.booted = Boot("one", 1_000 + 1_440 * MINUTE_MS)
    maker.clock.ms += 1_440 * MINUTE_MS
    store = await maker.open()
    assert len(await store.proofs.due("acme", 10, only_doubts=True)) == 1
    await store.close()


async def test_after_a_start_of_the_machine_its_clock_is_believed_for_an_hour(maker):
    for boot, minutes, found in (("two", 50, 1), ("three", 90, 0)):
        maker.clock.booted = Boot("one", 1_000)
        store = await maker.open()
        await store.proofs.ask("acme", ["email:anna"], ReadBackReason.LOST_ANSWER, maker.clock.ms + MINUTE_MS)
        await store.close()
        # How long the other start is ago says nothing of the time between.
        maker.clock.booted = Boot(boot, 2_000)
        maker.clock.ms += minutes * MINUTE_MS
        store = await maker.open()
        assert len(await store.proofs.due("acme", 10, only_doubts=True)) == found
        await store.close()


def test_the_machine_says_how_long_it_has_run():
    first, second = SteadyClock().boot(), SteadyClock().boot()
    assert first is not None
    assert second is not None
    assert first.id == second.id
    assert 0 < first.ago_ms <= second.ago_ms


async def test_what_a_person_does_has_the_time_of_the_machines_clock_though_it_was_set_meanwhile(maker):
    store = await maker.open()
    maker.clock.stepped_ms = 5 * 3_600_000
    await store.steering.record("ann", "service.reload", "", 0)
    await store.close()
    with maker.connection() as connection:
        assert connection.execute("SELECT at_ms FROM audit").fetchall() == [(maker.clock.wall_ms(),)]
