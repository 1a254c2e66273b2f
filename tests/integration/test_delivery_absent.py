"""That there is no such contact is believed at a second look, and only while Cordial finds others (R7)."""

import asyncio

import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.service_fixtures import POST_CONTACT, PUT_CONTACT, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")

ABSENT = '{"error": true, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}'
JANE, JANES_KEY = "jane@example.com", "email:jane@example.com"
EVERYONE = users(20)


def absent(**where: str) -> Fault:
    return Fault(FaultKind.ANSWER, status=404, body=ABSENT, times=None, **where)  # type: ignore[arg-type]


def delete(world: World, user: str) -> None:
    """Delete a contact in Cordial, as a person may."""
    state = world.cordial.state
    [found] = [contact for contact in state.contacts.values() if contact.email == user]
    state.delete_contact(found)


async def test_a_contact_said_to_be_absent_for_a_while_is_taken_off_all_the_same(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", [*EVERYONE, JANE])
        await world.settled()
        world.cordial.faults.add(absent(method="PUT", contact=JANES_KEY))
        await world.deliver("Readers", (), [JANE])
        await world.until(lambda: world.rows("SELECT 1 FROM failure"))
        [(reason, message, attempts)] = world.rows("SELECT reason, message, attempts FROM failure")
        assert (reason, attempts) == ("contact_not_found", 0)
        assert "asks again before it believes this" in message
        world.cordial.faults.clear()
        await world.settled()
        assert world.members("Readers") == sorted(EVERYONE)


@pytest.mark.parametrize("creates", [True, False])
async def test_nobody_is_believed_absent_while_nobody_is_found(tmp_path, monkeypatch, creates):
    """For longer than until the second look, and some more of them."""
    timings = msgspec.structs.replace(World.retry_timings, absent=0.05)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path, create_contacts=creates, max_attempts=2) as world:
        for user in EVERYONE:
            world.cordial.state.create_contact(f"email:{user}", user)
        await world.deliver("Readers", EVERYONE[:10])
        await world.settled()
        world.cordial.faults.add(absent(endpoint="/v2/contacts"), absent(endpoint="/v2/contacts/{key}"))
        await world.deliver("Readers", EVERYONE[10:], EVERYONE[:5])
        await world.until(lambda: len(world.calls(PUT_CONTACT, POST_CONTACT)) >= 40)
        assert world.dead_letters() == []
        assert world.rows("SELECT count(*) FROM failure WHERE attempts > 0") == [(0,)]
        world.cordial.faults.clear()
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Readers") == sorted(EVERYONE[5:])


async def test_a_deleted_contact_is_gone_after_the_second_look_and_created_again_for_its_other_lists(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", [*EVERYONE, JANE], segment_id=1)
        await world.deliver("Writers", [JANE], segment_id=2)
        await world.settled()
        delete(world, JANE)
        world.cordial.journal.reset()
        await world.deliver("Readers", (), [JANE], segment_id=1)
        await world.until(lambda: world.members("Writers") == [JANE] and world.service.store.backlog.total == 0)
        assert world.members("Readers") == sorted(EVERYONE)
        assert world.dead_letters() == []
        janes = [call for call in world.calls(PUT_CONTACT) if call.contact == JANES_KEY]
        assert [call.status for call in janes] == [404, 404]


async def test_a_deleted_contact_is_a_dead_letter_where_none_are_created(tmp_path):
    async with delivering(tmp_path, create_contacts=False) as world:
        for user in [*EVERYONE, JANE]:
            world.cordial.state.create_contact(f"email:{user}", user)
        await world.deliver("Readers", [*EVERYONE, JANE], segment_id=1)
        await world.deliver("Writers", [JANE], segment_id=2)
        await world.settled()
        delete(world, JANE)
        await world.deliver("Readers", (), [JANE], segment_id=1)
        await world.until(world.dead_letters)
        await world.settled()
        [dead] = world.dead_letters()
        assert (dead.contact, dead.reason, dead.attempts) == (JANES_KEY, "contact_not_found", 1)
        assert "create_contacts = false" in dead.message
        assert len(world.calls("GET /v2/contacts/{key}")) <= 8


async def test_after_all_contacts_were_deleted_the_first_that_is_found_ends_the_wait(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", EVERYONE)
        await world.settled()
        for user in EVERYONE:
            delete(world, user)
        await world.deliver("Readers", (), EVERYONE[:5])
        await world.until(lambda: len(world.calls(PUT_CONTACT)) >= 20)
        assert world.rows("SELECT count(*) FROM failure WHERE reason = 'nobody_found'") == [(5,)]
        await world.deliver("Readers", [JANE])
        await world.settled()
        assert JANE in world.members("Readers")
        assert world.dead_letters() == []


async def test_the_second_look_survives_a_restart_and_is_not_hastened(tmp_path, monkeypatch):
    timings = msgspec.structs.replace(World.retry_timings, absent=6.0)
    monkeypatch.setattr(World, "retry_timings", timings)
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", [*EVERYONE, JANE])
        await world.settled()
        fault = absent(method="PUT", contact=JANES_KEY)
        world.cordial.faults.add(fault)
        await world.deliver("Readers", (), [JANE])
        await world.until(lambda: world.rows("SELECT 1 FROM failure"))
        await world.restart()
        # A pause that ends plans at once whatever waits through no fault of its own.
        world.cordial.faults.clear()
        world.cordial.faults.add(fault, Fault(FaultKind.ANSWER, method="POST", status=503, times=8))
        await world.deliver("Readers", users(3, "new"))
        await world.until(lambda: len(world.members("Readers")) == len(EVERYONE) + 1 + 3)
        await asyncio.sleep(0.3)
        assert len([call for call in world.calls(PUT_CONTACT) if call.contact == JANES_KEY and call.status == 404]) == 1
        world.cordial.faults.clear()
        await world.settled()
        assert world.members("Readers") == sorted([*EVERYONE, *users(3, "new")])
