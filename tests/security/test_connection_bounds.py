"""Who keeps the service waiting loses the connection; whose request is at work never does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web

from service.config.settings import ServerSettings
from service.supervision import Supervisor
from service.web.server import GuardedRunner

FEW = 16
# A quarter of FEW may wait for a place.
WAITING = 4
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_SECONDS = 20


class Peer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, head: bytes = HEAD) -> bytes:
        """Send a request and return the body, which is `ok` from every handler here."""
        self.writer.write(head)
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await self.reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            return await self.reader.readexactly(2)

    async def is_closed(self) -> bool:
        """Wait until the service has closed the connection without a word."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


class Guarded:
    """A guarded application: `/` answers, `/held` answers once `release` is set, `/read` reads the body, `/much` writes."""

    def __init__(self, port: int, release: asyncio.Event) -> None:
        self.release = release
        self.entered = 0
        self.port = port
        self._peers: list[Peer] = []

    async def connect(self, address: str = "127.0.0.1") -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0)))
        self._peers.append(peer)
        return peer

    async def hold(self, path: str = "/held") -> Peer:
        """Return a peer whose request is at work."""
        peer = await self.connect()
        before = self.entered
        peer.writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        await self.until_entered(before + 1)
        return peer

    async def until_entered(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.entered < count:  # noqa: ASYNC110  handlers count, nobody sets an event
                await asyncio.sleep(0.01)

    def leave(self) -> None:
        for peer in self._peers:
            peer.writer.transport.abort()


@contextlib.asynccontextmanager
async def guarded(**settings: float) -> AsyncIterator[Guarded]:
    release = asyncio.Event()
    app = web.Application()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def held(_request: web.Request) -> web.Response:
        running.entered += 1
        await release.wait()
        return web.Response(text="ok")

    async def read(request: web.Request) -> web.Response:
        running.entered += 1
        await request.read()
        return web.Response(text="ok")

    async def much(request: web.Request) -> web.StreamResponse:
        running.entered += 1
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("a fault of our own")

    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response(text="ok")

    app.router.add_get("/", answer)
    app.router.add_get("/slow", slow)
    app.router.add_get("/broken", broken)
    app.router.add_get("/held", held)
    app.router.add_post("/read", read)
    app.router.add_get("/much", much)
    bounds = {"max_connections": FEW, "max_connections_per_address": FEW} | settings
    runner = GuardedRunner(app, ServerSettings(**bounds), Supervisor(), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running = Guarded(runner.addresses[0][1], release)
    try:
        yield running
    finally:
        release.set()
        running.leave()
        await runner.cleanup()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_is_not_waited_for(sent):
    async with guarded(header_timeout_seconds=0.1) as running:
        peer = await running.connect()
        peer.writer.write(sent)
        assert await peer.is_closed()


async def test_dripping_does_not_put_the_deadline_off():
    async with guarded(header_timeout_seconds=1) as running:
        peer = await running.connect()
        closed = asyncio.create_task(peer.is_closed())
        peer.writer.write(b"GET / HTTP/1.1\r\n")
        while not closed.done():
            peer.writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)
        assert closed.result()


async def test_between_requests_a_connection_may_rest_longer_but_not_for_ever():
    async with guarded(header_timeout_seconds=0.1, keepalive_timeout_seconds=60) as running:
        peer = await running.connect()
        assert await peer.ask() == b"ok"
        await asyncio.sleep(1.5)
        assert await peer.ask() == b"ok"
    async with guarded(keepalive_timeout_seconds=0.1) as running:
        peer = await running.connect()
        assert await peer.ask() == b"ok"
        assert await peer.is_closed()


async def test_a_head_in_single_bytes_and_requests_in_one_piece_are_served():
    async with guarded() as running:
        peer = await running.connect()
        for byte in HEAD[:-1]:
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.ask(HEAD[-1:]) == b"ok"
        assert await peer.ask(HEAD + HEAD) == b"ok"
        assert await peer.ask(b"") == b"ok"


async def test_a_head_without_end_is_cut_before_it_fills_the_memory():
    async with guarded() as running:
        peer = await running.connect()
        peer.writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        while sent < 10_000_000 and not peer.writer.transport.is_closing():
            peer.writer.write(b"X: y\r\n" * 100)
            sent += 600
            with contextlib.suppress(ConnectionError):
                await peer.writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await peer.reader.read(13)) == b"HTTP/1.1 431 "


async def test_the_longest_idle_connection_makes_room():
    async with guarded() as running:
        crowd = [await running.connect() for _ in range(FEW)]
        for peer in crowd:
            assert await peer.ask() == b"ok"
        newcomer = await running.connect()
        assert await newcomer.ask() == b"ok"
        assert await crowd[0].is_closed()
        assert await crowd[1].ask() == b"ok"


async def test_a_body_that_does_not_come_makes_room():
    async with guarded() as running:
        stuck = await running.connect()
        stuck.writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        await running.until_entered(1)
        for _ in range(FEW - 1):
            await running.hold()
        assert await (await running.connect()).ask() == b"ok"
        assert await stuck.is_closed()


async def test_an_answer_that_is_not_read_makes_room():
    async with guarded() as running:
        deaf = await running.connect()
        transport = deaf.writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        deaf.writer.write(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await running.until_entered(1)
        for _ in range(FEW - 1):
            await running.hold()
        assert await (await running.connect()).ask() == b"ok"


async def test_requests_at_work_are_never_cut_and_those_beyond_the_bound_are_told_to_come_again():
    async with guarded() as running:
        busy = [await running.hold() for _ in range(FEW)]
        waiting = [await running.connect() for _ in range(WAITING + 1)]
        for peer in waiting:
            peer.writer.write(HEAD)
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await waiting.pop().reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_ready"
        running.release.set()
        for peer in [*busy, *waiting]:
            assert await peer.ask(b"") == b"ok"


async def test_a_request_beyond_its_address_bound_waits_for_its_turn():
    async with guarded(max_connections_per_address=4) as running:
        busy = [await running.hold() for _ in range(4)]
        waiting = [await running.connect() for _ in range(4)]
        for peer in waiting:
            peer.writer.write(HEAD)
        # Another address is served meanwhile, and none of those that wait is.
        assert await (await running.connect("127.0.0.2")).ask() == b"ok"
        running.release.set()
        for peer in [*busy, *waiting]:
            assert await peer.ask(b"") == b"ok"


async def test_a_crowd_from_one_address_is_all_answered():
    """A hundred connections want to stay open, and there are places for eight."""
    async with guarded(max_connections=512, max_connections_per_address=8) as running:

        async def send(session: aiohttp.ClientSession) -> int:
            async with session.get(f"http://127.0.0.1:{running.port}/slow") as answer:
                return answer.status

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
            statuses = await asyncio.gather(*(send(session) for _ in range(1_000)))
    assert set(statuses) == {200}


async def test_one_address_cannot_push_others_out():
    async with guarded(max_connections_per_address=4) as running:
        quiet = await running.connect("127.0.0.2")
        assert await quiet.ask() == b"ok"
        crowd = [await running.connect() for _ in range(FEW)]
        assert await crowd[-1].ask() == b"ok"
        assert await crowd[0].is_closed()
        assert await quiet.ask() == b"ok"


async def test_requests_that_cannot_be_read_do_not_fill_the_log_and_faults_of_our_own_do_show(caplog):
    async with guarded() as running:
        for garbage in (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
            peer = await running.connect()
            peer.writer.write(garbage)
            assert (await peer.reader.read(12)).endswith(b" 400")
        assert caplog.records == []
        peer = await running.connect()
        peer.writer.write(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await peer.reader.read(12)).endswith(b" 500")
        assert [record.levelname for record in caplog.records] == ["ERROR"]
