"""Accounts and segments read as a whole: what the store holds in memory beside the file, and for who looks from outside."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from service.model.lists import Segment
from service.store.sqlite import opening, queries

_LISTS = queries.load("lists")


class Owed(NamedTuple):
    """What one segment owes: changes that may be sent, or wait for a retry, and users not folded yet, or set aside first."""

    segment_id: int
    account: str
    pending: int
    waiting: int
    unfolded: int
    guarded: int


def add_accounts(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, int]:
    """Add those accounts that are new; return the ids of all that the store knows, by name."""
    connection.executemany(_LISTS["add_account"], [{"name": name} for name in names])
    return {name: account_id for account_id, name, *_ in connection.execute(_LISTS["accounts"])}


def read_backlog(connection: sqlite3.Connection) -> list[Owed]:
    """Return what each segment owes."""
    return [Owed(*row) for row in connection.execute(_LISTS["owed_by_segment"])]


def last_delivery(connection: sqlite3.Connection) -> int:
    """Return the id of the last delivery that was ever kept, 0 if none was."""
    last: int = connection.execute(_LISTS["last_delivery"]).fetchone()[0]
    return last


def read_segments(connection: sqlite3.Connection) -> list[Segment]:
    """Return every segment."""
    fields = Segment.__struct_fields__
    rows = connection.execute(_LISTS["segments"])
    return [msgspec.convert(dict(zip(fields, row, strict=True)), Segment) for row in rows]


async def read_segments_of(database: Path) -> list[Segment]:
    """Return every segment of the store at `database`; raises `StoreOpenError` when there is none, or it is not ours."""
    connection = await opening.open_reader(database)
    try:
        return await connection.run(read_segments)
    finally:
        await connection.close()


def list_values(segment: Segment) -> dict[str, Any]:
    """Return what a segment says of its list, for the statement that records it."""
    return {
        "segment_id": segment.id,
        "state": segment.list_state.value,
        "held_for": segment.list_held_for and segment.list_held_for.value,
        "list_name": segment.list_name,
        "list_id": segment.list_id,
        "home": segment.list_home,
        "reason": segment.list_reason,
        "named_after": segment.list_named_after,
        "ids_before": segment.list_ids_before,
        "asked_at_ms": segment.list_asked_at_ms,
    }
