"""Imports that are over are forgotten with all else that is old; one that is not over is kept."""

import pytest

from service.clock import SteadyClock
from service.sandbox.imports.faults import ImportFault
from tests.import_fixtures import importing
from tests.service_fixtures import World, users

DAY_MS = 86_400_000


class Calendar(SteadyClock):
    """Advances as time does, and by days when told to."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + Calendar.ahead_ms


@pytest.fixture(autouse=True)
def _calendar(monkeypatch):
    monkeypatch.setattr(Calendar, "ahead_ms", 0)
    monkeypatch.setattr("service.app.SteadyClock", Calendar)


async def forget_old(world: World) -> None:
    retention = world.service.store._retention
    assert retention is not None
    await retention.forget_old()


async def test_an_import_is_forgotten_once_it_has_been_over_for_long_enough(tmp_path):
    async with importing(tmp_path) as world:
        await world.deliver("Active Users", users(60))
        await world.until(lambda: world.rows("SELECT 1 FROM bulk_import WHERE state = 'ended'"))
        await forget_old(world)
        Calendar.ahead_ms = 89 * DAY_MS
        await forget_old(world)
        assert len(world.rows("SELECT 1 FROM bulk_import")) == 1
        Calendar.ahead_ms = 91 * DAY_MS
        await forget_old(world)
        assert world.rows("SELECT 1 FROM bulk_import") == []
        assert world.members("ActiveUsers") == sorted(users(60))


async def test_an_import_that_is_not_over_is_kept_however_old_it_is(tmp_path):
    async with importing(tmp_path) as world:
        world.cordial.imports.faults.add(ImportFault(ends="never"))
        await world.deliver("Active Users", users(60))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running'"))
        await forget_old(world)
        Calendar.ahead_ms = 91 * DAY_MS
        await forget_old(world)
        assert world.rows("SELECT state FROM bulk_import") == [("sending",)]
