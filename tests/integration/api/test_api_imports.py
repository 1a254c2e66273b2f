"""What the API says of changes that travel as files."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import pytest

from service.model.imports import ListTravel
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.imports.faults import ImportFault
from tests.import_fixtures import add_contacts, ask, importing, imports_of, set_timings
from tests.service_fixtures import ACCOUNT, API_KEY, HEAP_SECRET, World, users

# A job that can be looked at for as long as it takes.
ENDLESS = ImportFault(ends="never", after_share=0.5)
BROKEN = ImportFault(times=None, ends="failed", after_share=0.5)


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    set_timings(monkeypatch, repeat=0.1)
    async with importing(tmp_path) as running:
        add_contacts(running, users(300))
        yield running


async def sending_without_end(world: World, segment: str) -> None:
    """Return while an import with one hundred contacts of the segment runs at Cordial."""
    world.cordial.imports.faults.add(ENDLESS)
    await world.deliver(segment, users(100), segment_id=1)
    await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running' AND fetched_at_ms > 0"))


async def test_a_running_import_shows_its_lists_and_parts(world):
    await sending_without_end(world, "One")
    [running] = (await ask(world, "imports"))["items"]
    [found] = (await ask(world, "lists"))["items"]
    assert (running["account"], running["state"], running["contacts"], running["jobs"]) == ("acme", "sending", 100, 1)
    assert running["lists"] == [{"id": found["id"], "segment_name": "One", "list_name": "One"}]
    assert (running["settled"], running["released"], running["ended_at"]) == (0, 0, None)
    [part] = running["parts"]
    assert (part["state"], part["strategy"], part["contacts"], part["tries"]) == ("running", "updateOnly", 100, 0)
    assert part["job_id"] in world.cordial.imports.jobs
    assert datetime.fromisoformat(part["fetched_at"]) >= datetime.fromisoformat(running["started_at"])
    assert (await ask(world, "imports?state=sending"))["items"] == [running]


async def test_an_import_that_is_over_shows_what_came_of_it(world):
    await world.deliver("One", users(100), segment_id=1)
    await world.settled()
    [ended] = (await ask(world, "imports?state=ended"))["items"]
    assert (ended["contacts"], ended["settled"], ended["released"], ended["parts"]) == (100, 100, 0, [])
    assert datetime.fromisoformat(ended["ended_at"]) >= datetime.fromisoformat(ended["started_at"])


async def test_imports_come_in_the_order_that_is_asked_for(world):
    await world.deliver("One", users(100), segment_id=1)
    await world.settled()
    await world.deliver("Two", users(200), segment_id=2)
    await world.settled()
    await sending_without_end(world, "Three")

    async def order(asked: str) -> list[int]:
        return [each["id"] for each in (await ask(world, f"imports?sort={asked}"))["items"]]

    assert await order("trouble") == [3, 2, 1]
    assert await order("trouble&reverse=true") == [1, 2, 3]
    assert await order("rows") == [2, 3, 1]
    assert await order("done") == [2, 1, 3]
    assert await order("latest&reverse=true") == [1, 2, 3]
    page = await ask(world, "imports?sort=rows&limit=2")
    following = await ask(world, f"imports?sort=rows&limit=2&after={page['next']}")
    assert ([each["id"] for each in following["items"]], following["next"]) == ([1], None)


async def test_imports_are_filtered_and_paged_the_newest_first(world):
    for number in range(3):
        await world.deliver("One", users(300)[100 * number :][:100], segment_id=1)
        await world.settled()
        await world.until(lambda: not world.rows("SELECT 1 FROM bulk_import WHERE state <> 'ended'"))
    everything = (await ask(world, "imports"))["items"]
    assert [each["contacts"] for each in everything] == [100, 100, 100]
    assert [each["id"] for each in everything] == sorted((each["id"] for each in everything), reverse=True)
    first = await ask(world, "imports?limit=2")
    second = await ask(world, f"imports?limit=2&after={first['next']}")
    assert first["items"] + second["items"] == everything
    assert second["next"] is None
    assert (await ask(world, "imports?account=acme&state=ended"))["items"] == everything
    assert (await ask(world, "imports?account=other"))["items"] == []
    list_id = everything[0]["lists"][0]["id"]
    assert (await ask(world, f"imports?list={list_id}"))["items"] == everything
    assert (await ask(world, f"imports?list={list_id + 1}"))["items"] == []
    assert (await ask(world, "imports?state=sending"))["items"] == []


async def test_an_import_that_failed_tells_why_its_contacts_were_left_to_calls(world):
    world.cordial.imports.faults.add(BROKEN)
    await world.deliver("One", users(100), segment_id=1)
    await world.settled()
    [ended] = (await ask(world, "imports"))["items"]
    assert (ended["state"], ended["settled"], ended["released"]) == ("ended", 0, 100)
    assert ended["reason"] == "Cordial says the job failed"
    assert len(world.contact_calls()) == 100


async def test_an_import_of_which_nothing_suits_a_file_tells_so(world):
    await world.deliver("One", [f"o'neil{number}@example.com" for number in range(60)], segment_id=1)
    await world.settled()
    assert imports_of(world) == [(0, 0, 0, 0, "none of the contacts suits a file")]
    [ended] = (await ask(world, "imports"))["items"]
    assert (ended["state"], ended["reason"]) == ("ended", "none of the contacts suits a file")


async def test_a_user_whose_change_travels_is_told_in_which_import_and_job(world):
    await sending_without_end(world, "One")
    [running] = (await ask(world, "imports"))["items"]
    [found] = (await ask(world, "lists"))["items"]
    member = await ask(world, f"lists/{found['id']}/members/find", {"user": users(1)[0]})
    assert (found["import_state"], member["state"]) == ("sending", "pending")
    # Its sync travels as it does, wherever it is shown.
    [sync] = (await ask(world, "syncs"))["items"]
    [shown] = (await ask(world, "overview"))["syncs"]
    one = await ask(world, f"syncs/{sync['id']}")
    assert [each["import_state"] for each in (sync, shown, one)] == ["sending"] * 3
    assert member["journey"]["carries_change"]
    job = running["parts"][0]["job_id"]
    assert f"It is part of import {running['id']}, Cordial's job {job}, since 20" in member["explanation"]


async def test_a_user_whose_import_is_over_is_on_the_list(world):
    await world.deliver("One", users(100), segment_id=1)
    await world.settled()
    await world.until(lambda: not world.service.deliverer.imports_statuses()["acme"].lists)
    [found] = (await ask(world, "lists"))["items"]
    member = await ask(world, f"lists/{found['id']}/members/find", {"user": users(1)[0]})
    assert (member["journey"], member["on_list"], found["import_state"]) == (None, True, None)


async def test_a_user_with_another_change_is_told_to_wait_for_the_import(world):
    await sending_without_end(world, "Large")
    await world.deliver("Small", users(1), segment_id=2)
    await world.deliver("Large", [], users(2)[1:], segment_id=1)
    await world.deliver("Large", ["late@example.com"], segment_id=1)
    await world.until(lambda: world.service.store.backlog.pending_total == 102)
    large, small = (await ask(world, "lists"))["items"]
    for list_id, user in [(small["id"], users(1)[0]), (large["id"], users(2)[1])]:
        member = await ask(world, f"lists/{list_id}/members/find", {"user": user})
        assert not member["journey"]["carries_change"]
        assert member["next"]["what"].startswith(f"It is sent after import {member['journey']['import_id']} is over")
    late = await ask(world, f"lists/{large['id']}/members/find", {"user": "late@example.com"})
    assert late["journey"] is None
    assert "after the current import of this list" in late["next"]["what"]


async def test_changes_that_wait_for_the_rest_of_their_sync_say_so(world):
    [page, _] = build_pages(1, "One", users(120), [], task_id="in two pages", page_size=60)
    async with aiohttp.ClientSession() as session:
        await post_page(session, f"{world.service.url}/webhooks/heap/{ACCOUNT}", HEAP_SECRET, page)
    await world.until(lambda: ListTravel.WAITING in world.service.deliverer.imports_statuses()["acme"].lists.values())
    [found] = (await ask(world, "lists"))["items"]
    assert (found["import_state"], found["pending"]) == ("waiting", 60)
    member = await ask(world, f"lists/{found['id']}/members/find", {"user": users(1)[0]})
    assert member["next"]["what"] == "It waits to be sent as a file with the list's 60 changes."


async def test_an_account_that_fell_back_says_until_when_and_why(world):
    assert (await ask(world, "accounts"))["items"][0]["imports_rest"] is None
    world.cordial.imports.faults.add(BROKEN)
    before = datetime.now(UTC)
    await world.deliver("One", users(100), segment_id=1)
    await world.settled()
    rest = (await ask(world, "accounts"))["items"][0]["imports_rest"]
    assert rest["reason"] == "Cordial says the job failed"
    assert timedelta(minutes=59) < datetime.fromisoformat(rest["until"]) - before < timedelta(minutes=61)


@pytest.mark.parametrize(("fault", "state"), [(ENDLESS, "sending"), (ImportFault(), "ended")])
async def test_watchers_are_told_of_an_import_that_runs_and_of_one_that_is_over(world, fault, state):
    world.cordial.imports.faults.add(fault)
    headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{world.service.url}/api/v1/events") as events,
        asyncio.timeout(20),
    ):
        await world.deliver("One", users(100), segment_id=1)
        told: dict[str, Any] = {}
        while told.get("state") != state:
            line = await events.content.readline()
            if line.startswith(b"data: "):
                imports = msgspec.json.decode(line.removeprefix(b"data: ")).get("imports")
                told = imports[-1] if imports else told
    assert (told["contacts"], told["lists"][0]["list_name"]) == (100, "One")
