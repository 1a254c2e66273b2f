from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from service.sandbox.options import SandboxOptions
from tests.sandbox_fixtures import calling

NOT_FOUND = {"error": True, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}
JANE = "email:jane%40example.com"


@pytest.fixture
async def cordial():
    async with calling() as caller:
        await caller.create_list("Readers")
        await caller.create_list("Buyers", enhanced=True)
        yield caller


@pytest.mark.parametrize("key", ["", "another-key", "sandbox-ke"])
async def test_a_wrong_key_is_refused_and_the_error_is_a_text(cordial, key):
    headers = {"Authorization": aiohttp.encode_basic_auth(key, "")}
    reply = await cordial.call("GET", "/v2/accountlists", headers=headers)
    assert (reply.status, reply.json) == (401, {"error": "Access Denied: Authentication Failure"})


async def test_posting_creates_a_contact_that_is_not_subscribed(cordial):
    reply = await cordial.add(" Jane@Example.COM ", Readers=True, firstName="Jane")
    assert reply.status == 201
    assert reply.json == {"success": True, "message": "contact created", "cID": reply.json["cID"]}
    assert await cordial.contact(JANE) == {
        "_id": reply.json["cID"],
        "attributes": {"cID": reply.json["cID"], "firstName": "Jane"},
        "channels": {"email": {"address": "jane@example.com", "subscribeStatus": "none"}},
        "lists": ["Readers"],
        "listJoinDate": {},
    }


async def test_posting_again_updates_and_answers_the_same(cordial):
    first = await cordial.add("jane@example.com", Readers=True)
    second = await cordial.add("JANE@example.com", Readers=False, Buyers=True)
    assert (second.status, second.json) == (201, first.json)
    contact = await cordial.contact(JANE)
    assert contact["lists"] == ["Buyers"]
    assert list(contact["listJoinDate"]) == ["Buyers"]


@pytest.mark.parametrize(
    "body",
    [{"Readers": True}, {"channels": None, "Readers": True}, {"channels": {}, "Readers": True}, {"custID": "C-1"}],
)
async def test_nobody_is_created_without_an_address(cordial, body):
    reply = await cordial.call("POST", "/v2/contacts", body)
    assert reply.status == 422
    assert reply.json["error"] is True
    assert reply.json["messages"]
    assert await cordial.members("Readers") == []


@pytest.mark.parametrize(
    "address",
    ["", "jane", "jane@", "@example.com", "jane@example", "ja ne@example.com", "jane@@example.com", "a..b@x.com", 7],
)
async def test_an_invalid_address_is_refused(cordial, address):
    reply = await cordial.add(address, Readers=True)
    assert reply.status == 422
    assert list(reply.json["messages"]) == ["channels.email.address"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("key", ["Unknown", "readers", "firstname"])
async def test_one_unknown_key_refuses_the_whole_write(cordial, method, key):
    await cordial.add("jane@example.com")
    path = "/v2/contacts" if method == "POST" else f"/v2/contacts/{JANE}"
    body = {"channels": {"email": {"address": "jane@example.com"}}, "Readers": True, key: True}
    reply = await cordial.call(method, path, body)
    assert reply.status == 422
    assert reply.json == {
        "error": True,
        "messages": {"validationErrors": {key: [f"key {key} is not part of the schema for this resource"]}},
    }
    assert await cordial.members("Readers") == []


@pytest.mark.parametrize("value", ["true", 1, 0, None, "yes", []])
async def test_a_list_takes_only_true_and_false(cordial, value):
    reply = await cordial.add("jane@example.com", Readers=value)
    assert reply.status == 422
    assert list(reply.json["messages"]["validationErrors"]) == ["Readers"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_suppress_triggers_is_true_or_false(cordial, method):
    await cordial.add("jane@example.com")
    path = "/v2/contacts" if method == "POST" else f"/v2/contacts/{JANE}"
    body: dict[str, Any] = {"channels": {"email": {"address": "jane@example.com"}}}
    assert (await cordial.call(method, path, body | {"suppressTriggers": False})).status < 300
    reply = await cordial.call(method, path, body | {"suppressTriggers": "true"})
    assert reply.status == 422
    assert reply.json["messages"] == {"suppressTriggers": ["Incorrect value for suppressTriggers"]}


async def test_an_update_needs_no_channels_and_sets_several_lists(cordial):
    await cordial.add("jane@example.com", Readers=True)
    reply = await cordial.call("PUT", f"/v2/contacts/{JANE}", {"Readers": False, "Buyers": True})
    assert (reply.status, reply.json) == (200, {"success": True})
    assert (await cordial.contact(JANE))["lists"] == ["Buyers"]
    assert (await cordial.members("Readers"), await cordial.members("Buyers")) == ([], ["jane@example.com"])


async def test_an_update_never_creates(cordial):
    reply = await cordial.call("PUT", f"/v2/contacts/{JANE}", {"Readers": True})
    assert (reply.status, reply.json) == (404, NOT_FOUND)
    assert (await cordial.call("GET", f"/v2/contacts/{JANE}")).status == 404


@pytest.mark.parametrize("address", ["a+b@example.com", "a%b@example.com", "a/b@example.com", "o'neil&co@example.com"])
async def test_addresses_are_percent_encoded_in_paths(cordial, address):
    await cordial.add(address)
    reply = await cordial.call("PUT", f"/v2/contacts/email:{quote(address, safe='')}", {"Readers": True})
    assert reply.status == 200
    assert await cordial.members("Readers") == [address]


async def test_contacts_are_addressed_by_secondary_key_and_id(cordial):
    cid = (await cordial.add("jane@example.com", custID="C 1/2")).json["cID"]
    for key in ("custID:C%201%2F2", cid, "email:JANE%40example.com", "channels.email.address:jane%40example.com"):
        assert (await cordial.call("PUT", f"/v2/contacts/{key}", {"firstName": key})).status == 200
        assert (await cordial.contact(JANE))["attributes"]["firstName"] == key
    unknown = await cordial.call("PUT", "/v2/contacts/phone:1", {"Readers": True})
    assert unknown.status == 422
    assert "Search field is not correct" in unknown.text
    assert (await cordial.call("PUT", "/v2/contacts/custID:none", {"Readers": True})).json == NOT_FOUND


async def test_identify_by_updates_existing_contacts_in_its_order(cordial):
    await cordial.add("jane@example.com", custID="C-1")
    by_id = {"custID": "C-1", "identifyBy": ["custID"], "Readers": True}
    assert (await cordial.call("POST", "/v2/contacts", by_id)).status == 201
    assert await cordial.members("Readers") == ["jane@example.com"]

    await cordial.add("new@example.com", custID="C-1", identifyBy=["custID", "email"])
    assert await cordial.members("Readers") == ["new@example.com"]
    assert (await cordial.call("GET", f"/v2/contacts/{JANE}")).status == 404

    await cordial.add("new@example.com", custID="C-2", identifyBy=["custID", "email"])
    assert (await cordial.contact("custID:C-2"))["channels"]["email"]["address"] == "new@example.com"
    assert (await cordial.call("GET", "/v2/contacts/custID:C-1")).status == 404


@pytest.mark.parametrize("identify_by", [["phone"], ["custID", 7], "custID", []])
async def test_identify_by_takes_only_secondary_keys(cordial, identify_by):
    reply = await cordial.add("jane@example.com", custID="C-1", identifyBy=identify_by)
    assert reply.status == 422
    assert (await cordial.call("GET", f"/v2/contacts/{JANE}")).status == 404


async def test_a_unique_value_belongs_to_one_contact(cordial):
    await cordial.add("jane@example.com", custID="C-1")
    reply = await cordial.add("joe@example.com", custID="C-1", Readers=True)
    assert reply.status == 422
    assert await cordial.members("Readers") == []
    await cordial.add("joe@example.com")
    moved = await cordial.call("PUT", f"/v2/contacts/{JANE}", {"channels": {"email": {"address": "joe@example.com"}}})
    assert moved.status == 422


async def test_whoever_unsubscribed_is_subscribed_only_by_force(cordial):
    async def write(status: str, **flags: bool) -> tuple[int, str]:
        body = {"channels": {"email": {"address": "jane@example.com", "subscribeStatus": status}}, **flags}
        reply = await cordial.call("PUT", f"/v2/contacts/{JANE}", body)
        return reply.status, (await cordial.contact(JANE))["channels"]["email"]["subscribeStatus"]

    await cordial.add("jane@example.com")
    assert await write("subscribed") == (200, "subscribed")
    assert await write("unsubscribed") == (200, "unsubscribed")
    assert await write("subscribed") == (200, "unsubscribed")
    assert await write("subscribed", forceSubscribe=True) == (200, "subscribed")
    assert await write("perhaps") == (422, "subscribed")
    await cordial.add("jane@example.com", Readers=True)
    assert (await cordial.contact(JANE))["channels"]["email"]["subscribeStatus"] == "subscribed"


async def test_contacts_are_listed_in_pages_and_found_by_address(cordial):
    for number in range(5):
        await cordial.add(f"user{number}@example.com")

    async def addresses(query: str) -> Any:
        reply = await cordial.call("GET", f"/v2/contacts?{query}")
        return [found["channels"]["email"]["address"] for found in reply.json] if reply.status == 200 else reply.json

    assert await addresses("page=2&per_page=2") == ["user2@example.com", "user3@example.com"]
    assert await addresses("page=3&per_page=2") == ["user4@example.com"]
    assert await addresses("page=4&per_page=2") == NOT_FOUND
    assert await addresses("email=USER1%40example.com") == ["user1@example.com"]
    assert await addresses("email=nobody%40example.com") == NOT_FOUND
    assert (await cordial.call("GET", "/v2/contacts?page=0")).status == 422


async def test_a_deleted_contact_is_gone_from_its_lists(cordial):
    await cordial.add("jane@example.com", Readers=True, custID="C-1")
    assert (await cordial.call("DELETE", f"/v2/contacts/{JANE}")).json == {"success": True}
    assert await cordial.members("Readers") == []
    assert (await cordial.call("DELETE", f"/v2/contacts/{JANE}")).json == NOT_FOUND
    assert (await cordial.add("jane@example.com", custID="C-1")).status == 201


async def test_bodies_must_be_json_objects(cordial):
    as_form = await cordial.call("POST", "/v2/contacts", data=b"a=b", headers={"Content-Type": "text/plain"})
    assert as_form.status == 415
    for data in (b"{", b"[]", b"\xff"):
        reply = await cordial.call("POST", "/v2/contacts", data=data, headers={"Content-Type": "application/json"})
        assert (reply.status, reply.json["error"]) == (422, True)


async def test_attributes_are_described_and_configurable():
    options = SandboxOptions(secondary_keys=("custID", "heapID"), attributes={"age": "number"})
    async with calling(options) as cordial:
        assert (await cordial.call("GET", "/v2/accountcontactattributes")).json == [
            {"key": "custID", "name": "custID", "type": "string", "unique": True},
            {"key": "heapID", "name": "heapID", "type": "string", "unique": True},
            {"key": "age", "name": "age", "type": "number", "unique": False},
        ]
        assert (await cordial.add("jane@example.com", heapID=42, age=30)).status == 201
        assert (await cordial.contact("heapID:42"))["attributes"]["age"] == 30
        assert (await cordial.add("jane@example.com", age="thirty")).status == 422
        assert (await cordial.add("jane@example.com", firstName="Jane")).status == 422
