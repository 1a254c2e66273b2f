"""The baselines of accepting: aiohttp handlers that only read the body, or also verify and decode it.

Its own process; prints its URL once it listens.
"""

import argparse
import asyncio
import contextlib
import hmac
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import msgspec
from aiohttp import web

from benchmarks.processes import first_line, running
from service.receive.page_schema import HeapPage
from service.receive.signature import HEADER_NAME, parse_header

_decode = msgspec.json.Decoder(HeapPage).decode
_ANSWER = b'{"status":"accepted"}'


class BareServer(NamedTuple):
    """A running baseline: where to post pages, its process id."""

    webhook_url: str
    process_id: int


@contextlib.asynccontextmanager
async def running_bare_server(mode: str, secret: str) -> AsyncIterator[BareServer]:
    """Run it while the block lasts, `mode` being `read` or `verify`."""
    async with running("benchmarks.bare_server", ["--mode", mode, "--secret", secret]) as process:
        yield BareServer(await first_line(process), process.pid)


async def _read(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/json")


def _make_verify(secret: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    key = secret.encode()

    async def verify(request: web.Request) -> web.Response:
        body = await request.read()
        header = parse_header(request.headers.getall(HEADER_NAME))
        mac = hmac.digest(key, header.timestamp_text.encode() + body, "sha256")
        if not hmac.compare_digest(mac, header.mac):
            raise web.HTTPForbidden
        _decode(body)
        return web.Response(body=_ANSWER, content_type="application/json")

    return verify


async def _serve(mode: str, secret: str) -> None:
    application = web.Application(client_max_size=33_554_432)
    application.router.add_post("/", _read if mode == "read" else _make_verify(secret))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=("read", "verify"), required=True)
    parser.add_argument("--secret", required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.mode, options.secret))


if __name__ == "__main__":
    main()
