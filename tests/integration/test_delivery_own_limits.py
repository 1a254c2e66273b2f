"""A 429 that only one contact meets slows nobody else; a wait that is cut is told (R8)."""

import pytest

from service.deliver.line import LIMIT_CUT
from service.model.accounts import AccountState
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
