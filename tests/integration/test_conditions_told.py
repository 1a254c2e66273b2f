"""Conditions of a running service, from outside: what raises them, what ends them, and what they never do (R16)."""

import asyncio

import msgspec
import pytest

from service.model.conditions import CATALOGUE
from service.model.guard import RemovalGuard
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages
from service.sandbox.options import SandboxOptions
from service.sandbox.sender import post_page
from tests.api_fixtures import asking
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, users


@pytest.fixture
async def world(tmp_path, quick_retries):  # noqa: ARG001  failures are not waited for
    async with asking(tmp_path, max_attempts=1) as running:
        yield running


def found(world) -> dict[str, str]:
    return {fact.id: fact.account for fact in world.service.facts()}


async def test_an_account_that_may_send_and_does_not_move_is_told(world):
    world.cordial.faults.add(Fault(FaultKind.HANG, method="POST", endpoint="/v2/contacts", seconds=600, times=None))
    await world.deliver("Readers", users(3))
    await world.until(lambda: found(world).get("account_stuck") == ACCOUNT)
    world.cordial.faults.clear()
    await world.post("accounts/acme/pause")
    assert found(world).get("account_paused") == ACCOUNT
    assert "account_stuck" not in found(world)


async def test_an_account_does_not_send_while_the_store_cannot_write(world):
    world.cordial.faults.add(Fault(FaultKind.HANG, method="POST", endpoint="/v2/contacts", seconds=600, times=None))
    await world.deliver("Readers", users(3))
    writer = world.service.store._writer
    await writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    [body] = build_pages(2, "Others", users(5_000, "u" * 60), [], task_id="big", page_size=5_000)
    answer = await post_page(world._session, f"{world.service.url}/webhooks/heap/{ACCOUNT}", HEAP_SECRET, body)
    assert answer.status == 503
    [account] = (await world.get("accounts"))["items"]
    assert (account["standing"], account["seconds_left"]) == ("store_trouble", None)
    assert account["reason"] == "the store cannot write: database or disk is full"
    await writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    await world.post("accounts/acme/pause")
    [account] = (await world.get("accounts"))["items"]
    assert account["standing"] == "paused"
    world.cordial.faults.clear()


async def test_what_anybody_can_cause_is_a_condition_and_no_part_of_readyz(world):
    for path in ("/webhooks/heap/nobody", "/webhooks/elsewhere", f"/webhooks/heap/{ACCOUNT}"):
        [body] = build_pages(1, "Readers", ["jane@example.com"], [], task_id="task", page_size=10)
        assert (await post_page(world._session, world.service.url + path, "no secret of ours", body)).status in {
            403,
            404,
        }
    refused = [each for each in world.service.conditions.current() if each.id == "deliveries_refused"]
    assert {each.account for each in refused} == {"", ACCOUNT}
    async with world._session.get(world.service.url + "/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ready", "degraded": []})


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"<html>", {"Content-Type": "text/html"}, "the body must be sent as application/json"),
        (b"no JSON", {"Content-Type": "application/json"}, "the Heap-Hash header is missing"),
        (b"{}", {"Content-Type": "application/json", "Heap-Hash": "x"}, "the Heap-Hash header "),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "br"}, "the Heap-Hash header is missing"),
    ],
)
async def test_a_refused_request_is_told_of_the_account_that_it_came_to_with_the_reason(world, body, headers, words):
    async with world._session.post(
        f"{world.service.url}/webhooks/heap/{ACCOUNT}", data=body, headers=headers
    ) as answer:
        assert 400 <= answer.status < 500
    [refused] = [each for each in world.service.conditions.current() if each.id == "deliveries_refused"]
    assert refused.account == ACCOUNT
    assert refused.detail.startswith(f"1 request; the last: {words}")


async def test_only_what_comes_to_no_account_is_told_as_that(world):
    for path in ("/webhooks/heap/nobody", "/webhooks/heap/jane@example.com/more"):
        async with world._session.post(world.service.url + path, data=b"{}") as answer:
            assert 400 <= answer.status < 500
    [refused] = [each for each in world.service.conditions.current() if each.id == "deliveries_refused"]
    assert refused.account == ""
    # Nothing that the sender wrote: notices carry it to people.
    assert refused.detail == "2 requests, to no account of ours; the last: no address of the webhook"


async def test_a_list_whose_turn_comes_late_is_no_trouble(tmp_path, monkeypatch):
    """Each answer takes a second, so a list is there after many; the account is slow, and nothing is wrong."""
    impatient = msgspec.structs.replace(CATALOGUE["list_not_ready"], patience_seconds=0.0)
    monkeypatch.setitem(CATALOGUE, "list_not_ready", impatient)
    async with asking(tmp_path, cordial=SandboxOptions(latency_ms=400)) as world:
        await world.deliver("Readers", users(3))
        told = set()
        while not (await world.get("lists"))["items"][0]["cordial_list_id"]:
            await world.service.conditions.look()
            told |= set(world.conditions())
        assert "list_not_ready" not in told


async def test_people_who_could_not_be_added_are_told_until_they_are_retried(world):
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user0@example.com", status=422, times=None))
    await world.deliver("Readers", users(3))
    await world.until(lambda: "people_failed" in world.conditions())
    [condition] = [each for each in (await world.get("conditions"))["items"] if each["id"] == "people_failed"]
    assert (condition["severity"], condition["account"], condition["subject"]) == ("warning", ACCOUNT, "Readers")
    assert (condition["people"], condition["command"]) == (1, "heap-cordial failures")
    assert condition["runbook"] == "docs/operations.md#people_failed"
    world.cordial.faults.clear()
    await world.post("failures/retry", {"list": condition["list_id"]})
    await world.until(lambda: "people_failed" not in world.conditions())

    async def history() -> list[str]:
        return [each["id"] for each in (await world.get("conditions"))["history"]]

    asked = f"conditions?id=people_failed&account={ACCOUNT}&subject=Readers"
    while not (await world.get(asked))["history"]:  # noqa: ASYNC110  the service is asked from outside
        await asyncio.sleep(0.1)
    [over] = (await world.get(asked))["history"]
    assert (over["since"], over["place"]) == (condition["since"], condition["place"])
    assert (await world.get("conditions?id=people_failed&subject=Others"))["history"] == []
    assert (await world.get("conditions?id=disk_low"))["items"] == []
    while "people_failed" not in await history():
        pass


async def test_a_segment_is_called_what_people_call_it(world):
    """By its name in Heap, but by its list's where two segments of the account have one name."""
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user0@example.com", status=422, times=None))
    await world.deliver("Active Users", users(2))
    await world.until(lambda: subjects(world) == {"Active Users"})
    [condition] = (await world.get("conditions?id=people_failed"))["items"]
    assert condition["title"] == "1 person could not be added or removed (acme Active Users)"
    await world.deliver("Active Users", users(2), segment_id=2)
    await world.until(lambda: subjects(world) == {"ActiveUsers", "ActiveUsers-2"})


async def test_segments_of_one_name_have_a_condition_each_and_a_command_that_finds_it(tmp_path):
    """A list that has no name yet cannot tell them apart, and another account may have the name too."""
    async with asking(tmp_path, hold_new_segments=True) as world:
        await world.deliver("Same", users(3), segment_id=1)
        await world.deliver("Same", users(4), segment_id=2)
        items: list[dict[str, object]] = []
        while len(items) < 2:
            await asyncio.sleep(0.1)
            items = [each for each in (await world.get("conditions"))["items"] if each["id"] == "list_awaits_approval"]
        assert {(each["list_id"], each["people"]) for each in items} == {(1, 3), (2, 4)}
        assert {each["command"] for each in items} == {"heap-cordial approve id:1", "heap-cordial approve id:2"}
        assert "2 segments to approve" in (await world.get("overview"))["headline"]
        [one] = (await world.get("conditions?list=2"))["items"]
        assert one["list_id"] == 2
        await world.deliver("Renamed", users(4), segment_id=2)
        while not any(each["subject"] == "Renamed" for each in (await world.get("conditions"))["items"]):  # noqa: ASYNC110  the same
            await asyncio.sleep(0.1)
        document = await world.get("conditions")
        [renamed] = [each for each in document["items"] if each["subject"] == "Renamed"]
        assert (renamed["since"], document["history"]) == (one["since"], [])


def subjects(world) -> set[str]:
    return {each.subject for each in world.service.conditions.current() if each.id == "people_failed"}


async def test_what_a_person_has_just_done_is_told_no_more(tmp_path):
    """The next look comes seconds later; until then the page would say that nothing is sent, beside what is sent."""
    async with asking(tmp_path, hold_new_segments=True, hold_removals=RemovalGuard(share=0.5, least=1)) as world:
        await world.deliver("Readers", users(4))
        await world.until(lambda: "list_awaits_approval" in world.conditions())
        await world.post("lists/1/approve")
        assert "list_awaits_approval" not in world.conditions()
        await world.settled()
        await world.deliver("Readers", (), users(3))
        await world.until(lambda: "removals_held" in world.conditions())
        await world.post("syncs/2/discard")
        assert "removals_held" not in world.conditions()
        # As the store has it, for those who read it without the service.
        assert [each["id"] for each in (await world.get("conditions"))["history"]][:1] == ["removals_held"]


async def test_many_who_look_at_once_ask_the_store_as_two_do(tmp_path, monkeypatch):
    """Each is told what is so since it asked: one question is under way already, the next serves all who came meanwhile."""
    async with asking(tmp_path) as world:
        store, conditions, all_have_come = world.service.store.conditions, world.service.conditions, asyncio.Event()
        facts, ask, came, asked = store.facts, conditions.ask, 0, 0

        async def ask_once_it_came():
            nonlocal came
            came += 1
            if came == 12:
                all_have_come.set()
            await ask()

        async def facts_when_all_have_come(*arguments):
            nonlocal asked
            asked += 1
            await all_have_come.wait()
            return await facts(*arguments)

        monkeypatch.setattr(conditions, "ask", ask_once_it_came)
        monkeypatch.setattr(store, "facts", facts_when_all_have_come)
        await asyncio.gather(*(world.get("overview") for _ in range(12)))
        # The service looks by itself now and then, too.
        assert 1 <= asked <= 5
