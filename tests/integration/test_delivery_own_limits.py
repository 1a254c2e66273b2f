"""A 429 that only one contact meets slows nobody else; a wait that is cut is told (R8)."""

import pytest

from service.deliver.line import LIMIT_CUT
from service.model.accounts import AccountState
from service.model.changes import FailureSelection
from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import calls_before_retry_after, hostile_world, log_lines, page
from tests.service_fixtures import ACCOUNT, World, delivering, users

SLOW = "email:slow@example.com"

pytestmark = pytest.mark.usefixtures("quick_retries")


def throttle(seconds: int, contact: str | None = None, times: int | None = None) -> Fault:
    headers = {"Retry-After": str(seconds)}
    return Fault(FaultKind.ANSWER, method="POST", contact=contact, status=429, headers=headers, times=times)


def state(world: World) -> AccountState:
    return world.service.deliverer.statuses()[ACCOUNT].state


async def test_one_contacts_limit_slows_nobody_else(tmp_path):
    async with delivering(tmp_path, max_concurrency=16, requests_per_second=200) as world:
        await world.deliver("Readers", users(1, "first"))
        await world.settled()
        world.cordial.faults.add(
            Fault(
                FaultKind.ANSWER, contact=SLOW, status=429, headers={"Retry-After": "3600"}, times=None, seconds=0.05
            ),
            # Others take longer, so that some are on their way when it is answered.
            Fault(FaultKind.HANG, method="POST", times=None, seconds=0.3),
        )
        await world.deliver("Readers", ["slow@example.com", *users(60)])
        await world.until(lambda: len(world.members("Readers")) == 61)
        await world.until(lambda: world.rows("SELECT 1 FROM failure"))
        assert state(world) is AccountState.SENDING
        assert world.dead_letters() == []
        assert len([call for call in world.calls() if call.contact == SLOW]) == 1
        [waiting] = world.rows("SELECT contact, dead, attempts, reason FROM failure")
        assert waiting == (SLOW, 0, 0, "throttled")
        # Another list waits with this contact too, and with nobody else.
        await world.deliver("Buyers", ["slow@example.com", "buyer@example.com"], segment_id=2)
        await world.until(lambda: len(world.rows("SELECT 1 FROM failure WHERE reason = 'throttled'")) == 2)
        await world.until(lambda: world.members("Buyers") == ["buyer@example.com"])
        assert len([call for call in world.calls() if call.contact == SLOW]) == 1
        # Unless somebody resumes the account.
        world.cordial.faults.clear()
        world.service.deliverer.account(ACCOUNT).resume()
        assert (await world.service.store.steering.retry_failures(FailureSelection(), "test")).changes == 2
        await world.settled()
        assert len(world.members("Readers")) == 62
        assert world.members("Buyers") == ["buyer@example.com", "slow@example.com"]


async def test_of_two_refused_contacts_each_waits_as_long_as_it_was_told(tmp_path):
    async with delivering(tmp_path, max_concurrency=16, requests_per_second=200) as world:
        await world.deliver("Readers", users(1, "first"))
        await world.settled()
        for name in ("slow", "slower"):
            contact, headers = f"email:{name}@example.com", {"Retry-After": "3"}
            world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=contact, status=429, headers=headers, times=1))
        # Others take longer and pass, which tells of the second that was refused that it met a limit of its own.
        world.cordial.faults.add(Fault(FaultKind.HANG, method="POST", times=None, seconds=0.3))
        world.cordial.journal.reset()
        await world.deliver("Readers", ["slow@example.com", "slower@example.com", *users(60)])
        await world.settled()
        assert len(world.members("Readers")) == 63
        calls = world.contact_calls()
        for name in ("slow", "slower"):
            refused, *later = [call for call in calls if call.contact == f"email:{name}@example.com"]
            assert refused.status == 429
            assert min(call.arrived_at_seconds for call in later) >= refused.finished_at_seconds + 3


async def test_the_accounts_limit_stops_everybody(tmp_path):
    async with delivering(tmp_path, max_concurrency=16) as world:
        await world.deliver("Readers", users(1, "first"))
        await world.settled()
        world.cordial.journal.reset()
        world.cordial.faults.add(throttle(3, times=1), throttle(3, times=15))
        await world.deliver("Readers", users(60))
        await world.settled()
        assert len(world.members("Readers")) == 61
        assert calls_before_retry_after(world.contact_calls(), 3) == []


async def test_a_wait_that_is_cut_is_told_once_and_ends_with_a_resume(tmp_path):
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            world.cordial.faults.add(throttle(10**6, times=1))
            await world.accepted(page(users(10)))
            await world.until(lambda: state(world) is AccountState.SLOWED)
            await world.until(lambda: world.service.deliverer.statuses()[ACCOUNT].reason == LIMIT_CUT)
            world.cordial.faults.clear()
            world.service.deliverer.account(ACCOUNT).resume()
            await world.settled()
            assert len(world.members("Readers")) == 10
    assert len(lines("account.limit_cut")) == 1
