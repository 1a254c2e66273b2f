"""A server that promises to keep a connection and closes it: what may be sent twice is, at once, and all goes on."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.service_fixtures import World, delivering, users

EVERYONE = users(30)


class ClosingProxy:
    """Passes requests on to Cordial, and closes each connection after its first answer, without a word of it.

    `at_once`: right after the answer; otherwise when the next request has arrived.
    """

    def __init__(self, cordial_url: str, *, at_once: bool) -> None:
        self._cordial = urlsplit(cordial_url)
        self._at_once = at_once
        self.cut: Counter[str] = Counter()
        self.served: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            line, request = await _read(reader)
            self.served[line] += 1
            writer.write(await self._answer(request))
            await writer.drain()
            if not self._at_once:
                line, _ = await _read(reader)
                self.cut[line] += 1

    async def _answer(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._cordial.hostname, self._cordial.port)
        with contextlib.closing(writer):
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            writer.write(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            return (await reader.read()).replace(b"Connection: close", b"Connection: keep-alive")


async def _read(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return a request's method and path without its last part, and all of it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    method, path, _ = head.decode().split(" ", 2)
    return f"{method} {'/'.join(path.partition('?')[0].split('/')[:3])}", head + body


@contextlib.asynccontextmanager
async def behind_proxy(world: World, *, at_once: bool) -> AsyncIterator[ClosingProxy]:
    proxy = ClosingProxy(world.cordial.url, at_once=at_once)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await world.restart(cordial_base_url=f"http://127.0.0.1:{port}")
        yield proxy
        await world.stop()


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_server_that_closes_after_each_answer_is_served_all_the_same(tmp_path, at_once):
    async with delivering(tmp_path) as world, behind_proxy(world, at_once=at_once) as proxy:
        for number in range(3):
            await world.deliver(f"List {number}", EVERYONE, segment_id=number + 1)
        await world.settled()
        await world.deliver("List 0", [], EVERYONE[:10])
        await world.settled()
        assert [world.members(f"List{number}") for number in range(3)] == [
            sorted(EVERYONE[10:]),
            sorted(EVERYONE),
            sorted(EVERYONE),
        ]
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]
        assert world.service.deliverer.pauses() == {"acme": 0}
        if not at_once:
            assert proxy.cut["GET /v2/accountlists"] > 0
        # What must not be done twice never meets a connection that may be closed.
        assert proxy.cut["POST /v2/accountlists"] == 0
        assert proxy.served["POST /v2/accountlists"] == 3


async def test_what_was_cut_keeps_its_contact_in_doubt(tmp_path):
    """Cordial may have read the first of the two requests, and carry it out later."""
    async with delivering(tmp_path, max_concurrency=1) as world, behind_proxy(world, at_once=False) as proxy:
        await world.deliver("Readers", EVERYONE)
        await world.settled()
        cut = proxy.cut["POST /v2/contacts"]
        assert cut > 0
        assert world.rows("SELECT count(*) FROM read_back WHERE reason = 'lost_answer'") == [(cut,)]


class RepeatingProxy(ClosingProxy):
    """Answers the first contact's request on a connection once more later, and carries out nothing that follows on it."""

    def __init__(self, cordial_url: str) -> None:
        super().__init__(cordial_url, at_once=False)
        self.is_read = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            line, answer = "", b""
            while line != "POST /v2/contacts":
                line, request = await _read(reader)
                answer = await self._answer(request)
                writer.write(answer)
                await writer.drain()
            await self.is_read.wait()
            writer.write(answer)
            self.is_read.clear()
            line, _ = await _read(reader)
            self.cut[line] += 1


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(tmp_path):
    """It would say of the next contact what Cordial said of the one before."""
    async with delivering(tmp_path, max_concurrency=1) as world:
        proxy = RepeatingProxy(world.cordial.url)
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await world.restart(cordial_base_url=f"http://127.0.0.1:{port}")
            for user in EVERYONE[:3]:
                await world.deliver("Readers", [user])
                await world.settled()
                proxy.is_read.set()
                await world.until(lambda: not proxy.is_read.is_set())
            assert world.members("Readers") == sorted(EVERYONE[:3])
            assert not proxy.cut
            await world.stop()
