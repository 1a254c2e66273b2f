"""Whatever answers an import's request, or a look at its job, for a while: the list comes out exact (R7)."""

import asyncio

import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.import_fixtures import GET_JOB, POST_IMPORT, importing, set_timings
from tests.service_fixtures import users

pytestmark = pytest.mark.usefixtures("quick_retries")

ANSWERS = {
    "200 {}": (200, "{}"),
    "200 []": (200, "[]"),
    "200 maintenance": (200, '{"status": "maintenance"}'),
    "200 not true": (200, '{"success": "false"}'),
    "200 page": (200, "<html></html>"),
    "404 gateway": (404, '{"message": "Not Found"}'),
    "404 absent": (404, '{"error": true, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}'),
    "404 list": (404, '{"error": true, "errorKey": "ACCOUNT_LISTS_NOT_FOUND", "message": "List does not exist"}'),
    "422 gateway": (422, '{"message": "List ActiveUsers does not exist"}'),
    "422 refused": (422, '{"error": true, "messages": ["List ActiveUsers does not exist"]}'),
}
EVERYONE = users(80)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("operation", [POST_IMPORT, GET_JOB])
async def test_no_answer_to_an_import_makes_a_list_wrong(tmp_path, monkeypatch, operation, answer):
    set_timings(
        monkeypatch,
        repeat=0.1,
        max_repost=0.2,
        rest=0.5,
        recount=(0.0, 0.1),
        first_look=0.05,
        max_look=0.2,
        min_look=0.05,
        max_doubt_look=0.2,
        doubt_limit=3.0,
    )
    method, endpoint = operation.split(" ")
    status, body = ANSWERS[answer]
    async with importing(tmp_path, max_attempts=2) as world:
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method=method, endpoint=endpoint, status=status, body=body, times=None)
        )
        await world.deliver("Active Users", EVERYONE)
        await world.until(lambda: world.calls(operation))
        await asyncio.sleep(0.3)
        world.cordial.faults.clear()
        await world.settled()
        assert world.members("ActiveUsers") == sorted(EVERYONE)
        assert world.dead_letters() == []
        assert world.rows("SELECT count(*) FROM failure WHERE attempts > 0") == [(0,)]
