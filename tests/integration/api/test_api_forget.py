"""Erasing through the API: what it takes, answers, and never shows."""

import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite.erasure import Erasures
from tests.service_fixtures import users

JANE = "jane.roe@example.com"


async def test_a_user_is_taken_off_all_lists_and_erased(world):
    await world.deliver("One", [JANE, *users(2)], segment_id=1)
    await world.deliver("Two", [JANE], segment_id=2)
    await world.settled()
    answer = await world.post("forget", {"user": f" {JANE.upper()} "})
    assert (answer.status, answer.document) == (
        200,
        {"memberships": {"acme": 2}, "erasures": [1], "kept_on_lists": [], "kept_back": []},
    )
    await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
    assert (world.members("One"), world.members("Two")) == (users(2), [])
    assert await world.get("erasures") == {"items": []}
    assert (await world.post("lists/1/verify")).document == {"counted": 2, "expected": 2, "owed": 0, "differs": False}


async def test_an_erasure_waits_for_cordial_and_shows_nobodys_id(world):
    await world.deliver("One", [JANE])
    await world.settled()
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{JANE}", status=422, times=None))
    await world.post("forget", {"user": JANE, "account": "acme"})
    await world.until(lambda: world.rows("SELECT 1 FROM failure"))
    shown = await world.get("erasures")
    assert shown == {
        "items": [{"id": 1, "account": "acme", "user": "j***@e***.com", "kept_on_lists": False, "left": 1}]
    }
    audit = await world.get("audit")
    assert JANE not in msgspec.json.encode(audit).decode()
    world.cordial.faults.clear()
    await world.post("failures/retry", {})
    await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
    assert world.members("One") == []


async def test_an_account_that_a_reload_takes_away_meanwhile_is_erased_from_as_well(world, monkeypatch):
    await world.deliver("One", [JANE])
    await world.settled()
    settings = world.service.settings
    keys = Erasures.keys

    async def keys_after_a_reload(erasures, account):
        await world.service.apply(msgspec.structs.replace(settings, accounts={}))
        return await keys(erasures, account)

    monkeypatch.setattr(Erasures, "keys", keys_after_a_reload)
    answer = await world.post("forget", {"user": JANE})
    assert (answer.status, answer.document["memberships"]) == (200, {"acme": 1})
    await world.service.apply(settings)
    await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
    assert world.members("One") == []


async def test_a_user_is_erased_from_an_account_that_is_configured_no_more(world):
    await world.deliver("One", [JANE, *users(1)])
    await world.settled()
    settings = world.service.settings
    await world.service.apply(msgspec.structs.replace(settings, accounts={}))
    assert (await world.post("forget", {"user": JANE, "account": "other"})).status == 409
    answer = await world.post("forget", {"user": JANE})
    assert answer.document == {"memberships": {"acme": 1}, "erasures": [1], "kept_on_lists": ["acme"], "kept_back": []}
    await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
    assert world.rows("SELECT 1 FROM member WHERE contact LIKE '%jane%'") == []
    await world.service.apply(settings)


async def test_an_erasure_is_asked_for_in_full(world):
    for body, place in (
        ({}, "$"),
        ({"user": ""}, "$.user"),
        ({"user": JANE, "keep_on_lists": 1}, "$.keep_on_lists"),
        ({"user": JANE, "lists": []}, "$"),
    ):
        answer = await world.post("forget", body)
        assert (answer.status, answer.document["error"]["path"]) == (422, place), body
        assert JANE not in answer.document["error"]["message"]
    unknown = await world.post("forget", {"user": JANE, "account": "other"})
    assert (unknown.status, unknown.document["error"]["code"]) == (409, "conflict")
    assert world.rows("SELECT 1 FROM erasure") == []


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_user_is_erased_under_every_key_that_people_were_ever_known_by(world, is_paused):
    """`identify_by` was changed and changed back: Jane is on a list by her address, and on one by her number."""
    await world.deliver("By address", [JANE, *users(1)], segment_id=1)
    await world.settled()
    neighbour = world.cordial.state.create_contact("email:other@example.com", "other@example.com")
    world.cordial.state.set_identifier(neighbour, "custID", JANE)
    await world.restart(identify_by="custID")
    await world.deliver("By number", [JANE], segment_id=2)
    await world.settled()
    assert (world.members("Byaddress"), world.members("Bynumber")) == ([JANE, *users(1)], ["other@example.com"])
    await world.restart(identify_by="email")
    if is_paused:
        # Also what is not sent yet.
        await world.post("accounts/acme/pause")
        await world.deliver("Later", [JANE], segment_id=3)
    answer = await world.post("forget", {"user": JANE})
    assert answer.document["memberships"]["acme"] >= 2
    if is_paused:
        await world.post("accounts/acme/resume")
    await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
    await world.settled()
    assert (world.members("Byaddress"), world.members("Bynumber")) == (users(1), [])
    assert world.rows("SELECT 1 FROM member WHERE contact LIKE '%jane%'") == []
    await world.stop()
    assert not [name for name, content in world.copy_store().items() if JANE.encode() in content]
    await world.start()
