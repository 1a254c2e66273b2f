"""The whole service in this process: a real store on a file, a stand-in Cordial, deliveries signed and posted as Heap's."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from structlog.testing import capture_logs

from service.app import ReloadFor, Service, Timings, running_service
from service.config.secrets import Timings as SecretTimings
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.deliver import retry
from service.deliver import timings as deliver
from service.deliver.imports import importer
from service.deliver.lists import timings as lists
from service.deliver.proof import read_back, verifier
from service.deliver.trial import trying
from service.model.conditions import Severity
from service.model.lists import Segment
from service.observe.api import authentication
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.journal import CallRecord
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox
from service.store.sqlite import writer
from service.supervision import MAX_SILENCE_SECONDS, Supervisor
from tests.new_store import put_new_store

ACCOUNT = "acme"
HEAP_SECRET = "whsec one"
API_KEY = "page key"
_GENEROUS_SECONDS = 30.0
_LOOK_SECONDS = 0.01


class DeadLetter(NamedTuple):
    contact: str
    segment_id: int
    attempts: int
    reason: str
    message: str
    status: int | None


class World:
    """A service, its store and the Cordial it writes to; the service can be stopped and started again."""

    # Tests replace them where they need other times.
    settle_interval_seconds = 0.02
    retry_timings = retry.Timings(absent=0.3)
    list_timings = lists.Timings()
    import_timings = importer.Timings()
    count_timings = verifier.Timings()
    proof_timings = read_back.Timings(look_seconds=0.05, again_seconds=0.1)
    trial_timings = trying.Timings()
    store_timings = writer.Timings()
    may_fetch_again_seconds = 120.0
    wrong_key_timings = authentication.Timings()
    heartbeat_seconds = 15.0
    secret_timings = SecretTimings()
    figures_seconds = 5.0
    max_silence_seconds = MAX_SILENCE_SECONDS

    def __init__(
        self, directory: Path, cordial: RunningSandbox, session: aiohttp.ClientSession, **account: Any
    ) -> None:
        self.cordial = cordial
        self.key_file = directory / "cordial-key"
        self.key_file.write_text(DEFAULT_API_KEY)
        self._store_file = directory / "store" / "heap-cordial.db"
        put_new_store(self._store_file)
        secret_file = directory / "heap-secret"
        secret_file.write_text(HEAP_SECRET)
        self.api_key_file = directory / "api-key"
        self.api_key_file.write_text(API_KEY)
        self._api_key = SecretReference(file=str(self.api_key_file))
        defaults: dict[str, Any] = {
            "requests_per_second": 5_000,
            "max_concurrency": 8,
            "request_timeout_seconds": 5,
            # Many tests count the calls that they cause.
            "proof_reads_per_hour": 0,
            "proof_sample": 0,
        }
        self.account = AccountSettings(
            name=ACCOUNT,
            heap_secrets=(SecretReference(file=str(secret_file)),),
            cordial_api_key=SecretReference(file=str(self.key_file)),
            cordial_base_url=cordial.url,
            **(defaults | account),
        )
        self._session = session
        self._stack = contextlib.AsyncExitStack()
        self._tasks = itertools.count(1)
        self._service: Service | None = None
        self.grace_seconds = 5.0
        self.port = 0
        # How the configuration is read again; None for a service that does not run from one.
        self.reload: ReloadFor | None = None
        # Accounts beside the one that is steered from here.
        self.more_accounts: dict[str, AccountSettings] = {}
        # Events of the log that may speak of an exception; any other that does fails the test.
        self.expected_exceptions: set[str] = set()

    @property
    def service(self) -> Service:
        assert self._service is not None, "the service is not running"
        return self._service

    def timings(self) -> Timings:
        """Return how long the parts of the service wait."""
        return Timings(
            store=self.store_timings,
            deliver=deliver.Timings(
                retry=self.retry_timings,
                lists=self.list_timings,
                imports=self.import_timings,
                counts=self.count_timings,
                proof=self.proof_timings,
                trial=self.trial_timings,
                may_fetch_again_seconds=self.may_fetch_again_seconds,
            ),
            wrong_keys=self.wrong_key_timings,
            heartbeat_seconds=self.heartbeat_seconds,
            secrets=self.secret_timings,
            figures_seconds=self.figures_seconds,
        )

    async def start(self, **account: Any) -> None:
        """Start the service, with other settings for the account if given."""
        self.account = msgspec.structs.replace(self.account, **account)
        settings = Settings(
            server=ServerSettings(
                host="127.0.0.1",
                port=self.port,
                shutdown_grace_seconds=self.grace_seconds,
                metrics_open=True,
                api_keys=(self._api_key,),
            ),
            store=StoreSettings(path=str(self._store_file), settle_interval_seconds=self.settle_interval_seconds),
            log=LogSettings(),
            accounts={ACCOUNT: self.account, **self.more_accounts},
        )
        supervisor = Supervisor(max_silence_seconds=self.max_silence_seconds)
        running = running_service(settings, supervisor, self.timings(), reload=self.reload)
        self._service = await self._stack.enter_async_context(running)

    async def stop(self) -> None:
        await self._stack.aclose()
        self._service = None

    @property
    def is_running(self) -> bool:
        """Whether the start is over."""
        return self._service is not None

    async def restart(self, **account: Any) -> None:
        await self.stop()
        await self.start(**account)

    async def deliver(
        self,
        segment: str,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        segment_id: int = 1,
        task: str | None = None,
        page_size: int = 1000,
        first_pages: int | None = None,
    ) -> None:
        """Post a sync of the segment, a new one unless `task` names it, or only its first pages; each must be accepted."""
        pages = build_pages(
            segment_id, segment, add, remove, task_id=task or f"task-{next(self._tasks)}", page_size=page_size
        )
        for page in pages[:first_pages]:
            answer = await post_page(self._session, f"{self.service.url}/webhooks/heap/{ACCOUNT}", HEAP_SECRET, page)
            assert answer.status == 200, answer

    async def forget(self, user: str, *, keep_on_lists: bool = False) -> None:
        """Ask for a user's erasure as an operator does."""
        async with self._session.post(
            f"{self.service.url}/api/v1/forget",
            json={"user": user, "keep_on_lists": keep_on_lists},
            headers={"Authorization": aiohttp.encode_basic_auth(API_KEY, "")},
        ) as answer:
            assert answer.status in {200, 202}, await answer.text()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds; only a hopeless one takes as long as the limit."""
        async with asyncio.timeout(_GENEROUS_SECONDS):
            while not condition():  # noqa: ASYNC110  conditions are looked at from outside; nobody sets an event
                await asyncio.sleep(_LOOK_SECONDS)

    async def settled(self) -> None:
        """Wait until nothing is owed to Cordial any more: all settled, or given up with a reason."""
        await self.until(lambda: self.service.store.backlog.total == 0)

    def conditions(self) -> dict[str, str]:
        """Return the conditions that last and need a person, by kind, with their details."""
        lasting = self.service.conditions.current()
        return {each.id: each.detail for each in lasting if each.severity is not Severity.INFO}

    async def ready(self) -> tuple[int, str]:
        """Return the status of `/readyz`, and what lasts in the form `kind: detail; kind: detail`."""
        async with self._session.get(f"{self.service.url}/readyz") as answer:
            await answer.read()
            return answer.status, "; ".join(f"{name}: {detail}" for name, detail in self.conditions().items())

    async def segment(self, heap_id: int = 1) -> Segment:
        return next(each for each in await self.service.store.segments() if each.heap_id == str(heap_id))

    def dead_letters(self) -> list[DeadLetter]:
        rows = self.rows(
            "SELECT contact, segment_id, attempts, reason, message, status FROM failure WHERE dead ORDER BY contact"
        )
        return [DeadLetter(*row) for row in rows]

    def rows(self, query: str) -> list[Any]:
        """Read the store's file as anyone may."""
        with contextlib.closing(sqlite3.connect(f"file:{self._store_file}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def execute(self, statement: str) -> None:
        """Write into the store's file past the service."""
        with contextlib.closing(sqlite3.connect(self._store_file)) as connection, connection:
            connection.execute(statement)

    def copy_store(self) -> dict[str, bytes]:
        """Return the store's files as a crash at this moment would leave them."""
        return {each.name: each.read_bytes() for each in self._store_file.parent.iterdir() if each.suffix != ".lock"}

    def replace_store(self, files: dict[str, bytes]) -> None:
        """Put such files in the place of those of a service that is stopped."""
        for each in self._store_file.parent.iterdir():
            each.unlink()
        for name, content in files.items():
            (self._store_file.parent / name).write_bytes(content)

    def members(self, list_name: str) -> list[str]:
        return self.cordial.state.members(list_name)

    def calls(self, *operations: str) -> list[CallRecord]:
        """Return the calls Cordial saw, of all or some operations such as `PUT /v2/contacts/{key}`, in order of arrival."""
        calls = sorted(self.cordial.journal.calls, key=lambda call: call.arrived_at_seconds)
        return [call for call in calls if not operations or f"{call.method} {call.endpoint}" in operations]

    def contact_calls(self) -> list[CallRecord]:
        return self.calls(*CONTACT_WRITES)


POST_CONTACT = "POST /v2/contacts"
PUT_CONTACT = "PUT /v2/contacts/{key}"
CONTACT_WRITES = (POST_CONTACT, PUT_CONTACT)
CREATE_LIST = "POST /v2/accountlists"


@contextlib.asynccontextmanager
async def delivering(directory: Path, cordial: SandboxOptions | None = None, **account: Any) -> AsyncIterator[World]:
    """Run a stand-in Cordial and a service that writes to it; no part of the service may meet an exception."""
    options = msgspec.structs.replace(cordial or SandboxOptions(), journal=True)
    async with running_sandbox(options) as sandbox, aiohttp.ClientSession() as session:
        world = World(directory, sandbox, session, **account)
        with capture_logs() as entries:
            await world.start()
            try:
                yield world
            finally:
                await world.stop()
    # Whoever outlives an exception says so here, and only here.
    exceptions = [entry for entry in entries if entry.get("exc_info")]
    assert [entry for entry in exceptions if entry["event"] not in world.expected_exceptions] == []


def users(count: int, prefix: str = "user") -> list[str]:
    return [f"{prefix}{number}@example.com" for number in range(count)]


async def drain(world: World, segment: str) -> None:
    """Deliver what Heap sends when all users of a segment are to be taken off its list."""
    [page] = build_pages(1, segment, task_id="drain")
    document = msgspec.json.decode(page)
    document["action_type"] = "segment.users.drain"
    del document["data"]["sync_info"], document["data"]["add"], document["data"]["remove"]
    url = f"{world.service.url}/webhooks/heap/{ACCOUNT}"
    assert (await post_page(world._session, url, HEAP_SECRET, msgspec.json.encode(document))).status == 200


@contextlib.contextmanager
def audit_refused(world: World) -> Iterator[None]:
    """Keep any line from being written into the audit, as a crash right before it would."""
    world.execute("CREATE TRIGGER audit_refused BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no audit'); END")
    try:
        yield
    finally:
        world.execute("DROP TRIGGER audit_refused")
