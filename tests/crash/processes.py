"""The service and the stand-in Cordial as real processes on ports and in directories of their own."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, NamedTuple

import aiohttp

from service.sandbox.options import DEFAULT_API_KEY
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
ACCOUNT = "crash"
HEAP_SECRET = "a made-up secret"

_START_SECONDS = 60.0
_STOP_SECONDS = 120.0
_POLL_SECONDS = 0.02

_CONFIGURATION = """
[server]
host = "127.0.0.1"
port = {port}
shutdown_grace_seconds = {options.grace_seconds}

[store]
path = "{directory}/store/heap-cordial.db"
settle_batch_results = {options.settle_batch_results}

[log]
level = "{options.log_level}"

[accounts.{account}]
heap_secret_file = "{directory}/heap-secret"
cordial_api_key_file = "{directory}/cordial-api-key"
cordial_base_url = "{cordial_url}"
requests_per_second = {options.requests_per_second}
max_concurrency = {options.max_concurrency}
public_url = "{public_url}"
bulk_threshold = {options.bulk_threshold}
bulk_untested = true
in_doubt_seconds = {options.in_doubt_seconds}
"""


class ServiceOptions(NamedTuple):
    """What differs between the uses of the service here; `imports` lets large backlogs travel as files."""

    requests_per_second: float = 10_000
    max_concurrency: int = 32
    settle_batch_results: int = 500
    grace_seconds: float = 30
    log_level: str = "info"
    imports: bool = False
    bulk_threshold: int = 5_000
    in_doubt_seconds: float = 120


class ServiceProcess:
    """`python -m service serve`, to be started again on the same store as often as it ended."""

    def __init__(self, directory: Path, cordial_url: str, options: ServiceOptions) -> None:
        port = free_port()
        self.options = options
        self.url = f"http://127.0.0.1:{port}"
        self.webhook_url = f"{self.url}/webhooks/heap/{ACCOUNT}"
        self.store_path = directory / "store" / "heap-cordial.db"
        self.log_path = directory / "service.log"
        self.started_at_seconds = 0.0
        self._configuration = directory / "config.toml"
        self._process: asyncio.subprocess.Process | None = None
        (directory / "heap-secret").write_text(HEAP_SECRET)
        (directory / "cordial-api-key").write_text(DEFAULT_API_KEY)
        self._configuration.write_text(
            _CONFIGURATION.format(
                port=port,
                options=options,
                directory=directory,
                account=ACCOUNT,
                cordial_url=cordial_url,
                public_url=self.url if options.imports else "",
            )
        )

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that was started last."""
        assert self._process is not None, "not started yet"
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and return at once."""
        with self.log_path.open("ab") as log:
            self.started_at_seconds = time.monotonic()
            self._process = await _spawn(
                ["service", "serve", "--config", str(self._configuration)], output=log, errors=log
            )

    async def is_answered(self, session: aiohttp.ClientSession, path: str) -> bool:
        """Return whether `path` is answered 200 now."""
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(self.url + path) as answer:
                return answer.status == 200
        return False

    async def wait_until_answered(self, session: aiohttp.ClientSession, path: str) -> None:
        """Return when `path` is answered 200; raises `RuntimeError` if the process ends before."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RuntimeError(f"the service ended with status {self.process.returncode}\n{self.last_log_lines()}")
            if await self.is_answered(session, path):
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{path} was not answered 200 within {_START_SECONDS:.0f} s\n{self.last_log_lines()}")

    async def wait_for_log(self, event: str, times: int = 1) -> None:
        """Return when the log has `event` so often."""
        deadline = time.monotonic() + _START_SECONDS
        while self.log_path.read_text().count(f'"{event}"') < times:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {event} in the log\n{self.last_log_lines()}")
            await asyncio.sleep(_POLL_SECONDS)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    async def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Return the exit status once the process has ended."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def kill(self) -> None:
        """End the process as kill -9 does."""
        if self.is_running:
            self.send_signal(signal.SIGKILL)
            await self.wait()

    def last_log_lines(self, number: int = 20) -> str:
        """Return the end of the log, for messages about what went wrong."""
        return "\n".join(self.log_path.read_text().splitlines()[-number:])


@contextlib.asynccontextmanager
async def running_stand_in(directory: Path, latency_ms: float = 0) -> AsyncIterator[str]:
    """Run the stand-in Cordial while the block lasts; yields its URL."""
    with (directory / "stand-in.log").open("wb") as log:
        process = await _spawn(
            ["tests.crash.stand_in", "--latency-ms", str(latency_ms)], output=asyncio.subprocess.PIPE, errors=log
        )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)).decode().strip()
        if not url:
            raise RuntimeError("the stand-in did not start")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _spawn(
    module_and_arguments: list[str], *, output: int | IO[bytes], errors: IO[bytes]
) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEAP_CORDIAL__")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module_and_arguments, cwd=ROOT, env=environment, stdout=output, stderr=errors
    )
