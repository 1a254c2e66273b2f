"""Heap asks to have everyone removed (R12), with other things going on."""

import time

import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import drain_page, hostile_world, page
from tests.service_fixtures import users

pytestmark = pytest.mark.usefixtures("quick_retries")


def now_ms() -> int:
    return int(time.time() * 1000)


async def test_unless_enabled_nobody_is_removed(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(5)))
        await world.settled()
        answer = await world.post(drain_page())
        assert (answer.status, '"unknown_action"' in answer.text and "allow_drain" in answer.text) == (422, True)
        await world.settled()
        assert world.members("Readers") == users(5)
        assert world.rows("SELECT count(*) FROM sync WHERE action <> 'segment.users.sync'") == [(0,)]


async def test_enabled_it_removes_ours_and_nobody_elses(tmp_path):
    async with hostile_world(tmp_path, allow_drain=True) as world:
        await world.accepted(page(users(1_100), task="first"))
        await world.accepted(page(users(3), segment="Writers", segment_id=2))
        await world.settled()
        foreign = world.cordial.state.create_contact("email:foreign@example.com", "foreign@example.com")
        for account_list in world.cordial.state.lists.values():
            account_list.members[foreign.cid] = 0
        await world.accepted(drain_page())
        await world.settled()
        assert world.members("Readers") == ["foreign@example.com"]
        assert world.members("Writers") == ["foreign@example.com", *users(3)]
        assert len(world.cordial.state.contacts) == 1_101
        segment = await world.segment()
        assert (segment.members, segment.settled, segment.pending) == (0, 0, 0)


async def test_the_same_drain_again_is_a_duplicate_and_a_later_sync_fills_the_list_anew(tmp_path):
    async with hostile_world(tmp_path, allow_drain=True) as world:
        await world.accepted(page(users(5), task="first"))
        drained_at = now_ms()
        assert '"accepted"' in (await world.post(drain_page(), drained_at)).text
        await world.accepted(page(users(2), task="second"))
        assert '"duplicate"' in (await world.post(drain_page(), drained_at)).text
        await world.settled()
        assert world.members("Readers") == users(2)


async def test_pages_of_an_older_sync_come_after_the_drain(tmp_path):
    async with hostile_world(tmp_path, allow_drain=True) as world:
        await world.accepted(page(users(5), task="old"))
        await world.accepted(drain_page())
        await world.accepted(page(users(3, "never-seen"), task="old"))
        await world.accepted(page(users(1, "new"), task="new"))
        await world.settled()
        assert world.members("Readers") == users(1, "new")


async def test_a_drain_in_the_middle_of_trouble_and_stops(tmp_path):
    async with hostile_world(tmp_path, allow_drain=True) as world:
        await world.accepted(page(users(1_200), task="first"))
        await world.until(lambda: len(world.contact_calls()) > 50)
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, status=503, times=9), Fault(FaultKind.APPLY_THEN_RESET, times=5)
        )
        await world.accepted(drain_page())
        await world.restart()
        world.cordial.faults.add(Fault(FaultKind.RESET, times=5))
        await world.restart()
        await world.settled()
        assert world.members("Readers") == []
        assert world.dead_letters() == []
        assert world.cordial.journal.max_in_flight_per_contact == 1
