"""Real clicks in Swagger UI against the whole service: what it signs is taken, and the secret stays in the page."""

import base64
import json
import shlex
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, Request, expect
from yarl import URL

from service.receive.signature import Verdict, parse_header, verify
from tests.browser.conftest import NOT_SECURE_HOST
from tests.command_fixtures import run_command
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, delivering

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET_TRACES = [HEAP_SECRET, str(URL.build(path=HEAP_SECRET)), base64.b64encode(HEAP_SECRET.encode()).decode()]


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path):
    async with delivering(tmp_path) as running:
        yield running


class Asked:
    """Every request of a page, with all it carries."""

    def __init__(self, page: Page) -> None:
        self._requests: list[Request] = []
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self._requests.append(request)

    async def everything(self) -> str:
        parts = []
        for request in self._requests:
            parts += [request.url, json.dumps(await request.all_headers()), request.post_data or ""]
        return "\n".join(parts)

    def posts(self) -> list[Request]:
        return [request for request in self._requests if request.method == "POST"]


async def authorize(page: Page, secret: str) -> None:
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    scheme = dialog.locator(".auth-container", has_text="Heap-Hash")
    field = scheme.locator("input")
    await expect(field).to_have_attribute("type", "password")
    await field.fill(secret)
    await scheme.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close").last.click()


async def open_webhook(page: Page, *, dry_run: bool = False) -> Locator:
    operation = page.locator(".opblock", has_text="/webhooks/heap/{account}")
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_placeholder("account").fill(ACCOUNT)
    choice = operation.locator("tr[data-param-name=dry_run] select")
    await expect(choice).to_have_value("true")
    if not dry_run:
        await choice.select_option("false")
    return operation


async def execute(operation: Locator, page: Page) -> tuple[int, Request]:
    async with page.expect_response(lambda response: response.request.method == "POST") as answered:
        await operation.locator("button.execute").click()
    response = await answered.value
    return response.status, response.request


async def test_the_examples_are_signed_and_taken_and_the_secret_stays_in_the_page(watched, world):
    page, asked = watched.page, Asked(watched.page)
    await page.goto(f"{world.service.url}/docs")
    await authorize(page, HEAP_SECRET)
    operation = await open_webhook(page)
    examples = operation.locator(".opblock-section-request-body .examples-select select")
    answers = operation.locator(".live-responses-table tbody .response-col_description").first
    for example, said in [
        ("first page", '"added": 2'),
        ("second page", '"added": 1'),
        ("later sync", '"removed": 1'),
        ("later sync", '"duplicate"'),
    ]:
        await examples.select_option(example)
        status, _ = await execute(operation, page)
        assert status == 200
        await expect(answers).to_contain_text(said)
    await world.settled()

    assert world.members("HeapTestSegment") == ["jack@example.com", "jane@example.com", "joan@example.com"]
    everything = await asked.everything() + await page.content()
    curl = await operation.locator(".curl").inner_text()
    assert "Heap-Hash: ts:" in curl
    stored = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    for trace in SECRET_TRACES:
        assert trace not in everything
        assert trace not in curl
        assert trace not in stored
    assert watched.errors == []


async def test_the_first_click_is_a_dry_run_of_one_page(watched, world):
    page = watched.page
    await page.goto(f"{world.service.url}/docs")
    await authorize(page, HEAP_SECRET)
    operation = await open_webhook(page, dry_run=True)
    status, request = await execute(operation, page)
    assert status == 200
    assert URL(request.url).query == {"dry_run": "true"}
    sent = json.loads(request.post_data or "")["data"]
    assert (sent["sync_info"]["total_pages"], len(sent["add"])) == (1, 2)
    answers = operation.locator(".live-responses-table tbody .response-col_description").first
    await expect(answers).to_contain_text('"dry_run"')
    assert await world.service.store.segments() == []


async def test_the_body_is_signed_exactly_as_typed(watched, world):
    page = watched.page
    await page.goto(f"{world.service.url}/docs")
    await authorize(page, HEAP_SECRET)
    operation = await open_webhook(page)
    typed = """ {"action_type":"segment.users.sync",   "data": {
        "segment": {"id": "7", "name": "Lesér 🌱"}, "sync_info": {"page_number": 1, "total_pages": 1,
        "sync_task_id": "typed"}, "add": [{"id": "zoë@example.com"}]}}  """
    await operation.locator("textarea.body-param__text").fill(typed)
    status, request = await execute(operation, page)

    assert status == 200
    body = request.post_data_buffer
    assert body == typed.encode()
    header = parse_header([(await request.all_headers())["heap-hash"]])
    assert verify(header, body, [HEAP_SECRET], header.timestamp_ms, 1) is Verdict.VALID
    assert verify(header, body, ["another secret"], header.timestamp_ms, 1) is Verdict.WRONG


async def test_where_the_browser_cannot_sign_the_page_says_how_to_send(watched, world, tmp_path):
    page, asked = watched.page, Asked(watched.page)
    notice = page.get_by_role("complementary")
    await page.goto(f"{world.service.url}/docs")
    await expect(page.locator(".opblock").first).to_be_visible()
    await expect(notice).to_be_hidden()

    address = URL(world.service.url).with_host(NOT_SECURE_HOST)
    await page.goto(str(address / "docs"))
    await expect(notice).to_be_visible()
    await expect(notice).to_contain_text("cannot sign")
    await authorize(page, HEAP_SECRET)
    operation = await open_webhook(page)
    await operation.locator("button.execute").click()
    await expect(operation).to_contain_text("This page cannot sign here")
    assert asked.posts() == []
    everything = await asked.everything()
    assert all(trace not in everything for trace in SECRET_TRACES)

    command = shlex.split(await notice.locator("pre").inner_text())
    assert command[:2] == ["heap-cordial", "send"]
    assert str(address / "webhooks/heap") in command
    await run_as_shown(command[1:], world.service.url, tmp_path)
    await world.settled()
    assert world.members("HeapTestSegment") == ["jane@example.com", "john@example.com"]


async def run_as_shown(arguments: list[str], service_url: str, folder: Path) -> None:
    """Run the command, with the service's address in the place of the name that only the browser knows."""
    secret_file = folder / "shown-secret"
    secret_file.write_text(HEAP_SECRET)
    real = {
        "heap-secret": str(secret_file),
        **{text: f"{service_url}/webhooks/heap" for text in arguments if NOT_SECURE_HOST in text},
    }
    ended = await run_command(*(real.get(argument, argument) for argument in arguments))
    assert ended.status == 0, ended.errors
