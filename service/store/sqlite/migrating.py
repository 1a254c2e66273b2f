"""Bringing an older file up to this program's schema: forward only, all of it or nothing, and never without a copy."""

import contextlib
import re
import sqlite3
from pathlib import Path

import structlog

from service.store.sqlite import queries
from service.store.sqlite.copying import copy_database, partial_copy

log = structlog.get_logger()

# Older ones are of use to nobody, and hold people's ids.
_MAX_COPIES = 3


def newest_version() -> int:
    """Return the version of the schema that this program works with."""
    return queries.migrations()[-1][0]


def migrate(connection: sqlite3.Connection, database: Path, *, version: int, application_id: int) -> None:
    """Bring a file of an older schema, 0 for an empty one, up to date, and mark it with the application's id.

    It is one transaction: a crash leaves the file as the older program wrote it. A file that has been used is copied to
    `copy_before` first, so that the older program can be gone back to.

    Raises `CopyError` when that copy cannot be made, and `sqlite3.Error`; the file is as it was then.
    """
    newest = newest_version()
    if version == newest:
        return
    if version:
        _copy_first(connection, database, newest)
    scripts = [script for number, script in queries.migrations() if number > version]
    marks = [f"PRAGMA application_id = {application_id};", f"PRAGMA user_version = {newest};"]
    try:
        connection.executescript("\n".join(["BEGIN IMMEDIATE;", *scripts, *marks, "COMMIT;"]))
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    if version:
        log.info("store.upgraded", from_schema=version, to_schema=newest)


def copy_before(database: Path, version: int) -> Path:
    """Return where the copy lies that was made before a file got schema `version`."""
    return database.with_name(f"{database.name}.before-schema-{version}")


def copies_before(database: Path) -> list[Path]:
    """Return the copies made before upgrades, the oldest schema first."""
    pattern = re.compile(re.escape(database.name) + r"\.before-schema-(\d+)")
    found = [(match, path) for path in database.parent.iterdir() if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found)]


def _copy_first(connection: sqlite3.Connection, database: Path, newest: int) -> None:
    target = copy_before(database, newest)
    # Left behind by a crash: nobody else makes copies here, for the caller holds the store's lock.
    partial_copy(target).unlink(missing_ok=True)
    copy_database(connection, target)
    log.info("store.copied_before_upgrade", copy=str(target), to_schema=newest)
    for old in copies_before(database)[:-_MAX_COPIES]:
        old.unlink(missing_ok=True)
        log.info("store.old_copy_removed", copy=str(old))
