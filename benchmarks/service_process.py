"""The service in its own process, as an operator runs it, and a look at its store from outside."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks.processes import running
from service.sandbox.options import DEFAULT_API_KEY
from service.store import sqlite
from service.store.store import read_segments

ACCOUNT = "bench"
HEAP_SECRET = "made-up secret of the benchmarks"

_CONFIGURATION = """
[server]
host = "127.0.0.1"
port = {port}

[store]
path = "{directory}/store.db"

[log]
level = "{log_level}"

[accounts.{account}]
heap_secret_file = "{directory}/heap-secret"
cordial_api_key_file = "{directory}/cordial-key"
cordial_base_url = "{cordial_url}"
requests_per_second = {requests_per_second}
max_concurrency = {max_concurrency}
"""
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


class ServiceUnderTest(NamedTuple):
    """A running service: where to post pages, its process id, its store."""

    webhook_url: str
    process_id: int
    database: Path


@contextlib.asynccontextmanager
async def running_service(
    directory: Path,
    cordial_url: str,
    *,
    requests_per_second: float = 10_000,
    max_concurrency: int = 16,
    log_level: str = "info",
) -> AsyncIterator[ServiceUnderTest]:
    """Run `serve` on a store in `directory` while the block lasts; yields once it says it is alive."""
    port = _free_port()
    (directory / "heap-secret").write_text(HEAP_SECRET)
    (directory / "cordial-key").write_text(DEFAULT_API_KEY)
    configuration = directory / "config.toml"
    configuration.write_text(
        _CONFIGURATION.format(
            port=port,
            directory=directory,
            account=ACCOUNT,
            cordial_url=cordial_url,
            requests_per_second=requests_per_second,
            max_concurrency=max_concurrency,
            log_level=log_level,
        )
    )
    log = directory / "service.log"
    async with running("service", ["serve", "--config", str(configuration)], log=log) as process:
        root = f"http://127.0.0.1:{port}"
        await _until_alive(f"{root}/livez", process, log)
        yield ServiceUnderTest(f"{root}/webhooks/heap/{ACCOUNT}", process.pid, directory / "store.db")


class Figures(NamedTuple):
    """What the store's counters say, over all segments."""

    members: int
    settled: int
    owed: int


class StoreWatcher:
    """Reads the counters of a store while the service works on it."""

    def __init__(self, connection: sqlite.Connection) -> None:
        self._connection = connection

    async def figures(self) -> Figures:
        """Return the counters now."""
        segments = await self._connection.run(read_segments)
        return Figures(
            members=sum(segment.members for segment in segments),
            settled=sum(segment.settled for segment in segments),
            owed=sum(segment.pending + segment.waiting for segment in segments),
        )

    async def until_settled(self, users: int, at_most_seconds: float = 600.0) -> None:
        """Return when `users` are settled. Raises `TimeoutError`."""
        async with asyncio.timeout(at_most_seconds):
            while (await self.figures()).settled < users:  # noqa: ASYNC110  another process settles, without telling
                await asyncio.sleep(_POLL_SECONDS)

    async def until_folded(self, users: int, at_most_seconds: float = 600.0) -> None:
        """Return when the ledger has `users` members. Raises `TimeoutError`."""
        async with asyncio.timeout(at_most_seconds):
            while (await self.figures()).members < users:  # noqa: ASYNC110  another process folds, without telling
                await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def watching(database: Path) -> AsyncIterator[StoreWatcher]:
    """Open the store for reading while the block lasts."""
    connection = await sqlite.open_reader(database)
    try:
        yield StoreWatcher(connection)
    finally:
        await connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]


async def _until_alive(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise RuntimeError(f"the service ended with status {process.returncode}: {_end_of(log)}")
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.02)
    raise TimeoutError(f"the service was not alive within {_START_SECONDS:.0f} s")
