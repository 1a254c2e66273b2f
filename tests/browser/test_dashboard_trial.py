"""A trial on the dashboard, in a real browser: nothing is written before its plan is confirmed, and what it showed stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from service.model.trial import TrialPoint
from tests.browser.conftest import Watched
from tests.import_fixtures import add_contacts, importing
from tests.service_fixtures import World, users

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    timings = msgspec.structs.replace(
        World.trial_timings, look=0.05, prompt=5.0, visible=10.0, settle=0.2, job=10.0, prompt_job=10.0
    )
    monkeypatch.setattr(World, "trial_timings", timings)
    async with importing(tmp_path, bulk_untested=False) as running:
        yield running


async def test_a_trial_is_seen_before_it_is_made_and_its_results_stay(live: Watched, world: World) -> None:
    page = live.page
    add_contacts(world, ["cleo@example.com"], "subscribed")
    await page.goto(f"{world.service.url}/#/accounts/acme")
    section = page.get_by_role("region", name="Trial", exact=True)
    await expect(section).to_contain_text("Files are set up, and not used before a trial has shown")
    await section.get_by_label("Test contacts").fill("Ann@example.com, ben@example.com")
    await section.get_by_label("One that is subscribed").fill("cleo@example.com")
    await section.get_by_role("button", name="Try…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("ann@example.com, ben@example.com, cleo@example.com")
    await expect(dialog).to_contain_text("Up to three lists are created.")
    assert (await Axe().run(page)).response["violations"] == []
    await dialog.get_by_role("button", name="Cancel").click()
    assert world.calls() == []

    await section.get_by_role("button", name="Try…").click()
    await dialog.get_by_role("button", name="Try acme").click()
    await expect(page.locator("#toast")).to_contain_text("The trial has begun.")
    await expect(section).to_contain_text("The trial left these in Cordial", timeout=60_000)
    rows = page.locator("#trial-rows tr")
    await expect(rows).to_have_count(len(TrialPoint))
    # The stand-in tells no limits; what is otherwise comes first, with what to do.
    await expect(rows.first).to_contain_text("Limits told")
    await expect(rows.first).to_contain_text("What to do: Nothing is wrong")
    await expect(rows.first.locator(".badge")).to_have_attribute("data-tone", "busy")
    assert (await Axe().run(page)).response["violations"] == []

    assert live.errors == []

    # Away from the dashboard, which would look for the service while it is down.
    await page.goto("about:blank")
    await world.restart()
    await page.goto(f"{world.service.url}/#/accounts/acme")
    await expect(rows).to_have_count(len(TrialPoint))
    await expect(section.get_by_role("button", name="Try again…")).to_be_visible()


async def test_a_refused_trial_says_why(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(1))
    await world.settled()
    await page.goto(f"{world.service.url}/#/accounts/acme")
    await page.get_by_label("Test contacts").fill(users(1)[0])
    await page.get_by_role("button", name="Try…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Try acme").click()
    await expect(page.locator("#toast[data-tone=bad]")).to_contain_text("segment")
    await expect(page.get_by_label("Test contacts")).to_have_value(users(1)[0])
