"""Whatever answers in Cordial's place, the service waits, gives nothing away and goes on when it is Cordial again."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tests.service_fixtures import delivering

MEBIBYTE = 1_048_576
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Impostor:
    """A server in Cordial's place, and another one that it may send callers to."""

    def __init__(self) -> None:
        self.url = ""
        self.elsewhere = ""
        self.asked = 0
        self.asked_elsewhere: list[str | None] = []

    async def huge(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                await response.write(b'"' + b"x" * MEBIBYTE)
        return response

    async def bomb(self, _request: web.Request) -> web.Response:
        body = gzip.compress(b" " * (40 * MEBIBYTE))
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async def nested(self, _request: web.Request) -> web.Response:
        return web.Response(text="[" * 200_000, content_type="application/json")

    async def redirect(self, _request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(self.elsewhere)

    async def slow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        return response

    async def many_headers(self, _request: web.Request) -> web.Response:
        return web.Response(headers={f"X-{number}": "y" * 4_000 for number in range(500)})

    async def odd_limits(self, _request: web.Request) -> web.Response:
        headers = {"Retry-After": "-1e9", "X-Rate-Limit-Reset": "9" * 400, "X-Rate-Limit-Remaining": "\u0661"}
        return web.Response(status=503, text="\x1b]0;owned\x07", headers=headers)


@contextlib.asynccontextmanager
async def impostor(kind: str) -> AsyncIterator[Impostor]:
    serving = Impostor()

    async def answer(request: web.Request) -> web.StreamResponse:
        serving.asked += 1
        found: Answer = getattr(serving, kind)
        return await found(request)

    async def elsewhere(request: web.Request) -> web.Response:
        serving.asked_elsewhere.append(request.headers.get("Authorization"))
        return web.json_response([])

    async with contextlib.AsyncExitStack() as stack:
        urls = []
        for handler in (answer, elsewhere):
            app = web.Application()
            app.router.add_route("*", "/{any:.*}", handler)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        serving.url, serving.elsewhere = urls
        yield serving


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", ["huge", "bomb", "nested", "redirect", "slow", "many_headers", "odd_limits"])
async def test_an_impostor_costs_nothing_but_time(tmp_path, kind):
    async with impostor(kind) as bad, delivering(tmp_path) as world:
        await world.restart(cordial_base_url=bad.url, request_timeout_seconds=1)
        await world.deliver("Readers", ["a@x.com", "b@x.com"])
        await world.until(lambda: bad.asked > 2)
        assert world.service.store.backlog.total == 2
        assert bad.asked_elsewhere == []
        await world.restart(cordial_base_url=world.cordial.url)
        await world.settled()
        assert world.members("Readers") == ["a@x.com", "b@x.com"]
        assert world.dead_letters() == []
