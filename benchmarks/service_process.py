"""The service in its own process, as an operator runs it, and a look at its store from outside."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import running
from service.sandbox.options import DEFAULT_API_KEY
from service.store.sqlite import opening
from service.store.sqlite.loading import read_segments

ACCOUNT = "bench"
HEAP_SECRET = "made-up secret of the benchmarks"

_CONFIGURATION = """
[server]
host = "127.0.0.1"
port = {port}

[store]
path = "{directory}/store.db"

[accounts.{account}]
heap_secret_file = "{directory}/heap-secret"
cordial_api_key_file = "{directory}/cordial-key"
cordial_base_url = "{cordial_url}"
requests_per_second = {requests_per_second}
max_concurrency = {max_concurrency}
public_url = "{public_url}"
bulk_untested = true
"""
_LISTENING_PORTS = range(20_000, 32_000)
_START_SECONDS = 60.0
_POLL_SECONDS = 0.01
_STARTED = '"event":"service.started"'


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
    port: int | None = None,
    imports: bool = False,
) -> AsyncIterator[ServiceUnderTest]:
    """Run `serve` on a store in `directory` while the block lasts; yields once it listens.

    `imports` lets large backlogs travel as files that the stand-in fetches.
    """
    port = port or free_port()
    configuration = write_configuration(
        directory,
        cordial_url,
        port=port,
        requests_per_second=requests_per_second,
        max_concurrency=max_concurrency,
        public_url=f"http://127.0.0.1:{port}" if imports else "",
    )
    async with serving(configuration, directory / "service.log") as process:
        yield ServiceUnderTest(f"http://127.0.0.1:{port}/webhooks/heap/{ACCOUNT}", process.pid, directory / "store.db")


@contextlib.asynccontextmanager
async def serving(configuration: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `serve` with any configuration while the block lasts; yields once it listens."""
    async with running("service", ["serve", "--config", str(configuration)], log=log) as process:
        await _until_started(process, log)
        yield process


def write_configuration(
    directory: Path,
    cordial_url: str,
    *,
    port: int,
    requests_per_second: float,
    max_concurrency: int,
    public_url: str = "",
) -> Path:
    """Write a configuration with a store in `directory`, and its secrets; return the configuration's path."""
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
            public_url=public_url,
        )
    )
    return configuration


class Figures(NamedTuple):
    """What the store's counters say, over all segments."""

    members: int
    settled: int
    owed: int


class StoreWatcher:
    """Reads the counters of a store while the service works on it."""

    def __init__(self, connection: opening.Connection) -> None:
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
    connection = await opening.open_reader(database)
    try:
        yield StoreWatcher(connection)
    finally:
        await connection.close()


def free_port() -> int:
    """Return a port nobody listens on, below those that outgoing connections are given.

    A process that is killed and started again must find its port free, whoever connects to whatever in the meantime.
    """
    for port in random.sample(_LISTENING_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port found")


async def _until_started(process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait for the line with which the service says that it listens: nobody else on its port can be mistaken for it."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        lines = await asyncio.to_thread(log.read_text)
        if _STARTED in lines:
            return
        if process.returncode is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}: {lines[-2_000:]}")
        await asyncio.sleep(_POLL_SECONDS)
    raise TimeoutError(f"the service had not started after {_START_SECONDS:.0f} s")
