"""A reserved port stays free for whoever asks for it by number, and for nobody else."""

import asyncio
import socket

from tests.ports import free_port


def test_a_reserved_port_is_given_to_nobody_who_asks_for_any():
    reserved = {free_port() for _ in range(20)}
    assert len(reserved) == 20
    others = [socket.create_server(("127.0.0.1", 0)) for _ in range(200)]
    try:
        assert reserved.isdisjoint(other.getsockname()[1] for other in others)
    finally:
        for other in others:
            other.close()


async def test_a_server_can_listen_there_again_and_again():
    port = free_port()
    for _ in range(3):
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        server.close()
        await server.wait_closed()


def test_whoever_connects_to_it_is_refused():
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", free_port())) != 0
