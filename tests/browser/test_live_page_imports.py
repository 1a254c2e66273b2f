"""Imports on the live page, in a real browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from service.sandbox.imports.faults import ImportFault
from tests.browser.conftest import Watched
from tests.import_fixtures import importing, set_timings
from tests.service_fixtures import World, users

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    set_timings(monkeypatch, repeat=0.1)
    async with importing(tmp_path) as running:
        yield running


async def test_imports_appear_with_the_first_and_say_what_came_of_it(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Small", users(3), segment_id=1)
    await expect(page.locator("#list-rows tr", has_text="Small")).to_contain_text("Exact")
    await expect(page.locator("#imports-card")).to_be_hidden()
    await world.deliver("Active Users", users(100), segment_id=2)
    row = page.locator("#import-rows li")
    await expect(row).to_contain_text("Done")
    await expect(row).to_contain_text("100 contacts · 100 settled · 2 jobs")
    await expect(page.locator("#list-rows tr", has_text="ActiveUsers")).to_contain_text("Exact")
    assert live.errors == []


async def test_a_running_import_names_its_job_and_its_list(live: Watched, world: World) -> None:
    page = live.page
    world.cordial.imports.faults.add(ImportFault(ends="never"))
    await world.deliver("Active Users", users(100))
    row = page.locator("#import-rows li")
    await expect(row).to_contain_text("Sending")
    await expect(row).to_contain_text("file fetched)")
    [job_id] = world.cordial.imports.jobs
    await expect(row).to_contain_text(f"100 contacts: the file is being carried out (Cordial's job {job_id}")
    await expect(page.locator("#list-rows tr")).to_contain_text("In an import")
    await page.fill("#member-user", users(1)[0])
    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text(f"It travels in import 1, Cordial's job {job_id}")


async def test_an_account_that_fell_back_to_calls_says_why_and_fits_a_phone(live: Watched, world: World) -> None:
    page = live.page
    await page.set_viewport_size({"width": 390, "height": 844})
    world.cordial.imports.faults.add(ImportFault(times=None, ends="failed"))
    await world.deliver("Active Users", users(100))
    await expect(page.locator("#import-rows li")).to_contain_text("Left to calls")
    await expect(page.locator("#import-rows li")).to_contain_text("Cordial says the job failed.")
    account = page.locator("#account-rows li")
    await expect(account).to_contain_text("Resting from imports until")
    await expect(account).to_contain_text("single calls do the work: Cordial says the job failed.")
    await expect(page.locator("#list-rows tr")).to_contain_text("Exact")
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0
