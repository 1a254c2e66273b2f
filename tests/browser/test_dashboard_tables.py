"""The tables of the dashboard, in a real browser: what they show, in which order, on which screen. One service for all."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from service.sandbox.faults import Fault, FaultKind
from tests.browser.conftest import Watched, faults_of_access, go, overflow
from tests.service_fixtures import World, delivering, users

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Three lists: a good one, one with failures, one of which a page is missing. The tests only look."""
    async with delivering(tmp_path_factory.mktemp("tables"), max_attempts=1) as running:
        for name in ("bad@example.com", "anna@example.com"):
            running.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{name}", status=422, times=None))
        await running.deliver("Alpha", users(30), segment_id=1)
        await running.deliver(
            "Beta",
            [*users(12), "User1@Example.com", "bad@example.com", "anna@example.com", "null", "undefined"],
            segment_id=2,
        )
        await running.deliver("Gamma", users(9), segment_id=3, page_size=3, first_pages=2)
        await running.deliver("Delta", users(3), segment_id=4)
        await running.until(lambda: running.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(2,)])
        await running.until(lambda: running.rows("SELECT count(*) FROM segment WHERE list_count = settled") == [(4,)])
        yield running


async def first_cells(page: Page) -> list[str]:
    found = await page.locator("tbody tr td:first-child strong").all_inner_texts()
    return [text.strip() for text in found]


async def test_lists_are_sorted_by_their_headings_and_the_address_keeps_it(live: Watched) -> None:
    page = live.page
    await go(page, "lists")
    await expect(page.get_by_role("columnheader", name="State")).to_have_attribute("aria-sort", "descending")
    await expect(page.locator("tbody tr").first).to_contain_text("Beta")
    await page.get_by_role("columnheader", name="In Heap").get_by_role("link").click()
    await expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    await expect(page.get_by_role("columnheader", name="In Heap")).to_have_attribute("aria-sort", "descending")
    await expect(page.get_by_role("columnheader", name="State")).not_to_have_attribute("aria-sort", re.compile(".*"))
    await expect(page).to_have_url(re.compile(r"sort=wanted"))
    await page.get_by_role("columnheader", name="In Heap").get_by_role("link").click()
    await expect(page.get_by_role("columnheader", name="In Heap")).to_have_attribute("aria-sort", "ascending")
    assert await first_cells(page) == ["Delta", "Gamma", "Beta", "Alpha"]
    await page.reload()
    await expect(page.locator("tbody tr").first).to_contain_text("Delta")
    await page.get_by_role("columnheader", name="List", exact=True).get_by_role("link").click()
    await expect(page.get_by_role("columnheader", name="List", exact=True)).to_have_attribute("aria-sort", "ascending")
    await expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Delta")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Beta")


async def test_syncs_tell_arrival_apart_from_sending(live: Watched) -> None:
    page = live.page
    await go(page, "syncs")
    await expect(page.locator("#sync-rows tr")).to_have_count(4)
    assert await first_cells(page) == ["Beta", "Gamma", "Delta", "Alpha"]
    # Pages, State, To add, To remove, Done, Failed, Left.
    rows = {
        name: [
            text.strip() for text in await page.locator("#sync-rows tr", has_text=name).locator("td").all_inner_texts()
        ]
        for name in ("Beta", "Gamma")
    }
    assert [text.split("\n")[0] for text in rows["Beta"][1:]] == [
        "✓ 1 page",
        "✕ Done, with failures",
        "15",
        "0",
        "12",
        "2",
        "0",
    ]
    assert [text.split("\n")[0] for text in rows["Gamma"][1:]] == [
        "• Receiving (2 of 3 pages)",
        "• Waiting for pages",
        "6",
        "0",
        "6",
        "0",
        "0",
    ]
    await page.get_by_role("columnheader", name="Segment").get_by_role("link").click()
    await expect(page.locator("#sync-rows tr").first).to_contain_text("Delta")
    await page.go_back()
    await expect(page.locator("#sync-rows tr").first).to_contain_text("Beta")


async def test_people_are_sorted_by_name(live: Watched) -> None:
    page = live.page
    await go(page, "people?sort=name")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.get_by_role("columnheader", name="Person")).to_have_attribute("aria-sort", "ascending")
    await expect(page.locator("tbody tr").first).to_contain_text("anna@example.com")


@pytest.mark.parametrize("width", [390, 320])
async def test_tables_are_read_on_a_phone(live: Watched, width: int) -> None:
    page = live.page
    await page.set_viewport_size({"width": width, "height": 844})
    for place in ("lists", "syncs", "people", "imports"):
        await go(page, place)
        await expect(page.locator("main .waiting")).to_have_count(0)
        await expect(page.get_by_label("Order")).to_be_visible()
        assert await overflow(page) == 0, place
        # Nothing has to be pushed aside to be read.
        wide = "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length"
        assert await page.locator(".scroller").evaluate_all(wide) == 0, place
    await go(page, "syncs")
    await page.get_by_label("Order").select_option("Failed")
    await expect(page.locator("#sync-rows tr").first).to_contain_text("Beta")
    await expect(page).to_have_url(re.compile(r"sort=failed"))


async def test_a_condition_has_an_address_and_says_what_to_do(live: Watched) -> None:
    page = live.page
    await page.locator("#attention-rows").get_by_role("link", name="acme · Beta", exact=True).click()
    await expect(page).to_have_url(re.compile(r"#/conditions/people_failed\?account=acme&subject=Beta$"))
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Some people could not be added to the list")
    await expect(page.locator(".title .badge")).to_contain_text("Warning")
    await expect(page.locator(".terms")).to_contain_text(re.compile(r"People concerned\s*2"))
    await expect(page.locator("main")).to_contain_text("heap-cordial failures")
    await expect(page.get_by_role("button", name="Retry them, on Beta")).to_be_visible()
    await expect(page.get_by_role("link", name="See who")).to_have_attribute("href", "#/people?list=2")
    runbook = page.get_by_role("region", name="Runbook: People could not be added")
    await expect(runbook.locator("tbody tr", has_text="contact_not_found")).to_contain_text(
        "create the contact in Cordial"
    )
    await expect(runbook.locator("pre")).to_contain_text("heap-cordial")
    assert "**" not in await runbook.inner_text()
    assert await faults_of_access(page) == []
    await runbook.get_by_role("link", name="On its own").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("People could not be added")
    await page.go_back()
    await expect(page.get_by_role("button", name="Retry them, on Beta")).to_be_visible()
    await go(page, "conditions/disk_low")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing of this kind lasts")
    assert live.errors == []


async def test_the_whole_runbook_is_read_on_any_screen(live: Watched) -> None:
    page = live.page
    await go(page, "runbook")
    await page.get_by_role("link", name="Nothing moves").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing moves")
    await page.set_viewport_size({"width": 320, "height": 844})
    for place in ("runbook", "runbook/an-account-is-paused", "conditions/people_failed?account=acme&subject=Beta"):
        await go(page, place)
        await expect(page.locator("main .waiting")).to_have_count(0)
        assert await overflow(page) == 0, place
        assert await faults_of_access(page) == [], place


async def test_the_sum_of_a_list_leads_to_its_people(live: Watched) -> None:
    page = live.page
    await go(page, "lists/2")
    rows = page.locator("#sum tr")
    await expect(rows.first).to_contain_text(re.compile(r"Heap named\s*17"))
    texts = [" ".join(text.split()) for text in await rows.all_inner_texts()]
    assert texts == [
        "Heap named 17",
        "on the list, confirmed by Cordial 12",
        "to be sent 0",
        "could not be added 2",
        "another spelling of somebody counted above 1",
        "with an unusable id 2",
    ]
    await rows.get_by_role("link", name="could not be added").click()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page).to_have_url(re.compile(r"people\?list=2&dead=true&wanted=true"))
    await page.go_back()
    await rows.get_by_role("link", name="with an unusable id").click()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.go_back()
    async with page.expect_download() as download:
        await rows.get_by_role("link", name="on the list").click()
    text = (await (await download.value).path()).read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + 12
    await page.fill("#member-user", "anna@example.com")
    await page.get_by_role("button", name="Look up").click()
    await page.locator("#member-answer").get_by_role("link", name="page 1 of a sync").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sync of Beta")
