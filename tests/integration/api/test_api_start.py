"""Until the start is over, pages are accepted and questions answered; whoever wants more is to ask again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from service.commands.reloading import Reloader
from service.deliver.deliverer import Deliverer
from service.sandbox.heap_pages import PageAnswer, build_pages, post_page
from tests.api_fixtures import API_KEY, Answer, ApiWorld, asking, authorization
from tests.integration.api.test_api_actions import ACTIONS
from tests.ports import free_port
from tests.service_fixtures import ACCOUNT, HEAP_SECRET

_QUESTIONS = ("overview", "accounts", "lists", "lists/1", "lists/1/sum", "syncs", "conditions", "accounts/acme/trial")
_LATER = (503, {"code": "not_ready", "message": "the service is still starting; try again in a moment"}, "1")


class Starting:
    """A service that has a list and accepts pages, whose start ends when the event is set."""

    def __init__(self, world: ApiWorld, session: aiohttp.ClientSession) -> None:
        self.world = world
        self.session = session
        self.url = f"http://127.0.0.1:{world.port}"
        self.may_go_on = asyncio.Event()

    async def ask(self, method: str, path: str) -> Answer:
        body: dict[str, Any] | None = {} if method == "POST" else None
        async with self.session.request(
            method, f"{self.url}/api/v1/{path}", json=body, headers=authorization(API_KEY)
        ) as answer:
            return Answer(answer.status, await answer.json(), answer.headers)

    async def post(self, user: str, query: str = "") -> PageAnswer:
        [page] = build_pages(1, "Readers", [user], task_id=user)
        return await post_page(self.session, f"{self.url}/webhooks/heap/{ACCOUNT}{query}", HEAP_SECRET, page)


@contextlib.asynccontextmanager
async def starting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Starting]:
    async with asking(folder) as world, aiohttp.ClientSession() as session:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        await world.stop()
        world.port = free_port()
        world.reload = Reloader(lambda: world.service.settings).reload
        service, listens, start = Starting(world, session), asyncio.Event(), Deliverer.start

        async def start_slowly(deliverer: Deliverer, paused: Collection[str] = ()) -> None:
            listens.set()
            await service.may_go_on.wait()
            await start(deliverer, paused)

        monkeypatch.setattr(Deliverer, "start", start_slowly)
        beginning = asyncio.create_task(world.start())
        await listens.wait()
        try:
            yield service
        finally:
            service.may_go_on.set()
            await beginning


async def test_until_the_start_is_over_every_action_is_to_be_asked_for_again(tmp_path, monkeypatch):
    async with starting(tmp_path, monkeypatch) as service:
        for method, path in [*(("POST", path) for path in ACTIONS), ("GET", "lists/1/preview")]:
            answer = await service.ask(method, path)
            assert (answer.status, answer.document["error"], answer.headers["Retry-After"]) == _LATER, path
        tried_out = await service.post("jo@example.com", "?dry_run=true")
        assert (tried_out.status, msgspec.json.decode(tried_out.text)["error"]) == _LATER[:2]


async def test_until_the_start_is_over_pages_are_accepted_and_questions_answered(tmp_path, monkeypatch):
    async with starting(tmp_path, monkeypatch) as service:
        assert (await service.post("jo@example.com")).status == 200
        for path in _QUESTIONS:
            answer = await service.ask("GET", path)
            assert answer.status == 200, (path, answer)
        service.may_go_on.set()
        await service.world.until(lambda: service.world.members("Readers") == ["jane@example.com", "jo@example.com"])


async def test_once_the_start_is_over_the_configuration_can_be_read_again(tmp_path, monkeypatch):
    async with starting(tmp_path, monkeypatch) as service:
        service.may_go_on.set()
        await service.world.until(lambda: service.world.is_running)
        assert (await service.ask("POST", "reload")).status == 200
