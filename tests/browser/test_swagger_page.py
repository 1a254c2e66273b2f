from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from playwright.async_api import expect

from service.observe import health
from service.observe.swagger import routes as swagger
from service.observe.swagger.openapi import setup_openapi
from service.web.headers import PAGE_HEADERS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[BaseTestServer]:
    app = web.Application()
    setup_openapi(app, title="heap-cordial", version="1.2.3")
    health.add_routes(app, list, lambda: False)
    swagger.add_routes(app)
    async with TestServer(app) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(server) -> AsyncIterator[BaseTestServer]:
    """A reverse proxy that shows the service under `/tools/heap`, unbeknown to the service."""

    async def forward(request: web.Request) -> web.Response:
        target = server.make_url("/" + request.match_info["rest"])
        async with session.get(target, headers={"Accept": request.headers.get("Accept", "*/*")}) as answer:
            passed = {name: value for name, value in answer.headers.items() if name in {"Content-Type", *PAGE_HEADERS}}
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    app = web.Application()
    app.router.add_get("/tools/heap/{rest:.*}", forward)
    async with aiohttp.ClientSession() as session, TestServer(app) as started:
        yield started


def only_asked(watched, server: BaseTestServer) -> bool:
    """Tell whether every request of the page went to `server`; `data:` addresses never leave the page."""
    return all(url.startswith((str(server.make_url("/")), "data:")) for url in watched.requested)


async def test_it_shows_the_operations_and_asks_nobody_else(watched, server):
    page = watched.page
    await page.goto(str(server.make_url("/docs")))

    await expect(page.locator(".info .title")).to_contain_text("heap-cordial")
    await expect(page.locator(".info")).to_contain_text("Deliveries are signed.")
    await expect(page.locator(".opblock")).to_have_count(2)
    await page.locator(".opblock", has_text="/readyz").locator(".opblock-summary-control").click()
    await expect(page.locator(".opblock.is-open")).to_contain_text("The service can accept pages.")
    await page.get_by_role("button", name="Authorize").first.click()
    await expect(page.locator(".dialog-ux")).to_contain_text("Heap-Hash")

    assert watched.errors == []
    assert str(server.make_url("/openapi.json")) in watched.requested
    assert only_asked(watched, server)


async def test_an_address_in_the_query_does_not_replace_the_document(watched, server):
    page = watched.page
    foreign = "https://attacker.example/openapi.json"
    await page.goto(str(server.make_url("/docs").with_query(url=foreign, configUrl=foreign)))

    await expect(page.locator(".info .title")).to_contain_text("heap-cordial")
    assert watched.errors == []
    assert only_asked(watched, server)


async def test_a_request_can_be_tried_behind_a_path_prefix(watched, proxy):
    page = watched.page
    await page.goto(str(proxy.make_url("/tools/heap/docs")))

    operation = page.locator(".opblock", has_text="/livez")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator("button.execute").click()
    await expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    await expect(operation.locator(".live-responses-table")).to_contain_text('"alive"')

    assert watched.errors == []
    assert watched.requested[-1] == str(proxy.make_url("/tools/heap/livez"))
    assert only_asked(watched, proxy)
