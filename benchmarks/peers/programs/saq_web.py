"""The web front of the peer with saq: verify the page, enqueue a job for each user, then answer 200.

A job's key is made of sync, page and user, as saq advises against jobs that are enqueued twice: Heap sends a page again
when it was not answered.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from benchmarks.peers.programs.job import SIGNATURE_HEADER, is_signed, read_settings
from benchmarks.peers.programs.saq_queue import MAX_ATTEMPTS, add_user, queue

_MAX_BODY_BYTES = 33_554_432
_settings = read_settings()


async def _take(request: web.Request) -> web.Response:
    body = await request.read()
    if not is_signed(_settings.heap_secret, request.headers.get(SIGNATURE_HEADER, ""), body):
        raise web.HTTPForbidden
    data = json.loads(body)["data"]
    page = f"{data['sync_info']['sync_task_id']}:{data['sync_info']['page_number']}"
    # The queue itself bounds how many of these are at Redis at a time.
    await asyncio.gather(*(_enqueue(page, user["id"]) for user in data["add"]))
    return web.json_response({"status": "accepted"})


async def _enqueue(page: str, user_id: str) -> None:
    await queue.enqueue(add_user.__qualname__, key=f"{page}:{user_id}", retries=MAX_ATTEMPTS, user_id=user_id)


async def _connection(_application: web.Application) -> AsyncIterator[None]:
    yield
    await queue.disconnect()


def main() -> None:
    application = web.Application(client_max_size=_MAX_BODY_BYTES)
    application.router.add_post("/", _take)
    application.cleanup_ctx.append(_connection)
    web.run_app(application, host="127.0.0.1", port=_settings.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
