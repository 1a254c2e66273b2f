"""Copies of a database file: whole or not there at all, and for their owner's eyes alone."""

import contextlib
import os
import shutil
import sqlite3
import time
from pathlib import Path

from service.store.sqlite.files import sync_to_disk
from service.store.sqlite.rows import one_moment

# What else may be written to the disk while a copy is made.
_SPARE_BYTES = 16_777_216
# 1 MiB, and then the processor and the disk to others: on the smallest host, answers are to be given meanwhile.
_PAGES_AT_ONCE = 256
_PAUSE_SECONDS = 0.005


class CopyError(Exception):
    """The copy could not be made; the message says why and what to do. Nothing is left of it."""


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Write what `connection` sees of its database, as of one instant, to `target`, which it replaces once it is complete.

    Others may write to the database meanwhile. The copy is on disk when this returns and needs no WAL beside it.

    Raises `CopyError` when there is no room, when another copy is being made to the same place, or when either file fails.
    """
    _require_room(connection, target)
    partial = partial_copy(target)
    try:
        # Made by us, because SQLite would let everybody read it.
        os.close(os.open(partial, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise CopyError(f"{partial} exists already; remove it if no other copy is running") from None
    except OSError as error:
        raise CopyError(f"{partial} cannot be written: {error.strerror}") from error
    try:
        _copy_pages(connection, partial)
        sync_to_disk(partial)
        partial.replace(target)
        sync_to_disk(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise CopyError(f"{target} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def partial_copy(target: Path) -> Path:
    """Return the file that holds a copy until it is complete; a crash leaves it behind."""
    return target.with_name(f"{target.name}.partial")


def _copy_pages(connection: sqlite3.Connection, partial: Path) -> None:
    with contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        # Nothing to come back to, and synced to disk as a whole afterwards.
        copy.execute("PRAGMA journal_mode = off")
        copy.execute("PRAGMA synchronous = 0")
        # One instant: without a transaction around all steps, the next write would have the copy begun anew.
        with one_moment(connection):
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
            connection.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda *_: time.sleep(_PAUSE_SECONDS))
        copy.execute("PRAGMA journal_mode = delete")


def _require_room(connection: sqlite3.Connection, target: Path) -> None:
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    needed_bytes = pages * page_bytes + _SPARE_BYTES
    try:
        free_bytes = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise CopyError(f"{target.parent} cannot be written: {error.strerror}") from error
    if free_bytes < needed_bytes:
        raise CopyError(
            f"the copy {target} needs {_megabytes(needed_bytes)}, and {_megabytes(free_bytes)} are free there; make room"
        )


def _megabytes(number_bytes: int) -> str:
    return f"{-(-number_bytes // 1_000_000):,} MB"
