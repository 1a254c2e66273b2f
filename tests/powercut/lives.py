"""Lives of the service under strace: what it did to its disk, which pages it answered 200, and what Cordial was told.

Each life starts from files that are safe on disk, and gives a `Record`. A sync begins only when all pages of the one
before it in its segment are acknowledged, so that sending what was not acknowledged again, in order, comes to the same end.
"""

import asyncio
import contextlib
import hashlib
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp

from service.receive.signature import HEADER_NAME, sign
from service.sandbox import contacts, lists
from service.sandbox.heap_pages import build_pages
from service.sandbox.imports.job import ImportJob
from service.sandbox.journal import CallRecord
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox
from tests.ports import free_port
from tests.powercut.trace import SystemCall, TracedProcess, read_records
from tests.store_versions import make_store_file

ACCOUNT = "acme"
HEAP_SECRET = "a made-up secret"
API_KEY = "an operator's key"
STORE_NAME = "heap-cordial.db"
BACKUP_NAME = "copy.db"

_ROOT = Path(__file__).parents[2]
_UP_SECONDS = 60.0
_SETTLED_SECONDS = 120.0
_PAGE_HEADER = "X-Page"
# What `backup` and `restore` end with, after the name of the file.
_SAID_BY_COMMAND = b"its content was checked"

_CONFIGURATION = """
[server]
host = "127.0.0.1"
port = {port}
api_key_file = "{folder}/api-key"

[store]
path = "{folder}/store/{store}"
settle_interval_seconds = 0.1

[log]
level = "warning"

[accounts.{account}]
heap_secret_file = "{folder}/heap-secret"
cordial_api_key_file = "{folder}/cordial-api-key"
cordial_base_url = "{cordial_url}"
requests_per_second = 1000
max_concurrency = 8
public_url = "http://127.0.0.1:{port}"
bulk_threshold = {bulk_threshold}
bulk_untested = true
"""
# As many changes of a list travel as a file where a life is about imports; elsewhere none do.
BULK_THRESHOLD = 50
_NO_BULK = 1_000_000


class Page(NamedTuple):
    """One page as Heap would post it; `number` is its place in the life."""

    number: int
    body: bytes

    @property
    def digest(self) -> bytes:
        """What the store knows it by."""
        return hashlib.sha256(self.body).digest()


class Told(NamedTuple):
    """What Cordial knew after a call that arrived at `at_seconds`, Unix time: contacts as (label, address), lists, import jobs.

    `is_working`: of one of the jobs, something was still to be done.
    """

    at_seconds: float
    contacts: list[tuple[str, str]]
    lists: dict[str, set[str]]
    jobs: dict[str, ImportJob]
    is_working: bool

    def tell(self, cordial: RunningSandbox) -> None:
        """Have another Cordial know the same, with all jobs carried out."""
        for name in self.lists:
            cordial.state.create_list(name, enhanced=True)
        for label, address in self.contacts:
            contact = cordial.state.create_contact(label, address)
            for name, members in self.lists.items():
                if address in members:
                    cordial.state.lists_by_name[name].members[contact.cid] = int(self.at_seconds)
        cordial.imports.jobs = dict(self.jobs)
        cordial.imports.created = len(self.jobs)


class Promises(NamedTuple):
    """What was said to be done: the numbers of the pages answered 200, and the files that a command said it had written."""

    pages: set[int]
    files: set[str]


class Record(NamedTuple):
    """A life that is over.

    `files` were on disk before it, or None where there was no directory; `root` is the store's directory. `taken_before` are
    the pages that the files hold, `overwritten` those of them that a restore leaves out, `backed_up` those that a backup
    must hold. `lists` are the members of each list at the end, if all pages are taken. `told` is what Cordial knew, at first
    and after each call; `cordial_port` is its port, for a Cordial at another address is another one. `port` is the
    service's, where it has files fetched, which it does from `bulk_threshold` changes on.
    """

    root: str
    files: dict[str, bytes] | None
    calls: list[SystemCall]
    pages: list[Page]
    taken_before: set[int]
    overwritten: set[int]
    backed_up: set[int]
    lists: dict[str, set[str]]
    told: list[Told]
    cordial_port: int
    port: int
    bulk_threshold: int


class Life:
    """A service and all that belongs to it, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        cordial: RunningSandbox,
        session: aiohttp.ClientSession,
        program: Sequence[str],
        bulk_threshold: int,
    ) -> None:
        self.folder = folder
        self.store = folder / "store" / STORE_NAME
        self._cordial = cordial
        self._session = session
        self._program = [sys.executable, *program]
        self._port = free_port()
        self._record = folder / "record"
        self._pages: list[Page] = []
        self._lists: dict[str, set[str]] = {}
        self._files: dict[str, bytes] | None = None
        self._answered: set[int] = set()
        self._overwritten: set[int] = set()
        self._backed_up: set[int] = set()
        self._taken_before: set[int] = set()
        self._told: list[Told] = []
        self._bulk_threshold = bulk_threshold
        record = cordial.journal.record

        def record_and_remember(call: CallRecord) -> None:
            record(call)
            self._remember(time.time() - time.monotonic() + call.arrived_at_seconds)

        vars(cordial.journal)["record"] = record_and_remember
        self.store.parent.mkdir()
        for name, text in {"heap-secret": HEAP_SECRET, "cordial-api-key": DEFAULT_API_KEY, "api-key": API_KEY}.items():
            (folder / name).write_text(text)
        (folder / "config.toml").write_text(
            _CONFIGURATION.format(
                port=self._port,
                folder=folder,
                store=STORE_NAME,
                account=ACCOUNT,
                cordial_url=cordial.url,
                bulk_threshold=bulk_threshold,
            )
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the service under strace while the block lasts; it must end well."""
        process = self._traced("serve")
        try:
            await self._until(self._is_up, _UP_SECONDS)
            yield
            status = await asyncio.to_thread(process.stop)
        except BaseException:
            process.kill()
            raise
        assert status == 0, (self.folder / "log").read_text()[-2_000:]

    async def back_up(self) -> None:
        """Make a backup beside the store."""
        self._backed_up = set(self._answered)
        await self._run("backup", "--to", str(self.store.with_name(BACKUP_NAME)))

    async def restore(self) -> None:
        """Put the backup in the store's place, while the service does not run."""
        await self._run("restore", "--from", str(self.store.with_name(BACKUP_NAME)), "--force")

    async def _run(self, *command: str) -> None:
        status = await asyncio.to_thread(self._traced(*command).wait)
        assert status == 0, (self.folder / "log").read_text()[-2_000:]

    def expect_list(self, name: str, *, before: set[str], after: set[str]) -> None:
        """Have a list in Cordial from before the life, with members, and say who is to be on it in the end."""
        lists.create_list(self._cordial.state, {"name": name, "enhanced": True})
        for member in sorted(before):
            contacts.post_contact(self._cordial.state, {"channels": {"email": {"address": member}}, name: True})
        self._lists[name] = after

    def begin_record(self) -> None:
        """Take what is on disk as safe, and forget the record so far."""
        for part in self.folder.glob("record.*"):
            part.unlink()
        self._told = []
        self._remember(time.time())
        self._taken_before = set(self._answered)
        if self.store.parent.is_dir():
            self._files = {
                str(path): path.read_bytes()
                for path in self.store.parent.iterdir()
                if not path.name.endswith((".lock", "-shm"))
            }

    async def sync(
        self, name: str, add: Sequence[str], remove: Sequence[str] = (), *, task: str, page_size: int
    ) -> None:
        """Post a sync's pages, several at a time, and return when all are answered 200."""
        bodies = build_pages(len(name), name, add, remove, task_id=task, page_size=page_size)
        pages = [Page(len(self._pages) + number, body) for number, body in enumerate(bodies)]
        self._pages += pages
        members = self._lists.setdefault("".join(name.split()), set())
        members |= set(add)
        members -= set(remove)
        await asyncio.gather(*map(self._post, pages))

    async def sync_to_be_overwritten(self, name: str, add: Sequence[str], *, task: str) -> None:
        """Post a page that the store is to lose, because a restore puts an older one in its place."""
        before = set(self._answered)
        await self.sync(name, add, task=task, page_size=len(add))
        self._overwritten |= self._answered - before
        del self._lists["".join(name.split())]

    async def settled(self, list_name: str = "") -> None:
        """Return when Cordial's lists are as they should be, or this one."""

        async def is_so() -> bool:
            return all(
                name in self._cordial.state.lists_by_name and set(self._cordial.state.members(name)) == members
                for name, members in self._lists.items()
                if list_name in {"", name}
            )

        await self._until(is_so, _SETTLED_SECONDS)

    async def forget(self, user: str) -> None:
        """Have a person erased who is on no list any more."""
        url = f"http://127.0.0.1:{self._port}/api/v1/forget"
        async with self._session.post(
            url, json={"account": ACCOUNT, "user": user}, headers={"Authorization": aiohttp.encode_basic_auth(API_KEY)}
        ) as answer:
            assert answer.status in {200, 202}, await answer.text()

    def record(self) -> Record:
        """Return what happened since `begin_record`."""
        self._remember(time.time())
        return Record(
            root=str(self.store.parent),
            files=self._files,
            calls=read_records(sorted(self.folder.glob("record.*"))),
            pages=self._pages,
            taken_before=self._taken_before,
            overwritten=self._overwritten,
            backed_up=self._backed_up,
            lists=self._lists,
            told=self._told,
            cordial_port=int(self._cordial.url.rpartition(":")[2]),
            port=self._port,
            bulk_threshold=self._bulk_threshold,
        )

    def _remember(self, at_seconds: float) -> None:
        state, jobs = self._cordial.state, dict(self._cordial.imports.jobs)
        self._told.append(
            Told(
                at_seconds,
                [(contact.label, contact.email) for contact in state.contacts.values()],
                {name: set(state.members(name)) for name in state.lists_by_name},
                jobs,
                not all(job.ended for job in jobs.values()),
            )
        )

    def _traced(self, *command: str) -> TracedProcess:
        part = self.folder / f"record.{len(list(self.folder.glob('record.*')))}"
        part.touch()
        return TracedProcess(self._command(*command), part, self.folder / "log", {"PYTHONPATH": str(_ROOT)})

    def _command(self, command: str, *options: str) -> list[str]:
        return [*self._program, command, "--config", str(self.folder / "config.toml"), *options]

    async def _post(self, page: Page) -> None:
        url = f"http://127.0.0.1:{self._port}/webhooks/heap/{ACCOUNT}"
        while True:
            headers = {
                HEADER_NAME: sign(HEAP_SECRET, str(time.time_ns() // 1_000_000), page.body),
                "Content-Type": "application/json",
                _PAGE_HEADER: str(page.number),
            }
            async with self._session.post(url, data=page.body, headers=headers) as answer:
                if answer.status == 200:
                    self._answered.add(page.number)
                    return
                assert answer.status in {429, 503}, await answer.text()
            await asyncio.sleep(0.2)

    async def _is_up(self) -> bool:
        try:
            async with self._session.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    @staticmethod
    async def _until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110  another process is looked at from outside
                await asyncio.sleep(0.05)


def promised(calls: Sequence[SystemCall]) -> list[tuple[int, int | str]]:
    """Return when something was said to be done, as a place in the record, and what: a page's number, or a file's name.

    It is said as soon as the process begins to send the answer 200, or to write to its terminal.
    """
    page_on: dict[str, int] = {}
    found: list[tuple[int, int | str]] = []
    marker = f"{_PAGE_HEADER}: ".lower().encode()
    for call in calls:
        if call.name == "write" and _SAID_BY_COMMAND in (said := call.texts()[0]):
            found.append((call.began, Path(said.partition(b": ")[0].decode()).name))
        if call.name not in {"recvfrom", "sendto", "sendmsg"}:
            continue
        places = call.paths_of_descriptors()
        texts = call.texts()
        if not places or not texts:
            continue
        if call.name == "recvfrom":
            _, is_there, rest = texts[0].lower().partition(marker)
            if is_there and texts[0].startswith(b"POST /webhooks"):
                page_on[places[0]] = int(rest.split(b"\r\n", 1)[0])
        elif texts[0].startswith(b"HTTP/1.1 200") and places[0] in page_on:
            found.append((call.began, page_on.pop(places[0])))
    return found


async def live(folder: Path, program: Sequence[str]) -> Record:
    """Take pages, fold, settle, erase, checkpoint, stop; start again and go on."""
    async with _a_life(folder, program) as life:
        life.begin_record()
        users = [f"user{number}@example.com" for number in range(90)]
        async with life.serving():
            await asyncio.gather(
                life.sync("Buyers", users[:60], task="b1", page_size=15),
                life.sync("Readers of news", users[30:], task="r1", page_size=20),
            )
            await life.settled()
            await life.sync("Buyers", users[60:80], users[:20], task="b2", page_size=10)
            await life.settled()
            await life.sync("Readers of news", [], users[80:], task="r2", page_size=5)
            await life.settled()
            await life.forget(users[0])
            # Long enough for a checkpoint with nothing else going on.
            await asyncio.sleep(1.5)
            await life.sync("Buyers", users[80:], task="b3", page_size=3)
        async with life.serving():
            await life.sync("Readers of news", users[80:85], users[85:88], task="r3", page_size=3)
            # With a fault planted, pages of the other may be lost by now.
            await life.settled("Readersofnews")
        return life.record()


async def upgrade(folder: Path, program: Sequence[str]) -> Record:
    """Open the store of the oldest version: it is copied, then brought up to date."""
    async with _a_life(folder, program) as life:
        make_store_file(life.store, 1)
        _make_contacts_real(life.store)
        # On its list is one of them; others are to be sent, to be tried again, or still to be folded.
        life.expect_list("Buyers", before=_people("anna"), after=_people("anna", "bert", "cleo", "fritz", "gina"))
        life.begin_record()
        async with life.serving():
            await life.sync("After the upgrade", ["late@example.com"], task="u1", page_size=5)
            await life.settled()
        return life.record()


def _people(*names: str) -> set[str]:
    return {f"{name}@example.com" for name in names}


def _make_contacts_real(store: Path) -> None:
    """Give the people of an old store addresses that Cordial accepts: it refuses the others, and then the account pauses."""
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE member SET contact = contact || '@example.com'")
        connection.execute("UPDATE failure SET contact = contact || '@example.com'")
        connection.execute(
            "UPDATE piece SET contacts = replace(replace(contacts, '\",', '@example.com\",'), '\"]', '@example.com\"]')"
        )


async def install(folder: Path, program: Sequence[str]) -> Record:
    """Start for the first time, where there is not even a directory for the store."""
    async with _a_life(folder, program) as life:
        life.store.parent.rmdir()
        life.begin_record()
        async with life.serving():
            await life.sync("Buyers", [f"user{number}@example.com" for number in range(6)], task="b1", page_size=3)
            await life.settled()
        return life.record()


async def imports(folder: Path, program: Sequence[str]) -> Record:
    """Send large changes as files, which Cordial fetches and carries out, and a small one after them."""
    async with _a_life(folder, program, bulk_threshold=BULK_THRESHOLD) as life:
        users = [f"user{number:03}@example.com" for number in range(140)]
        life.begin_record()
        async with life.serving():
            await life.sync("Buyers", users[:70], task="b1", page_size=35)
            await life.settled()
            await life.sync("Buyers", users[70:], users[:60], task="b2", page_size=65)
            await life.settled()
            await life.sync("Buyers", users[:3], users[60:62], task="b3", page_size=5)
            await life.settled()
        return life.record()


async def backup(folder: Path, program: Sequence[str]) -> Record:
    """Back up the store while pages come."""
    async with _a_life(folder, program) as life:
        users = [f"user{number}@example.com" for number in range(30)]
        async with life.serving():
            await life.sync("Buyers", users[:20], task="b1", page_size=10)
            await life.settled()
        life.begin_record()
        async with life.serving():
            await life.sync("Buyers", users[20:25], task="b2", page_size=5)
            await asyncio.gather(life.back_up(), life.sync("Buyers", users[25:], task="b3", page_size=1))
            await life.settled()
        return life.record()


async def restore(folder: Path, program: Sequence[str]) -> Record:
    """Put a backup in the place of a store that has gone on, then start."""
    async with _a_life(folder, program) as life:
        async with life.serving():
            await life.sync("Buyers", [f"user{number}@example.com" for number in range(30)], task="b1", page_size=10)
            await life.settled()
        await life.back_up()
        async with life.serving():
            await life.sync_to_be_overwritten("Gone on", ["late@example.com"], task="g1")
        life.begin_record()
        await life.restore()
        async with life.serving():
            await life.sync("Buyers", ["new@example.com"], task="b2", page_size=10)
            await life.settled()
        return life.record()


LIVES: dict[str, Callable[[Path, Sequence[str]], Awaitable[Record]]] = {
    "live": live,
    "imports": imports,
    "install": install,
    "upgrade": upgrade,
    "backup": backup,
    "restore": restore,
}


@contextlib.asynccontextmanager
async def _a_life(folder: Path, program: Sequence[str], *, bulk_threshold: int = _NO_BULK) -> AsyncIterator[Life]:
    async with running_sandbox(SandboxOptions()) as cordial, aiohttp.ClientSession() as session:
        yield Life(folder, cordial, session, program, bulk_threshold)
