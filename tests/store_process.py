"""Programs for processes of their own: what they say on standard output is all that is known of them."""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import structlog

from service.errors import StoreUnavailableError
from service.store.sqlite.files import StoreOpenError
from tests.store_harness import Store, fold_all, page, wait_until_well
from tests.store_sqlite import SqliteStoreMaker


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def accept_without_end(maker: SqliteStoreMaker) -> None:
    """Take deliveries on eight lines at once, folding on the way, and name each once it is acknowledged."""
    store = await maker.open()

    async def line(number: int) -> None:
        for count in range(100_000):
            task = f"t{number}-{count}"
            await store.accept(page(task, add=[f"{task}-{user}" for user in range(50)]))
            say(task)

    async def fold() -> None:
        while True:
            await store.fold_next()

    await asyncio.gather(fold(), *(line(number) for number in range(8)))


async def hold(maker: SqliteStoreMaker) -> None:
    """Keep the store open until the process is ended."""
    await maker.open()
    say("open")
    await asyncio.Event().wait()


async def try_to_open(maker: SqliteStoreMaker) -> None:
    """Open the store, as a user that may not do everything."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)
    try:
        store = await maker.open()
    except StoreOpenError as error:
        say(f"refused: {error}")
    else:
        say("opened")
        await store.close()


async def fill_the_disk(maker: SqliteStoreMaker) -> None:
    """Take deliveries until the store is out of room, then make room and go on."""
    # As on a full disk, a write fails; the signal would end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = await maker.open()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    accepted = await _accept_until_refused(store)
    await _fold_until_refused(store)
    say(f"fault: {store.fault}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.accept(page("after", add=["after"]))
    await fold_all(store)
    await wait_until_well(store)
    say(f"fault: {store.fault}")
    say(f"accepted: {accepted} backlog: {store.backlog.total}")
    await store.close()


async def _accept_until_refused(store: Store) -> int:
    for count in range(10_000):
        try:
            await store.accept(page(f"t{count}", add=[f"{count}-{user}" for user in range(1_000)]))
        except StoreUnavailableError as error:
            say(f"refused: {error.message}")
            return count
    raise AssertionError("never out of room")


async def _fold_until_refused(store: Store) -> None:
    try:
        await fold_all(store)
    except StoreUnavailableError as error:
        say(f"not folded: {error.message}")


PROGRAMS = {program.__name__: program for program in (accept_without_end, hold, try_to_open, fill_the_disk)}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(PROGRAMS[sys.argv[1]](SqliteStoreMaker(Path(sys.argv[2]))))
