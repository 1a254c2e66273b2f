"""What Cordial holds after a sync: exactly what Heap asked for, and nothing else changed."""

from collections.abc import Sequence

import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.service_fixtures import POST_CONTACT, PUT_CONTACT, World, delivering, users


async def test_adds_and_removes_end_exactly(tmp_path):
    everyone = users(250)
    async with delivering(tmp_path) as world:
        await world.deliver("Active Users", everyone, page_size=100)
        await world.settled()
        assert world.members("ActiveUsers") == sorted(everyone)
        await world.deliver("Active Users", users(5, "late"), everyone[:100])
        await world.settled()
        assert world.members("ActiveUsers") == sorted(everyone[100:] + users(5, "late"))
        segment = await world.segment()
        assert (segment.members, segment.settled, segment.pending, segment.waiting, segment.dead) == (155, 155, 0, 0, 0)
        assert world.dead_letters() == []


async def test_spaces_and_letter_case_of_an_address_make_no_other_contact(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["Jane@Example.com", " jane@example.com ", "JANE@EXAMPLE.COM"])
        await world.settled()
        assert [call.contact for call in world.contact_calls()] == ["email:jane@example.com"]
        await world.deliver("Readers", [], ["jane@example.com", "JANE@EXAMPLE.COM"])
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        await world.deliver("Readers", [], [" jane@example.com ", "Jane@Example.com"])
        await world.settled()
        assert world.members("Readers") == []
        assert len(world.cordial.state.contacts) == 1


@pytest.mark.parametrize(
    "address", ["o'brien+tag@example.com", "a/b@example.com", "50%off@example.com", "a#b?c=d@example.com"]
)
async def test_addresses_with_signs_that_mean_something_in_a_path(tmp_path, address):
    async with delivering(tmp_path, create_contacts=False) as world:
        world.cordial.state.create_contact(f"email:{address}", address)
        await world.deliver("Readers", [address])
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Readers") == [address]


async def test_without_leave_to_create_an_unknown_contact_is_a_dead_letter(tmp_path):
    async with delivering(tmp_path, create_contacts=False) as world:
        world.cordial.state.create_contact("email:known@example.com", "known@example.com")
        await world.deliver("Readers", ["known@example.com", "unknown@example.com"])
        await world.settled()
        assert world.members("Readers") == ["known@example.com"]
        assert len(world.cordial.state.contacts) == 1
        [dead] = world.dead_letters()
        assert (dead.contact, dead.reason, dead.status) == ("email:unknown@example.com", "contact_not_found", 404)
        assert "record not found" in dead.message
        assert world.calls(POST_CONTACT) == []


async def test_removing_a_contact_that_cordial_does_not_have_is_settled_and_creates_none(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"], ["nobody@example.com"])
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Readers") == ["jane@example.com"]
        assert [contact.email for contact in world.cordial.state.contacts.values()] == ["jane@example.com"]
        nobodys = [call for call in world.calls(PUT_CONTACT) if call.contact == "email:nobody@example.com"]
        assert [call.status for call in nobodys] == [404, 404]


async def test_by_a_secondary_key_existing_contacts_are_updated(tmp_path):
    async with delivering(tmp_path, identify_by="custID", max_attempts=1) as world:
        contact = world.cordial.state.create_contact("email:jane@example.com", "jane@example.com")
        world.cordial.state.set_identifier(contact, "custID", "C-42")
        await world.deliver("Readers", ["C-42"])
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        assert [(call.method, call.contact) for call in world.contact_calls()] == [("PUT", "custID:C-42")]


async def test_by_a_secondary_key_a_missing_contact_ends_with_cordials_own_words(tmp_path):
    async with delivering(tmp_path, identify_by="custID", max_attempts=1) as world:
        await world.deliver("Readers", ["C-43"])
        await world.settled()
        [dead] = world.dead_letters()
        assert (dead.contact, dead.reason, dead.status) == ("custID:C-43", "refused", 422)
        assert dead.message == "The channels field is required."
        assert [call.method for call in world.contact_calls()] == ["PUT", "POST"] * 2
        assert world.calls(POST_CONTACT)[0].body["identifyBy"] == ["custID"]


async def test_nobody_is_subscribed_and_triggers_are_always_spoken_of(tmp_path):
    async with delivering(tmp_path) as world:
        leaver = world.cordial.state.create_contact("email:left@example.com", "left@example.com")
        leaver.subscribe_status = "unsubscribed"
        await world.deliver("Readers", ["left@example.com", "new@example.com"])
        await world.settled()
        await world.deliver("Readers", [], ["new@example.com"])
        await world.settled()
        assert world.members("Readers") == ["left@example.com"]
        assert {contact.email: contact.subscribe_status for contact in world.cordial.state.contacts.values()} == {
            "left@example.com": "unsubscribed",
            "new@example.com": "none",
        }
        bodies = [call.body for call in world.contact_calls()]
        assert len(bodies) == 3
        for body in bodies:
            assert body["suppressTriggers"] is True
            assert "forceSubscribe" not in body
            assert "subscribeStatus" not in str(body)


async def test_triggers_fire_where_the_account_asks_for_it(tmp_path):
    async with delivering(tmp_path, suppress_triggers=False) as world:
        await world.deliver("Readers", ["new@example.com"])
        await world.settled()
        assert [call.body["suppressTriggers"] for call in world.contact_calls()] == [False]


async def owe_together(
    world: World, segments: dict[int, str], add: Sequence[str] = (), remove: Sequence[str] = ()
) -> None:
    """Bring it about that all these changes are owed before the first of them is sent."""
    world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
    for segment_id, name in segments.items():
        await world.deliver(name, add, remove, segment_id=segment_id)
    await world.until(lambda: world.service.store.backlog.pending_total == len(segments) * len([*add, *remove]))
    await world.stop()
    world.cordial.faults.clear()
    await world.start()


async def test_several_lists_of_one_contact_travel_in_one_call(tmp_path):
    segments = {1: "Readers", 2: "Writers"}
    async with delivering(tmp_path) as world:
        for segment_id, name in segments.items():
            await world.deliver(name, ["jane@example.com"], segment_id=segment_id)
        await world.settled()
        world.cordial.journal.reset()
        await owe_together(world, segments, remove=["jane@example.com"])
        await world.settled()
        [call] = [call for call in world.contact_calls() if call.applied]
        assert call.body == {"Readers": False, "Writers": False, "suppressTriggers": True}
        assert world.members("Readers") == world.members("Writers") == []


async def test_no_piece_of_a_delivery_is_left_when_another_segments_call_settled_it(tmp_path):
    segments = {1: "Readers", 2: "Writers", 3: "Painters"}
    async with delivering(tmp_path) as world:
        for segment_id, name in segments.items():
            await world.deliver(name, ["first@example.com"], segment_id=segment_id)
        await world.settled()
        await owe_together(world, segments, add=users(40))
        await world.settled()
        assert all(len(world.members(name)) == 41 for name in segments.values())
        await world.until(lambda: world.rows("SELECT count(*) FROM piece") == [(0,)])


@pytest.mark.usefixtures("quick_retries")
async def test_a_refused_list_does_not_take_the_contacts_other_lists_along(tmp_path):
    segments = {1: "Readers", 2: "Writers", 3: "Painters"}
    async with delivering(tmp_path, max_attempts=2) as world:
        for segment_id, name in segments.items():
            await world.deliver(name, ["first@example.com"], segment_id=segment_id)
        await world.settled()
        # From here on whoever is put on Readers is refused, alone or together with another list.
        del world.cordial.state.lists_by_name["Readers"]
        world.cordial.state.attributes["Readers"] = "string"
        world.cordial.journal.reset()
        await owe_together(world, segments, add=["jane@example.com"])
        await world.until(lambda: world.service.store.backlog.total == 1)
        assert "jane@example.com" in world.members("Writers")
        assert "jane@example.com" in world.members("Painters")
        await world.until(lambda: world.rows("SELECT 1 FROM failure WHERE failures > 3"))
        # Nobody passes on that list, so it is not Jane's fault.
        [failure] = world.rows("SELECT contact, dead, attempts, status, message FROM failure")
        assert failure == ("email:jane@example.com", 0, 0, 422, "The Readers field must be of type string.")
        first = next(call for call in world.contact_calls() if call.status == 422)
        assert set(segments.values()) <= set(first.body)


@pytest.mark.usefixtures("quick_retries")
async def test_a_contact_that_is_always_refused_ends_with_cordials_words_and_hurts_nobody(tmp_path):
    async with delivering(tmp_path, max_attempts=3) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:bad@example.com", status=422, times=None))
        await world.deliver("Readers", [*users(20), "bad@example.com"])
        await world.settled()
        assert world.members("Readers") == sorted(users(20))
        [dead] = world.dead_letters()
        assert (dead.contact, dead.attempts, dead.reason) == ("email:bad@example.com", 3, "refused")
        assert dead.message == "The contact cannot be written."
        assert len([call for call in world.contact_calls() if call.contact == "email:bad@example.com"]) <= 6
        assert len(world.contact_calls()) <= 20 + 6 + 6


@pytest.mark.usefixtures("quick_retries")
async def test_an_address_that_cordial_holds_to_be_none_is_refused_in_its_words(tmp_path):
    async with delivering(tmp_path, max_attempts=1) as world:
        await world.deliver("Readers", ["not an address", "jane@example.com"])
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        [dead] = world.dead_letters()
        assert dead.message == "The channels.email.address must be a valid email address."
