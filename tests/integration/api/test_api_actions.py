from typing import Any

import msgspec
import pytest

from service.errors import StoreUnavailableError
from service.model.accounts import AccountState
from service.observe.api import examples
from service.sandbox.faults import Fault, FaultKind
from tests.api_fixtures import API_KEY, ApiWorld, authorization
from tests.service_fixtures import World, users


async def deliver_with_refusals(
    world: ApiWorld, segment: str, good: list[str], bad: list[str], segment_id: int = 1
) -> None:
    for user in bad:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None))
    await world.deliver(segment, [*good, *bad], segment_id=segment_id)
    await world.settled()


async def test_retrying_failures_puts_the_users_on_the_list(world):
    await deliver_with_refusals(world, "Heap Test", users(2), users(3, "bad"))
    world.cordial.faults.clear()
    [group] = (await world.get("failures/groups"))["items"]
    answer = await world.post("failures/retry", {"list": group["list_id"], "reason": group["reason"]})
    assert (answer.status, answer.document) == (200, {"retried": 3, "kept_back": []})
    await world.settled()
    assert len(world.members("HeapTest")) == 5
    assert (await world.get("failures"))["items"] == []
    again = await world.post("failures/retry", {"list": group["list_id"], "reason": group["reason"]})
    assert again.document == {"retried": 0, "kept_back": []}


@pytest.mark.parametrize(
    ("choose", "retried"),
    [
        (lambda failures: {"ids": [failures[0]["id"]]}, 1),
        (lambda failures: {"list": failures[0]["list_id"]}, 1),
        (lambda _: {"account": "acme"}, 3),
        (lambda _: {"account": "other"}, 0),
        (lambda failures: {"list": 1, "ids": [failures[0]["id"]]}, 0),
        (lambda _: {}, 3),
    ],
)
async def test_only_the_failures_chosen_are_retried(world, choose, retried):
    await deliver_with_refusals(world, "One", users(1), users(2, "bad"), segment_id=1)
    await deliver_with_refusals(world, "Two", users(1), users(1, "bad"), segment_id=2)
    failures = (await world.get("failures"))["items"]
    assert failures[0]["list_name"] == "Two"
    assert (await world.post("failures/retry", choose(failures))).document == {"retried": retried, "kept_back": []}


async def test_nothing_is_said_about_differing_while_changes_are_owed(world):
    await world.deliver("Readers", users(3))
    await world.settled()
    world.cordial.faults.add(Fault(FaultKind.HANG, contact="email:user0@example.com", seconds=600, times=None))
    await world.post("lists/1/rebuild")
    await world.until(lambda: world.service.store.backlog.pending_total == 1)
    assert (await world.post("lists/1/verify")).document == {"counted": 3, "expected": 2, "owed": 1, "differs": None}
    assert (await world.get("lists/1"))["differs"] is None


async def test_verifying_shows_that_somebody_else_changed_the_list(world):
    await world.deliver("Heap Test", users(3))
    await world.settled()
    assert (await world.post("lists/1/verify")).document == {"counted": 3, "expected": 3, "owed": 0, "differs": False}
    world.cordial.state.delete_contact(world.cordial.state.find("email", "user0@example.com"))
    assert (await world.post("lists/1/verify")).document == {"counted": 2, "expected": 3, "owed": 0, "differs": True}
    found = await world.get("lists/1")
    assert (found["counted"], found["differs"]) == (2, True)
    assert "rebuild" in found["what_to_do"]
    assert (await world.post("lists/1/rebuild")).document == {"sent_again": 3, "kept_back": []}
    await world.settled()
    assert (await world.post("lists/1/verify")).document["differs"] is False
    assert len(world.members("HeapTest")) == 3


async def test_a_list_that_is_not_there_cannot_be_counted(world):
    world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint="/v2/accountlists", status=503, times=None))
    await world.deliver("Heap Test", users(1))
    await world.until(lambda: world.service.store.backlog.pending_total == 1)
    answer = await world.post("lists/1/verify")
    assert (answer.status, answer.document["error"]["code"]) == (409, "conflict")


async def test_rebuilding_creates_anew_a_list_that_was_deleted_in_cordial(world):
    await world.deliver("Heap Test", users(3))
    await world.settled()
    world.cordial.state.delete_list(world.cordial.state.lists_by_name["HeapTest"])
    await world.deliver("Heap Test", users(4))
    await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
    found = await world.get("lists/1")
    assert found["state"] == "held"
    assert "rebuild" in found["reason"]
    assert found["what_to_do"]
    [condition] = [each for each in (await world.get("conditions"))["items"] if each["id"] == "list_held"]
    assert condition["command"] == "heap-cordial rebuild id:1"
    preview = await world.get("lists/1/preview?rebuild=true")
    shown = [call["body"].get("name") for call in preview["calls"]][:1]
    assert (preview["fate"], preview["list_name"], shown, len(preview["calls"])) == (
        "create",
        "HeapTest",
        ["HeapTest"],
        5,
    )
    # All is still to be sent, and will be: to a list that is created again.
    assert (await world.post("lists/1/rebuild")).document == {"sent_again": 0, "kept_back": []}
    await world.settled()
    assert sorted(world.members("HeapTest")) == users(4)


async def test_a_paused_account_is_paused_over_a_restart_and_goes_on_when_resumed(world):
    paused = (await world.post("accounts/acme/pause")).document
    assert paused == {"account": "acme", "paused": True, "changed": True, "kept_back": [examples.KEPT_BACK]}
    assert (await world.post("accounts/acme/pause")).document["changed"] is False
    await world.deliver("Heap Test", users(3))
    await world.restart()
    await world.until(lambda: world.service.store.backlog.pending_total == 3)
    [account] = (await world.get("accounts"))["items"]
    assert (account["state"], account["pending"]) == ("paused_by_operator", 3)
    assert world.contact_calls() == []
    assert (await world.post("accounts/acme/resume")).document["paused"] is False
    await world.settled()
    assert len(world.members("HeapTest")) == 3
    [account] = (await world.get("accounts"))["items"]
    assert (account["state"], account["pending"]) == ("sending", 0)


async def test_every_action_is_audited_with_the_key_that_asked(world):
    await deliver_with_refusals(world, "Heap Test", users(2), users(1, "bad"))
    await world.post("failures/retry", {"reason": "invalid_request"})
    await world.post("lists/1/verify")
    await world.post("lists/1/rebuild", {"include_removed": True})
    await world.post("accounts/acme/pause")
    await world.post("accounts/acme/resume")
    rows = (await world.get("audit"))["items"]
    assert [row["action"] for row in rows] == [
        "account.resume",
        "account.pause",
        "list.rebuild",
        "list.verify",
        "failures.retry",
    ]
    assert {row["actor"] for row in rows} == {f"API key of file {world.api_key_file}"}
    assert API_KEY not in msgspec.json.encode(rows).decode()
    assert rows[2]["changes"] > 0
    # An id says nothing to people: what the list's segment is called now.
    assert [row["segment_name"] for row in rows] == ["", "", "Heap Test", "Heap Test", ""]
    first = await world.get("audit?limit=2")
    assert [row["id"] for row in (await world.get(f"audit?limit=2&after={first['next']}"))["items"]] == [3, 2]


async def test_what_does_not_exist_cannot_be_steered(world):
    for path in (
        "lists/9/verify",
        "lists/9/rebuild",
        "lists/x/verify",
        "accounts/other/pause",
        "accounts/other/resume",
    ):
        answer = await world.post(path)
        assert (answer.status, answer.document["error"]["code"]) == (404, "not_found"), path
    assert (await world.get("audit"))["items"] == []


async def test_a_body_of_another_shape_is_refused_with_its_place(world):
    for path, body, place in (
        ("failures/retry", {"ids": [1, "2"]}, "$.ids[1]"),
        ("failures/retry", {"ids": []}, "$.ids"),
        ("failures/retry", {"list": 0}, "$.list"),
        ("failures/retry", {"resaon": "x"}, "$"),
        ("failures/retry", [], "$"),
        ("lists/1/rebuild", {"include_removed": 1}, "$.include_removed"),
        ("lists/1/members/find", {"user": ""}, "$.user"),
        ("lists/1/members/find", {"user": 5}, "$.user"),
        ("accounts/acme/pause", {"now": True}, "$"),
    ):
        answer = await world.post(path, body)
        assert (answer.status, answer.document["error"]["code"]) == (422, "invalid_request"), body
        assert answer.document["error"]["path"] == place


async def test_a_body_that_cannot_be_read_is_refused(world):
    for body, status, code in (
        (b"{", 400, "body_unreadable"),
        (b"\xff", 400, "body_unreadable"),
        (b" " * 600_000, 413, "body_too_large"),
    ):
        headers = {"Content-Type": "application/json"}
        answer = await world.ask("failures/retry", method="POST", data=body, headers=headers)
        assert (answer.status, answer.document["error"]["code"]) == (status, code)


async def post_raw(world: ApiWorld, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    url = world.url(path)
    async with world._session.post(url, data=body, headers={**authorization(API_KEY), **headers}) as answer:
        return answer.status


class TestOtherSites:
    JSON = {"Content-Type": "application/json"}  # noqa: RUF012  never written to

    async def test_actions_are_not_taken_from_their_pages(self, world):
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert await post_raw(world, "accounts/acme/pause", {**self.JSON, **headers}, b"{}") == 403, headers
        assert (await world.get("accounts"))["items"][0]["state"] == "sending"

    async def test_actions_are_taken_from_our_own(self, world):
        origin = world.service.url
        for headers in ({"Origin": origin}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            assert await post_raw(world, "accounts/acme/pause", {**self.JSON, **headers}, b"{}") == 200

    async def test_what_a_form_can_send_is_refused(self, world):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            assert await post_raw(world, "accounts/acme/pause", {"Content-Type": content_type}, b"{}") == 415

    async def test_without_a_body_a_header_of_its_own_is_needed(self, world):
        assert await post_raw(world, "accounts/acme/pause", {}) == 415
        assert await post_raw(world, "accounts/acme/pause", {"X-Requested-With": "curl"}) == 200


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_what_was_written_is_done_even_where_nobody_hears_of_it(world, monkeypatch, action):
    """The store keeps a pause, and its answer is lost: the account must not go on sending, nor rest for ever."""
    if action == "resume":
        await world.post("accounts/acme/pause")
    steering = world.service.store.steering
    set_paused = steering.set_paused

    async def lose_the_answer(*arguments: Any, **options: Any) -> bool:
        await set_paused(*arguments, **options)
        raise StoreUnavailableError("the disk was pulled out")

    monkeypatch.setattr(steering, "set_paused", lose_the_answer)
    assert (await world.post(f"accounts/acme/{action}")).status == 503
    await world.deliver("Heap Test", users(3))
    if action == "resume":
        await world.settled()
        return
    await world.until(lambda: world.service.store.backlog.pending_total == 3)
    assert world.service.deliverer.statuses()["acme"].state is AccountState.PAUSED
    assert world.contact_calls() == []


async def test_a_count_that_cordial_keeps_waiting_is_answered_in_time(world, monkeypatch):
    monkeypatch.setattr(World, "count_timings", msgspec.structs.replace(World.count_timings, answer=1.0))
    await world.restart()
    await world.deliver("Heap Test", users(3))
    await world.settled()
    await world.post("lists/1/verify")
    fault = Fault(FaultKind.ANSWER, method="GET", status=429, headers={"Retry-After": "600"}, times=None)
    world.cordial.faults.add(fault)
    answer = await world.post("lists/1/verify")
    assert (answer.status, answer.document["error"]["code"]) == (409, "conflict")
    assert "limit" in answer.document["error"]["message"]


ACTIONS = (
    "failures/retry",
    "lists/1/verify",
    "lists/1/rebuild",
    "lists/1/approve",
    "lists/1/members/audience",
    "lists/1/members/read",
    "lists/1/members/read-back",
    "imports/1/end-doubt",
    "imports/1/rejected",
    "syncs/1/approve",
    "syncs/1/discard",
    "accounts/acme/pause",
    "accounts/acme/resume",
    "accounts/acme/trial",
    "forget",
    "reload",
)


@pytest.mark.parametrize("path", ACTIONS)
async def test_while_the_service_stops_every_action_is_to_be_asked_for_again(world, path):
    world.service.is_stopping = True
    answer = await world.post(path)
    assert (answer.status, answer.document["error"]["code"], answer.headers["Retry-After"]) == (503, "stopping", "5")
    world.service.is_stopping = False


@pytest.mark.parametrize(
    "path", ["lists/1/members/find", "failures/find", "session", "lists/1/members/read", "lists/1/verify"]
)
async def test_what_has_a_body_takes_no_query(world, path):
    answer = await world.post(path, params={"limit": "1"})
    assert (answer.status, answer.document["error"]["code"]) == (422, "invalid_request")


async def test_each_action_says_what_keeps_it_from_being_sent(world):
    await deliver_with_refusals(world, "One", users(2), users(2, "bad"), segment_id=1)
    await deliver_with_refusals(world, "Two", users(2), users(1, "bad"), segment_id=2)
    await world.post("accounts/acme/pause")
    paused = ["Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`."]
    [account] = (await world.get("accounts"))["items"]
    assert [account["kept_back"]] == paused
    first = (await world.get("failures"))["items"][0]["id"]
    for action, body in (
        ("failures/retry", {"ids": [first]}),
        ("failures/retry", {"reason": "refused"}),
        ("lists/1/rebuild", {}),
        ("forget", {"user": users(1)[0]}),
    ):
        assert (await world.post(action, body)).document["kept_back"] == paused, action
    # Nothing is left to be sent.
    for action, body in (("failures/retry", {"reason": "unknown"}), ("forget", {"user": "nobody@example.com"})):
        assert (await world.post(action, body)).document["kept_back"] == [], action


async def test_a_retry_names_the_lists_that_are_held(world):
    await deliver_with_refusals(world, "Heap Test", users(2), users(2, "bad"))
    world.cordial.state.delete_list(world.cordial.state.lists_by_name["HeapTest"])
    await world.deliver("Heap Test", users(3))
    await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
    [told] = (await world.post("failures/retry", {})).document["kept_back"]
    assert told.startswith(
        "Nothing is sent for the list HeapTest, which is held: the list HeapTest was deleted in Cordial;"
    )
    assert (await world.post("lists/1/rebuild")).document["kept_back"] == []
