"""The dashboard, walked through in a real browser: by those who watch, those who act, and those who cannot see it."""

import asyncio
import contextlib
import itertools
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route, expect

from service.model.conditions import CATALOGUE
from service.model.guard import RemovalGuard
from service.model.views import Minute
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from tests.browser.conftest import Watched, confirm, faults_of_access, go, sign_in, signed_in
from tests.service_fixtures import HEAP_SECRET, World, delivering, users

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LIVE = "#connection[data-state=live]"


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with delivering(tmp_path, max_attempts=1) as running:
        yield running


async def refuse(world: World, *refused: str) -> None:
    for user in refused:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None))


async def test_who_signs_out_is_out_and_a_replaced_key_signs_out(live: Watched, world: World) -> None:
    page = live.page
    cookies = await page.context.cookies()
    [cookie] = [each for each in cookies if each["name"] == "heap_cordial_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert await page.evaluate("document.cookie") == ""
    await page.route("**/session/end", lambda route: route.abort())
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("#toast")).to_contain_text("You may not be signed out.")
    await page.unroute("**/session/end")
    # The session is that of all tabs.
    other = await page.context.new_page()
    await other.goto(world.service.url)
    await expect(other.locator("#headline")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    for tab in (page, other):
        await expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
    await sign_in(page)
    for tab in (page, other):
        await expect(tab.locator("#headline")).to_be_visible()
    await other.close()
    world.api_key_file.write_text("another key")
    # A replaced key is seen within seconds.
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("alert")).to_contain_text("You are signed out")


async def test_it_says_what_to_do_before_the_first_page(live: Watched, world: World) -> None:
    page = live.page
    await expect(page.locator("#headline")).to_contain_text("Waiting for the first page from Heap")
    await expect(page.locator(".webhook-address")).to_have_text(f"{world.service.url}/webhooks/heap/acme")
    await expect(page.locator("#send-command")).to_contain_text("heap-cordial send --url")
    assert await faults_of_access(page) == []


async def test_before_the_first_page_it_names_the_address_that_heap_reaches(watched: Watched, world: World) -> None:
    world.more_accounts["shop"] = msgspec.structs.replace(world.account, name="shop")
    world.more_accounts["globex"] = msgspec.structs.replace(
        world.account, name="globex", public_url="https://in.globex.com/x"
    )
    await world.restart(public_url="https://sync.example.com")
    await watched.page.goto(world.service.url)
    await sign_in(watched.page)
    empty = watched.page.locator("#empty")
    seen = f"{world.service.url}/webhooks/heap/shop"
    addresses = ["https://sync.example.com/webhooks/heap/acme", seen, "https://in.globex.com/x/webhooks/heap/globex"]
    await expect(empty.locator(".webhook-address")).to_have_text(addresses)
    # Each under the name of its account, and of the one that Heap cannot reach it is said.
    words = (await empty.inner_text()).split()
    places = [words.index(each) for each in ("acme", addresses[0], "shop", seen, "globex", addresses[2])]
    assert places == sorted(places)
    hint = empty.get_by_text("as your browser sees the service")
    await expect(hint).to_have_count(1)
    assert places[3] < words.index("browser") < places[4]


async def test_the_pictures_of_a_day_and_a_week_outlive_a_restart_and_show_when_it_did_not_run(
    watched: Watched, world: World
) -> None:
    # When it ran, in minutes before now: twice it was away for long, once for an hour, once for ten minutes.
    now = int(time.time()) // 1800 * 1800
    for began, ended, backlog in ((2400, 2160, 900), (2100, 1680, 900), (120, 60, 100), (50, 0, 100)):
        for at in range(now - began * 60, now - ended * 60, 60):
            minute = Minute(datetime.fromtimestamp(at, UTC), backlog, calls=180, settled=120, failed=60)
            await world.service.store.history.add(minute)
    # The picture is there once something has come.
    await world.deliver("Active Users", users(1))
    await world.settled()
    await world.restart()
    page = watched.page
    await page.goto(world.service.url)
    await sign_in(page)
    await page.locator("#legend").wait_for()
    await page.evaluate(
        """() => {
            const Real = window.uPlot;
            window.plots = [];
            window.uPlot = function (...given) { const made = new Real(...given); window.plots.push(made); return made; };
        }"""
    )
    for span, hours, stretches in (
        ("24 h", 1.5, [(12, 100), (10, 100)]),
        ("7 d", 30, [(8, 900), (14, 900), (4, 100)]),
    ):
        await page.get_by_role("button", name=span).click()
        async with asyncio.timeout(20):
            while not await page.evaluate(f"plots.length > 0 && plots.at(-1).data[0][0] < {now - hours * 3600}"):  # noqa: ASYNC110  the page loads
                await asyncio.sleep(0.05)
        people, rates = await page.evaluate(
            "plots.slice(-2).map(plot => ({ data: plot.data, axes: plot.axes.map(axis => axis._values) }))"
        )
        runs: list[list[int]] = [[]]
        for each in people["data"][1]:
            if each is None:
                runs.append([])
            else:
                runs[-1].append(each)
        assert [(len(run), run[0]) for run in runs] == stretches, span
        assert {(confirmed, failed) for _, confirmed, failed in zip(*rates["data"], strict=True)} - {(None, None)} == {
            (2, 1)
        }
        # Both axes have their labels: times below, people and changes a second at the side.
        for plot in (people, rates):
            assert all(re.search(r"\d", str(label)) for axis in plot["axes"] for label in axis if label)
            assert all(len([label for label in axis if label]) > 1 for axis in plot["axes"]), plot["axes"]
    assert "at most" in str(await page.locator(".plot").get_attribute("aria-label"))
    await expect(page.locator("#legend")).to_contain_text("Confirmed a second: 2")


async def failures_are_seen(page: Page, world: World) -> None:
    """Let calls fail until the overview says so: its figure is of the last seconds."""
    figure = page.locator(".figures > *", has_text="Refused or failed a second")
    await expect(figure).to_have_text(re.compile(r"second\s*0\s*in the last"))
    for number in itertools.count():
        await refuse(world, f"bad{number}@example.com")
        await world.deliver("Active Users", [f"bad{number}@example.com", f"good{number}@example.com"])
        await asyncio.sleep(0.2)
        text, tone = await figure.evaluate("figure => [figure.innerText, figure.querySelector('dd').dataset.tone]")
        if re.search(r"second\s*[1-9]|second\s*0\.[1-9]", text):
            assert tone == "bad"
            return


async def test_a_whole_sync_with_a_failure_that_is_retried(live: Watched, world: World) -> None:
    page = live.page
    await refuse(world, "user3@example.com")
    await world.deliver("Active Users", users(10), page_size=5)
    await expect(page.locator("#headline")).to_contain_text("1 person could not be added or removed")
    await expect(page.locator("#sync-rows tr").first).to_contain_text("Done, with failures")
    await expect(page).to_have_title(re.compile(r"^\(\d+\) heap-cordial$"))
    await expect(page.locator("#attention-rows")).to_contain_text(re.compile(r"acme · Active Users\s*1 person"))

    await page.get_by_role("navigation", name="Views").get_by_role("link", name="Lists").click()
    await page.get_by_role("table", name="Lists").get_by_role("link", name="Active Users").click()
    await expect(page).to_have_url(re.compile(r"#/lists/1$"))
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"Heap named\s*10"))
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"on the list, confirmed by Cordial\s*9"))
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"could not be added\s*1"))

    await page.fill("#member-user", " User3@Example.com ")
    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text("Could not be added or removed")
    await expect(page.locator("#member-answer")).to_contain_text("use a terminal: heap-cordial forget USER.")
    await page.get_by_role("button", name="Verify Active Users").click()
    await expect(page.locator("#toast[data-tone=warn]")).to_contain_text(
        "Cordial counts 9, as many as it confirmed, but 1 person could"
    )

    world.cordial.faults.clear()
    await page.get_by_role("button", name="Retry 1…").click()
    await expect(page.get_by_role("dialog")).to_contain_text("user3@example.com, to be added to Active Users")
    await page.keyboard.press("Escape")
    assert world.members("ActiveUsers") == sorted(set(users(10)) - {"user3@example.com"})
    await page.get_by_role("button", name="Retry 1…").click()
    await confirm(page, "Retry 1")
    await expect(page.locator("#toast")).to_contain_text("1 change will be sent again")
    await expect(page.locator(".title .badge")).to_contain_text("Exact")
    assert world.members("ActiveUsers") == sorted(users(10))

    await page.get_by_role("button", name="Look up").click()
    await expect(page.locator("#member-answer")).to_contain_text("On the list")
    await page.get_by_role("button", name="Verify Active Users").click()
    await expect(page.locator("#toast")).to_contain_text("Active Users is exact: Cordial counts 10")
    await page.get_by_role("link", name="History of the list").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("History of Active Users")
    history = page.locator("#history-rows")
    for told in ("Sync arrived", "Done", "Verify list", "Retry failures, by API key, 1 changed"):
        await expect(history).to_contain_text(told)
    await expect(history.locator("tr").last).to_contain_text("Sync 1: +10")
    assert await faults_of_access(page) == []
    await page.go_back()
    await page.go_back()
    await expect(page.get_by_role("heading", name="Lists")).to_be_focused()
    await page.go_back()
    await expect(page.locator("#headline")).to_contain_text("All lists are exact")
    await expect(page).to_have_title("heap-cordial")
    await failures_are_seen(page, world)
    assert [url for url in live.requested if not url.startswith(world.service.url)] == []
    assert live.errors == []


async def test_people_are_found_by_name_chosen_and_retried(live: Watched, world: World) -> None:
    page = live.page
    bad = [f"bad{number}@example.com" for number in range(60)]
    await refuse(world, *bad)
    # Where nearly nobody gets through, it is nobody's own fault.
    await world.deliver("Active Users", users(200))
    await world.settled()
    await world.deliver("Active Users", [*bad, *users(200, "more"), "undefined"])
    # All of them, for those still tried again would pass as soon as the fault is gone.
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(60,)])
    await go(page, "people?list=1")
    await expect(page.locator("tbody tr")).to_have_count(50)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator("tbody tr")).to_have_count(60)
    await page.get_by_label("Search").fill("bad59")
    await expect(page.locator("tbody tr")).to_have_count(1)
    assert not [url for url in live.requested if "bad59" in url]
    world.cordial.faults.clear()
    await page.get_by_label("Choose bad59@example.com").check()
    await page.get_by_role("button", name="Retry 1 chosen…").click()
    await expect(page.get_by_role("dialog")).to_contain_text("bad59@example.com, to be added to Active Users")
    await confirm(page, "Retry 1")
    await expect(page.locator("#toast")).to_contain_text("1 change will be sent again")
    await world.until(lambda: world.rows("SELECT count(*) FROM failure") == [(59,)])
    assert "bad59@example.com" in world.members("ActiveUsers")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download as CSV").click()
    path = await (await download.value).path()
    text = await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
    assert len(text.splitlines()) == 60
    await go(page, "activity")
    await expect(page.locator("#audit-rows tr")).to_contain_text(re.compile("Retry failures.*1 chosen"))
    await go(page, "people?list=1")
    await page.get_by_role("link", name="Unusable ids").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text(re.compile("undefined.*stands for no value"))


async def test_what_waits_for_cordials_rate_limit_is_not_called_sending(live: Watched, world: World) -> None:
    page = live.page
    headers = {"Retry-After": "3600"}
    limit = Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers=headers, times=None)
    world.cordial.faults.add(limit)
    await world.deliver("Active Users", users(3))
    await go(page, "lists")
    await expect(page.locator("tbody tr")).to_contain_text("Slowed by Cordial")
    await expect(page.get_by_role("navigation", name="State").get_by_role("link")).to_have_text(["All 1", "To send 1"])
    await go(page, "lists/1")
    await expect(page.locator("#sum")).to_contain_text("to be sent (slowed by Cordial)")
    await go(page, "syncs")
    await expect(page.locator("#sync-rows tr")).to_contain_text("Slowed by Cordial")
    # One address of Cordial's is limited, and the others are called.
    await go(page, "accounts/acme")
    await expect(page.locator(".notice")).to_contain_text(
        "Little is sent for acme now. Cordial's rate limit is reached: some calls wait until"
    )


async def test_each_number_of_the_sum_leads_to_exactly_its_people(live: Watched, world: World) -> None:
    page = live.page
    # Not able to be added, and not able to be removed.
    await refuse(world, "user1@example.com")
    await world.deliver("Active Users", [*users(10), "User2@Example.com", "undefined"], ["null"])
    await world.settled()
    await refuse(world, "user8@example.com")
    await world.deliver("Active Users", (), ["user8@example.com"])
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(2,)])
    await page.goto("about:blank")
    await world.restart(max_attempts=5)
    # Tried again later, and not before this is over.
    await refuse(world, "later@example.com")
    await world.deliver("Active Users", ["later@example.com", *users(5, "more")])
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 0") == [(1,)])
    await world.service.store.steering.set_paused("acme", paused=True, actor="test")
    world.execute("UPDATE failure SET next_attempt_at_ms = next_attempt_at_ms + 86400000 WHERE dead = 0")
    await world.restart()
    # To be sent, and to be removed.
    await world.deliver("Active Users", users(3, "new"), ["user9@example.com"])
    await page.goto(f"{world.service.url}/#/lists/1")
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"to be sent \(paused\)\s*3"))
    places: dict[str, tuple[int, str]] = {}
    for row in await page.locator("#sum tr:has(a)").all():
        text = " ".join((await row.locator("a").inner_text()).split())
        places[text] = int(await row.locator("td").inner_text()), str(await row.locator("a").get_attribute("href"))
    for link in await page.locator("#sum ~ p a").all():
        text = await link.inner_text()
        places[text] = int(text.split()[0]), str(await link.get_attribute("href"))
    assert {text: number for text, (number, _) in places.items()} == {
        "on the list, confirmed by Cordial": 12,
        "to be sent (paused)": 3,
        "tried again later": 1,
        "could not be added": 1,
        "with an unusable id": 1,
        "1 person left the segment and is still to be taken off the list": 1,
        "1 person could not be removed": 1,
    }
    # Not even a retry sends anything as long as the account is paused.
    await expect(page.locator("main .primary")).to_have_text("Resume…")
    await page.get_by_role("button", name="Retry 1…").first.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(
        "Nothing is sent for acme until somebody resumes it: heap-cordial resume acme."
    )
    await page.keyboard.press("Escape")
    for text, (number, place) in places.items():
        if place.startswith("#"):
            await page.evaluate("place => { location.hash = place; }", place)
            await expect(page.locator("main .waiting")).to_have_count(0)
            await expect(page.locator("tbody tr")).to_have_count(number)
            if "people" in place:
                # Told in figures too, for there may be more than a page of them.
                await expect(page.get_by_role("navigation", name="Reason").get_by_role("link").first).to_have_text(
                    f"All {number}"
                )
                await expect(page.get_by_role("button", name=f"Retry all {number}…")).to_be_visible()
                # Not decided yet of whom the service tries again.
                yet = " yet" if text == "tried again later" else ""
                heading = page.get_by_role("heading", level=1)
                await expect(heading).to_have_text(f"People who could not be added or removed{yet}")
                await expect(page.locator(".filters")).to_contain_text("Of Active Users")
        else:
            lines = await page.evaluate("async place => (await (await fetch(place)).text()).trim().split('\\n')", place)
            assert len(lines) - 1 == number, text
    await page.evaluate("place => { location.hash = place; }", "#/lists/1")
    await page.get_by_role("button", name="Retry 1…").first.click()
    await dialog.get_by_role("button", name="Retry 1").click()
    await expect(page.locator("#toast")).to_have_text(
        "1 change will be sent again. Nothing is sent for acme until somebody resumes it: heap-cordial resume acme."
    )


async def test_an_account_is_paused_and_resumed_by_who_paused_it(live: Watched, world: World) -> None:
    page = live.page
    await go(page, "accounts/acme")

    async def lose_the_answer(route: Route) -> None:
        await route.fetch()
        await route.fulfill(status=502, content_type="text/html", body="<h1>502 Bad Gateway</h1>")

    await page.route("**/pause", lose_the_answer)
    await page.get_by_role("button", name="Pause… acme").click()
    await page.get_by_role("dialog").get_by_role("button", name="Pause acme").click()
    await expect(page.locator("#toast")).to_contain_text("It is not known whether it was done.")
    await expect(page.locator(".title .badge")).to_contain_text("Paused")
    await world.deliver("Active Users", users(3))
    await go(page, "")
    await expect(page.locator("#headline")).to_contain_text("1 account paused")
    await expect(page.locator(".figures")).to_contain_text(
        re.compile(r"Changes to send\s*3\s*nothing of it is sent now")
    )
    await expect(page.locator("#sync-rows tr")).to_contain_text("Paused")
    assert await faults_of_access(page) == []
    await go(page, "lists")
    # It is not looked for as long as the account is paused.
    await expect(page.locator("tbody tr td").first).to_have_text(
        re.compile(r"^Active Users\s*acme · \(not named yet\)$")
    )
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("Paused")
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"to be sent \(paused\)\s*3"))
    await expect(page.get_by_role("button", name="Verify")).to_have_count(0)
    await go(page, "")
    assert world.contact_calls() == []
    # By keyboard: the button goes, and the focus with it, to where the view begins.
    await page.locator("#account-rows").get_by_role("button", name="Resume… acme").press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("3 changes are sent to Cordial from now on")
    # No call is made for a list that is not there yet: the first makes it.
    await expect(dialog.locator(".calls li").first).to_contain_text("POST /v2/")
    assert await faults_of_access(page) == []
    await dialog.get_by_role("button", name="Resume acme").press("Enter")
    await expect(page.locator("#headline")).to_contain_text("All lists are exact")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await expect(page.locator("#account-rows")).to_contain_text("Ready")
    # Who did it.
    await world.service.store.steering.record("API key reader", "list.verify", "1", 0)
    await go(page, "activity")
    await expect(page.locator("#audit-rows tr")).to_have_count(3)
    for target in ("list 1", "acme"):
        await expect(page.locator("#audit-rows").get_by_role("link", name=target).first).to_be_visible()
    about = page.locator("#audit-rows").get_by_role("link", name="Active Users (list 1)")
    place = await about.bounding_box()
    assert place
    assert place["height"] < 30
    await expect(page.locator("#audit-rows time").first).to_have_text(re.compile(r"^\d+ \w+ \d{4}, \d\d:\d\d:\d\d$"))
    await page.get_by_label("By").select_option("API key reader")
    await expect(page.locator("#audit-rows tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"#/activity\?actor="))


async def open_condition(page: Page, meaning: str, subject: str) -> None:
    """Come to a condition as who reads the overview comes there."""
    await go(page, "")
    group = page.locator("#attention-rows > li", has_text=meaning)
    await group.get_by_role("link", name=subject, exact=True).click()
    await expect(page.locator("main .waiting")).to_have_count(0)
    await expect(page.locator("main .primary")).to_have_count(1)
    assert await faults_of_access(page) == []


async def test_a_paused_account_is_resumed_from_its_condition_and_from_a_list(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(3))
    await world.settled()
    for place in ("condition", "list"):
        await go(page, "accounts/acme")
        await page.get_by_role("button", name="Pause… acme").click()
        await page.get_by_role("dialog").get_by_role("button", name="Pause acme").click()
        await expect(page.locator(".title .badge")).to_contain_text("Paused")
        await world.deliver("Active Users", [f"{place}@example.com"])
        if place == "condition":
            await open_condition(page, "A person paused the account", "acme")
        else:
            await go(page, "lists/1")
            await expect(page.locator(".notice")).to_contain_text("Nothing is sent for acme until somebody resumes it")
            assert await faults_of_access(page) == []
        await page.locator("main").get_by_role("button", name="Resume… acme").click()
        await confirm(page, "Resume acme")
        await expect(page.locator("#toast")).to_contain_text("acme sends again")
        await world.settled()
        assert f"{place}@example.com" in world.members("ActiveUsers")
        await expect(page.locator("main").get_by_role("button", name="Resume… acme")).to_have_count(0)
    assert live.errors == []


async def test_people_who_failed_are_retried_from_their_condition(live: Watched, world: World) -> None:
    page = live.page
    await refuse(world, "user1@example.com")
    await world.deliver("Active Users", users(3))
    await world.until(lambda: "people_failed" in world.conditions())
    await open_condition(page, "Some people could not be added", "acme · Active Users")
    world.cordial.faults.clear()
    await page.get_by_role("button", name="Retry 1… on Active Users").click()
    await confirm(page, "Retry 1")
    await expect(page.locator("#toast")).to_contain_text("1 change will be sent again")
    await world.until(lambda: world.members("ActiveUsers") == sorted(users(3)))
    await expect(page.locator(".title .badge")).to_contain_text("Over")
    assert live.errors == []


async def test_a_list_that_differs_is_rebuilt_from_its_condition(
    live: Watched, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = live.page
    at_once = msgspec.structs.replace(CATALOGUE["list_differs"], patience_seconds=0)
    monkeypatch.setitem(CATALOGUE, "list_differs", at_once)
    await world.deliver("Active Users", users(4))
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("Exact")
    world.cordial.state.lists_by_name["ActiveUsers"].members.clear()
    await page.get_by_role("button", name="Verify Active Users").click()
    await world.until(lambda: "list_differs" in world.conditions())
    await open_condition(page, "Cordial counts fewer", "acme · Active Users")
    await page.get_by_role("button", name="Rebuild… Active Users").click()
    await page.get_by_role("dialog").get_by_role("button", name="Send 4 memberships again").click()
    await world.until(lambda: world.members("ActiveUsers") == sorted(users(4)))
    assert live.errors == []


async def test_an_account_that_was_stopped_is_tried_from_its_condition(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(1))
    await world.settled()
    key = world.key_file.read_text()
    world.key_file.write_text("a wrong key")
    await page.goto("about:blank")
    await world.restart()
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(3))
    await world.until(lambda: "account_stopped" in world.conditions())
    await go(page, "lists/1")
    await expect(page.locator(".notice")).to_contain_text("Replace the API key, or allow")
    # Calls were made, and none went through.
    await go(page, "people")
    await expect(page.locator("main .card")).to_have_text("Nobody so far.")
    await open_condition(page, "Cordial does not serve the account", "Cordial rejects the API key for acme")
    world.key_file.write_text(key)
    await page.get_by_role("button", name="Try now acme").click()
    await expect(page.locator("#toast")).to_contain_text("acme is tried once more")
    await world.until(lambda: world.members("ActiveUsers") == sorted(users(3)))


async def test_nothing_is_approved_before_the_number_and_the_first_calls_are_seen(live: Watched, world: World) -> None:
    page = live.page
    await page.goto("about:blank")
    await world.restart(hold_new_segments=True, dry_run=True)
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(3), ["gone@example.com"])
    await expect(page.locator("#account-rows tr")).to_contain_text("Dry run")
    await expect(page.locator("#headline")).to_contain_text("1 segment to approve")
    # Condition and button count the same people: those who would be added, and those who would be removed.
    await expect(page.locator("#attention-rows")).to_contain_text("4 people")
    await expect(page.locator("#sync-rows tr")).to_contain_text("To approve")
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("To approve")
    await page.route("**/preview?*", lambda route: route.fulfill(status=502, body="<h1>502 Bad Gateway</h1>"))
    await page.get_by_role("button", name="Approve… Active Users").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_contain_text("something in front of it answers 502")
    await expect(dialog.get_by_role("button", name="Approve 4 people")).to_have_count(0)
    await page.unroute("**/preview?*")
    live.errors.clear()
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_contain_text("3 people would be added, 1 person removed.")
    await expect(page.locator("#sum")).to_contain_text("to be sent (to approve)")
    await expect(dialog).to_contain_text("/v2/contacts")
    await expect(dialog).to_contain_text("dry run")
    assert await faults_of_access(page) == []
    await dialog.get_by_role("button", name="Approve 4 people").click()
    await expect(page.locator("#toast")).to_contain_text("Active Users is approved.")
    await expect(page.locator(".title .badge")).to_contain_text("Dry run")
    assert {call.method for call in world.calls()} <= {"GET"}
    assert live.errors == []


async def test_an_account_whose_lists_all_wait_is_not_said_to_send(live: Watched, world: World) -> None:
    page = live.page
    await page.goto("about:blank")
    await world.restart(hold_new_segments=True)
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(3))
    await expect(page.locator("#account-rows")).to_contain_text("Waiting")
    await expect(page.locator(".figures")).to_contain_text("nothing of it is sent now")
    await go(page, "accounts/acme")
    await expect(page.locator("main")).to_contain_text(
        "Nothing can be sent now: 3 changes are for lists that are not ready."
    )
    await go(page, "conditions")
    await expect(page.locator("#attention-rows")).to_contain_text(re.compile(r"heap-cordial approve id:\d"))
    assert await faults_of_access(page) == []
    await page.locator("#attention-rows").get_by_role("link", name="acme · Active Users", exact=True).click()
    await expect(page.locator("main .primary")).to_have_text("Approve…")
    await expect(page.get_by_role("button", name="Preview… Active Users")).to_be_visible()


async def test_the_row_of_an_account_counts_what_there_is_no_room_to_list(
    live: Watched, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.observe.conditions._MAX_TOLD", 5)
    page = live.page
    await page.goto("about:blank")
    await world.restart(hold_new_segments=True)
    for number in range(1, 7):
        await world.deliver(f"Segment {number}", users(2), segment_id=number)
    await page.goto(world.service.url)
    row = page.locator("#attention-rows summary")
    for place in ("", "conditions", "conditions?account=acme"):
        await go(page, place)
        await expect(row).to_contain_text("6 lists")
        await expect(row).not_to_contain_text("people")


@pytest.mark.parametrize("decision", ["Approve", "Discard"])
async def test_a_held_sync_is_decided_after_its_removals_are_seen(live: Watched, world: World, decision: str) -> None:
    page = live.page
    await page.goto("about:blank")
    await world.restart(hold_removals=RemovalGuard(share=0.5, least=2))
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(10))
    await world.settled()
    await world.deliver("Active Users", ["new@example.com"], users(8))
    await expect(page.locator("#headline")).to_contain_text("1 sync held")
    await expect(page.locator("#attention-rows")).to_contain_text("Sync 2 would remove 8 of 10 people")
    # The same number on the overview, in its table and on the account's page, and there once.
    figure = page.locator(".figures > *", has_text="Changes to send")
    await expect(figure).to_have_text(re.compile(r"Changes to send\s*0\s*and 9 held, or waiting for pages"))
    await expect(page.locator("#account-rows")).to_contain_text(re.compile(r"0\s*and 9 held, or waiting for pages"))
    await go(page, "accounts/acme")
    await expect(page.locator(".figures > *", has_text="Held")).to_have_text(re.compile(r"Held\s*9"))
    await expect(figure).to_have_text(re.compile(r"Changes to send\s*0\s*$"))
    await go(page, "")
    await expect(page.locator("#sync-rows")).to_contain_text("Would remove 8 of 10 people")
    await page.get_by_role("link", name="See the sync").click()
    await expect(page.locator("#sync-rows tr")).to_have_count(1)
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("Sync held")
    await go(page, "conditions/removals_held?account=acme&subject=Active+Users+42")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing of this kind lasts")
    await go(page, "")
    await page.locator("#attention-rows").get_by_role("link", name="acme · Active Users", exact=True).click()
    await expect(page.get_by_role("button", name="Discard… sync of Active Users")).to_be_visible()
    await expect(page.locator("main .primary")).to_have_text("Approve…")
    await go(page, "syncs/2")
    await expect(page.locator("main")).not_to_contain_text("NaN")
    await expect(page.get_by_role("region", name="Held until you decide")).to_contain_text(
        "8 people of 10 wanted on the list"
    )
    assert await faults_of_access(page) == []
    await page.get_by_role("button", name=f"{decision}… sync of Active Users").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(
        "8 people of 10 wanted on the list would be removed, and 1 person named to be added."
    )
    # All of them, and not only some.
    await expect(dialog).to_contain_text(re.compile("Named for removal:.*user0@example.com.*user7@example.com"))
    assert await faults_of_access(page) == []
    assert world.members("ActiveUsers") == sorted(users(10))
    await dialog.get_by_role("button", name="Remove 8 people" if decision == "Approve" else "Discard the sync").click()
    await expect(page.locator("#toast")).to_contain_text("d." if decision == "Approve" else "is discarded.")
    await expect(page.locator(".title .badge")).to_contain_text("Done" if decision == "Approve" else "Discarded")
    await expect(page.locator(".terms")).to_contain_text("All sent" if decision == "Approve" else "Discarded")
    wanted = sorted([*users(10)[8:], "new@example.com"] if decision == "Approve" else users(10))
    await world.until(lambda: world.members("ActiveUsers") == wanted)
    # One that is not judged before its other page has come.
    await world.deliver("Active Users", ["late@example.com"], users(9)[8:], task="parted", page_size=1, first_pages=1)
    await go(page, "lists/1")
    where = "in a sync that waits for its other pages or is being read."
    await expect(page.locator("main")).to_contain_text(f"Not counted: 1 to add, {where}")
    assert live.errors == []


async def test_a_list_changed_by_hand_is_found_and_rebuilt(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(4))
    await go(page, "lists/1")
    await expect(page.locator(".title .badge")).to_contain_text("Exact")
    world.cordial.state.lists_by_name["ActiveUsers"].members.clear()
    await page.get_by_role("button", name="Verify Active Users").click()
    await expect(page.locator("#toast[data-tone=bad]")).to_contain_text("Active Users differs")
    await expect(page.locator(".title .badge")).to_contain_text("Differs from Cordial")
    await go(page, "")
    # A condition only once it has lasted: Cordial may count late.
    await expect(page.locator("#headline[data-tone=busy]")).to_contain_text("All that has arrived is sent")
    await go(page, "lists/1")
    await page.get_by_role("button", name="Rebuild… Active Users").click()
    await expect(page.get_by_role("dialog").locator(".calls li").first).to_contain_text("user0@example.com")
    await confirm(page, "Send 4 memberships again")
    await world.until(lambda: world.members("ActiveUsers") == sorted(users(4)))
    await page.get_by_role("button", name="Verify Active Users").click()
    await expect(page.locator(".title .badge")).to_contain_text("Exact")
    assert await faults_of_access(page) == []


async def test_strangers_are_not_told_to_be_rebuilt_away(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(2))
    await world.settled()
    stranger = world.cordial.state.create_contact("email:stranger@example.com", "stranger@example.com")
    world.cordial.state.lists_by_name["ActiveUsers"].members[stranger.cid] = 0
    await go(page, "lists/1")
    await page.get_by_role("button", name="Verify Active Users").click()
    await expect(page.locator(".terms").first).to_contain_text("3, 1 more than confirmed")
    await expect(page.locator(".notice")).to_contain_text("See who they are.")
    await expect(page.locator("main .primary")).to_have_count(0)


async def test_a_list_that_is_held_says_why_and_what_to_do(live: Watched, world: World) -> None:
    page = live.page
    world.cordial.state.create_list("ActiveUsers", enhanced=True)
    await world.deliver("Active Users", users(3))
    await expect(page.locator("#headline[data-tone=warn]")).to_contain_text("1 list held")
    await expect(page.locator("#account-rows")).to_contain_text("Waiting")
    await expect(page.locator("#sync-rows tr")).to_contain_text("List held")
    await page.locator("#attention-rows").get_by_role("link", name="acme · Active Users", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("The list is held (acme Active Users)")
    await expect(page.locator("main .card").first).to_contain_text("Cordial already has a list ActiveUsers")
    await page.locator(".terms").get_by_role("link", name="acme · Active Users").click()
    await expect(page.locator(".title .badge")).to_contain_text("Held")
    await expect(page.locator("main")).to_contain_text("adopt_existing_lists = true")
    await expect(page.locator("#sum")).to_contain_text(re.compile(r"to be sent \(held\)\s*3"))
    # What sends nothing is not offered.
    await expect(page.get_by_role("button", name="Rebuild")).to_have_count(0)
    assert await faults_of_access(page) == []
    assert {call.method for call in world.calls()} == {"GET"}
    assert live.errors == []


async def test_a_wrong_key_is_told_as_what_it_is(live: Watched, world: World) -> None:
    page = live.page
    await page.goto("about:blank")
    await world.stop()
    world.key_file.write_text("a wrong key")
    await world.start()
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(3))
    await expect(page.locator("#headline[data-tone=bad]")).to_contain_text("1 account stopped")
    await expect(page.locator("#icon")).to_have_attribute("href", "page/icon-alert.svg")
    await expect(page.locator("#attention-rows")).to_contain_text("Replace the API key, or allow")
    await expect(page.locator("#account-rows")).to_contain_text("Stopped")
    await expect(page.locator("#sync-rows tr")).to_contain_text("Stopped")
    await expect(page.locator(".figures")).to_contain_text("nothing of it is sent now")
    await expect(page.locator("main .primary")).to_have_count(1)
    assert await faults_of_access(page) == []


async def test_a_store_that_another_program_locks_is_told_until_it_lets_go(
    live: Watched, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = live.page
    # For how long a writer waits for another program.
    monkeypatch.setattr("service.store.sqlite.opening._BUSY_TIMEOUT_MS", 300)
    await page.goto("about:blank")
    await world.restart()
    await page.goto(world.service.url)
    await world.deliver("Active Users", users(2))
    await expect(page.locator("#headline[data-tone=good]")).to_contain_text("All lists are exact")
    [more] = build_pages(1, "Active Users", users(3), [], task_id="more", page_size=10)
    with contextlib.closing(sqlite3.connect(world._store_file, isolation_level=None)) as other_program:
        other_program.execute("BEGIN IMMEDIATE")
        refused = await post_page(world._session, f"{world.service.url}/webhooks/heap/acme", HEAP_SECRET, more)
        assert refused.status == 503
        await expect(page.locator("#headline[data-tone=bad]")).to_contain_text("The store cannot write")
        await expect(page).to_have_title("(1) heap-cordial")
        await expect(page.locator("#icon")).to_have_attribute("href", "page/icon-alert.svg")
        await expect(page.locator("#attention-rows")).to_contain_text("Database is locked")
        # What is read is still read; what would be written is refused in words.
        await expect(page.locator("#sync-rows tr")).to_have_count(1)
        assert await faults_of_access(page) == []
        # Nothing waits, and nothing could be sent.
        await expect(page.locator("#account-rows")).to_contain_text("Store cannot write")
        await go(page, "accounts/acme")
        await expect(page.locator(".notice")).to_contain_text(
            "Nothing is sent for acme until the store can write again: database is locked."
        )
        await expect(page.get_by_role("region", name="Trial", exact=True)).to_contain_text("while the account may send")
        await page.get_by_role("button", name="Pause… acme").click()
        await confirm(page, "Pause acme")
        await expect(page.locator("#toast[data-tone=bad]")).to_contain_text("database is locked")
        assert await faults_of_access(page) == []
        other_program.execute("ROLLBACK")
    await go(page, "")
    await expect(page.locator("#headline[data-tone=good]")).to_contain_text("All lists are exact")
    await expect(page).to_have_title("heap-cordial")
    await world.deliver("Active Users", users(3), task="more")
    await expect(page.locator("#sync-rows tr")).to_have_count(2)
    await world.until(lambda: world.members("ActiveUsers") == users(3))


async def test_a_thousand_lists_are_searched_sorted_and_paged_by_the_service(live: Watched, world: World) -> None:
    page = live.page
    await refuse(world, "bad@example.com")
    await world.service.store.steering.set_paused("acme", paused=True, actor="test")
    for number in range(120):
        await world.deliver(f"Segment {number:03}", ["a@example.com"] * (number % 2 + 1), segment_id=number + 1)
    await go(page, "lists?sort=name")
    await expect(page.locator("#found")).to_have_text("120 lists, 1 to 50 shown")
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator("#found")).to_have_text("120 lists, 51 to 100 shown")
    await expect(page.locator("tbody tr").first).to_contain_text("Segment 050")
    await page.go_back()
    await expect(page.locator("tbody tr").first).to_contain_text("Segment 000")
    await page.go_forward()
    await expect(page.locator("#found")).to_have_text("120 lists, 51 to 100 shown")
    await page.get_by_label("Search").fill("Segment 117")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"search=Segment\+117"))
    await page.reload()
    await expect(page.locator("tbody tr")).to_have_count(1)
    # What is not there any more, and what cannot be read, is not told as what there is.
    await go(page, "lists?after=fff")
    await expect(page.locator("#found")).to_have_text("120 lists, none of them on this page")
    await page.get_by_role("link", name="First page").click()
    await expect(page.locator("#found")).to_have_text("120 lists, 1 to 50 shown")
    await go(page, "lists?standing=nonsense")
    await expect(page.get_by_role("alert")).to_contain_text("standing")
    await expect(page.locator("tbody tr")).to_have_count(0)
    await go(page, "lists/%E0%A4%A")
    await expect(page.get_by_role("heading", level=1)).to_have_text("List")


# What can be focused, and a field with something typed into it.
_MARK = """() => {
    window.known = [...document.querySelectorAll("main a, main button, main input, main select, main [tabindex]")];
    document.querySelectorAll("#member-user").forEach(each => { each.value = "half a wo"; });
    return window.known.length;
}"""
_LOST = """() => window.known.filter(each => !each.isConnected || (each.id === "member-user" && each.value !== "half a wo"))
    .map(each => each.outerHTML)"""


async def test_what_somebody_is_at_stays_while_figures_change(live: Watched, world: World) -> None:
    """On every view: links, buttons and fields are the same elements after an update, with what was typed."""
    page = live.page
    await refuse(world, "bad@example.com")
    await world.deliver("Active Users", [*users(2), "bad@example.com", "undefined"])
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(1,)])
    await world.until(lambda: "people_failed" in world.conditions())
    condition = "conditions/people_failed?account=acme&subject=Active+Users"
    places = ["", "lists", "lists/1", "people", "unusable", "syncs", "syncs/1", "imports", "accounts", "accounts/acme"]
    for number, place in enumerate([*places, "conditions", "activity", condition]):
        await go(page, place)
        await expect(page.locator("main .waiting")).to_have_count(0)
        await expect(page.locator("#updated")).to_contain_text("just now")
        assert await page.evaluate(_MARK) > 0
        # What is unusable stays a condition as long as the latest sync has some of it.
        await world.deliver("Active Users", [f"more{number}@example.com", "undefined"])
        await world.settled()
        # What the view shows is read again, as an event would have it.
        await page.evaluate("import('./page/live.js').then(live => live.refresh())")
        await page.evaluate("new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))")
        assert await page.evaluate(_LOST) == [], place


async def test_what_is_typed_into_a_filter_stays_while_figures_change(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(2))
    await go(page, "lists")
    search = page.get_by_label("Search")
    await search.focus()
    for number, letters in enumerate(("Act", "ive", " Us", "ers")):
        await page.keyboard.type(letters, delay=150)
        await world.deliver("Active Users", [f"more{number}@example.com"])
    await expect(search).to_have_value("Active Users")
    await expect(search).to_be_focused()
    await expect(page).to_have_url(re.compile(r"search=Active\+Users"))
    await page.get_by_role("navigation", name="Views").get_by_role("link", name="Lists").click()
    await expect(search).to_have_value("")


# How long after the one before each question was asked, in milliseconds, by the browser's clock.
_PAUSES = """() => performance.getEntriesByType("resource")
    .filter((each) => each.name.includes("/api/v1/") && !each.name.endsWith("/events")).map((each) => each.startTime)
    .map((at, index, all) => at - all[index - 1]).slice(1)"""


async def test_it_asks_little_and_nothing_while_nobody_looks(live: Watched, world: World) -> None:
    page = live.page
    await expect(page.locator(_LIVE)).to_be_visible()
    for place in ("people", ""):
        await go(page, place)
        await expect(page.locator("main .waiting")).to_have_count(0)
        await asyncio.sleep(2)
        await page.evaluate("performance.clearResourceTimings()")
        for number in range(16 if place else 8):
            await world.deliver("Active Users", [f"{place}{number}@example.com"])
            await asyncio.sleep(0.25)
        pauses = await page.evaluate(_PAUSES)
        # A timer that is late is late for both: the next is counted from when the one before was answered.
        assert all(pause > 990 for pause in pauses), (place, pauses)
    # A hidden tab asks for nothing, and reads everything when it is seen again.
    hide = """isHidden => {
        Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await page.evaluate(hide, True)
    live.requested.clear()
    await world.deliver("Active Users", ["unseen@example.com"])
    await world.settled()
    await asyncio.sleep(1.5)
    assert live.requested == []
    await page.evaluate(hide, False)
    await expect(page.locator("#sync-rows tr")).to_have_count(8)
    await world.until(lambda: any(url.endswith("/overview") for url in live.requested))


async def test_it_says_when_the_service_is_gone_and_comes_back(live: Watched, world: World) -> None:
    page = live.page
    await world.deliver("Active Users", users(2))
    await expect(page.locator(_LIVE)).to_be_visible()
    world.port = int(world.service.url.rpartition(":")[2])
    await expect(page.locator("#headline[data-tone=good]")).to_contain_text("All lists are exact")
    await world.stop()
    await expect(page.locator("#connection")).to_have_text("Not reachable, trying again")
    await expect(page.locator("main[data-stale=true]")).to_contain_text("Active Users")
    # What was so is not said to be so.
    await expect(page.locator("#lost")).to_contain_text(re.compile(r"Nothing is known since .*\d\d:\d\d:\d\d"))
    await expect(page.locator("#headline")).to_have_text(re.compile(r"\? At .*: All lists are exact"))
    await expect(page.locator("#headline")).to_have_attribute("data-tone", "busy")
    await expect(page).to_have_title("(?) heap-cordial")
    await expect(page.locator("main")).not_to_contain_text("after the start")
    assert await faults_of_access(page) == []
    # Nor is anything said to be below where nothing was read.
    await go(page, "imports")
    await expect(page.locator("#lost")).to_have_text(
        re.compile(r"Nothing is known since .*; nothing below is newer\.$")
    )
    await go(page, "")
    await world.start()
    await expect(page.locator(_LIVE)).to_be_visible()
    await world.deliver("Second", users(2), segment_id=2)
    await expect(page.locator("#sync-rows")).to_contain_text("Second")


async def test_nothing_is_called_live_while_no_news_can_come(live: Watched, world: World) -> None:
    """The stream is cut and does not come back; what is asked is still answered, until the service goes away."""
    page = live.page
    await world.deliver("Active Users", users(2))
    await expect(page.locator(_LIVE)).to_be_visible()
    await page.route("**/api/v1/events", lambda route: route.abort())
    world.port = int(world.service.url.rpartition(":")[2])
    await world.restart()
    await expect(page.locator("#connection")).to_have_text("Updated every 15 s")
    async with page.expect_response(lambda answer: answer.url.endswith("/overview") and answer.ok):
        pass
    await expect(page.locator("#connection")).to_have_text("Updated every 15 s")
    await world.stop()
    await expect(page.locator("#connection")).to_have_text("Not reachable, trying again")
    await world.start()
    await page.unroute("**/api/v1/events")
    await expect(page.locator(_LIVE)).to_be_visible()


class Relay:
    """Something between the browser and the service; while it is `silent`, it keeps what the service says of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._pass_on(reader, far))
        await self._pass_on(near, writer)
        asking.cancel()
        far.close()
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while text := await reader.read(65_536):
                if self.is_silent and b"\nevent: " in text:
                    continue
                writer.write(text)
                await writer.drain()


async def test_a_stream_that_is_open_and_silent_is_not_called_live(
    browser_context: BrowserContext, world: World
) -> None:
    world.heartbeat_seconds = 0.5
    await world.restart()
    relay = Relay(int(world.service.url.rpartition(":")[2]))
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        watched = await signed_in(browser_context, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await expect(watched.page.locator(_LIVE)).to_be_visible()
        relay.is_silent = True
        await expect(watched.page.locator("#connection")).to_have_text("Updated every 15 s")
        relay.is_silent = False
        await expect(watched.page.locator(_LIVE)).to_be_visible()
        await watched.page.close()


async def test_a_question_that_is_never_answered_is_given_up_and_asked_again(live: Watched, world: World) -> None:
    """The network drops what is sent, and nobody says so."""
    page = live.page
    await expect(page.locator(_LIVE)).to_be_visible()
    await page.evaluate(
        "const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => timeout(ms / 100)"
    )
    await page.route("**/api/v1/**", lambda _: None)
    await world.deliver("Active Users", users(2))
    await expect(page.locator("#connection")).to_have_text("Not reachable, trying again")
    await page.unroute("**/api/v1/**")
    await world.deliver("Active Users", users(3))
    await expect(page.locator(_LIVE)).to_be_visible()
    await expect(page.locator("#sync-rows")).to_contain_text("+3")


async def test_it_comes_back_after_a_proxy_answered_in_the_services_place(live: Watched, world: World) -> None:
    page = live.page
    await expect(page.locator(_LIVE)).to_be_visible()
    asked = 0

    async def refuse_by_proxy(route: Route) -> None:
        nonlocal asked
        asked += route.request.url.endswith("/events")
        await route.fulfill(status=502, content_type="text/html", body="<h1>502 Bad Gateway</h1>")

    await page.route("**/api/v1/**", refuse_by_proxy)
    world.port = int(world.service.url.rpartition(":")[2])
    await world.restart()
    # A stream that is answered with something else is not tried again by browsers.
    await world.until(lambda: asked > 1)
    await expect(page.locator("#connection")).to_have_text("Not reachable, trying again")
    await page.unroute("**/api/v1/**")
    await expect(page.locator(_LIVE)).to_be_visible()
    await world.deliver("Active Users", users(2))
    await expect(page.locator("#sync-rows")).to_contain_text("Active Users")
