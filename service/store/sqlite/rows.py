"""Reading: all of one moment, and rows as people's views, by the names of their columns, times as moments in UTC."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

View = TypeVar("View", bound=msgspec.Struct)


@contextlib.contextmanager
def one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all that is read in the block be of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def named_rows(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    """Return the rows by the names of their columns; a column `…_at`, `…_since` or `at` becomes a moment in UTC."""
    names = [column[0] for column in cursor.description]
    return [{name: _value(name, value) for name, value in zip(names, row, strict=True)} for row in cursor]


def as_views(rows: list[dict[str, Any]], view: type[View]) -> list[View]:
    """Return rows as views."""
    # Not strict: SQLite has no booleans, only 0 and 1.
    return msgspec.convert(rows, list[view], strict=False)  # type: ignore[valid-type]


def _value(name: str, value: Any) -> Any:
    if value is not None and (name == "at" or name.endswith(("_at", "_since"))):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value
