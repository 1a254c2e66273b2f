"""A running service tells of its conditions, and takes up a changed target when it reads its configuration anew."""

import signal
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.command_fixtures import eventually


@pytest.fixture
async def told() -> AsyncIterator[tuple[str, list[str]]]:
    texts: list[str] = []

    async def take(request: web.Request) -> web.Response:
        texts.append(msgspec.json.decode(await request.read())["text"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    async with TestServer(app) as server:
        yield str(server.make_url("/hook")), texts


async def test_a_wrong_key_is_told_and_its_end_too(installation, told, tmp_path):
    url, texts = told
    (tmp_path / "url").write_text(url)
    right = installation.key_file.read_text()
    installation.key_file.write_text("another-key")
    installation.environment |= {
        "HEAP_CORDIAL__NOTICES__OPS__KIND": "slack",
        "HEAP_CORDIAL__NOTICES__OPS__URL_FILE": str(tmp_path / "url"),
        "HEAP_CORDIAL__NOTICES__OPS__PATIENCE_MINUTES": "0",
        "HEAP_CORDIAL__NOTICES__OPS__SEVERITY": "critical",
    }

    async def first_lines() -> list[str]:
        return [text.splitlines()[0] for text in texts]

    async with installation.serving() as process:
        await installation.deliver("Active Users", ["jane@example.com"], task="task-1")
        await eventually(first_lines, ["*heap-cordial: Cordial rejects the API key for acme*"])
        assert "unauthorized" in texts[0]
        assert "people concerned: 1" in texts[0]
        process.send_signal(signal.SIGHUP)
        installation.key_file.write_text(right)
        await eventually(
            first_lines,
            [
                "*heap-cordial: Cordial rejects the API key for acme*",
                "*heap-cordial: over: Cordial does not serve the account (acme)*",
            ],
        )
