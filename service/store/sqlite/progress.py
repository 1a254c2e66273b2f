"""Reading what is going on, for those who look from outside; opens the file read-only, so it never disturbs."""

import sqlite3
from pathlib import Path

import msgspec

from service.model.conditions import RecordedCondition
from service.model.lists import Segment
from service.store.sqlite import opening, queries
from service.store.sqlite.loading import read_segments
from service.store.sqlite.rows import named_rows

_CONDITIONS = queries.load("conditions")
_LISTS = queries.load("lists")
_PROGRESS = queries.load("progress")
_MOST_SYNCS = 20
_MOST_FAILURE_GROUPS = 50


class AccountProgress(msgspec.Struct, frozen=True):
    """An account and what its sending was last known to be doing; `in_doubt` contacts are still to be read back."""

    id: int
    name: str
    state: str
    reason: str
    since_ms: int
    next_call_at_ms: int
    in_doubt: int


class SyncProgress(msgspec.Struct, frozen=True):
    """One sync and how far it has come; `changes` = pending + settled + dead + superseded."""

    id: int
    account: str
    segment: str
    list_name: str
    task_id: str
    action: str
    pages_received: int
    total_pages: int
    added: int
    removed: int
    rejected: int
    duplicates: int
    unfolded: int
    changes: int
    pending: int
    settled: int
    dead: int
    superseded: int
    first_received_at_ms: int
    last_received_at_ms: int
    drained_at_ms: int | None


class FailureGroup(msgspec.Struct, frozen=True):
    """Changes of one list that fail for one reason; `message` is one of Cordial's answers."""

    account: str
    list_name: str
    reason: str
    dead: bool
    changes: int
    message: str
    since_ms: int


class ImportProgress(msgspec.Struct, frozen=True):
    """An import that is not over; `job_id` is empty while Cordial has no job of it."""

    account: str
    state: str
    contacts: int
    settled: int
    released: int
    list_names: str
    job_id: str
    started_at_ms: int


class Overview(msgspec.Struct, frozen=True):
    """Everything the status shows; `conditions` as the service last recorded them."""

    conditions: list[RecordedCondition]
    accounts: list[AccountProgress]
    segments: list[Segment]
    syncs: list[SyncProgress]
    failures: list[FailureGroup]
    inbox_users: int
    imports: list[ImportProgress]


async def read_overview(database: Path) -> Overview:
    """Read the store at `database`.

    Raises `StoreOpenError` when there is none, or it is not ours to read.
    """
    connection = await opening.open_reader(database)
    try:
        return await connection.run(_overview)
    finally:
        await connection.close()


def _failure_group(  # noqa: PLR0917  the columns of a row
    account: str, list_name: str, reason: str, dead: int, changes: int, message: str, since_ms: int
) -> FailureGroup:
    return FailureGroup(account, list_name, reason, bool(dead), changes, message, since_ms)


def _overview(connection: sqlite3.Connection) -> Overview:
    connection.execute("BEGIN")
    syncs = connection.execute(_PROGRESS["recent_syncs"], {"limit": _MOST_SYNCS}).fetchall()
    failures = connection.execute(_PROGRESS["failure_groups"], {"limit": _MOST_FAILURE_GROUPS}).fetchall()
    lasting = named_rows(connection.execute(_CONDITIONS["lasting"]))
    overview = Overview(
        conditions=msgspec.convert(lasting, list[RecordedCondition]),
        accounts=[AccountProgress(*row) for row in connection.execute(_LISTS["accounts"])],
        segments=read_segments(connection),
        syncs=[SyncProgress(*row) for row in syncs],
        failures=[_failure_group(*row) for row in failures],
        inbox_users=connection.execute(_LISTS["unfolded_users"]).fetchone()[0],
        imports=[ImportProgress(*row) for row in connection.execute(_PROGRESS["open_imports"])],
    )
    connection.execute("COMMIT")
    return overview
