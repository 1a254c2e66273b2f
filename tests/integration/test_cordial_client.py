"""Calls over HTTP as a server may answer them: in parts, after an interim answer, too late."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from service.config.secrets import CachedSecret
from service.config.settings import SecretReference
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.client import Connections, CordialClient
from service.deliver.cordial.requests import get_list

_BODY = b'{"id": 1, "name": "Readers"}'
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n" + _BODY


class OpenGate:
    """Lets every call be made."""

    def is_open(self) -> bool:
        return True

    def begins(self) -> None:
        """Note nothing."""

    def written(self) -> None:
        """Note nothing."""


@contextlib.asynccontextmanager
async def client_of_server(tmp_path, first_bytes: bytes) -> AsyncIterator[CordialClient]:
    """A client of a server that answers for every list, save that for the list `special` it sends these bytes and no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(first_bytes if b"special" in head else _WHOLE)
                await writer.drain()

    key = tmp_path / "key"
    key.write_text("a-key")
    connections = Connections()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        api_key = CachedSecret(SecretReference(file=str(key)))
        yield CordialClient(connections, base_url=f"http://127.0.0.1:{port}", api_key=api_key, timeout_seconds=0.5)
        await connections.close()


async def call(client: CordialClient, list_id: str) -> Answer:
    return await client.send(get_list(list_id), OpenGate())


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"",
        _WHOLE[:20],
        _WHOLE[:-5],
        # Without a length only the end of the connection says that this is all.
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + _BODY,
    ],
    ids=["nothing", "part of the head", "part of the body", "a body without its end"],
)
async def test_a_call_ends_when_its_answer_does_not_end_in_time(tmp_path, first_bytes):
    async with client_of_server(tmp_path, first_bytes) as client:
        for _ in range(2):
            stalled = asyncio.create_task(call(client, "special"))
            while not stalled.done():
                assert (await call(client, "answers")).kind is AnswerKind.DONE
            answer = stalled.result()
            assert (answer.kind, answer.reason, answer.is_cut) == (AnswerKind.UNAVAILABLE, "timeout", False)


async def test_an_answer_in_chunks_after_an_interim_one_is_read(tmp_path):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (_BODY[:9], _BODY[9:], b""))
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with client_of_server(tmp_path, head + chunks) as client:
        for _ in range(2):
            assert (await call(client, "special")).body == {"id": 1, "name": "Readers"}
