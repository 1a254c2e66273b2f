from typing import Any

import pytest

from tests.sandbox_fixtures import calling

LISTS = "/v2/accountlists"


def failure(error_key: str, message: str) -> dict[str, Any]:
    return {"error": True, "errorKey": error_key, "message": message}


NOT_UNIQUE = failure("GENERIC_ERROR_KEY", "Name must be unique")
NOT_ALLOWED = failure(
    "GENERIC_ERROR_KEY", "Name must contain only letters, numbers, and dashes. Should not exceed 128 characters"
)
DOES_NOT_EXIST = failure("ACCOUNT_LISTS_NOT_FOUND", "List does not exist")


@pytest.fixture
async def cordial():
    async with calling() as caller:
        yield caller


async def test_a_list_is_created_and_found(cordial):
    reply = await cordial.call("POST", LISTS, {"name": "Safe_Drivers-1", "enhanced": True})
    list_id = reply.json["id"]
    assert (reply.status, reply.json) == (200, {"success": True, "id": list_id})
    other_id = await cordial.create_list("Others")
    described = {"id": list_id, "name": "Safe_Drivers-1", "enhanced": True}
    others = {"id": other_id, "name": "Others", "enhanced": False}
    assert (await cordial.call("GET", f"{LISTS}?name=Safe_Drivers-1")).json == [described]
    assert (await cordial.call("GET", f"{LISTS}/{list_id}")).json == described
    assert (await cordial.call("GET", f"{LISTS}/{list_id}/count")).json == described | {"count": 0}
    assert (await cordial.call("GET", LISTS)).json == [described, others]


async def test_there_may_be_no_such_list(cordial):
    assert (await cordial.call("GET", LISTS)).json == []
    await cordial.create_list("Drivers")
    for name in ("drivers", "None"):
        reply = await cordial.call("GET", f"{LISTS}?name={name}")
        assert (reply.status, reply.json) == (404, failure("RECORD_NOT_FOUND", "record not found"))
    for method, path, error in (
        ("GET", "", DOES_NOT_EXIST),
        ("GET", "/count", DOES_NOT_EXIST),
        ("PUT", "/clear", DOES_NOT_EXIST),
        ("PUT", "", failure("GENERIC_ERROR_KEY", "List is not found")),
        ("DELETE", "", failure("RECORD_NOT_FOUND", "record not found")),
    ):
        for list_id in ("999", "Drivers"):
            body = {"name": "Other"} if (method, path) == ("PUT", "") else None
            reply = await cordial.call(method, f"{LISTS}/{list_id}{path}", body)
            assert (reply.status, reply.json) == (404, error)


@pytest.mark.parametrize("name", ["with space", "a.b", "é", "", "x" * 129, 7, "a/b", "line\n"])
async def test_names_have_letters_digits_and_dashes_only(cordial, name):
    reply = await cordial.call("POST", LISTS, {"name": name})
    assert (reply.status, reply.json) == (422, NOT_ALLOWED)


async def test_a_name_may_have_128_characters(cordial):
    assert (await cordial.call("POST", LISTS, {"name": "x" * 128})).status == 200


@pytest.mark.parametrize("name", ["cid", "cID", "CID", "channels", "suppressTriggers"])
async def test_reserved_names_are_refused(cordial, name):
    reply = await cordial.call("POST", LISTS, {"name": name})
    assert reply.status == 422
    assert reply.json["message"] == f"{name.lower()} is not allowed for list names."


async def test_names_are_unique_among_lists_and_attributes(cordial):
    await cordial.create_list("Drivers")
    for name in ("Drivers", "firstName", "custID"):
        reply = await cordial.call("POST", LISTS, {"name": name})
        assert (reply.status, reply.json) == (422, NOT_UNIQUE)
    assert (await cordial.call("POST", LISTS, {})).status == 422
    assert (await cordial.call("POST", LISTS, {"name": "Other", "enhanced": "yes"})).status == 422
    assert [found["name"] for found in (await cordial.call("GET", LISTS)).json] == ["Drivers"]


async def test_a_renamed_list_keeps_its_id_and_members(cordial):
    list_id = await cordial.create_list("Old")
    await cordial.create_list("Taken")
    await cordial.add("jane@example.com", Old=True)
    for name, error in (("Taken", NOT_UNIQUE), ("not allowed", NOT_ALLOWED)):
        reply = await cordial.call("PUT", f"{LISTS}/{list_id}", {"name": name})
        assert (reply.status, reply.json) == (422, error)
    assert (await cordial.call("PUT", f"{LISTS}/{list_id}", {"name": "Old"})).status == 200
    renamed = await cordial.call("PUT", f"{LISTS}/{list_id}", {"name": "New", "enhanced": True})
    assert (renamed.status, renamed.json) == (200, [{"id": list_id, "name": "New", "enhanced": True}])
    assert await cordial.members("New") == ["jane@example.com"]
    assert (await cordial.contact("email:jane%40example.com"))["lists"] == ["New"]
    assert (await cordial.add("joe@example.com", Old=True)).status == 422
    assert (await cordial.add("joe@example.com", New=True)).status == 201


async def test_a_cleared_list_stays_and_so_do_its_contacts(cordial):
    list_id = await cordial.create_list("Drivers")
    await cordial.add("jane@example.com", Drivers=True)
    assert (await cordial.call("GET", f"{LISTS}/{list_id}/count")).json["count"] == 1
    assert (await cordial.call("PUT", f"{LISTS}/{list_id}/clear")).json == {"success": True, "id": list_id}
    assert (await cordial.call("GET", f"{LISTS}/{list_id}/count")).json["count"] == 0
    assert (await cordial.contact("email:jane%40example.com"))["lists"] == []


async def test_a_deleted_list_is_no_key_any_more(cordial):
    list_id = await cordial.create_list("Drivers")
    await cordial.add("jane@example.com", Drivers=True)
    assert (await cordial.call("DELETE", f"{LISTS}/{list_id}")).json == {"success": True}
    assert (await cordial.add("jane@example.com", Drivers=True)).status == 422
    assert (await cordial.contact("email:jane%40example.com"))["lists"] == []
