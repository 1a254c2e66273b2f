"""A call is permitted when it is written, not when it is asked for: what it waited for may have taken long (R5)."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from service.deliver import retry
from service.model.accounts import AccountState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.service_fixtures import ACCOUNT, POST_CONTACT, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")

# What a call needs at most from being written to being seen: both sides share one event loop.
ON_THE_WAY_SECONDS = 0.2


def calls_after(world: World, moment: float) -> list[str]:
    return [call.contact for call in world.calls() if call.arrived_at_seconds > moment + ON_THE_WAY_SECONDS]


async def test_after_a_pause_no_call_is_made_that_waited_for_the_rate(tmp_path):
    async with delivering(tmp_path, requests_per_second=5, max_concurrency=32) as world:
        await world.deliver("Readers", users(60))
        await world.until(lambda: len(world.calls(POST_CONTACT)) >= 2)
        world.service.deliverer.account(ACCOUNT).pause()
        paused_at = time.monotonic()
        # Long enough for a dozen calls, had they been permitted when they began to wait.
        await asyncio.sleep(2.5)
        assert calls_after(world, paused_at) == []
        made = len(world.calls())
        world.service.deliverer.account(ACCOUNT).resume()
        await world.until(lambda: len(world.calls()) >= made + 5)


async def test_after_a_refusal_the_key_is_used_by_probes_alone(tmp_path, monkeypatch):
    timings = retry.Timings(probe_base=3_600.0, probe_cap=3_600.0)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path, requests_per_second=10, max_concurrency=32) as world:
        await world.deliver("Readers", users(60))
        await world.until(lambda: len(world.calls(POST_CONTACT)) >= 2)
        with capture_logs() as lines:
            world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
            await world.until(lambda: any(line["event"] == "account.stopped" for line in lines))
            paused_at = time.monotonic()
            await asyncio.sleep(2.0)
        assert calls_after(world, paused_at) == []


async def test_a_stop_makes_no_call_that_waited_for_the_rate(tmp_path):
    async with delivering(tmp_path, requests_per_second=5, max_concurrency=32) as world:
        await world.deliver("Readers", users(60))
        await world.until(lambda: len(world.calls(POST_CONTACT)) >= 2)
        stopped_at = time.monotonic()
        await world.stop()
        assert calls_after(world, stopped_at) == []
        await world.start()


@pytest.mark.parametrize("keep_on_lists", [True, False])
async def test_after_an_erasure_nothing_is_sent_that_was_wanted_before(tmp_path, keep_on_lists):
    async with delivering(tmp_path, requests_per_second=4, max_concurrency=8) as world:
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Readers", users(30))
        world.service.deliverer.account(ACCOUNT).resume()
        await world.until(lambda: len(world.calls(POST_CONTACT)) >= 1)
        erased = [f"email:{user}" for user in users(30) if f"email:{user}" not in {c.contact for c in world.calls()}][
            :6
        ]
        for contact in erased:
            await world.forget(contact.partition(":")[2], keep_on_lists=keep_on_lists)
        erased_at = time.monotonic()
        await world.until(lambda: len(world.calls(POST_CONTACT)) >= 12)
        late = [call for call in world.calls() if call.arrived_at_seconds > erased_at + ON_THE_WAY_SECONDS]
        assert [call.contact for call in late if call.contact in erased and call.body.get("Readers") is True] == []


async def test_a_call_whose_permission_ended_costs_no_room_of_the_rate(tmp_path):
    async with delivering(tmp_path, SandboxOptions(latency_ms=5), requests_per_second=20, max_concurrency=16) as world:
        await world.deliver("Readers", users(80))
        for _ in range(5):
            await asyncio.sleep(0.2)
            world.service.deliverer.account(ACCOUNT).pause()
            await asyncio.sleep(0.05)
            world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert world.members("Readers") == sorted(users(80))
        assert world.service.deliverer.statuses()[ACCOUNT].state is AccountState.SENDING
