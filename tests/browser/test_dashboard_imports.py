"""Imports on the dashboard, in a real browser."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from tests.browser.conftest import Watched, confirm, faults_of_access
from tests.import_fixtures import add_contacts, importing, set_timings
from tests.service_fixtures import World, users

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    set_timings(monkeypatch, repeat=0.1)
    async with importing(tmp_path) as running:
        yield running


async def test_an_import_says_what_came_of_its_rows(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(100), segment_id=2)
    await world.settled()
    await page.goto(f"{world.service.url}/#/imports")
    row = page.locator("#import-rows tr")
    await expect(row).to_contain_text("Done")
    assert await row.locator("td.number").all_inner_texts() == ["100", "100", "0", "0", "0", "2"]
    await page.goto(f"{world.service.url}/#/lists")
    await expect(page.locator("tbody tr")).to_contain_text("Exact")
    # Cordial refuses one in a file, and no call says whom before it is answered.
    refused = "refused@example.com"
    world.cordial.imports.refused_addresses.add(refused)
    world.cordial.faults.add(Fault(FaultKind.HANG, contact=f"email:{refused}", times=None, seconds=600))
    await world.deliver("Active Users", [refused, *users(99, "more")], segment_id=2)
    await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
    await page.goto(f"{world.service.url}/#/people")
    await expect(page.locator("main .card")).to_have_text(
        "Nobody by name: Cordial refused 1 person in a file, and the service looks for them."
    )
    world.cordial.faults.let_go()
    assert live.errors == []


async def test_a_running_import_names_its_job_and_its_list(live: Watched, world: World) -> None:
    page = live.page
    world.cordial.imports.faults.add(ImportFault(ends="never"))
    await world.deliver("Active Users", users(100))
    row = page.locator("#import-rows tr")
    await expect(row).to_contain_text("With Cordial")
    await expect(page.locator("#headline")).to_contain_text("Waiting for Cordial to carry out a file")
    await expect(page.locator(".figures")).to_contain_text("time left not known")
    await expect(page.locator("#account-rows .badge")).to_contain_text("In a file")
    await expect(row).to_contain_text("file fetched)")
    [job_id] = world.cordial.imports.jobs
    await expect(row).to_contain_text(f"The file is being carried out by Cordial (Cordial's job {job_id}")
    await row.get_by_role("link").click()
    await expect(page).to_have_url(re.compile(r"#/imports/1$"))
    await expect(page.locator(".title")).to_have_text(re.compile("Import of Active Users.*With Cordial"))
    # One word for one thing: the account, the list, its sync and the sum.
    await page.goto(f"{world.service.url}/#/accounts/acme")
    await expect(page.locator(".title .badge")).to_contain_text("In a file")
    await page.goto(f"{world.service.url}/#/syncs")
    await expect(page.locator("#sync-rows tr")).to_contain_text("In a file")
    await page.goto(f"{world.service.url}/#/lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("In a file")
    await expect(page.locator("#sync-rows tr")).to_contain_text("In a file")
    await expect(page.locator("#sum")).to_contain_text("to be sent (in a file)")
    assert await faults_of_access(page) == []
    await expect(page.get_by_role("link", name="a file", exact=True)).to_have_attribute("href", "#/imports?list=1")
    await page.fill("#member-user", users(1)[0])
    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text(f"It is part of import 1, Cordial's job {job_id}")
    await expect(page.locator("#member-answer")).not_to_contain_text(" UTC")


async def test_an_account_that_fell_back_to_calls_says_why(live: Watched, world: World) -> None:
    page = live.page
    world.cordial.imports.faults.add(ImportFault(times=None, ends="failed"))
    await world.deliver("Active Users", users(100))
    await page.goto(f"{world.service.url}/#/imports")
    await expect(page.locator("#import-rows tr")).to_contain_text("Left to single calls")
    await expect(page.locator("#import-rows tr")).to_contain_text("Cordial says the job failed.")
    await page.goto(f"{world.service.url}/#/accounts/acme")
    await expect(page.locator(".terms")).to_contain_text("not used now: Cordial says the job failed")
    await page.get_by_role("button", name="Use files again acme").click()
    await expect(page.locator("#toast")).to_have_text("acme uses files again.")
    await expect(page.locator(".terms")).not_to_contain_text("not used now")
    await page.goto(f"{world.service.url}/#/lists")
    await expect(page.locator("tbody tr")).to_contain_text("Exact")


async def test_who_saw_what_became_of_a_job_says_it(live: Watched, world: World) -> None:
    page = live.page
    add_contacts(world, users(100))
    world.cordial.imports.faults.add(ImportFault(held_seconds=600))
    world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", seconds=0.5))
    await world.deliver("Active Users", users(100))
    await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'in_doubt'"))
    await page.goto(f"{world.service.url}/#/lists/1")
    await page.get_by_role("link", name="look for its job, then say what you saw").click()
    await expect(page).to_have_url(re.compile(r"#/imports/1$"))
    await expect(page.locator("#import-rows tr")).to_contain_text("In doubt")
    await expect(page.locator("#import-rows").get_by_role("link")).to_have_attribute("href", "#/lists/1")
    await expect(page.locator("#import-rows tr")).to_contain_text(
        "Cordial did not say that it accepted the import: the connection was reset"
    )
    assert await faults_of_access(page) == []
    await page.get_by_role("button", name="It never started… Import 1").click()
    await expect(page.get_by_role("dialog")).to_contain_text(
        "as Cordial's own list of jobs shows. 100 people of the file are then sent by single calls."
    )
    assert await faults_of_access(page) == []
    await page.keyboard.press("Escape")
    assert world.contact_calls() == []
    await page.get_by_role("button", name="The job is over… Import 1").click()
    await confirm(page, "Send 100 people by single calls")
    await expect(page.locator("#toast")).to_have_text("100 people will be sent by single calls.")
    await expect(page.locator(".notice")).to_have_count(0)
    await world.settled()
    assert world.members("ActiveUsers") == sorted(users(100))
