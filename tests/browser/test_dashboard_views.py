"""The views of the dashboard, in a real browser: what they show, in which order, on which screen. One service for all."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Response, expect

from service.config.settings import ApiKeySettings, SecretReference
from service.sandbox.faults import Fault, FaultKind
from tests.browser.conftest import Watched, faults_of_access, go, overflow, sign_in
from tests.service_fixtures import World, delivering, users

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = '<img src=x onerror="document.title=1"> & "friends"'
LONG = ("A name that somebody wrote without thinking of who reads it " * 4).strip() + " " + "x" * 100


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A list with failures, one of which a page is missing, good ones, and two with names of their own. The tests only look."""
    folder = tmp_path_factory.mktemp("views")
    async with delivering(folder, max_attempts=1) as running:
        (folder / "reader").write_text("reader key")
        reader = ApiKeySettings(name="marketing", key=SecretReference(file=str(folder / "reader")), role="read")
        running.service.keys.accept((SecretReference(file=str(running.api_key_file)),), {"marketing": reader})
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
        await running.deliver(HOSTILE, users(1), segment_id=5)
        await running.deliver(LONG, users(2), segment_id=6)
        await running.until(lambda: running.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(2,)])
        await running.until(lambda: running.rows("SELECT count(*) FROM segment WHERE list_count = settled") == [(6,)])
        await running.until(lambda: "people_failed" in running.conditions())
        yield running


async def first_cells(page: Page) -> list[str]:
    found = await page.locator("tbody tr td:first-child strong").all_inner_texts()
    return [text.strip() for text in found]


async def test_lists_are_sorted_by_their_headings_and_the_address_keeps_it(live: Watched) -> None:
    page = live.page
    await go(page, "lists")
    await expect(page.get_by_role("columnheader", name="State")).to_have_attribute("aria-sort", "descending")
    await expect(page.locator("tbody tr").first).to_contain_text("Beta")
    await page.get_by_role("columnheader", name="Wanted").get_by_role("link").click()
    await expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    await expect(page.get_by_role("columnheader", name="Wanted")).to_have_attribute("aria-sort", "descending")
    await expect(page.get_by_role("columnheader", name="State")).not_to_have_attribute("aria-sort", re.compile(".*"))
    await expect(page).to_have_url(re.compile(r"sort=wanted"))
    await page.get_by_role("columnheader", name="Wanted").get_by_role("link").click()
    await expect(page.get_by_role("columnheader", name="Wanted")).to_have_attribute("aria-sort", "ascending")
    # The heading follows the address, the rows a moment later.
    await expect(page.locator("tbody tr").last).to_contain_text("Alpha")
    assert await first_cells(page) == [HOSTILE, LONG, "Delta", "Gamma", "Beta", "Alpha"]
    await page.reload()
    await expect(page.locator("tbody tr").nth(1)).to_contain_text(LONG)
    await page.get_by_role("columnheader", name="List", exact=True).get_by_role("link").click()
    await expect(page.get_by_role("columnheader", name="List", exact=True)).to_have_attribute("aria-sort", "ascending")
    await expect(page.locator("tbody tr").nth(2)).to_contain_text("Alpha")
    await page.go_back()
    await expect(page.locator("tbody tr").nth(2)).to_contain_text("Delta")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Alpha")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Beta")


async def test_syncs_tell_arrival_apart_from_sending(live: Watched) -> None:
    page = live.page
    await go(page, "syncs")
    await expect(page.locator("#sync-rows tr")).to_have_count(6)
    assert await first_cells(page) == ["Beta", "Gamma", LONG, HOSTILE, "Delta", "Alpha"]
    # Pages, State, Named, Done, Failed, To send.
    rows = {
        name: [
            text.strip() for text in await page.locator("#sync-rows tr", has_text=name).locator("td").all_inner_texts()
        ]
        for name in ("Beta", "Gamma")
    }
    assert [text.split("\n")[0] for text in rows["Beta"][2:]] == [
        "✓ 1 page",
        "✕ Done, with failures",
        "+15",
        "12",
        "2",
        "0",
    ]
    assert [text.split("\n")[0] for text in rows["Gamma"][2:]] == [
        "• Receiving (2 of 3 pages)",
        "• Waiting for pages",
        "+6",
        "6",
        "0",
        "0",
    ]
    await page.get_by_role("columnheader", name="Arrived").get_by_role("link").click()
    await expect(page.locator("#sync-rows tr").first).to_contain_text(LONG)
    await page.go_back()
    await expect(page.locator("#sync-rows tr").first).to_contain_text("Beta")
    chips = page.get_by_role("navigation", name="State").get_by_role("link")
    await expect(chips).to_have_text(["All", "Done, with failures 1", "Receiving 1", "Done", "Discarded"])
    for name, number in (("Done, with failures", 1), ("Receiving", 1), ("Discarded", 0)):
        await page.get_by_role("navigation", name="State").get_by_role("link", name=name).click()
        await expect(page.locator("#sync-rows tr")).to_have_count(number)
        assert await faults_of_access(page) == []
    await go(page, "syncs?state=done")
    await expect(page.locator("#sync-rows tr")).to_have_count(4)


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
        # Where there is nothing, there is no order.
        await expect(page.get_by_label("Order")).to_be_visible(visible=place != "imports")
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
    await expect(page).to_have_url(re.compile(r"#/conditions/people_failed\?account=acme&list=\d+$"))
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        "2 people could not be added or removed (acme Beta)"
    )
    await expect(page.locator(".title .badge")).to_contain_text("Warning")
    await expect(page.locator(".terms")).to_contain_text(re.compile(r"People concerned\s*2"))
    await expect(page.locator(".terms dd:empty")).to_have_count(0)
    await expect(page.locator("main")).to_contain_text("heap-cordial failures")
    await expect(page.get_by_role("button", name="Retry 2… on Beta")).to_be_visible()
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
    await expect(page.get_by_role("button", name="Retry 2… on Beta")).to_be_visible()
    await go(page, "conditions/disk_low")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing of this kind lasts")
    assert live.errors == []


async def test_the_runbook_leads_from_part_to_part(live: Watched) -> None:
    page = live.page
    await go(page, "runbook")
    await page.get_by_role("link", name="Nothing moves").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing moves")
    for part in ("an-import-did-not-finish", "the-store-cannot-write"):
        await go(page, f"runbook/{part}")
        await expect(page.locator("main table")).to_be_visible()
        # What is written for other readers of the file is not shown as it is written.
        assert not set("*`") & set(await page.locator("main").inner_text())
    await page.get_by_role("link", name="The whole runbook").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Operations: what you see, what to do")
    await expect(page.get_by_role("link", name="The whole runbook")).to_have_count(0)


async def test_a_list_says_when_members_were_read_back_and_what_was_found(live: Watched, world: World) -> None:
    page = live.page
    await go(page, "lists/4")
    await expect(page.locator(".terms").first).to_contain_text("Cordial counts")
    await expect(page.locator(".terms").first).not_to_contain_text("Read back")
    world.execute("""INSERT INTO member_read (account_id, contact, segment_id, wanted, differed, at_ms)
        SELECT account_id, 'email:user' || each.value || '@example.com', segment.id, 1, each.value = 2, unixepoch() * 1000
        FROM segment, json_each('[0, 1, 2]') AS each WHERE segment.id = 4""")
    await page.reload()
    await expect(page.locator(".terms").first).to_contain_text(
        re.compile(r"Read back\s*3 of 3 members read back in the last day, 1 differs: with 95 % confidence at most")
    )


async def test_the_sum_of_a_list_leads_to_its_people(live: Watched) -> None:
    page = live.page
    await go(page, "lists/2")
    rows = page.locator("#sum tr")
    await expect(rows.first).to_contain_text(re.compile(r"Heap named\s*17"))
    await expect(page).to_have_title(re.compile(r"^\(\d+\) Beta · heap-cordial$"))
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
    await expect(page.locator(".filters")).to_contain_text("Only who could not be added")
    await expect(page.get_by_role("button", name="Retry all 2…")).to_be_visible()
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


async def test_nobody_sees_anything_without_the_key(watched: Watched, world: World) -> None:
    page = watched.page
    await page.goto(f"{world.service.url}/#/lists")
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "Alpha" not in await page.content()
    await sign_in(page, "a wrong key")
    await expect(page.get_by_role("alert")).to_have_text("This API key is not valid.")
    await sign_in(page)
    await expect(page.get_by_role("link", name="Alpha")).to_be_visible()


async def test_nine_and_not_ten_while_a_page_is_missing(live: Watched) -> None:
    page = live.page
    await go(page, "lists?search=Gamma")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("Receiving")
    await go(page, "lists/3")
    await expect(page.locator("#sum")).to_contain_text("in pages that have not arrived (2 of 3 pages are here)")
    await page.get_by_role("link", name="in pages that have not arrived").click()
    await expect(page.locator(".terms")).to_contain_text("Latest page")
    await page.go_back()
    # No trouble as long as it is not overdue.
    await expect(page.locator("#sum tr[data-tone=warn]")).to_have_count(0)
    await page.fill("#member-user", users(9)[8])
    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer .badge")).to_contain_text("Not known yet")
    await expect(page.locator("#member-answer")).to_contain_text("this user may be in one of them")
    await expect(page.locator("#sync-rows")).to_contain_text("Receiving (2 of 3 pages)")
    # The bar is what was sent, not what has arrived.
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "6 of 6 done")
    await page.locator("#sync-rows a").click()
    await expect(page.get_by_text("Page 3 has not arrived yet.")).to_be_visible()
    await expect(page.locator(".terms")).to_contain_text("Sent, as far as it came")


async def test_who_may_only_read_is_told_what_the_others_need(live: Watched) -> None:
    page = live.page
    await page.get_by_role("button", name="Sign out").click()
    await sign_in(page, "reader key")
    await expect(page.locator("footer")).to_contain_text("API key marketing (read)")
    await expect(page.locator("#headline")).to_contain_text("2 people could not be added or removed")
    await go(page, "people")
    await expect(page.locator("main")).to_contain_text("To retry needs an API key with the role operate.")
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    await expect(page.get_by_role("checkbox")).to_have_count(0)
    await go(page, "accounts/acme")
    await expect(page.locator("main")).to_contain_text("A trial needs an API key with the role operate.")
    await expect(page.get_by_role("button", name="Pause")).to_have_count(0)


async def test_a_hostile_segment_name_stays_text(live: Watched) -> None:
    await go(live.page, "lists/5")
    await expect(live.page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert await live.page.locator("main img, main b").count() == 0
    assert await live.page.title() != "1"


async def test_long_names_are_cut_and_push_nothing_aside(live: Watched) -> None:
    page = live.page
    await expect(page.locator("footer")).to_contain_text("API key (admin)")
    await expect(page.locator("footer")).not_to_contain_text("/")
    for width in (1280, 390, 320):
        await page.set_viewport_size({"width": width, "height": 844})
        await go(page, "lists?search=thinking")
        shown = page.locator("tbody tr .cut").first
        await expect(shown).to_have_attribute("title", LONG)
        place = await shown.bounding_box()
        assert place
        assert place["height"] < 40
        last = await page.locator("tbody tr td").last.bounding_box()
        assert last
        assert last["x"] + last["width"] <= width
        places = [await place.bounding_box() for place in await page.locator(".masthead nav li").all()]
        assert all(place and place["x"] + place["width"] <= width for place in places)
        # On the narrowest phones two lines, for what is beyond the edge is not seen.
        assert len({place["y"] for place in places if place}) <= (1 if width > 320 else 2)


async def test_times_are_of_24_hours_and_people_are_whole(live: Watched) -> None:
    page = live.page
    legend = page.locator("#legend")
    await expect(legend).to_contain_text(re.compile(r"Changes to send: \d+.*Confirmed a second: "))
    await expect(page.locator(".plot canvas")).to_have_count(2)
    # What is under the pointer is told in figures.
    overlay = page.locator(".plot .u-over").first
    last = await legend.locator(".hint").inner_text()
    await overlay.hover(position={"x": 0, "y": 50})
    await expect(legend.locator(".hint")).not_to_have_text(last)
    for span in ("24 h", "7 d", "1 h"):
        await page.get_by_role("button", name=span).click()
        await expect(page.get_by_role("button", name=span)).to_have_attribute("aria-pressed", "true")
        await expect(page.locator(".plot canvas" if span == "1 h" else ".plot")).to_have_count(
            2 if span == "1 h" else 1
        )
    assert await page.evaluate(
        """import("./page/words.js").then(({ clockOnAxis }) => [
            clockOnAxis(new Date(2026, 2, 1, 13, 5, 9), 5), clockOnAxis(new Date(2026, 2, 1, 13, 5), 300),
            clockOnAxis(new Date(2026, 2, 1), 3600), clockOnAxis(new Date(2026, 2, 1, 13), 86400)])"""
    ) == ["13:05:09", "13:05", "1 Mar", "1 Mar"]
    # Pages that are not read yet are a part of what is sent; what waits for a list, or for an account, is not.
    assert await page.evaluate(
        """import("./page/words.js").then(({ whenSent }) => {
            const account = { state: "sending", sendable: 3, unread: 997, settled_per_second: 10 };
            const other = { ...account, state: "paused" };
            return [whenSent([account], 100, 1000), whenSent([account, other], 100, 2000), whenSent([account], null, 1000),
                whenSent([other], null, 1000)];
        })"""
    ) == ["about 2 min left", "1,000 of them in about 2 min", "time left not known", "nothing of it is sent now"]
    # What the service says in UTC is told as the page tells a moment.
    assert await page.evaluate(
        """import("./page/words.js").then(({ momentText, sentence }) =>
            sentence("slowed: some calls wait until 2026-03-01 13:05:09 UTC")
                === `Slowed: some calls wait until ${momentText("2026-03-01T13:05:09Z")}.`)"""
    )


# What can be pressed and is called otherwise than what is seen on it: who speaks to the page says what they see.
_MISNAMED = """() => [...document.querySelectorAll("a[aria-label], button[aria-label]")]
    .filter((each) => !each.getAttribute("aria-label").toLowerCase().includes(each.innerText.trim().toLowerCase()))
    .map((each) => each.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
async def test_every_view_fits_and_has_no_fault_of_access(live: Watched, scheme: Any, width: int) -> None:
    page = live.page
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 844})
    places = [
        "",
        "lists",
        "lists/2",
        "lists/6",
        "people",
        "unusable",
        "syncs",
        "syncs/3",
        "imports",
        "imports/7",
        "accounts",
    ]
    places += [
        "accounts/acme",
        "conditions",
        "conditions/people_failed?account=acme&subject=Beta",
        "activity",
        "activity?list=2",
        "nowhere",
    ]
    for place in [*places, "runbook", "runbook/an-account-is-paused"]:
        await go(page, place)
        await expect(page.locator("main h1")).to_be_attached()
        await expect(page.locator("main .waiting")).to_have_count(0)
        assert await overflow(page) == 0, place
        assert await page.locator("main .primary").count() <= 1, place
        assert await page.evaluate(_MISNAMED) == [], place
        assert await faults_of_access(page) == [], place
    assert live.errors == []


async def test_what_is_around_every_view_says_how_it_is(live: Watched) -> None:
    page = live.page
    await expect(page.locator("footer")).to_contain_text(re.compile(r"Version \d+\.\d+.*Times in \S+"))
    await expect(page.locator("#updated")).to_have_text(re.compile(r"updated (just now|\d+ s ago)"))
    await expect(page.locator("#icon")).to_have_attribute("href", "page/icon.svg")
    # What speaks is there before it speaks.
    for region in ("#connection", "#lost", ".toast-place", "#headline"):
        await expect(page.locator(region)).to_have_attribute("role", "status")
    # What a person should know stands before the figures.
    order = "all => all.map(each => each.id || each.className)"
    assert await page.locator("#headline, #attention, main .figures").evaluate_all(order) == [
        "headline",
        "attention",
        "figures",
    ]


async def test_a_request_that_fails_leaves_the_rest(live: Watched) -> None:
    page = live.page
    refused = {"error": {"code": "store_unavailable", "message": "the store is busy"}}
    await page.route("**/api/v1/lists/2/sum", lambda route: route.fulfill(status=503, json=refused))
    await go(page, "lists/2")
    await expect(page.get_by_role("alert")).to_contain_text("The store is busy.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Beta")
    # All of one reason need not have been answered alike.
    await expect(page.locator("#failure-rows")).to_contain_text(
        re.compile(r"2 people.*The latest: The contact", re.DOTALL)
    )
    await expect(page.locator("#lost")).to_be_empty()
    await page.unroute("**/api/v1/lists/2/sum")
    await page.evaluate("import('./page/live.js').then(live => live.refresh())")
    await expect(page.locator("#sum")).to_contain_text("could not be added")
    await expect(page.get_by_role("alert")).to_have_count(0)
    # What is shown is kept, and said to be old.
    await page.route("**/api/v1/lists/2/sum", lambda route: route.fulfill(status=503, json=refused))
    await page.evaluate("import('./page/live.js').then(live => live.refresh())")
    await expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"The store is busy\. What is shown is of \d\d:\d\d:\d\d\.")
    )
    await expect(page.locator("#sum")).to_contain_text("could not be added")


async def test_names_are_copied(live: Watched) -> None:
    page = live.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await go(page, "people?sort=name")
    await page.get_by_role("button", name="Copy names").click()
    await expect(page.locator("#toast")).to_have_text("2 names copied.")
    assert await page.evaluate("navigator.clipboard.readText()") == "anna@example.com\nbad@example.com"
    await page.get_by_role("link", name="Unusable ids").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ids that cannot be used")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.get_by_label("Search").fill("UNDEF")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Copy ids").click()
    await expect(page.locator("#toast")).to_have_text("1 id copied.")
    assert await page.evaluate("navigator.clipboard.readText()") == "undefined"
    assert not [url for url in live.requested if "undefined" in url.lower()]


async def test_it_works_by_keyboard(live: Watched) -> None:
    page = live.page
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("Exact")
    await page.keyboard.press("Tab")
    await page.get_by_role("link", name="Skip to the content").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Alpha").first).to_be_focused()
    await page.get_by_role("button", name="Rebuild… Alpha").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.get_by_role("button", name="Verify Alpha").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#toast")).to_contain_text("is exact")


# Counts what the service tells of.
_COUNT_TOLD = """window.told = 0;
const Stream = EventSource;
window.EventSource = class extends Stream {
  constructor(...given) {
    super(...given);
    for (const kind of ["progress", "delivery"]) this.addEventListener(kind, () => { window.told += 1; });
  }
};"""


async def test_what_a_view_shows_is_read_once(live: Watched, world: World) -> None:
    context = live.page.context
    page = await context.new_page()
    await page.add_init_script(_COUNT_TOLD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/v1/" in request.url else None)
    for place in ("", "lists/2"):
        await page.goto("about:blank")
        asked.clear()
        await page.goto(f"{world.service.url}/#/{place}")
        await expect(page.locator("#connection[data-state=live]")).to_be_visible()
        await expect(page.locator("main .waiting")).to_have_count(0)
        # Longer than what is read again waits for.
        await page.wait_for_timeout(1_500)
        told = await page.evaluate("window.told")
        again = {url: asked.count(url) for url in asked if asked.count(url) > 1 + told}
        assert again == {}, place
    await page.close()


async def test_it_is_small(live: Watched) -> None:
    answers: list[Response] = []
    page = await live.page.context.new_page()
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  a builtin cannot be listened with
    await page.goto(live.page.url)
    await page.locator("#headline").wait_for()
    total = sum([len(await answer.body()) for answer in answers if "events" not in answer.url])
    assert total <= 300_000


async def test_reasons_and_actions_are_told_in_words(live: Watched) -> None:
    assert await live.page.evaluate(
        """import("./page/words.js").then(({ actionName, reasonName }) => [
            reasonName("http_404"), reasonName("no_such_contact"), actionName("account.pause"), actionName("store.pages_missing"),
            actionName("import.end_doubt.over")])"""
    ) == ["HTTP 404", "No such contact", "Pause account", "Found that pages are missing", "Said that the job is over"]
    assert await live.page.evaluate(
        """import("./page/words.js").then(({ sentence }) => ["http_503: HTTP 503 without JSON", "http_503: no luck", "down (http_503: HTTP 503 without JSON)"].map(sentence))"""
    ) == ["HTTP 503 without JSON.", "HTTP 503: no luck.", "Down (HTTP 503 without JSON)."]
    assert await live.page.evaluate(
        """import("./page/words.js").then(({ whenSent }) => [0.5, 40].map((seconds) => whenSent([{ state: "sending", sendable: 1 }], seconds, 1)))"""
    ) == ["less than 1 s left", "about 40 s left"]


async def test_the_state_of_a_sync_is_what_happens_to_it(live: Watched) -> None:
    assert await live.page.evaluate(
        """import("./page/words.js").then(({ arrivalState, listState, sendingState, syncState }) => {
            const sync = { state: "sending", pages_received: 3, total_pages: 3, unfolded_pieces: 0, settled: 2, failed: 0, pending: 1 };
            const waiting = { ...sync, state: "waiting", next_attempt_at: "2100-03-01T13:05:09" };
            const parted = { ...sync, state: "receiving", pages_received: 2 };
            const paused = { standing: "paused" };
            const sending = { standing: "sending" };
            return [
                syncState(sync, sending), syncState(waiting, sending), syncState(waiting, paused),
                syncState({ ...waiting, next_attempt_at: "2000-01-01T00:00:00" }, sending),
                syncState({ ...waiting, list_held: true }, sending), syncState({ ...waiting, list_held: true, awaits_approval: true }, sending),
                syncState(parted, sending),
                sendingState(parted, sending), sendingState({ ...parted, next_attempt_at: "2100-03-01T13:05:09" }, sending),
                sendingState({ ...parted, pending: 0 }, sending), syncState({ ...sync, settled: 0 }, sending),
                syncState({ ...parted, pages_overdue: true }, sending), arrivalState({ ...parted, pages_overdue: true }),
                sendingState({ ...parted, pages_overdue: true, pending: 0 }, sending),
                sendingState({ ...parted, pages_overdue: true }, sending),
                syncState({ ...sync, state: "searching" }, sending),
                listState({ standing: "receiving", pages_overdue: false }), listState({ standing: "receiving", pages_overdue: true }),
            ].map(([text]) => text);
        })"""
    ) == [
        "Sending", "Tried again at 1 Mar, 13:05:09", "Paused", "Tried again soon", "List held", "To approve", "Receiving (2 of 3 pages)",
        "Sending", "Tried again at 1 Mar, 13:05:09", "Waiting for pages", "Waiting",
        "1 of 3 pages missing", "1 of 3 pages missing", "Done", "Sending",
        "Looking for refused rows", "Receiving", "Pages missing",
    ]  # fmt: skip
