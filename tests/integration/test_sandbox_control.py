from typing import Any

import aiohttp
import pytest

from service.sandbox.options import SandboxOptions
from service.sandbox.server import SANDBOX, make_application
from tests.sandbox_fixtures import calling

NO_KEY = {"Authorization": ""}


@pytest.fixture
async def cordial():
    async with calling() as caller:
        yield caller


async def test_the_state_is_open_to_everybody(cordial):
    empty = await cordial.call("GET", "/sandbox/state", headers=NO_KEY)
    assert empty.json == {
        "lists": [],
        "contacts": 0,
        "subscription_changes": 0,
        "imports": 0,
        "calls": 0,
        "calls_by_status": {},
        "calls_by_operation": {},
        "max_in_flight_per_contact": 0,
        "faults": [],
    }
    list_id = await cordial.create_list("Readers")
    await cordial.add("jane@example.com", Readers=True)
    await cordial.add("joe@example.com", Readers=False)
    await cordial.add("nobody")
    state = (await cordial.call("GET", "/sandbox/state", headers=NO_KEY)).json
    assert state["lists"] == [{"id": list_id, "name": "Readers", "count": 1}]
    assert state["contacts"] == 2
    assert (state["calls"], state["calls_by_status"]) == (4, {"200": 1, "201": 2, "422": 1})
    assert state["calls_by_operation"] == {"POST /v2/accountlists": 1, "POST /v2/contacts": 3}
    assert state["max_in_flight_per_contact"] == 1


async def test_the_contacts_of_a_list_are_sorted_paged_and_searched(cordial):
    await cordial.create_list("Readers")
    for number in (3, 1, 12, 2, 11):
        await cordial.add(f"user{number:02}@example.com", Readers=True, custID=f"C-{number:02}")

    async def contacts(query: str) -> Any:
        return (await cordial.call("GET", f"/sandbox/lists/Readers/contacts?{query}", headers=NO_KEY)).json

    everybody = [f"user{number:02}@example.com" for number in (1, 2, 3, 11, 12)]
    assert await contacts("all=1") == {"name": "Readers", "total": 5, "contacts": everybody}
    assert await contacts("page=2&per_page=2") == {"name": "Readers", "total": 5, "contacts": everybody[2:4]}
    assert await contacts("search=USER1") == {"name": "Readers", "total": 2, "contacts": everybody[3:]}
    assert (await contacts("all=1&key=custID"))["contacts"][0] == "C-01"
    for path, status in (
        ("/sandbox/lists/Other/contacts", 404),
        ("/sandbox/lists/Readers/contacts?key=phone", 404),
        ("/sandbox/lists/Readers/contacts?page=0", 422),
        ("/sandbox/lists/Readers/contacts?per_page=x", 422),
    ):
        assert (await cordial.call("GET", path)).status == status


async def test_faults_are_scripted_over_http(cordial):
    fault = {"kind": "answer", "status": 500, "times": 2, "contact": "email:jane@example.com"}
    reply = await cordial.call("POST", "/sandbox/faults", fault, headers=NO_KEY)
    assert (reply.status, len(reply.json["faults"])) == (200, 1)
    await cordial.call("POST", "/sandbox/faults", [{"kind": "html", "method": "DELETE"}, {"kind": "reset"}])
    assert (await cordial.add("jane@example.com")).status == 500
    assert [one["times"] for one in (await cordial.call("GET", "/sandbox/state")).json["faults"]] == [1, 1, 1]
    with pytest.raises(aiohttp.ClientConnectionError):
        await cordial.add("joe@example.com")
    assert (await cordial.call("DELETE", "/sandbox/faults")).json == {"faults": []}
    assert (await cordial.add("jane@example.com")).status == 201


@pytest.mark.parametrize("fault", [{"kind": "unheard-of"}, {}, {"kind": "reset", "tmes": 3}, "reset"])
async def test_a_fault_that_makes_no_sense_is_refused(cordial, fault):
    assert (await cordial.call("POST", "/sandbox/faults", fault)).status == 422
    assert (await cordial.call("GET", "/sandbox/state")).json["faults"] == []


async def test_a_reset_forgets_everything():
    options = SandboxOptions(rate=1 / 3600, rate_window_seconds=3600, journal=True)
    async with calling(options) as cordial:
        untouched = (await cordial.call("GET", "/sandbox/state")).json
        await cordial.create_list("Readers")
        await cordial.add("jane@example.com", Readers=True)
        await cordial.call("POST", "/sandbox/faults", {"kind": "reset"})
        assert (await cordial.call("POST", "/sandbox/reset", headers=NO_KEY)).status == 200
        assert (await cordial.call("GET", "/sandbox/state")).json == untouched
        assert (await cordial.call("GET", "/sandbox/calls?all=1")).json == {"calls": []}
        await cordial.create_list("Readers")
        assert (await cordial.add("jane@example.com", Readers=True)).status == 201


async def test_calls_are_shown_with_their_outcome(cordial):
    await cordial.create_list("Readers")
    await cordial.add("jane@example.com", Readers=True)
    calls = (await cordial.call("GET", "/sandbox/calls")).json["calls"]
    assert [(call["method"], call["contact"], call["status"]) for call in calls] == [
        ("POST", "", 200),
        ("POST", "email:jane@example.com", 201),
    ]
    assert (await cordial.call("GET", "/sandbox/calls?all=1")).json == {"calls": []}


async def test_an_application_shows_its_sandbox(aiohttp_client):
    application = make_application(SandboxOptions(api_key="secret"))
    client = await aiohttp_client(application)
    headers = {"Authorization": aiohttp.encode_basic_auth("secret", "")}
    assert (await client.post("/v2/accountlists", json={"name": "Readers"}, headers=headers)).status == 200
    assert list(application[SANDBOX].state.lists_by_name) == ["Readers"]
