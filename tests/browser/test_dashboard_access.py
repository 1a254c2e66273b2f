"""What fingers, weak eyes and forced colours need of the dashboard, in a real browser."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from service.model.guard import RemovalGuard
from service.sandbox.faults import Fault, FaultKind
from tests.browser.conftest import Watched, signed_in
from tests.service_fixtures import World, delivering, users

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PLACES = (
    "", "lists", "lists/1", "people", "unusable", "syncs", "syncs/2", "imports", "accounts", "accounts/acme", "conditions",
    "activity", "activity?list=1",
)  # fmt: skip

# What can be tapped and is smaller than a finger. A link within a sentence may be as high as its line, and a whole field
# that is a link is as large as the field.
_TOO_SMALL = """() => [...document.querySelectorAll("a[href], button, input, select, summary")]
  .filter((each) => each.checkVisibility() && !each.matches(".skip-link, .cover, p:not(.buttons) a, .plot *"))
  .map((each) => [each, (each.closest("label.tick") ?? each).getBoundingClientRect()])
  .filter(([, box]) => Math.round(box.height) < 44)
  .map(([each, box]) => `${each.outerHTML.slice(0, 120)}: ${Math.round(box.width)} x ${Math.round(box.height)}`)"""

# The contrast (WCAG 2.2) of a colour with the ground that it stands on.
_CONTRAST = """(element, [pseudo, property]) => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((each) => each / 255).map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = element;
  while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [one, other] = [getComputedStyle(element, pseudo)[property], getComputedStyle(ground).backgroundColor].map((each) => light(channels(each)));
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """With people who failed, ids that cannot be used, and a sync that is held."""
    async with delivering(tmp_path, max_attempts=1, hold_removals=RemovalGuard(share=0.5, least=2)) as running:
        running.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user3@example.com", status=422, times=None))
        await running.deliver("Active Users", [*users(6), "undefined"])
        await running.settled()
        await running.deliver("Active Users", (), users(5))
        yield running


async def sees(browser: Browser, world: World, **options: Any) -> Page:
    context = await browser.new_context(**options)
    context.set_default_timeout(30_000)
    return (await signed_in(context, world.service.url)).page


async def go(page: Page, place: str) -> None:
    await page.evaluate("place => { location.hash = `#/${place}`; }", place)
    await expect(page.locator("main h1")).to_be_attached()
    await expect(page.locator("main .waiting")).to_have_count(0)


async def test_what_can_be_tapped_on_a_phone_is_as_large_as_a_finger(browser: Browser, world: World) -> None:
    phone = {"width": 390, "height": 844}
    page = await sees(browser, world, viewport=phone, has_touch=True, is_mobile=True, color_scheme="dark")
    small = {}
    for place in _PLACES:
        await go(page, place)
        small[place] = await page.evaluate(_TOO_SMALL)
    assert {place: found for place, found in small.items() if found} == {}
    await page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_what_is_thin_or_quiet_can_still_be_seen(live: Watched, scheme) -> None:
    page = live.page
    await page.emulate_media(color_scheme=scheme)
    await go(page, "lists")
    search = page.get_by_label("Search")
    assert await search.evaluate(_CONTRAST, ["::placeholder", "color"]) >= 4.5
    assert await search.evaluate(_CONTRAST, [None, "borderTopColor"]) >= 3
    await go(page, "syncs/1")
    bar = page.get_by_role("progressbar").first
    assert await bar.evaluate(_CONTRAST, [None, "borderTopColor"]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_what_is_old_can_still_be_read(live: Watched, world: World, scheme) -> None:
    page = live.page
    await page.emulate_media(color_scheme=scheme)
    await expect(page.locator("#sync-rows tr")).to_have_count(2)
    await world.stop()
    await expect(page.locator("main[data-stale]")).to_be_attached()
    found = await Axe().run(page)
    assert [each["nodes"][0]["html"] for each in found.response["violations"]] == []


async def test_the_place_that_is_shown_is_marked_where_colours_are_forced(live: Watched) -> None:
    page = live.page
    await page.emulate_media(forced_colors="active")
    line = "element => getComputedStyle(element).textDecorationLine"
    for span, expected in (("1 h", "underline"), ("24 h", "none")):
        assert await page.get_by_role("button", name=span).evaluate(line) == expected
    await go(page, "lists")
    assert await page.get_by_role("link", name="Lists", exact=True).evaluate(line) == "underline"
    assert await page.get_by_role("link", name="Syncs", exact=True).evaluate(line) == "none"


async def test_the_places_to_go_to_stay_where_they_are(live: Watched) -> None:
    page = live.page
    last = page.get_by_role("link", name="Activity", exact=True)
    positions = set()
    for place in ("", "lists", "people", "syncs", "imports", "activity"):
        await go(page, place)
        await expect(page.locator(".masthead nav a[aria-current]")).to_have_count(1)
        positions.add(await last.evaluate("element => element.getBoundingClientRect().x"))
    assert len(positions) == 1


async def test_the_headings_of_a_table_stand_on_one_line(live: Watched) -> None:
    page = live.page
    await go(page, "syncs")
    bottoms = await page.locator("thead th").evaluate_all("""(headings) => headings.map((heading) => {
      const range = document.createRange();
      const texts = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT);
      do range.selectNodeContents(texts.nextNode()); while (!range.toString().trim());
      return [heading.innerText, Math.round(range.getBoundingClientRect().bottom)];
    })""")
    assert len({bottom for _, bottom in bottoms}) == 1, bottoms
