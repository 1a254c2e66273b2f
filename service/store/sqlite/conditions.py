"""Conditions in the store: their history, and the facts that only the store knows."""

import sqlite3
from collections.abc import Callable, Collection
from itertools import groupby, pairwise
from typing import Any

import msgspec

from service.errors import StoreUnavailableError
from service.model.conditions import Fact, RecordedCondition
from service.store.sqlite import queries
from service.store.sqlite.opening import Connection
from service.store.sqlite.rows import named_rows
from service.store.sqlite.writer import Writer

_SQL = queries.load("conditions")
_MAX_ROWS = 1_000
# As far back as the rhythm of a segment is looked for.
_MAX_SYNCS = 5_000
_INCOMPLETE_AFTER_MS = 3_600_000
_OLD_AFTER_MS = 6 * 3_600_000
# So many times its longest interval of late, and at least an hour more, a segment may be late.
_LATE_FACTOR = 2
_LATE_MS = 3_600_000
_FEWEST_INTERVALS = 2


class ConditionLog:
    """Keeps when conditions began and ended, and reads what is so of lists and syncs."""

    def __init__(self, writer: Writer, reader: Connection, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._reader = reader
        self._now_ms = now_ms

    async def lasting(self) -> list[RecordedCondition]:
        """Return the conditions that have not ended."""
        return await self._conditions("lasting", {})

    async def history(self, limit: int) -> list[RecordedCondition]:
        """Return the conditions that are over, the latest begun first."""
        return await self._conditions("history", {"limit": limit})

    async def record(self, begun: Collection[RecordedCondition], ended: Collection[RecordedCondition]) -> None:
        """Write what has begun and what has ended; raises `StoreUnavailableError`."""
        rows = [msgspec.structs.asdict(each) for each in begun], [msgspec.structs.asdict(each) for each in ended]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_SQL["begin"], rows[0])
            connection.executemany(_SQL["end"], rows[1])

        await self._writer.run(write)

    async def facts(self, accounts: Collection[str]) -> list[Fact]:
        """Return what is so of the lists and syncs of these accounts; raises `StoreUnavailableError`."""
        now_ms = self._now_ms()
        found = await self._read(lambda connection: _facts(connection, now_ms))
        return [fact for fact in found if fact.account in accounts]

    async def _conditions(self, statement: str, values: dict[str, Any]) -> list[RecordedCondition]:
        rows = await self._read(lambda connection: named_rows(connection.execute(_SQL[statement], values)))
        return msgspec.convert(rows, list[RecordedCondition])

    async def _read(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return await self._reader.run(function)
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error


def _facts(connection: sqlite3.Connection, now_ms: int) -> list[Fact]:
    facts: list[Fact] = []
    for row in named_rows(connection.execute(_SQL["lists"], {"limit": _MAX_ROWS})):
        facts += _facts_of_list(row)
    values = {"before_ms": now_ms - _INCOMPLETE_AFTER_MS, "limit": _MAX_ROWS}
    facts += [
        Fact(
            "sync_incomplete",
            row["account"],
            row["segment"],
            f"{row['pages_received']} of {row['total_pages']} pages have come",
        )
        for row in named_rows(connection.execute(_SQL["incomplete"], values))
    ]
    facts += [
        Fact("changes_old", row["account"], "", f"for {(now_ms - row['since_ms']) / 3_600_000:.1f} h")
        for row in named_rows(connection.execute(_SQL["oldest"], {"before_ms": now_ms - _OLD_AFTER_MS}))
    ]
    facts += [
        Fact("users_unusable", row["account"], row["segment"], f"{row['rejected']:,} in its last sync")
        for row in named_rows(connection.execute(_SQL["unusable"], {"syncs": _MAX_SYNCS}))
    ]
    rhythm = named_rows(connection.execute(_SQL["rhythm"], {"syncs": _MAX_SYNCS}))
    for (account, segment), rows in groupby(rhythm, key=lambda row: (row["account"], row["segment"])):
        began_at = [row["first_received_at_ms"] for row in rows]
        intervals = [later - earlier for later, earlier in pairwise(began_at)]
        if len(intervals) < _FEWEST_INTERVALS:
            continue
        silent_ms = now_ms - began_at[0]
        if silent_ms > _LATE_FACTOR * max(intervals) + _LATE_MS:
            detail = f"silent for {silent_ms / 3_600_000:.1f} h, before it came at least every {max(intervals) / 3_600_000:.1f} h"
            facts.append(Fact("heap_silent", account, segment, detail))
    return facts


def _facts_of_list(row: dict[str, Any]) -> list[Fact]:
    account, subject = row["account"], row["list_name"] or row["segment"]
    facts = []
    if row["list_state"] == "held":
        facts.append(
            Fact(
                "list_awaits_approval" if row["awaits_approval"] else "list_held", account, subject, row["list_reason"]
            )
        )
    elif row["list_state"] != "ready" and row["pending"] + row["waiting"]:
        facts.append(Fact("list_not_ready", account, subject, row["list_reason"]))
    elif row["list_state"] == "ready" and _differs(row):
        detail = f"Cordial counts {row['list_count']:,}, {row['settled']:,} are confirmed"
        facts.append(Fact("list_differs", account, subject, detail))
    if row["dead"]:
        facts.append(
            Fact("people_failed", account, subject, f"{row['dead']:,} {'person' if row['dead'] == 1 else 'people'}")
        )
    return facts


def _differs(row: dict[str, Any]) -> bool:
    # Changes that wait explain a difference.
    return row["list_count"] not in {None, row["settled"]} and not row["pending"] + row["waiting"]
