"""When the account cannot be served: it pauses, says so, resumes by itself, and no change is given up (R7)."""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from service.model.accounts import AccountState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import DEFAULT_API_KEY
from tests.service_fixtures import ACCOUNT, POST_CONTACT, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")

EVERYONE = users(60)


def is_paused(world: World) -> bool:
    return world.service.deliverer.statuses()[ACCOUNT].state is AccountState.PAUSED


async def serve_normally_again(world: World) -> None:
    """The trouble is over: everything must arrive without help, and nothing may have been given up."""
    world.cordial.faults.clear()
    await world.settled()
    assert world.members("Readers") == sorted(EVERYONE)
    assert world.dead_letters() == []
    assert world.rows("SELECT count(*) FROM failure WHERE attempts > 0") == [(0,)]
    assert (await world.ready())[0] == 200
    segment = await world.segment()
    assert (segment.settled, segment.pending, segment.waiting) == (len(EVERYONE), 0, 0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(FaultKind.ANSWER, status=503, times=None), "http_503"),
        (Fault(FaultKind.ANSWER, status=500, times=None), "http_500"),
        (Fault(FaultKind.RESET, times=None), "unreachable"),
        (Fault(FaultKind.ANSWER, status=401, times=None), "unauthorized: Access Denied"),
        (Fault(FaultKind.ANSWER, status=403, times=None), "forbidden"),
        (Fault(FaultKind.HTML, status=403, times=None), "forbidden"),
        (Fault(FaultKind.HTML, status=502, times=None), "http_502"),
        (Fault(FaultKind.HTML, status=200, times=None), "not_json"),
        (Fault(FaultKind.HTML, status=404, times=None), "http_404"),
        (Fault(FaultKind.HANG, seconds=30, times=None), "timeout"),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
async def test_the_account_pauses_says_why_and_resumes_by_itself(tmp_path, fault, words):
    async with delivering(tmp_path, request_timeout_seconds=0.2) as world:
        world.cordial.faults.add(fault)
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))
        status, reason = await world.ready()
        assert status == 200
        assert f"account_stopped: {words}" in reason
        hint = world.service.deliverer.statuses()[ACCOUNT].hint
        assert ("Cordial is down" in hint) == words.startswith("http_5")
        [told] = [each for each in world.service.conditions.current() if each.id == "account_stopped"]
        assert told.what_to_do == hint
        await serve_normally_again(world)


@pytest.mark.parametrize("status", [401, 503])
async def test_a_paused_account_is_only_probed(tmp_path, status):
    async with delivering(tmp_path, max_concurrency=16) as world:
        await world.deliver("Readers", EVERYONE[:1])
        await world.settled()
        world.cordial.journal.reset()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=status, times=None))
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world) and not world.cordial.journal.in_flight)
        world.cordial.journal.reset()
        await world.until(lambda: len(world.calls()) >= 5)
        probes = world.calls()[:5]
        for earlier, later in itertools.pairwise(probes):
            # One at a time; half of the interval is certain.
            assert later.arrived_at_seconds >= earlier.finished_at_seconds + World.retry_timings.probe_base / 2
        await serve_normally_again(world)


@pytest.mark.parametrize("status", [401, 503])
async def test_an_account_that_owes_nothing_any_more_resumes_by_itself_too(tmp_path, status):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint="/v2/contacts", status=status, times=None))
        await world.deliver("Readers", EVERYONE[:8])
        await world.until(lambda: is_paused(world))
        for user in EVERYONE[:8]:
            await world.forget(user, keep_on_lists=True)
        await world.until(lambda: world.service.store.backlog.total == 0 and not world.cordial.journal.in_flight)
        assert is_paused(world)
        world.cordial.faults.clear()
        await world.until(lambda: not is_paused(world))


async def test_an_account_that_owes_only_what_waits_for_a_person_resumes_by_itself_too(tmp_path):
    """Nothing of a held list is sent, so no write can show that the trouble is over; the page says that it is tried again."""
    async with delivering(tmp_path, list_names={"2": "Taken"}) as world:
        world.cordial.state.create_list("Taken", enhanced=True)
        world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint="/v2/contacts", status=503, times=None))
        await world.deliver("Readers", EVERYONE[:8])
        await world.deliver("Buyers", EVERYONE[8:], segment_id=2)
        await world.until(lambda: is_paused(world))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_held_for = 'not_ours'"))
        for user in EVERYONE[:8]:
            await world.forget(user, keep_on_lists=True)
        await world.until(lambda: world.service.store.backlog.total == len(EVERYONE[8:]))
        world.cordial.faults.clear()
        await world.until(lambda: not is_paused(world))


async def test_calls_on_their_way_when_a_pause_begins_do_not_make_it_longer(tmp_path, monkeypatch):
    timings = msgspec.structs.replace(World.retry_timings, probe_base=0.05, probe_cap=3_600.0)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path, max_concurrency=32) as world:
        await world.deliver("Readers", EVERYONE[:1])
        await world.settled()
        world.cordial.faults.add(
            *(
                Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=503, seconds=0.1)
                for _ in range(38)
            )
        )
        await world.deliver("Readers", EVERYONE)
        await world.settled()
        await serve_normally_again(world)


async def test_whoever_waits_to_probe_goes_on_when_another_call_has_passed(tmp_path, monkeypatch):
    timings = msgspec.structs.replace(World.retry_timings, probe_base=3_600.0, probe_cap=3_600.0)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path, max_concurrency=16, request_timeout_seconds=60) as world:
        await world.deliver("Readers", EVERYONE[:1])
        await world.settled()
        # Five and the proof call fail and begin a pause while all others are on their way; then those are answered well.
        adding: dict[str, Any] = {"method": "POST", "endpoint": "/v2/contacts"}
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, contact=f"email:{EVERYONE[0]}", status=503, times=None),
            Fault(FaultKind.HANG, seconds=600, times=5, **adding),
            Fault(FaultKind.ANSWER, status=503, times=5, **adding),
            Fault(FaultKind.HANG, seconds=600, times=None, **adding),
        )
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))
        world.cordial.faults.clear()
        world.cordial.faults.let_go()
        await world.settled()
        await serve_normally_again(world)


async def test_each_resume_of_a_stopped_account_tries_at_once(tmp_path, monkeypatch):
    """Although it withdraws what waited: who comes next makes the call that was asked for."""
    timings = msgspec.structs.replace(World.retry_timings, probe_base=3_600.0, probe_cap=3_600.0)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint="/v2/contacts", status=422, times=None))
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))

        async def resume() -> None:
            before = len(world.calls(POST_CONTACT))
            world.service.deliverer.account(ACCOUNT).resume()
            await world.until(lambda: len(world.calls(POST_CONTACT)) > before)

        for _ in range(4):
            await resume()
            assert is_paused(world)
        world.cordial.faults.clear()
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()


async def test_a_burst_of_errors_costs_no_attempt(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, status=503, times=5),
            Fault(FaultKind.RESET, times=2),
            Fault(FaultKind.ANSWER, status=429, headers={"Retry-After": "1"}),
            Fault(FaultKind.HTML, status=520, times=2),
            Fault(FaultKind.APPLY_THEN_RESET, times=2),
        )
        await world.deliver("Readers", EVERYONE)
        await world.settled()
        assert world.cordial.faults.script == []
        await serve_normally_again(world)


async def test_what_took_effect_without_an_answer_is_repeated_harmlessly(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", EVERYONE[:30])
        await world.settled()
        world.cordial.journal.reset()
        world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/contacts", times=4))
        await world.deliver("Readers", EVERYONE[30:])
        await world.settled()
        await serve_normally_again(world)
        assert len(world.contact_calls()) == 30 + 4
        assert all(call.applied for call in world.contact_calls())


async def test_a_replaced_key_file_resumes_the_account(tmp_path):
    async with delivering(tmp_path) as world:
        world.key_file.write_text("revoked")
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))
        assert world.cordial.state.contacts == {}
        world.key_file.write_text(DEFAULT_API_KEY + "\n")
        await serve_normally_again(world)


async def test_a_key_file_that_comes_late_is_waited_for(tmp_path):
    async with delivering(tmp_path) as world:
        world.key_file.unlink()
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))
        assert "cannot be read" in (await world.ready())[1]
        world.key_file.write_text(DEFAULT_API_KEY)
        await serve_normally_again(world)


async def test_a_key_that_is_no_secondary_key_pauses_the_account_and_blames_no_contact(tmp_path):
    async with delivering(tmp_path, identify_by="noSuchKey") as world:
        await world.deliver("Readers", ["C-1", "C-2"])
        await world.until(lambda: is_paused(world))
        await world.until(lambda: "Search field is not correct" in world.service.deliverer.statuses()[ACCOUNT].reason)
        assert world.dead_letters() == []
        assert world.service.store.backlog.total == 2


async def test_a_contact_that_alone_is_never_answered_well_is_given_up_and_nobody_else(tmp_path):
    async with delivering(tmp_path, max_attempts=2, max_concurrency=4) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:poison@example.com", status=500, times=None))
        await world.deliver("Readers", ["poison@example.com"])
        for round_number in range(60):
            await world.deliver("Readers", users(30, f"round{round_number}-"))
            await asyncio.sleep(0.05)
            if world.dead_letters():
                break
        await world.settled()
        [dead] = world.dead_letters()
        assert (dead.contact, dead.attempts, dead.reason, dead.status) == (
            "email:poison@example.com",
            2,
            "http_500",
            500,
        )
        assert len(world.members("Readers")) == 30 * (round_number + 1)


async def test_a_contact_that_a_firewall_blocks_does_not_stop_the_others(tmp_path):
    async with delivering(tmp_path, max_attempts=2, max_concurrency=4) as world:
        world.cordial.faults.add(Fault(FaultKind.HTML, contact="email:o'r--@example.com", status=403, times=None))
        await world.deliver("Readers", ["o'r--@example.com", *EVERYONE])
        await world.until(lambda: world.service.store.backlog.total <= 1)
        world.cordial.faults.clear()
        await world.settled()
        assert len(world.members("Readers")) >= len(EVERYONE)
