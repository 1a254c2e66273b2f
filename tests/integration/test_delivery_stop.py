"""Stopping and starting again: nothing is forgotten, nothing hangs, and nobody has to help."""

import asyncio

import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.service_fixtures import delivering, users


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_is_heeded_whatever_has_just_woken_up(tmp_path, turns):
    async with delivering(tmp_path) as world:
        await asyncio.sleep(0.05)
        world.service.deliverer.wake()
        world.service.deliverer.resume("acme")
        world.service.store.inbox_grew.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await world.stop()
        await world.start()
