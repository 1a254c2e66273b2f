"""A large service in a real browser: 1,000 lists in 20 accounts, and 10,000 people who failed."""

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Response, expect

from tests.browser.conftest import Watched, faults_of_access, go, overflow, signed_in
from tests.fleet_fixtures import ACCOUNTS, FAILURES, LISTS_EACH, PAUSED, TO_APPROVE, WRONG_KEY, Fleet, running_fleet

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What moves after it was drawn, but not because a person did something.
_NOTE_SHIFTS = """window.shifts = 0;
new PerformanceObserver((list) => list.getEntries().forEach((each) => {
  if (!each.hadRecentInput) window.shifts += each.value;
})).observe({ type: "layout-shift", buffered: true });"""
_MAX_SHIFT = 0.1
_MAX_BYTES = 300_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """All tests look at the same one."""
    async with running_fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


async def open_at(browser: Browser, fleet: Fleet, place: str, width: int, scheme: Any) -> Watched:
    """Open a view as the first of a visit."""
    context = await browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width < 500
    )
    context.set_default_timeout(30_000)
    watched = await signed_in(context, fleet.service.url)
    await context.add_init_script(_NOTE_SHIFTS)
    await watched.page.goto("about:blank")
    await watched.page.goto(f"{fleet.service.url}/#/{place}")
    await read(watched.page)
    return watched


async def transferred_bytes(answer: Response) -> int:
    """Return how many bytes of a body go over the wire, though the browser may have them already."""
    body = await answer.body()
    return len(gzip.compress(body)) if await answer.header_value("content-encoding") == "gzip" else len(body)


async def read(page: Page) -> None:
    """Wait until all of the view is there."""
    await expect(page.locator("main h1")).to_be_attached()
    await expect(page.locator("main .waiting")).to_have_count(0)
    await expect(page.locator("#updated")).not_to_be_empty()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390), ("light", 320)])
async def test_a_large_service_fits_stands_still_and_has_no_fault_of_access(
    browser: Browser, fleet: Fleet, scheme: Any, width: int
) -> None:
    watched = await open_at(browser, fleet, "", width, scheme)
    page = watched.page
    places = [
        "",
        "lists",
        "people",
        "syncs",
        "accounts",
        "conditions",
        f"lists/{fleet.failed_list}",
        f"accounts/{WRONG_KEY}",
    ]
    for place in places:
        # Each as the first view of a visit, where nothing is known yet.
        await page.goto("about:blank")
        await page.goto(f"{fleet.service.url}/#/{place}")
        await read(page)
        await page.evaluate("new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))")
        shifts = await page.evaluate("window.shifts")
        assert shifts <= _MAX_SHIFT, (place, shifts)
        assert await overflow(page) == 0, place
        # How narrow it is changes nothing that axe looks at.
        assert width == 320 or await faults_of_access(page) == [], place
    assert watched.errors == []
    await page.context.close()


@pytest.mark.parametrize("place", ["", "lists", "people", "conditions"])
async def test_a_large_service_is_read_in_few_bytes(browser: Browser, fleet: Fleet, place: str) -> None:
    watched = await open_at(browser, fleet, place, 1280, "light")
    answers: dict[str, Response] = {}

    def note(answer: Response) -> None:
        # Each once: what is shown is read again when something changes.
        answers.setdefault(answer.url, answer)

    page = await watched.page.context.new_page()
    page.on("response", note)
    await page.goto(f"{fleet.service.url}/#/{place}")
    await read(page)
    total = sum([await transferred_bytes(answer) for url, answer in list(answers.items()) if "events" not in url])
    assert total <= _MAX_BYTES
    await page.context.close()


async def test_what_is_older_is_read_on_demand(browser: Browser, fleet: Fleet) -> None:
    watched = await open_at(browser, fleet, "activity", 1280, "light")
    page = watched.page
    rows = page.get_by_role("table", name="Pages from Heap").locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Show more").click()
    await expect(rows).to_have_count(100)
    await page.context.close()


async def test_the_worst_of_a_thousand_lists_come_first_and_each_is_found(browser: Browser, fleet: Fleet) -> None:
    watched = await open_at(browser, fleet, "", 1280, "light")
    page = watched.page
    await expect(page.locator("#headline")).to_contain_text(
        "1 account stopped · 1 account paused · 50 segments to approve"
    )
    await expect(page.locator(".figures")).to_contain_text(f"{FAILURES:,}")
    kinds = page.locator("#attention-rows > li")
    await expect(kinds.first).to_contain_text("Cordial does not serve the account")
    await expect(page.locator("#account-rows tr").first).to_contain_text(WRONG_KEY)
    await expect(page.locator("#account-rows tr").nth(1)).to_contain_text(PAUSED)
    await expect(page.get_by_role("link", name=f"All {len(ACCOUNTS)}")).to_be_visible()
    # What is of one kind and one account is one row, which opens.
    group = page.locator("#attention-rows > li", has_text="waits for approval")
    await expect(group.locator(".subjects > li")).to_have_count(1)
    summary = group.locator("summary")
    await expect(summary).to_contain_text(re.compile(rf"{TO_APPROVE}\s*50 lists\s*150 people"))
    await summary.click()
    await expect(group.locator(".subjects .subjects li")).to_have_count(21)
    assert await faults_of_access(page) == []
    await group.get_by_role("link", name="30 more").click()
    await expect(page.locator("#attention-rows .subject")).to_have_count(50)
    await go(page, "lists")
    await expect(page.locator("#found")).to_have_text(f"{len(ACCOUNTS) * LISTS_EACH:,} lists, 1 to 50 shown")
    await expect(page.locator("tbody tr").first).to_contain_text(f"{FAILURES:,}")
    chips = page.get_by_role("navigation", name="State")
    await expect(chips.get_by_role("link").first).to_have_text("All 1,000")
    await chips.get_by_role("link", name="To approve 50").click()
    await expect(page.locator("#found")).to_have_text("50 lists")
    await expect(chips.get_by_role("link", name="To approve 50")).to_have_attribute("aria-current", "true")
    # The others keep their numbers.
    await expect(chips.get_by_role("link", name="Incomplete 1")).to_be_visible()
    await page.get_by_label("Account").select_option(TO_APPROVE)
    await expect(chips.get_by_role("link").first).to_have_text("All 50")
    await expect(page.locator("#found")).to_have_text(f"{LISTS_EACH} lists")
    await page.get_by_label("Search").fill("segment 07")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("To approve")
    await page.context.close()


async def test_one_of_ten_thousand_failures_is_found_by_name(browser: Browser, fleet: Fleet) -> None:
    watched = await open_at(browser, fleet, "people", 1280, "light")
    page = watched.page
    # Who and how many, before anything is sent.
    await page.get_by_role("button", name=f"Retry all {FAILURES:,}…").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"All {FAILURES:,} are sent to Cordial again")
    await expect(dialog.locator(".calls li")).to_have_count(3)
    await expect(dialog.get_by_role("button", name=f"Retry {FAILURES:,}", exact=True)).to_be_visible()
    assert await faults_of_access(page) == []
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#failure-groups li")).to_have_count(2)
    await expect(page.locator("#failure-groups li").first).to_contain_text(
        re.compile(r"Segment 01 of .* · 5,000 people")
    )
    chips = page.get_by_role("navigation", name="Reason")
    reasons = [f"All {FAILURES:,}", "Invalid contact 5,000", "Rejected 5,000"]
    await expect(chips.get_by_role("link")).to_have_text(reasons)
    await chips.get_by_role("link", name="Rejected").click()
    await expect(page.get_by_role("button", name="Retry all 5,000…")).to_be_visible()
    await expect(chips.get_by_role("link", name="Rejected")).to_have_attribute("aria-current", "true")
    await chips.get_by_role("link", name="All").click()
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator("tbody tr")).to_have_count(100)
    await page.get_by_label("Search").fill("person07321")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("person07321@example.com")
    await page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_state_more_or_less_pushes_no_list_aside(browser: Browser, fleet: Fleet, width: int) -> None:
    watched = await open_at(browser, fleet, "lists", width, "light")
    page = watched.page
    place = await page.locator("#found").bounding_box()
    assert place
    # More states than fit on any line.
    await page.evaluate("""() => {
        const chips = document.querySelector(".chips");
        for (let copies = 0; copies < 3; copies += 1) chips.append(...[...chips.children].map((each) => each.cloneNode(true)));
    }""")
    after = await page.locator("#found").bounding_box()
    assert after
    # The bar to scroll with may have a height of its own.
    assert after["y"] - place["y"] < 20
    assert await overflow(page) == 0
    await page.context.close()
