"""Backups of the store, taken while the service runs, and the way back from one.

Everything here blocks: it is for commands, not for the service.
"""

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from service.store.sqlite import opening, queries
from service.store.sqlite.copying import CopyError, copy_database, partial_copy
from service.store.sqlite.files import ProcessLock, StoreOpenError, make_folder, mark_file, sync_to_disk

_SQL = queries.load("backup")
# A service that writes much holds a lock for no longer than this.
_PATIENCE_SECONDS = 10.0


class BackupError(Exception):
    """A backup could not be taken or put back; the message says why. The store is as it was."""


class Contents(msgspec.Struct, frozen=True):
    """What a store file holds: users wanted on lists, changes and users not settled, when its last page came (or None)."""

    size_bytes: int
    schema: int
    members: int
    unsettled: int
    last_page_at: datetime | None


def take_backup(database: Path, target: Path) -> Contents:
    """Copy the store to a new file, whether the service runs or not, and return what the copy holds.

    The copy is of one instant and was read through once. Memory does not grow with the file. Raises `BackupError`; a file
    that is there already is never written over.
    """
    if target.exists():
        raise BackupError(f"{target} exists already; give a new file name")
    try:
        with contextlib.closing(opening.connect_to_read(database, _PATIENCE_SECONDS)) as connection:
            opening.check_version(connection)
            copy_database(connection, target)
        try:
            return _examine(target)
        except BaseException:
            target.unlink()
            raise
    except (CopyError, StoreOpenError, sqlite3.Error, OSError) as error:
        raise BackupError(f"{database} was not backed up: {error}") from error


class Restored(msgspec.Struct, frozen=True):
    """What a restored store holds, and where the one lies that was there before (None: there was none)."""

    contents: Contents
    replaced: Path | None


def restore_backup(database: Path, source: Path, *, force: bool = False) -> Restored:
    """Put a backup in the store's place, and keep what was there beside it as `….replaced-TIME`.

    The backup is copied, read through, and renamed into place: a crash leaves the old store or the new one. It may be of
    an older schema, which the next start upgrades. Raises `BackupError` when the service runs, when the backup is damaged,
    newer than this program or another program's, and when there is a store already and `force` is not given.
    """
    there_already = database.exists() and database.stat().st_size > 0
    if there_already and not force:
        raise BackupError(
            f"there is a store at {database} already; with --force it is replaced and kept beside the new one"
        )
    if not source.is_file():
        raise BackupError(f"there is no backup {source}")
    try:
        _make_folder(database.parent)
        # Makes an empty file where there is none, to have something to lock.
        lock = ProcessLock(database)
    except (OSError, StoreOpenError) as error:
        raise BackupError(f"nothing was restored: {error}") from error
    try:
        return _restore(database, source, keep=there_already)
    except (CopyError, StoreOpenError, sqlite3.Error, OSError) as error:
        raise BackupError(f"{source} was not restored: {error}") from error
    finally:
        lock.release()


def _restore(database: Path, source: Path, *, keep: bool) -> Restored:
    # The file itself where the path is a link: what is put in its place must not replace the link.
    database = database.resolve()
    incoming = database.with_name(f"{database.name}.restored")
    for leftover in (incoming, partial_copy(incoming)):
        leftover.unlink(missing_ok=True)
    try:
        with contextlib.closing(opening.connect_to_read(source, _PATIENCE_SECONDS)) as connection:
            if opening.check_version(connection) == 0:
                raise BackupError(f"{source} is empty")  # noqa: TRY301  it cleans up like any other failure
            copy_database(connection, incoming)
        contents = _examine(incoming)
        _take_after(incoming, database)
        replaced = _set_aside(database) if keep else None
        _without_wal(database)
        # What it says is of the store that is replaced.
        mark_file(database).unlink(missing_ok=True)
        sync_to_disk(database.parent)
        incoming.replace(database)
        sync_to_disk(database.parent)
    except BaseException:
        if not keep:
            database.unlink(missing_ok=True)
        raise
    finally:
        incoming.unlink(missing_ok=True)
    return Restored(contents, replaced)


def _make_folder(folder: Path) -> None:
    """Make a folder where there is none; root makes it for whoever owns the one above."""
    if not folder.exists():
        make_folder(folder)
        if os.geteuid() == 0:
            owner = folder.parent.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)


def _take_after(incoming: Path, database: Path) -> None:
    """Give the new file the owner and mode of the one it replaces; of an empty one, made by us, those of the folder's owner.

    Whoever restores is often root, and the service is not: it could not open root's file.
    """
    there = database.stat()
    owner = there if there.st_size else database.parent.stat()
    incoming.chmod(there.st_mode & 0o7777)
    if (owner.st_uid, owner.st_gid) != (incoming.stat().st_uid, incoming.stat().st_gid):
        os.chown(incoming, owner.st_uid, owner.st_gid)
    sync_to_disk(incoming)


def _set_aside(database: Path) -> Path:
    """Give the store, with what a crash may have left in its WAL, a second name; the first is then free to be replaced."""
    # A damaged file cannot take its WAL in; then both are kept.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    aside = database.with_name(f"{database.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    os.link(database, aside)
    wal = _beside(database, "-wal")
    if wal.exists():
        os.link(wal, _beside(aside, "-wal"))
    return aside


def _without_wal(database: Path) -> None:
    """Remove what belongs to the file that was there: SQLite would play it into the new one."""
    for suffix in ("-wal", "-shm"):
        _beside(database, suffix).unlink(missing_ok=True)


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _examine(file: Path) -> Contents:
    """Read a file through and return what it holds; raises `StoreOpenError` when it is damaged."""
    with contextlib.closing(opening.connect_to_read(file, _PATIENCE_SECONDS)) as connection:
        schema = opening.check_version(connection)
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreOpenError(f"it is damaged: {' '.join(found.split())}")
        members, unsettled, last_ms = connection.execute(_SQL["contents"]).fetchone()
        if connection.execute(_SQL["guards"]).fetchone()[0]:
            unsettled += connection.execute(_SQL["guarded_users"]).fetchone()[0]
    last = None if last_ms is None else datetime.fromtimestamp(last_ms / 1000, UTC)
    return Contents(file.stat().st_size, schema, members, unsettled, last)
