import asyncio
import gzip
import inspect
import re
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import ClientSession

from service.config.secrets import CachedSecret
from service.flood import Budget
from service.receive.authentication import ClockSuspicion
from service.receive.body import Timings
from service.receive.signature import sign
from tests.webhook_fixtures import (
    JSON,
    MAX_BODY_BYTES,
    SECRET,
    Service,
    compact,
    page,
    running,
    two_accounts,
)


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service


def request_head(content_length: int) -> bytes:
    """Return the head of a request whose body is still to come."""
    lines = [
        "POST /webhooks/heap/acme HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {JSON}",
        f"Content-Length: {content_length}",
        f"Heap-Hash: {sign(SECRET, str(int(time.time() * 1000)), b'')}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_large_page_is_taken_and_small_ones_pass_it_by(service):
    users = [f"user{number}@example.com" for number in range(20_000)]
    large = asyncio.create_task(service.post(page(users)))
    small = [(await service.post(page([f"{number}@x.com"])))[0] for number in range(5)]
    status, answer, _ = await large
    assert small == [200] * 5
    assert (status, answer["added"]) == (200, 20_000)


async def test_what_pages_change_together_is_used_on_the_event_loop_alone(service, monkeypatch):
    """A large page is looked at on another thread: with values that nobody changes."""
    threads: set[int] = set()

    def watched(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            threads.add(threading.get_ident())
            return method(*arguments)

        return call

    for kind in (Budget, ClockSuspicion, CachedSecret):
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and name != "__init__":
                monkeypatch.setattr(kind, name, watched(method))
    large = page([f"user{number}@example.com" for number in range(20_000)])
    for path in ("/webhooks/heap/acme", "/webhooks/heap"):
        for wrong in ({}, {"secret": "wrong"}, {"age_seconds": 4_000}):
            await service.post(large, path=path, **wrong)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_taken_and_signed_as_the_json_it_holds(service, encoding, compress):
    body = compact(page(["a@x.com"]))
    status, _, _ = await service.post(body, send=compress(body), headers={"Content-Encoding": encoding})
    assert status == 200
    assert list(service.inbox.deliveries[0].add) == ["a@x.com"]


async def test_a_chunked_body_is_taken(service):
    body = compact(page(["a@x.com"]))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]
            await asyncio.sleep(0)

    status, _, _ = await service.post(body, send=pieces())
    assert status == 200


async def test_a_badly_compressed_body_is_400(service):
    body = compact(page(["a@x.com"]))
    status, answer, _ = await service.post(body, send=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (400, "body_unreadable")


async def test_a_body_that_says_it_is_too_large_is_413_before_it_is_sent(service):
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(request_head(MAX_BODY_BYTES + 1))
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


async def test_a_body_of_the_largest_size_is_taken(service):
    body = compact(page(["a@x.com"]))
    exact = body[:-1] + b" " * (MAX_BODY_BYTES - len(body)) + body[-1:]
    assert (await service.post(exact))[0] == 200
    status, answer, _ = await service.post(exact + b" ")
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


async def test_a_chunked_body_without_end_is_413(service):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50 * MAX_BODY_BYTES:
            yield b" " * 50_000
            sent += 50_000

    headers = {"Content-Type": JSON, "Heap-Hash": sign(SECRET, "1", b"")}
    async with ClientSession() as session:
        url = service.client.make_url("/webhooks/heap/acme")
        async with session.post(url, data=endless(), headers=headers) as response:
            assert response.status == 413
            assert sent < 50 * MAX_BODY_BYTES


async def test_a_small_body_that_unfolds_without_end_is_413(service):
    body = b" " * (100 * MAX_BODY_BYTES)
    status, answer, _ = await service.post(b"{}", send=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert service.answered[0].body_bytes == 0


async def test_a_body_that_unfolds_to_far_more_than_a_page_does_is_413(service):
    service.webhook.serve({}, max_body_bytes=50 * MAX_BODY_BYTES)
    for size, expected in ((10 * MAX_BODY_BYTES, 413), (MAX_BODY_BYTES, 403)):
        body = b" " * size
        assert (await service.post(body, send=gzip.compress(body), headers={"Content-Encoding": "gzip"}))[0] == expected


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(service, caplog):
    _, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(request_head(1000) + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await service.post(page(["a@x.com"])))[0] == 200
    assert len(service.inbox.deliveries) == 1
    assert [each.status for each in service.answered] == [499, 200]
    # Nor a traceback, of which a stranger could make any number.
    assert caplog.records == []


async def test_half_a_body_and_then_no_more_is_not_waited_for(service):
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    writer.write(request_head(1000) + b"{")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 9) == b""
    writer.close()


@pytest.mark.parametrize("seconds", [0, 0.1])
async def test_a_client_that_closes_its_side_after_the_request_gets_its_answer(service, monkeypatch, seconds):
    accept, may_go_on = service.inbox.accept, asyncio.Event()

    async def accept_later(delivery):
        await may_go_on.wait()
        return await accept(delivery)

    monkeypatch.setattr(service.inbox, "accept", accept_later)
    body = compact(page(["a@x.com"]))
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    head = request_head(len(body)).replace(b", ", b",")
    signed = sign(SECRET, str(int(time.time() * 1000)), body).encode()
    writer.write(re.sub(rb"Heap-Hash: .*\r\n", b"Heap-Hash: " + signed + b"\r\n", head, count=1) + body)
    await writer.drain()
    await asyncio.sleep(seconds)
    writer.write_eof()
    await asyncio.sleep(0.1)
    may_go_on.set()
    answer = await asyncio.wait_for(reader.read(), 30)
    assert answer.startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_large_bodies_on_their_way_are_bounded_together(service):
    head = request_head(1_000_000)
    connections = [await asyncio.open_connection(service.client.host, service.client.port) for _ in range(6)]
    for _, writer in connections:
        writer.write(head + b" " * 900_000)
    answers = [asyncio.create_task(reader.readuntil(b"}}")) for reader, _ in connections]
    done, waiting = await asyncio.wait(answers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    for _, writer in connections:
        writer.transport.abort()
    for task in done:
        answer = task.result()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
        assert b'"code":"not_ready"' in answer
    assert done
    assert waiting
    large = compact(page(["a@x.com"]))
    assert (await service.post(large + b" " * 900_000))[0] == 200


async def test_a_body_that_never_comes_is_400(tmp_path):
    async with running(*two_accounts(tmp_path), body_timings=Timings(longest=0.1)) as service:
        reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
        writer.write(request_head(100) + b"{")
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 30)
        writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"body_unreadable"' in answer
