"""A plain script: verify the page, answer 200, and let some tasks send what is in memory. Nothing is kept on disk.

Followed from aiohttp's documentation: one client session for the life of the application, opened and closed by
`cleanup_ctx`, along with the tasks that work in the background; `json.loads` on the body as it came.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from benchmarks.peers.programs.aiohttp_calls import add_to_list, ensure_list, make_session
from benchmarks.peers.programs.job import SIGNATURE_HEADER, is_signed, read_settings

_MAX_BODY_BYTES = 33_554_432
_settings = read_settings()
_waiting = web.AppKey("waiting", asyncio.Queue[str])


async def _take(request: web.Request) -> web.Response:
    body = await request.read()
    if not is_signed(_settings.heap_secret, request.headers.get(SIGNATURE_HEADER, ""), body):
        raise web.HTTPForbidden
    for user in json.loads(body)["data"]["add"]:
        request.app[_waiting].put_nowait(user["id"])
    return web.json_response({"status": "accepted"})


async def _sending(application: web.Application) -> AsyncIterator[None]:
    async with make_session(_settings) as session:
        await ensure_list(session, _settings)
        waiting = application[_waiting] = asyncio.Queue()

        async def send() -> None:
            while True:
                await add_to_list(session, _settings, await waiting.get())

        senders = [asyncio.create_task(send()) for _ in range(_settings.concurrency)]
        yield
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)


def main() -> None:
    application = web.Application(client_max_size=_MAX_BODY_BYTES)
    application.router.add_post("/", _take)
    application.cleanup_ctx.append(_sending)
    web.run_app(application, host="127.0.0.1", port=_settings.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
