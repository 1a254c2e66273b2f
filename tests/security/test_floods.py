"""What thousands of connections and heavy bodies do to the whole service, as a process with few file descriptors."""

import asyncio
import contextlib
import gzip
import itertools
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.server import running_sandbox
from tests.command_fixtures import ROOT, WEBHOOK_SECRET, Installation, wait_until_started

FILES = 1_024
FLOOD = 2_000
MEBIBYTE = 1_048_576
_HEAD = b"POST /webhooks/heap/acme HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# Nothing, half a head, and a head whose body never comes.
HALF_REQUESTS = (b"", _HEAD, _HEAD + b"Heap-Hash: ts:1,hmac:" + b"0" * 64 + b"\r\nContent-Length: 9\r\n\r\n")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let the flood itself hold more files than the service may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def serving_with_few_files(
    folder: Path, files: int = FILES
) -> AsyncIterator[tuple[Installation, psutil.Process]]:
    async with running_sandbox() as cordial:
        installation = Installation(folder, cordial.url, SERVER__MAX_BODY_BYTES=str(MEBIBYTE))
        command = ("sh", "-c", f'ulimit -n {files} && exec "$0" -m service serve', sys.executable)
        with installation.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, env=installation.environment, cwd=ROOT, stderr=log)
        try:
            await wait_until_started(process, installation.log)
            yield installation, psutil.Process(process.pid)
            process.terminate()
            async with asyncio.timeout(60):
                assert await process.wait() == 0, installation.log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.usefixtures("many_files")
async def test_signed_deliveries_are_served_amid_a_flood(tmp_path):
    async with serving_with_few_files(tmp_path) as (installation, process):
        memory_bytes = process.memory_info().rss
        writers = []
        try:
            for _, sent in zip(range(FLOOD), itertools.cycle(HALF_REQUESTS)):
                _, writer = await asyncio.open_connection("127.0.0.1", installation.port)
                writer.write(sent)
                writers.append(writer)
            answers = [await installation.deliver("S", ("a@x.com",), task=f"t{number}") for number in range(10)]
            grown_bytes = process.memory_info().rss - memory_bytes
            open_files = process.num_fds()
        finally:
            for writer in writers:
                writer.transport.abort()
    assert [answer.status for answer in answers] == [200] * 10
    assert open_files < FILES
    assert grown_bytes < 64 * MEBIBYTE
    assert "out of system resource" not in installation.log.read_text()


async def test_idle_connections_give_way_where_hardly_any_file_may_be_open(tmp_path):
    async with serving_with_few_files(tmp_path, files=64) as (installation, _):
        writers = []
        try:
            for _ in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", installation.port)
                writers.append(writer)
            # For a second, they may be about to send.
            await asyncio.sleep(1.5)
            answers = [await installation.deliver("S", ("a@x.com",), task=f"t{number}") for number in range(10)]
        finally:
            for writer in writers:
                writer.transport.abort()
    assert [answer.status for answer in answers] == [200] * 10
    assert "out of system resource" not in installation.log.read_text()


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_nobody_unfolds_what_is_refused(tmp_path):
    folded = gzip.compress(b" " * MEBIBYTE * 100) * 30 + bytes(2 * MEBIBYTE)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Heap-Hash": f"ts:1,hmac:{'0' * 64}"}
    async with serving_with_few_files(tmp_path) as (installation, process):
        used_seconds = sum(process.cpu_times()[:2])

        async def send(session: aiohttp.ClientSession, path: str) -> int:
            async with session.post(f"{installation.url}{path}", data=folded, headers=headers) as answer:
                return answer.status

        # Refused for the method, the address and the length.
        paths = [path for path in ("/livez", "/nothing", "/webhooks/heap/acme") for _ in range(8)]
        async with aiohttp.ClientSession() as session:
            statuses = await asyncio.gather(*(send(session, path) for path in paths))
        used_seconds = sum(process.cpu_times()[:2]) - used_seconds
    assert set(statuses) <= {404, 405, 413, 503}
    # To unfold one of them takes more than that.
    assert used_seconds < 2


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_four_large_pages_at_once_are_taken_in_256_mebibytes(tmp_path):
    async with running_sandbox() as cordial:
        installation = Installation(
            tmp_path,
            cordial.url,
            SERVER__MAX_BODY_BYTES=str(10 * MEBIBYTE),
            # They are to be taken, not sent.
            ACCOUNTS__ACME__HOLD_NEW_SEGMENTS="true",
        )
        async with installation.serving() as process:
            service = psutil.Process(process.pid)
            users = [[f"user{page}-{number:06d}@example.com" for number in range(280_000)] for page in range(4)]
            bodies = [
                build_pages(1, "S", each, (), task_id=f"t{page}", page_size=10**6)[0] for page, each in enumerate(users)
            ]
            assert min(map(len, bodies)) > 9_500_000
            del users
            async with aiohttp.ClientSession() as session:
                sent = asyncio.gather(
                    *(post_page(session, installation.webhook, WEBHOOK_SECRET, body) for body in bodies)
                )
                peak_bytes = 0
                while not sent.done():
                    peak_bytes = max(peak_bytes, _resident_bytes(service))
                    await asyncio.sleep(0.01)
            assert [answer.status for answer in await sent] == [200] * 4
    assert peak_bytes < 256 * MEBIBYTE


def _resident_bytes(service: psutil.Process) -> int:
    resident_bytes: int = service.memory_info().rss
    for child in service.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            resident_bytes += child.memory_info().rss
    return resident_bytes


async def test_bodies_that_unfold_without_end_take_no_memory(tmp_path):
    bomb = gzip.compress(b" " * 50 * MEBIBYTE)
    async with serving_with_few_files(tmp_path) as (installation, process):
        memory_bytes = process.memory_info().rss
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Heap-Hash": f"ts:1,hmac:{'0' * 64}"}

        async def send(session: aiohttp.ClientSession) -> int:
            async with session.post(installation.webhook, data=bomb, headers=headers) as answer:
                return answer.status

        async with aiohttp.ClientSession() as session:
            statuses = await asyncio.gather(*(send(session) for _ in range(8)))
        grown_bytes = process.memory_info().rss - memory_bytes
        delivered = await installation.deliver("S", ("a@x.com",), task="t")
    assert set(statuses) <= {403, 413, 503}
    assert 413 in statuses
    assert grown_bytes < 40 * MEBIBYTE
    assert delivered.status == 200
