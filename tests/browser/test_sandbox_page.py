import re

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from service.sandbox.faults import Fault, FaultKind
from tests.sandbox_fixtures import calling
from tests.sandbox_import_fixtures import ADDRESS, Importer, file_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def cordial():
    async with calling() as caller:
        yield caller


@pytest_asyncio.fixture(loop_scope="session")
async def page(cordial, watched):
    """The stand-in's page; at the end nothing may have gone wrong and nobody else been asked."""
    await watched.page.goto(cordial.sandbox.url)
    await expect(watched.page.get_by_text("Live", exact=True)).to_be_visible()
    yield watched.page
    assert watched.errors == []
    assert all(url.startswith(cordial.sandbox.url) for url in watched.requested)


def figure(page: Page, name: str):
    return page.locator(".figures > div", has_text=name).locator("dd")


async def test_it_says_what_to_do_and_then_follows_by_itself(page, cordial):
    await expect(page.get_by_role("heading", name="No lists yet")).to_be_visible()
    await expect(page.get_by_text(f'cordial_base_url = "{cordial.sandbox.url}"')).to_be_visible()
    await expect(page.get_by_role("heading", name="Lists", exact=True)).to_be_hidden()

    await cordial.create_list("Readers")
    await expect(page.get_by_role("heading", name="No lists yet")).to_be_hidden()
    button = page.get_by_role("button", name="Readers")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(button).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_text("Nobody is on this list")).to_be_visible()

    await cordial.add("jane@example.com", Readers=True)
    cordial.sandbox.faults.add(Fault(FaultKind.ANSWER, status=503))
    await cordial.call("PUT", "/v2/contacts/email:jane%40example.com", {"Readers": False})

    await expect(page.get_by_role("listitem")).to_have_text(["jane@example.com"])
    await expect(page.get_by_role("row", name="Readers 101 1")).to_be_visible()
    await expect(figure(page, "Contacts")).to_have_text("1")
    await expect(figure(page, "Calls answered well")).to_have_text("2")
    await expect(figure(page, "Refused, failed or cut")).to_have_text("1")
    newest = page.locator("#call-rows tr").first
    await expect(newest.locator("td").nth(1)).to_have_text("PUT /v2/contacts/{key}")
    await expect(newest.locator("td").nth(2)).to_have_text("email:jane@example.com")
    await expect(newest.locator("td").nth(3)).to_have_text("\u2212 Readers")
    await expect(newest.locator("td").nth(0)).to_have_text("503")
    # Nothing that happened took the keyboard's place away.
    await expect(button).to_be_focused()


async def test_many_contacts_are_paged_and_searched(page, cordial):
    await cordial.create_list("Readers")
    for number in range(45):
        await cordial.add(f"user{number:02}@example.com", Readers=True)
    await page.get_by_role("button", name="Readers").click()
    await expect(page.get_by_text("1\u201320 of 45")).to_be_visible()
    await expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    await page.get_by_role("button", name="Next").click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("41\u201345 of 45")).to_be_visible()
    await expect(page.get_by_role("button", name="Next")).to_be_disabled()

    await page.get_by_label("Search").fill("user1")
    await expect(page.get_by_text("1\u201310 of 10")).to_be_visible()
    await expect(page.get_by_role("listitem").first).to_have_text("user10@example.com")
    await page.get_by_label("Search").fill("nobody")
    await expect(page.get_by_text("Nobody matches")).to_be_visible()


async def test_imports_are_followed(page, cordial):
    await expect(page.get_by_role("heading", name="Imports")).to_be_hidden()
    await cordial.create_list("Readers")
    async with file_server() as files:
        importer = Importer(cordial, files)
        await importer.run(["jane@example.com,1", "<b>joe</b>,1"], columns=[ADDRESS, "Readers"], importName="first")
        row = page.get_by_role("row", name="first")
        await expect(row.locator("td")).to_have_text(
            ["Done", "first", files.url, "2 of 2", re.compile("1 inserted *1 rejected")]
        )
        await importer.run(["jane@example.com"], columns=["<b>name</b>"], importName="second")
        row = page.locator("#import-rows tr").first
        await expect(row.locator("td").first).to_have_text("Failed")
        await expect(row.locator("td").last).to_have_text("column <b>name</b> is not part of the schema")
    await expect(figure(page, "Subscriptions changed")).to_have_text("1")
    assert await page.locator("td b").count() == 0


async def test_what_comes_from_outside_is_shown_as_text(page, cordial):
    await cordial.create_list("Readers")
    await cordial.call("PUT", "/v2/contacts/email:%3Cimg%20src=x%20onerror=alert(1)%3E", {"<b>bold</b>": True})
    await expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    await expect(page.get_by_text("+ <b>bold</b>")).to_be_visible()
    assert await page.locator("td img, td b").count() == 0


async def test_it_fits_a_phone_by_day_and_night(page, cordial):
    await page.set_viewport_size({"width": 360, "height": 740})
    await cordial.create_list("A-list-with-a-name-" + "very-" * 20 + "long")
    await page.get_by_role("button", name="A-list").click()
    await expect(page.get_by_role("heading", name="Contacts of")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    for scheme, bright in (("light", True), ("dark", False)):
        await page.emulate_media(color_scheme=scheme)
        red = await page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        assert (red > 128) == bright


async def test_it_says_when_the_stand_in_is_gone_and_comes_back(cordial, watched):
    page = watched.page
    await page.goto(cordial.sandbox.url)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await page.context.set_offline(True)
    await expect(page.get_by_text("Not reachable, trying again")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
