"""Looking at what a power cut left: the service starts on it, Heap sends again what was not acknowledged, all ends exact."""

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from service.deliver.imports import importer
from service.sandbox.heap_pages import PageAnswer, post_page
from service.sandbox.options import SandboxOptions
from service.sandbox.server import running_sandbox
from service.store.sqlite.files import StoreOpenError
from tests.powercut.lives import ACCOUNT, BACKUP_NAME, STORE_NAME, Promises, Record, Told
from tests.recount import wrong_counters
from tests.service_fixtures import HEAP_SECRET, World

# On a machine that does much else, a write alone can take seconds.
_SETTLED_SECONDS = 60.0
_QUICK_IMPORTS = importer.Timings(
    idle=0.1,
    store_retry=0.1,
    repeat=0.1,
    first_look=0.1,
    max_look=0.1,
    max_doubt_look=0.1,
    min_look=0.1,
    max_repost=0.5,
    recount=(0.0, 0.1),
)


async def faults_after(files: Mapping[str, bytes], record: Record, promises: Promises, told: Told) -> list[str]:
    """Return what is wrong after a power cut that left `files`, when `promises` had been made.

    `told`: what Cordial knew by then.
    """
    with tempfile.TemporaryDirectory(prefix="heap-cordial-powercut-") as folder:
        place = Path(folder)
        for path, content in files.items():
            target = place / "store" / Path(path).relative_to(record.root)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        async with (
            running_sandbox(SandboxOptions(), port=record.cordial_port) as cordial,
            aiohttp.ClientSession() as session,
        ):
            told.tell(cordial)
            world = World(
                place,
                cordial,
                session,
                public_url=f"http://127.0.0.1:{record.port}",
                bulk_threshold=record.bulk_threshold,
                bulk_untested=True,
            )
            world.port = record.port
            world.import_timings = _QUICK_IMPORTS
            try:
                await world.start()
            except StoreOpenError as error:
                return [f"the store cannot be opened: {error}"]
            try:
                faults = _missing(place / "store" / STORE_NAME, record, promises)
                faults += _missing_of_backup(place / "store" / BACKUP_NAME, record, promises)
                # What is lost is lost: waiting for exact lists would only take time.
                if not faults:
                    faults = await _go_on(world, session, record, promises.pages)
            finally:
                await world.stop()
            return faults + _damage(place / "store" / STORE_NAME)


def _missing(store: Path, record: Record, promises: Promises) -> list[str]:
    kept = _pages_in(store, record)
    faults = [
        f"page {number} was answered 200 and is lost" for number in sorted(promises.pages - record.overwritten - kept)
    ]
    if STORE_NAME in promises.files and kept & record.overwritten:
        faults.append("the restore was said to be done, and the old store is there")
    return faults


def _missing_of_backup(backup: Path, record: Record, promises: Promises) -> list[str]:
    if not backup.exists():
        return ["the backup was said to be done, and is not there"] if BACKUP_NAME in promises.files else []
    missing = record.backed_up - _pages_in(backup, record)
    return [f"page {number} is not in the backup" for number in sorted(missing)] + _damage(backup)


def _pages_in(store: Path, record: Record) -> set[int]:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        kept = {digest for (digest,) in connection.execute("SELECT digest FROM delivery")}
    return {page.number for page in record.pages if page.digest in kept}


async def _go_on(world: World, session: aiohttp.ClientSession, record: Record, acknowledged: set[int]) -> list[str]:
    """Send what Heap has no 200 for, wait until all is settled, and compare."""
    for page in record.pages:
        if page.number not in acknowledged:
            url = f"{world.service.url}/webhooks/heap/{ACCOUNT}"
            answer = await _post_until_taken(session, url, page.body)
            if answer.status != 200:
                return [f"page {page.number} sent again was answered {answer.status}: {answer.text}"]

    def wrong() -> list[str]:
        faults = []
        for name, members in record.lists.items():
            found = set(world.members(name)) if name in world.cordial.state.lists_by_name else set()
            if found != members:
                faults.append(f"list {name}: {len(members - found)} missing, {len(found - members)} too many")
        if world.service.store.backlog.total:
            faults.append(f"{world.service.store.backlog.total} changes are not settled")
        return faults

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SETTLED_SECONDS):
            while wrong():  # noqa: ASYNC110  the lists are looked at from outside
                await asyncio.sleep(0.005)
    return wrong()


async def _post_until_taken(session: aiohttp.ClientSession, url: str, body: bytes) -> PageAnswer:
    """Send a page as Heap does: a 503 asks for it again, as where the machine is too busy to write in time."""
    give_up_at = time.monotonic() + _SETTLED_SECONDS
    while True:
        answer = await post_page(session, url, HEAP_SECRET, body)
        if answer.status != 503 or time.monotonic() > give_up_at:
            return answer
        await asyncio.sleep(0.5)


def _damage(store: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return [f"integrity_check: {line}" for line in found] + wrong_counters(store)
