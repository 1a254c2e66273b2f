"""The service with many accounts, in its own process: its configuration, and what it takes of the machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.memory import Resident, resident
from benchmarks.scaling.stand_ins import api_key
from benchmarks.service_process import free_port, serving

_HEAD = """
[server]
host = "127.0.0.1"
port = {port}

[store]
path = "{directory}/store.db"
max_backlog = {max_backlog}
"""
_ACCOUNT = """
[accounts.{name}]
heap_secret_file = "{directory}/{name}-heap-secret"
cordial_api_key_file = "{directory}/{name}-cordial-key"
cordial_base_url = "{cordial_url}"
requests_per_second = {requests_per_second}
max_concurrency = {max_concurrency}
public_url = "http://127.0.0.1:{port}"
bulk_threshold = {bulk_threshold}
bulk_untested = true
"""
_LOOK_SECONDS = 0.5


class AccountSettings(NamedTuple):
    """What every account is set to."""

    requests_per_second: float
    max_concurrency: int
    bulk_threshold: int


class Taken(NamedTuple):
    """What the service took of the machine: memory, and bytes of its files, now and at most."""

    memory: Resident
    database_bytes: int
    max_wal_bytes: int


class Service:
    """A service over many accounts, which can be started again with the same store."""

    def __init__(
        self, directory: Path, settings: AccountSettings, cordial_urls: Sequence[str], max_backlog: int
    ) -> None:
        self.database = directory / "store.db"
        self._directory = directory
        self._port = free_port()
        self._max_wal_bytes = 0
        self._max_mib = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._configuration = directory / "config.toml"
        text = _HEAD.format(port=self._port, directory=directory, max_backlog=max_backlog)
        for account, cordial_url in enumerate(cordial_urls):
            name = _name(account)
            (directory / f"{name}-heap-secret").write_text(heap_secret(account))
            (directory / f"{name}-cordial-key").write_text(api_key(account))
            text += _ACCOUNT.format(
                name=name, directory=directory, cordial_url=cordial_url, port=self._port, **settings._asdict()
            )
        self._configuration.write_text(text)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it while the block lasts, watching what it takes."""
        async with serving(self._configuration, self._directory / "service.log") as process:
            self._process = process
            watching = asyncio.create_task(self._watch(process.pid))
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    def webhook_url(self, account: int) -> str:
        """Return where Heap posts an account's pages."""
        return f"http://127.0.0.1:{self._port}/webhooks/heap/{_name(account)}"

    async def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def taken(self) -> Taken:
        """Return what it takes now and has taken at most, over all its starts."""
        assert self._process is not None
        self._look(self._process.pid)
        now_mib = resident(self._process.pid).now_mib
        return Taken(Resident(now_mib, self._max_mib), self.database.stat().st_size, self._max_wal_bytes)

    async def _watch(self, process_id: int) -> None:
        while True:
            self._look(process_id)
            await asyncio.sleep(_LOOK_SECONDS)

    def _look(self, process_id: int) -> None:
        # The files of a process come and go with it: what cannot be read adds nothing.
        with contextlib.suppress(OSError, KeyError):
            self._max_mib = max(self._max_mib, resident(process_id).max_mib)
        with contextlib.suppress(OSError):
            self._max_wal_bytes = max(self._max_wal_bytes, Path(f"{self.database}-wal").stat().st_size)


def heap_secret(account: int) -> str:
    """Return the secret by which Heap signs an account's pages."""
    return f"made-up secret {account}"


def _name(account: int) -> str:
    return f"account{account}"
