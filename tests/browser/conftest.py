"""One Chromium for all browser tests, a fresh window for each.

It is Chromium's headless shell: the same engine, network and script, at less than half of the processor time, without
what draws a window's frame. Starting a browser takes seconds. It belongs to the event loop it was started on, so the
tests here and their fixtures all run on the session's loop.
"""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.service_fixtures import API_KEY, World

# A busy machine makes a page late, never wrong.
expect.set_options(timeout=20_000)

# A name for this machine that browsers do not trust as they trust `localhost`: what is offered there over plain HTTP is
# no secure context.
NOT_SECURE_HOST = "plain.test"

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever is not on loopback does not exist; a page that asks for it shows an error.
    f"--host-resolver-rules=MAP {NOT_SECURE_HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


class Watched:
    """A page and everything it asked for or complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requested: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium, empty profile, no way out of this machine."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path="/usr/bin/chromium-headless-shell", args=_FLAGS)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser_context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A window of its own, of the size of a laptop's."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def watched(browser_context: BrowserContext) -> Watched:
    """A blank page."""
    return Watched(await browser_context.new_page())


async def sign_in(page: Page, key: str = API_KEY) -> None:
    """Sign in as a person does."""
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()


async def signed_in(context: BrowserContext, url: str) -> Watched:
    """Open the dashboard of the service at the address as somebody sees it who has signed in.

    The session comes from the API: drawing the page on which one signs in takes a third of what opening it costs.
    """
    signing = {"Authorization": aiohttp.encode_basic_auth(API_KEY, ""), "X-Requested-With": "heap-cordial"}
    assert (await context.request.post(f"{url}/api/v1/session", data={}, headers=signing)).ok
    watched = Watched(await context.new_page())
    await watched.page.goto(url)
    await watched.page.locator("#headline").wait_for()
    return watched


@pytest_asyncio.fixture(loop_scope="session")
async def live(browser: Browser, world: World) -> AsyncIterator[Watched]:
    """The dashboard as an operator sees it who has signed in; `world` is the service of each file of tests."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield await signed_in(context, world.service.url)
    await context.close()


async def go(page: Page, place: str) -> None:
    """Go to a view of the dashboard."""
    await page.evaluate("place => { location.hash = `#/${place}`; }", place)


async def confirm(page: Page, button: str) -> None:
    """Press the button of the dialog that asks."""
    await page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


async def faults_of_access(page: Page) -> list[str]:
    """Return what axe finds."""
    # What is in order is not described node by node: that takes a browser longer than the rest.
    found = await Axe().run(page, options={"resultTypes": ["violations"]})
    return [f"{each['id']}: {node['html'][:200]}" for each in found.response["violations"] for node in each["nodes"]]
