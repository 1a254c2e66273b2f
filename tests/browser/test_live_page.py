"""The live page, walked through in a real browser: a whole sync, a failure, its retry, and what stops everything."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from service.sandbox.faults import Fault, FaultKind
from tests.browser.conftest import Watched
from tests.service_fixtures import World, delivering, users

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LIVE = "#connection[data-state=live]"


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with delivering(tmp_path, max_attempts=1) as running:
        yield running


async def test_nobody_sees_the_page_without_the_key(browser_context, world: World) -> None:
    answer = await browser_context.request.get(world.service.url)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


async def test_it_says_what_to_do_before_the_first_delivery(live: Watched, world: World) -> None:
    page = live.page
    await expect(page.locator("#empty")).to_be_visible()
    await expect(page.locator("#webhook-address")).to_have_text(f"{world.service.url}/webhooks/heap/acme")
    await expect(page.locator("#send-command")).to_contain_text("heap-cordial send --url")
    await expect(page.locator("#attention")).to_be_hidden()


async def test_a_whole_sync_with_a_failure_that_is_retried(live: Watched, world: World) -> None:
    page = live.page
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user3@example.com", status=422, times=1))
    await world.deliver("Active Users", users(10), page_size=5)
    row = page.locator("#list-rows tr", has_text="ActiveUsers")
    await expect(row).to_contain_text("Incomplete")
    await expect(page.locator("#sync-rows li").first).to_contain_text("2 of 2 pages arrived")
    await expect(page.locator("#empty")).to_be_hidden()

    await page.fill("#member-user", " User3@Example.com ")
    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text("Given up")

    trouble = page.locator("#attention-rows li", has_text="1 change of ActiveUsers given up")
    await trouble.get_by_role("button", name="Retry").click()
    await expect(page.locator("#toast")).to_contain_text("1 change will be sent again")
    await expect(row).to_contain_text("Exact")
    await expect(page.locator("#attention")).to_be_hidden()
    await expect(page.locator("#figure-exact")).to_have_text("1 of 1")
    assert world.members("ActiveUsers") == sorted(users(10))

    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text("On the list")
    await row.get_by_role("button", name="Verify").click()
    await expect(page.locator("#toast")).to_contain_text("ActiveUsers is exact: Cordial counts 10")
    await expect(page.locator(_LIVE)).to_be_visible()
    assert [url for url in live.requested if not url.startswith(world.service.url)] == []
    assert live.errors == []


async def test_an_account_is_paused_and_resumed(live: Watched, world: World) -> None:
    page = live.page
    await page.get_by_role("button", name="Pause acme").click()
    await expect(page.locator("#attention-rows")).to_contain_text("acme is paused by an operator")
    await world.deliver("Active Users", users(3))
    await expect(page.locator("#figure-backlog")).to_have_text("3")
    assert world.contact_calls() == []
    await page.get_by_role("button", name="Resume acme").click()
    await expect(page.locator("#list-rows tr").first).to_contain_text("Exact")
    await expect(page.locator("#attention")).to_be_hidden()


async def test_a_list_changed_by_hand_is_found_and_rebuilt(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(4))
    row = page.locator("#list-rows tr", has_text="ActiveUsers")
    await expect(row).to_contain_text("Exact")
    world.cordial.state.lists_by_name["ActiveUsers"].members.clear()
    await row.get_by_role("button", name="Verify").click()
    await expect(page.locator("#attention-rows")).to_contain_text("Cordial counts 0")
    await page.locator("#attention-rows").get_by_role("button", name="Rebuild").click()
    await world.until(lambda: world.members("ActiveUsers") == sorted(users(4)))
    await row.get_by_role("button", name="Verify").click()
    await expect(row).to_contain_text("Exact")


async def test_a_hostile_segment_name_stays_text(live: Watched, world: World) -> None:
    name = '<img src=x onerror="document.title=1"> & "friends"'
    await world.deliver(name, ["<b>bold</b>"])
    await expect(live.page.locator("#list-rows tr").first).to_contain_text(name)
    assert await live.page.locator("#list-rows img, #failure-rows b, #attention-rows b").count() == 0
    assert await live.page.title() == "heap-cordial"


async def test_it_says_when_the_service_is_gone_and_comes_back(live: Watched, world: World) -> None:
    await expect(live.page.locator(_LIVE)).to_be_visible()
    await world.stop()
    await expect(live.page.locator("#connection")).to_have_text("Not reachable, trying again")


async def test_it_fits_a_phone_and_works_by_keyboard(live: Watched, world: World) -> None:
    page: Page = live.page
    await world.deliver("Active Users", users(2))
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(page.locator("#list-rows tr").first).to_contain_text("Exact")
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to what needs attention"
    await page.locator("#list-rows").get_by_role("button", name="Verify").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#toast")).to_contain_text("is exact")


async def test_a_new_segment_waits_for_its_button_and_a_dry_run_is_told(live: Watched, world: World) -> None:
    page = live.page
    await page.goto("about:blank")
    await world.restart(hold_new_segments=True, dry_run=True)
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(3))
    await expect(page.locator("#account-rows li")).to_contain_text("Dry run")
    await expect(page.locator("#attention-rows li", has_text="acme is in a dry run")).to_be_visible()
    trouble = page.locator("#attention-rows li", has_text="The segment “Active Users” is new")
    row = page.locator("#list-rows tr", has_text="Active Users")
    await expect(row).to_contain_text("To be approved")
    await trouble.get_by_role("button", name="Approve Active Users").click()
    await expect(page.locator("#toast")).to_contain_text("Active Users is approved and will be sent.")
    await expect(trouble).to_be_hidden()
    await expect(row).to_contain_text("Not created yet")
    await expect(row).to_contain_text("dry run: the list would be created")
    assert {call.method for call in world.calls()} <= {"GET"}
    assert live.errors == []
