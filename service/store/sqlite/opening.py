"""Opening the SQLite file: the pragmas that durability depends on, and the schema of this program."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import aiosqlite

from service.store.sqlite.copying import CopyError
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.migrating import migrate, newest_version

Result = TypeVar("Result")

# Marks the file as ours ("HpCl"), so that another program's database is never migrated by mistake.
APPLICATION_ID = 0x4870436C
_WRITER_CACHE_KIB = 16_384
_READER_CACHE_KIB = 4_096
# Beyond, the WAL is cut off, and large transactions wait for that. The largest adds about 85 MiB: 20,000 users of a ledger of
# ten million, each on a page of its own.
MAX_WAL_BYTES = 33_554_432
# Long enough for a backup's last step, short enough that Heap hears 503 instead of waiting.
_BUSY_TIMEOUT_MS = 1_000
_MINIMUM_SQLITE = (3, 37, 0)
# Looking through so much takes about a second; damage to a larger file shows where it is met.
_MAX_CHECKED_BYTES = 33_554_432


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function on its thread.

    Each call through aiosqlite is a hop between threads, about 26 times the price of a direct one, and a transaction
    made of several awaits can be left half done by a cancellation. One function per transaction has neither fault.
    """

    async def run(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `function` returns when called with the SQLite connection on its own thread."""
        result: Result = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]
        return result


async def open_writer(database: Path) -> Connection:
    """Open the one connection that writes, and bring the schema up to date.

    Raises `StoreOpenError` when the file is not ours, is newer than this program, or a pragma did not take.
    """
    if sqlite3.sqlite_version_info < _MINIMUM_SQLITE:
        raise StoreOpenError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or newer is needed")
    try:
        connection = await _connect(str(database), uri=False)
    except (sqlite3.Error, OSError) as error:
        raise StoreOpenError(f"{database} cannot be opened: {error}") from error
    try:
        await connection.run(lambda opened: _prepare_writer(opened, database))
    except BaseException as error:
        await connection.close()
        if isinstance(error, CopyError):
            raise StoreOpenError(f"{database} needs a copy before its upgrade: {error}") from error
        if isinstance(error, sqlite3.Error):
            raise StoreOpenError(f"{database} cannot be opened: {error}") from error
        raise
    return connection


def connect_to_checkpoint(database: Path) -> sqlite3.Connection:
    """Open a connection that only brings back what the writer wrote from the WAL, for this thread; raises `sqlite3.Error`."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=_BUSY_TIMEOUT_MS / 1000)
    _set_pragma(connection, "synchronous", 2)
    _set_pragma(connection, "wal_autocheckpoint", 0)
    return connection


async def open_reader(database: Path) -> Connection:
    """Open a connection that cannot write.

    Raises `StoreOpenError` when there is no such store.
    """
    try:
        connection = await _connect(read_only_uri(database), uri=True)
    except sqlite3.Error as error:
        raise StoreOpenError(f"{database} cannot be read: {error}") from error
    try:
        await connection.run(_prepare_reader)
    except BaseException as error:
        await connection.close()
        if isinstance(error, sqlite3.Error):
            raise StoreOpenError(f"{database} cannot be read: {error}") from error
        raise
    return connection


def connect_to_read(database: Path, patience_seconds: float) -> sqlite3.Connection:
    """Open a file that must be there, for this thread, without writing to it; raises `sqlite3.Error`."""
    return sqlite3.connect(read_only_uri(database), uri=True, isolation_level=None, timeout=patience_seconds)


def read_only_uri(database: Path) -> str:
    """Return the URI by which SQLite opens a file that must be there, without writing to it."""
    return f"file:{quote(str(database.absolute()))}?mode=ro"


async def _connect(target: str, *, uri: bool) -> Connection:
    def connector() -> sqlite3.Connection:
        return sqlite3.connect(
            target, uri=uri, isolation_level=None, timeout=_BUSY_TIMEOUT_MS / 1000, cached_statements=256
        )

    connection = Connection(connector, iter_chunk_size=64)
    try:
        await connection
    except BaseException:
        # aiosqlite tells its thread to end and does not wait; the thread would then speak to a closed event loop.
        await asyncio.to_thread(connection._thread.join)  # noqa: SLF001
        raise
    return connection


def _prepare_writer(connection: sqlite3.Connection, database: Path) -> None:
    # First of all: the journal mode is written into the file, and another program's file is not ours to change.
    version = check_version(connection)
    _set_pragma(connection, "journal_mode", "wal")
    _set_pragma(connection, "synchronous", 2)
    _set_pragma(connection, "foreign_keys", 1)
    _set_pragma(connection, "cache_size", -_WRITER_CACHE_KIB)
    _set_pragma(connection, "temp_store", 2)
    _set_pragma(connection, "journal_size_limit", MAX_WAL_BYTES)
    # Checkpoints are the writer's alone (writer.py).
    _set_pragma(connection, "wal_autocheckpoint", 0)
    # What is deleted is overwritten: a person who is to be forgotten may be in any page.
    _set_pragma(connection, "secure_delete", 1)
    _check_damage(connection)
    migrate(connection, database, version=version, application_id=APPLICATION_ID)


def _check_damage(connection: sqlite3.Connection) -> None:
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_bytes > _MAX_CHECKED_BYTES:
        return
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreOpenError(f"the database is damaged; restore it from a backup: {' '.join(found.split())}")


def _prepare_reader(connection: sqlite3.Connection) -> None:
    _set_pragma(connection, "query_only", 1)
    _set_pragma(connection, "cache_size", -_READER_CACHE_KIB)
    _set_pragma(connection, "temp_store", 2)
    check_version(connection)


def _set_pragma(connection: sqlite3.Connection, name: str, value: str | int) -> None:
    connection.execute(f"PRAGMA {name} = {value}")
    actual = connection.execute(f"PRAGMA {name}").fetchone()[0]
    if actual != value:
        raise StoreOpenError(f"PRAGMA {name} is {actual!r} after being set to {value!r}; durability would not hold")


def check_version(connection: sqlite3.Connection) -> int:
    """Return the schema's version.

    Raises `StoreOpenError` when the file belongs to another program or to a newer version of this one.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID and (owner or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()):
        raise StoreOpenError("the database belongs to another program; set store.path to a file of its own")
    newest = newest_version()
    if version > newest:
        raise StoreOpenError(
            f"the database has schema {version}, this program knows schemas up to {newest}; run the newer version again"
        )
    return version
