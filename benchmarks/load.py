"""The load generator: signed pages of random users, posted by several senders at once or at a steady rate.

Its own process, and its own few lines of HTTP, so that it costs far less than what it measures. Prints a `Load` as JSON.
"""

import argparse
import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from benchmarks.processes import cpu_seconds, output_of, written_bytes
from service.receive.signature import HEADER_NAME, sign
from service.sandbox.heap_pages import build_pages

_END_OF_HEADERS = b"\r\n\r\n"


class Target(Protocol):
    """Who answers: where to post pages, and the process."""

    @property
    def webhook_url(self) -> str: ...

    @property
    def process_id(self) -> int: ...


class Load(msgspec.Struct, frozen=True):
    """What was posted, how fast it was answered, and what it cost the process that answered, to the last answer.

    Latencies are counted from when a page was due, not from when it was sent.
    """

    pages: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    written_bytes: int

    @property
    def pages_per_second(self) -> float:
        """Pages answered per second."""
        return self.pages / self.seconds

    @property
    def cpu_microseconds_per_page(self) -> float:
        """Time on a core for each page."""
        return self.cpu_seconds * 1e6 / self.pages


async def generate(
    target: Target, secret: str, *, pages: int, users_per_page: int, senders: int = 8, pages_per_second: float = 0
) -> Load:
    """Run a load in a process of its own; `pages_per_second` 0 means that each sender posts as fast as it is answered.

    Raises `RuntimeError` if any page is not answered 200.
    """
    arguments = {
        "--url": target.webhook_url,
        "--process": target.process_id,
        "--secret": secret,
        "--pages": pages,
        "--users": users_per_page,
        "--senders": senders,
        "--rate": pages_per_second,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    return msgspec.json.decode(await output_of("benchmarks.load", words), type=Load)


class _Sender(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        headers, found, body = self._received.partition(_END_OF_HEADERS)
        if not found:
            return
        fields = headers.lower().partition(b"content-length:")[2]
        if len(body) >= int(fields.partition(b"\r\n")[0]) and self._answer is not None:
            self._received = b""
            self._answer.set_result(int(headers.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before it was answered"))

    async def post(self, request: bytes) -> int:
        """Send a whole request and return the status of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


def _make_requests(url: str, secret: str, pages: int, users_per_page: int) -> list[bytes]:
    parts = urlsplit(url)
    users = [f"{random.getrandbits(64):016x}@example.com" for _ in range(pages * users_per_page)]
    bodies = build_pages(1, "Benchmark", users, task_id=str(uuid.uuid4()), page_size=users_per_page)
    timestamp_text = str(time.time_ns() // 1_000_000)
    return [
        (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{HEADER_NAME}: {sign(secret, timestamp_text, body)}\r\n\r\n"
        ).encode()
        + body
        for body in bodies
    ]


class _Due(NamedTuple):
    """A request and when it is to be sent, on the clock of `time.perf_counter`."""

    at_seconds: float
    request: bytes


def _plan(requests: Sequence[bytes], pages_per_second: float) -> Iterator[_Due]:
    started = time.perf_counter()
    for number, request in enumerate(requests):
        yield _Due(started + number / pages_per_second if pages_per_second else 0.0, request)


async def _post_all(
    url: str, process_id: int, requests: Sequence[bytes], senders: int, pages_per_second: float
) -> Load:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    loop = asyncio.get_running_loop()
    connections = [(await loop.create_connection(_Sender, host, port))[1] for _ in range(senders)]
    latencies: deque[float] = deque()

    async def work(sender: _Sender) -> None:
        for due in plan:
            early_seconds = due.at_seconds - time.perf_counter()
            if early_seconds > 0:
                await asyncio.sleep(early_seconds)
            from_seconds = due.at_seconds or time.perf_counter()
            status = await sender.post(due.request)
            if status != 200:
                raise RuntimeError(f"a page was answered {status}")
            latencies.append(time.perf_counter() - from_seconds)

    cpu_before, written_before = cpu_seconds(process_id), written_bytes(process_id)
    plan = _plan(requests, pages_per_second)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for sender in connections:
            group.create_task(work(sender))
    seconds = time.perf_counter() - started
    cpu_after, written_after = cpu_seconds(process_id), written_bytes(process_id)
    ordered = sorted(latencies)
    p50, p99 = (1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    return Load(len(ordered), seconds, p50, p99, cpu_after - cpu_before, written_after - written_before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--process", type=int, required=True, help="the process that answers")
    parser.add_argument("--secret", required=True)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--users", type=int, required=True, help="users in a page")
    parser.add_argument("--senders", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="pages per second; 0: as fast as answered")
    options = parser.parse_args()
    requests = _make_requests(options.url, options.secret, options.pages, options.users)
    load = asyncio.run(_post_all(options.url, options.process, requests, options.senders, options.rate))
    print(msgspec.json.encode(load).decode())


if __name__ == "__main__":
    main()
