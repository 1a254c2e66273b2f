"""What the API says of changes that travel as files."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from service.deliver.imports import bulk_path
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from tests.bulk_fixtures import add_contacts, ask, importing, imports_of
from tests.service_fixtures import World, users

# Long enough to look at a job that runs.
SLOW = ImportOptions(delay_seconds=1.0)
BROKEN = ImportFault(times=None, ends="failed", after_share=0.5)


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setattr(bulk_path, "_REPEAT_SECONDS", 0.1)
    async with importing(tmp_path, SLOW) as running:
        add_contacts(running, users(300))
        yield running


async def job_runs(world: World) -> None:
    await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running' AND fetched_at_ms > 0"))


async def test_a_running_import_shows_its_lists_and_parts(world):
    await world.deliver("One", users(200), segment_id=1)
    await job_runs(world)
    [running] = (await ask(world, "imports"))["items"]
    [found] = (await ask(world, "lists"))["items"]
    assert (running["account"], running["state"], running["contacts"], running["jobs"]) == ("acme", "sending", 200, 1)
    assert running["lists"] == [{"id": found["id"], "list_name": "One"}]
    assert (running["settled"], running["released"], running["ended_at"]) == (0, 0, None)
    [part] = running["parts"]
    assert (part["state"], part["strategy"], part["contacts"], part["tries"]) == ("running", "updateOnly", 200, 0)
    assert part["job_id"] in world.cordial.imports.jobs
    assert datetime.fromisoformat(part["fetched_at"]) >= datetime.fromisoformat(running["started_at"])
    await world.settled()
    [ended] = (await ask(world, "imports?state=ended"))["items"]
    assert (ended["id"], ended["settled"], ended["released"], ended["parts"]) == (running["id"], 200, 0, [])
    assert datetime.fromisoformat(ended["ended_at"]) >= datetime.fromisoformat(ended["started_at"])


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
