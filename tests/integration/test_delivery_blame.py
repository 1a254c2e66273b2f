"""A refusal counts against a change only while others of its kind pass; otherwise the account cannot be served (R7)."""

import asyncio

import pytest

from service.model.accounts import AccountState
from service.sandbox.faults import Fault, FaultKind
from tests.import_fixtures import add_contacts
from tests.service_fixtures import ACCOUNT, POST_CONTACT, PUT_CONTACT, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")

EVERYONE = users(40)
IN_CORDIALS_FORM = '{"error": true, "errorKey": "GENERIC_ERROR_KEY", "message": "It cannot be done."}'
OTHERWISE = '{"message": "It cannot be done."}'
BAD = "email:bad@example.com"


def pauses(world: World) -> int:
    return world.service.deliverer.pauses()[ACCOUNT]


def is_paused(world: World) -> bool:
    return world.service.deliverer.statuses()[ACCOUNT].state is AccountState.PAUSED


def refusal(status: int, body: str = IN_CORDIALS_FORM, **where: str) -> Fault:
    return Fault(FaultKind.ANSWER, status=status, body=body, times=None, **where)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_known", [False, True], ids=["new account", "account with members"])
@pytest.mark.parametrize("body", [IN_CORDIALS_FORM, OTHERWISE], ids=["in Cordial's form", "otherwise"])
@pytest.mark.parametrize("status", [400, 402, 403, 405, 409, 422, 423])
async def test_a_refusal_to_everybody_costs_nobody_an_attempt(tmp_path, status, body, is_known):
    async with delivering(tmp_path, max_attempts=2) as world:
        await world.deliver("Readers", ["before@example.com"] if is_known else [])
        await world.settled()
        world.cordial.faults.add(refusal(status, body))
        await world.deliver("Readers", EVERYONE)
        await world.until(lambda: is_paused(world))
        await asyncio.sleep(1.5)
        world.cordial.faults.clear()
        await world.settled()
        assert world.dead_letters() == []
        assert world.rows("SELECT contact FROM failure WHERE attempts > 0") == []
        assert set(EVERYONE) <= set(world.members("Readers"))


@pytest.mark.parametrize("endpoint", ["/v2/contacts", "/v2/contacts/{key}"])
async def test_a_refusal_of_one_kind_of_call_costs_nobody_an_attempt(tmp_path, endpoint):
    async with delivering(tmp_path, max_attempts=2) as world:
        await world.deliver("Readers", EVERYONE[:20])
        await world.settled()
        world.cordial.faults.add(refusal(422, endpoint=endpoint))
        await world.deliver("Readers", EVERYONE[20:], EVERYONE[:20])
        await asyncio.sleep(2)
        assert world.dead_letters() == []
        world.cordial.faults.clear()
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Readers") == sorted(EVERYONE[20:])


async def test_a_list_that_takes_nobody_costs_nobody_an_attempt_and_stops_no_other_list(tmp_path):
    async with delivering(tmp_path, max_attempts=2) as world:
        await world.deliver("Good", EVERYONE[:10], segment_id=1)
        await world.settled()
        world.cordial.faults.add(refusal(422, of_list="Frozen"))
        await world.deliver("Frozen", EVERYONE[20:30], segment_id=2)
        await asyncio.sleep(1.5)
        await world.deliver("Good", EVERYONE[10:20], segment_id=1)
        await world.until(lambda: len(world.members("Good")) == 20)
        assert world.dead_letters() == []
        # Nothing was owed for the list whose people show that Cordial takes others.
        assert pauses(world) == 0
        world.cordial.faults.clear()
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Frozen") == sorted(EVERYONE[20:30])


@pytest.mark.parametrize("create_contacts", [True, False])
async def test_people_whom_cordial_refuses_are_named_though_nobody_else_is_on_their_list(tmp_path, create_contacts):
    bad = users(6, "bad")
    async with delivering(tmp_path, max_attempts=2, create_contacts=create_contacts) as world:
        add_contacts(world, [*EVERYONE[:5], *(() if create_contacts else bad)])
        await world.deliver("Good", EVERYONE[:3], segment_id=1)
        await world.settled()
        world.cordial.faults.add(*(refusal(422, contact=f"email:{user}") for user in bad))
        await world.deliver("Bad", bad, segment_id=2)
        await world.deliver("Later", EVERYONE[3:5], segment_id=3)
        await world.settled()
        assert [dead.contact for dead in world.dead_letters()] == sorted(f"email:{user}" for user in bad)
        assert (world.members("Bad"), world.members("Later")) == ([], EVERYONE[3:5])
        assert pauses(world) == 0
        assert world.cordial.journal.max_in_flight_per_contact <= 1


@pytest.mark.parametrize("is_known", [False, True], ids=["new account", "account with members"])
@pytest.mark.parametrize("status", [400, 403, 422, 500])
async def test_the_only_change_of_a_quiet_account_is_dead_lettered_and_pauses_nothing(tmp_path, status, is_known):
    async with delivering(tmp_path, max_attempts=2) as world:
        await world.deliver("Readers", ["before@example.com"] if is_known else [])
        await world.settled()
        world.cordial.faults.add(refusal(status, method="POST", contact=BAD))
        await world.deliver("Readers", ["bad@example.com"])
        await world.settled()
        [dead] = world.dead_letters()
        assert (dead.contact, dead.attempts, dead.status) == (BAD, 2, status)
        assert "It cannot be done." in dead.message
        assert pauses(world) == 0
        assert len([call for call in world.calls() if call.contact == BAD and call.method == "POST"]) <= 4


async def test_in_a_new_account_those_who_are_refused_keep_nobody_else_waiting(tmp_path):
    bad = users(12, "bad")
    async with delivering(tmp_path, max_attempts=2) as world:
        world.cordial.faults.add(*(refusal(422, contact=f"email:{user}") for user in bad))
        await world.deliver("Bad", bad, segment_id=1)
        await world.until(lambda: is_paused(world) and len(world.calls(POST_CONTACT)) > len(bad))
        await world.deliver("Good", EVERYONE[:3], segment_id=2)
        await world.settled()
        assert world.members("Good") == EVERYONE[:3]
        assert [dead.contact for dead in world.dead_letters()] == sorted(f"email:{user}" for user in bad)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, '{"error": "forbidden"}'),
        (422, '{"error": true, "messages": ["Search field is not correct"]}'),
        (422, IN_CORDIALS_FORM),
        (500, IN_CORDIALS_FORM),
    ],
)
async def test_a_few_bad_contacts_do_not_pause_the_account(tmp_path, status, body):
    async with delivering(tmp_path, max_attempts=3) as world:
        await world.deliver("Readers", EVERYONE[:1])
        await world.settled()
        bad = users(6, "bad")
        world.cordial.faults.add(*(refusal(status, body, contact=f"email:{user}") for user in bad))
        await world.deliver("Readers", bad)
        await world.settled()
        assert [dead.contact for dead in world.dead_letters()] == sorted(f"email:{user}" for user in bad)
        assert pauses(world) == 0
        await world.deliver("Readers", EVERYONE)
        await world.settled()
        assert world.members("Readers") == sorted(EVERYONE)


async def test_a_proof_call_changes_nothing_and_shares_no_contact(tmp_path):
    async with delivering(tmp_path, max_attempts=3) as world:
        await world.deliver("Readers", EVERYONE)
        await world.deliver("Readers", (), EVERYONE[20:])
        await world.settled()
        world.cordial.faults.add(refusal(422, contact=BAD))
        await world.deliver("Readers", ["bad@example.com"], EVERYONE[10:20])
        await world.settled()
        assert world.members("Readers") == sorted(EVERYONE[:10])
        assert world.cordial.journal.max_in_flight_per_contact <= 1
        # Twenty who never were are looked for twice, with a proof call for each at most.
        assert len(world.calls(PUT_CONTACT)) <= 20 * 4 + 10 + 1
