"""Stopping and starting again: nothing is forgotten, nothing hangs, and nobody has to help (R6, R13)."""

import asyncio
import sqlite3

import pytest

from service.model.accounts import AccountState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.service_fixtures import ACCOUNT, POST_CONTACT, delivering, users


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_is_heeded_whatever_has_just_woken_up(tmp_path, turns):
    async with delivering(tmp_path) as world:
        await asyncio.sleep(0.05)
        world.service.deliverer.wake()
        world.service.deliverer.account(ACCOUNT).resume()
        world.service.store.inbox_grew.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await world.stop()
        await world.start()


async def test_a_stop_commits_what_is_on_its_way_and_a_start_goes_on_with_the_rest(tmp_path):
    async with delivering(tmp_path, SandboxOptions(latency_ms=20), max_concurrency=4) as world:
        await world.deliver("Readers", users(80))
        for made in (20, 40, 60):
            await world.until(lambda least=made: len(world.calls(POST_CONTACT)) >= least)  # type: ignore[misc]
            await world.restart()
        await world.settled()
        assert world.members("Readers") == sorted(users(80))
        assert len(world.calls(POST_CONTACT)) == 80, "each contact once: every answer was committed"
        await world.until(lambda: world.rows("SELECT count(*) FROM piece") == [(0,)])


async def test_a_stop_does_not_wait_for_cordials_limit_to_pass(tmp_path):
    async with delivering(tmp_path) as world:
        world.grace_seconds = 600.0
        await world.restart()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": "900"})
        )
        await world.deliver("Readers", ["jane@example.com"])
        await world.until(lambda: world.cordial.journal.by_status.get(429))
        async with asyncio.timeout(60):
            await world.stop()
        await world.start()
        assert world.service.deliverer.statuses()["acme"].state is AccountState.SLOWED


async def test_a_stop_during_a_pause_is_quick_and_a_start_tries_again(tmp_path):
    async with delivering(tmp_path) as world:
        world.grace_seconds = 600.0
        await world.restart()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
        await world.deliver("Readers", users(20))
        await world.until(lambda: world.cordial.journal.by_status.get(401))
        async with asyncio.timeout(60):
            await world.stop()
        world.cordial.faults.clear()
        await world.start()
        await world.settled()
        assert world.members("Readers") == sorted(users(20))


async def test_a_store_that_cannot_be_read_for_a_moment_does_not_end_the_sending(tmp_path, monkeypatch):
    async with delivering(tmp_path) as world:
        world.expected_exceptions.add("feeder.failed")
        failures = [sqlite3.OperationalError("disk I/O error")]
        claim = world.service.store.claim

        async def claim_when_readable(*arguments):
            if failures:
                raise failures.pop()
            return await claim(*arguments)

        monkeypatch.setattr(world.service.store, "claim", claim_when_readable)
        await world.deliver("Readers", users(20))
        await world.settled()
        assert failures == []
        assert world.members("Readers") == sorted(users(20))


async def test_retries_that_wait_are_made_after_a_restart(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:jane@example.com", status=422))
        await world.deliver("Readers", ["jane@example.com", "joe@example.com"])
        await world.until(lambda: world.rows("SELECT 1 FROM failure"))
        await world.restart()
        await world.settled()
        assert world.members("Readers") == ["jane@example.com", "joe@example.com"]
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]
