"""Moments that are stored and waited for, when the machine's clock is another at the next start."""

from datetime import timedelta

import msgspec
import pytest

from service.clock import Boot, SteadyClock
from service.model.accounts import AccountState, CallsBefore
from service.model.conditions import RecordedCondition
from service.model.lists import ListState
from service.model.proof import ReadBackReason
from service.store.sqlite.reading import Reader
from tests.store_harness import accepted_by_cordial, failed, fold_all, page, send_all
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


async def test_what_people_read_has_the_time_of_the_machines_clock_though_it_was_set_meanwhile(maker):
    """What has happened as the clock was by then, what is waited for as the clock will be; waits and rules are steady."""
    store = await maker.open()
    maker.clock.stepped_ms = 5 * 3_600_000
    told_ms, steady_ms = maker.clock.wall_ms(), maker.clock.now_ms()
    await store.steering.record("ann", "service.reload", "", 0)
    await store.accept(page("t1", add=["anna", "bert"], received_at_ms=told_ms))
    await fold_all(store)
    await send_all(
        store,
        lambda work, change: (
            accepted_by_cordial(work, change)
            if work.contact == "email:anna"
            else failed(work, change, retry_at_ms=steady_ms + MINUTE_MS)
        ),
    )
    await store.accept(page("t2", remove=["bert"], received_at_ms=told_ms, signed_at_ms=told_ms))
    await store.set_account_state("acme", AccountState.SLOWED, "", 0)
    await store.set_list_count(1, 1, 1)
    reader = await Reader.open(maker.database, maker.clock)
    try:
        [failure] = await reader.failures(limit=9)
        [_, sync] = await reader.syncs(limit=9)
        await fold_all(store)
        await send_all(store)
        [drained, _] = await reader.syncs(limit=9)
        [segment] = await reader.segments(limit=9)
        [account] = [each for each in await reader.accounts() if each.name == "acme"]
        [line] = await reader.audit(limit=9)
        await store.imports.begin("acme", [1])
        await store.imports.gather_some("acme", [], 9)
        [nothing] = await reader.imports(limit=9)
        with maker.connection() as connection:
            connection.executescript(
                IMPORT_IN_DOUBT.format(ms=steady_ms).replace("(1, 1, 'sending'", "(2, 1, 'sending'")
            )
            connection.execute("UPDATE import_part SET import_id = 2")
        [travels, _] = await reader.imports(limit=9)
    finally:
        await reader.close()
        await store.close()
    happened = [
        failure.first_failed_at,
        failure.last_failed_at,
        drained.drained_at,
        segment.counted_at,
        account.state_since,
        line.at,
        nothing.started_at,
        nothing.ended_at,
        travels.parts[0].fetched_at,
    ]
    assert {each and round(each.timestamp() * 1000) for each in happened} == {told_ms}
    waited_for = [failure.next_attempt_at, sync.next_attempt_at]
    assert {each and round(each.timestamp() * 1000) for each in waited_for} == {told_ms + MINUTE_MS}
    assert travels.parts[0].doubt_ends_at == travels.started_at + timedelta(hours=5, minutes=2)
    with maker.connection() as connection:
        assert connection.execute("SELECT drained_at_ms FROM sync ORDER BY id DESC LIMIT 1").fetchone() == (steady_ms,)
