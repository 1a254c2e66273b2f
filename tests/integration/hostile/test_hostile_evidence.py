"""Whatever status and body Cordial answers with for a while, in whatever phase: the lists come out exact (R7)."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import LONG, hostile_world, page
from tests.service_fixtures import users

PHASES = {
    "add": ("POST", "/v2/contacts"),
    "remove": ("PUT", "/v2/contacts/{key}"),
    "look up a list": ("GET", "/v2/accountlists"),
    "create a list": ("POST", "/v2/accountlists"),
    "see a list": ("GET", "/v2/accountlists/{id}"),
    "count a list": ("GET", "/v2/accountlists/{id}/count"),
    "every call": (None, None),
}
STATUSES = (200, 202, 400, 401, 402, 403, 404, 405, 408, 409, 422, 423, 500, 503)
ABSENT = '{"error": true, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}'
NO_LIST = '{"error": true, "errorKey": "ACCOUNT_LISTS_NOT_FOUND", "message": "List does not exist"}'
BODIES = (
    "{}",
    "[]",
    "null",
    "",
    '{"status": "maintenance"}',
    '{"success": "false"}',
    '{"success": false}',
    '{"message": "Not Found"}',
    '{"error": true, "message": "It cannot be done."}',
    '{"error": true, "errorKey": "GENERIC_ERROR_KEY", "message": "It cannot be done."}',
    '{"error": true, "messages": ["Search field is not correct"]}',
    '{"errorKey": ["X"]}',
    ABSENT,
    '{"error": true, "errorKey": "CONTACTS_CONTACT_NOT_FOUND", "message": "Contact not found"}',
    NO_LIST,
    "<html></html>",
)
BEFORE, JOINING, THIRD = users(6, "before"), users(6, "joining"), users(4, "third")


async def run(phase: str, status: int, body: str, directory: Path) -> None:
    method, endpoint = PHASES[phase]
    async with hostile_world(directory, max_attempts=2, request_timeout_seconds=2) as world:
        await world.accepted(page(BEFORE))
        await world.settled()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method=method, endpoint=endpoint, status=status, body=body, times=None)
        )
        await world.accepted(page(JOINING, BEFORE[:3], task="change"))
        await world.accepted(page(THIRD, task="new", segment="Writers", segment_id=2))
        await asyncio.sleep(0.6)
        world.cordial.faults.clear()
        await world.settled()
        assert world.dead_letters() == []
        assert world.members("Readers") == sorted([*BEFORE[3:], *JOINING])
        assert world.members("Writers") == THIRD
        assert world.rows("SELECT count(*) FROM failure WHERE attempts > 0") == [(0,)]


@pytest.mark.usefixtures("quick_retries")
@settings(
    max_examples=500 if LONG else 15,
    derandomize=not LONG,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(phase=st.sampled_from(sorted(PHASES)), status=st.sampled_from(STATUSES), body=st.sampled_from(BODIES))
@example(phase="add", status=404, body=NO_LIST)
@example(phase="remove", status=422, body=NO_LIST)
@example(phase="add", status=404, body=ABSENT)
@example(phase="remove", status=404, body=ABSENT)
@example(phase="every call", status=404, body=ABSENT)
def test_no_status_and_no_body_makes_a_list_wrong_in_any_phase(phase, status, body):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(phase, status, body, Path(directory)))
