"""The program as people run it: processes of `python -m service …` with an environment and a folder of their own."""

import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp

from service.sandbox.heap_pages import PageAnswer, build_pages, post_page
from service.sandbox.options import DEFAULT_API_KEY
from service.store.sqlite.loading import read_segments_of
from service.store.sqlite.reading import Reader
from tests.forking import ForkedProcess, Process, read_to_end
from tests.ports import free_port

Result = TypeVar("Result")

ROOT = Path(__file__).parents[1]
WEBHOOK_SECRET = "whsec ünguessable"
API_KEY = "api key for people"
PATIENCE_SECONDS = 60.0
# What the processes of the present test said, each under a heading; shown where it fails.
SAID: list[tuple[str, str]] = []
_MAX_SHOWN_CHARACTERS = 10_000


class Ended(NamedTuple):
    """A process that has ended: its exit status and what it wrote."""

    status: int
    output: str
    errors: str


class Installation:
    """Secrets, a store and the variables that configure one account, `acme`; nothing of it outside `folder`."""

    def __init__(self, folder: Path, cordial_url: str, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.webhook = f"{self.url}/webhooks/heap/acme"
        self.database = folder / "data" / "store.db"
        self.log = folder / "log"
        self.secret_file = _secret(folder / "heap-secret", WEBHOOK_SECRET)
        self.key_file = _secret(folder / "cordial-key", DEFAULT_API_KEY)
        # Set to speak TLS with the service.
        self.ssl_context: ssl.SSLContext | None = None
        # The last one that `serving` began.
        self.process: Process | None = None
        settings = {
            "SERVER__HOST": "127.0.0.1",
            "SERVER__PORT": str(self.port),
            "SERVER__SHUTDOWN_GRACE_SECONDS": "5",
            "SERVER__API_KEY_FILE": str(_secret(folder / "api-key", API_KEY)),
            "STORE__PATH": str(self.database),
            "ACCOUNTS__ACME__HEAP_SECRET_FILE": str(self.secret_file),
            "ACCOUNTS__ACME__CORDIAL_API_KEY_FILE": str(self.key_file),
            "ACCOUNTS__ACME__CORDIAL_BASE_URL": cordial_url,
            # Many tests count the calls that they cause.
            "ACCOUNTS__ACME__PROOF_READS_PER_HOUR": "0",
            "ACCOUNTS__ACME__PROOF_SAMPLE": "0",
        } | variables
        self.environment = clean_environment() | {f"HEAP_CORDIAL__{key}": value for key, value in settings.items()}

    async def run(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        return await run_command(*arguments, environment=self.environment)

    @contextlib.asynccontextmanager
    async def serving(self, *options: str, killed: bool = False, first: str = "") -> AsyncIterator[Process]:
        """Run `serve` until the block ends, which begins when the start is over; its log goes to `log`.

        Afterwards it must have ended with status 0. `killed`: it is ended by SIGKILL. `first`: Python that it runs before.
        """
        with self.log.open("wb") as log:
            arguments = ["serve", *options]
            process = ForkedProcess(arguments, self.environment, log.fileno(), log.fileno(), first=first)
        self.process = process
        try:
            await wait_until_started(process, self.log)
            yield process
            if process.returncode is None:
                process.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
            status = -signal.SIGKILL if killed else 0
            assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == status, self.log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            SAID.append(("log of the service", self.log.read_text(errors="replace")[-_MAX_SHOWN_CHARACTERS:]))

    def connector(self) -> aiohttp.TCPConnector:
        """Return what connects to the service."""
        return aiohttp.TCPConnector(ssl=self.ssl_context or True)

    async def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body that the service answers."""
        async with aiohttp.ClientSession(connector=self.connector()) as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def ask(self, path: str) -> Any:
        """Return the API's document at `path`."""
        headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "", encoding="utf-8")}
        async with (
            aiohttp.ClientSession(connector=self.connector(), headers=headers) as session,
            session.get(f"{self.url}/api/v1/{path}") as answer,
        ):
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def deliver(
        self,
        segment: str,
        add: tuple[str, ...] = (),
        remove: tuple[str, ...] = (),
        *,
        task: str,
        id_token: str | None = None,
        segment_id: int = 15225086,
    ) -> PageAnswer:
        """Post one signed page."""
        [page] = build_pages(segment_id, segment, add, remove, task_id=task, id_token=id_token)
        async with aiohttp.ClientSession() as session:
            return await post_page(session, self.webhook, WEBHOOK_SECRET, page)

    async def figures(self, *names: str) -> list[int]:
        """Return these figures of the only segment, as they stand in the store; none while there is no segment."""
        segments = await read_segments_of(self.database)
        return [getattr(segment, name) for segment in segments for name in names]

    async def list_states(self) -> list[str]:
        """Return the state of each segment's list."""
        return [segment.list_state.value for segment in await read_segments_of(self.database)]

    async def account_states(self) -> list[str]:
        """Return what each account's sending does."""
        reader = await Reader.open(self.database, connections=1)
        try:
            return [account.state for account in await reader.accounts()]
        finally:
            await reader.close()


async def eventually(look: Callable[[], Awaitable[Result]], expected: Result) -> None:
    """Return when `look` finds what is expected; fail with what it found last when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await look()) != expected:
        assert time.monotonic() < deadline, f"{found} instead of {expected}"
        await asyncio.sleep(0.05)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without anything that configures the service or the size of what it prints."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HEAP_CORDIAL__") and name not in {"COLUMNS", "LINES"}
    }


async def run_command(*arguments: str, environment: dict[str, str] | None = None) -> Ended:
    """Run `python -m service` with the arguments to its end."""
    (output, output_end), (errors, errors_end) = os.pipe(), os.pipe()
    environment = clean_environment() if environment is None else environment
    process = ForkedProcess(arguments, environment, output_end, errors_end)
    os.close(output_end)
    os.close(errors_end)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            told, complained = await asyncio.gather(read_to_end(output), read_to_end(errors))
            status = await process.wait()
    finally:
        process.kill()
        await process.wait()
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    ended = Ended(status, told.decode(encoding), complained.decode(encoding))
    shown = f"{ended.output}{ended.errors}status {status}\n"
    SAID.append((f"python -m service {' '.join(arguments)}", shown[-_MAX_SHOWN_CHARACTERS:]))
    return ended


def _secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


async def wait_until_started(process: Process, log: Path) -> None:
    """Return once the log says that the start is over: before, pages are accepted, but no commands."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while '"service.started"' not in (text := await asyncio.to_thread(log.read_text, errors="replace")):
            assert process.returncode is None, f"the service ended with status {process.returncode}\n{text}"
            await asyncio.sleep(0.05)


async def wait_until_it_answers(url: str, process: Process) -> None:
    """Return once something answers at the address, where the log cannot tell; fail when the process ends instead."""
    async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url):
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(f"the service ended with status {process.returncode} instead of serving")
