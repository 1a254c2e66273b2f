"""Conditions in the store: their history, and the facts that only the store knows."""

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import msgspec

from service.clock import SteadyClock
from service.config.settings import AccountSettings
from service.errors import StoreUnavailableError
from service.model.conditions import Fact, RecordedCondition, of_difference
from service.model.lists import is_kept_back
from service.store.sqlite import queries
from service.store.sqlite.opening import Connection
from service.store.sqlite.rows import named_rows
from service.store.sqlite.writer import Writer

# What is missing, and what differs, is told as the pages of lists tell it.
_READ = queries.load("read")
_SQL = queries.load("conditions") | {name: _READ[name] for name in ("overdue_pages", "troubled_lists")}
# More lists than one store has: what is not read would be told as over.
_MAX_ROWS = 20_000
# As far back as syncs are looked at: a read every few seconds must not grow with the history.
_MAX_SYNCS = 5_000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
INCOMPLETE_AFTER_MS = _HOUR_MS
_INCOMPLETE_UNTIL_MS = 7 * _DAY_MS
_MISSING_UNTIL_MS = 7 * _DAY_MS
_MAX_AUDIT_ROWS = 5_000
_UNCOUNTED_AFTER_MS = _HOUR_MS
_OLD_AFTER_MS = 4 * _HOUR_MS
_UNFOLDED_AFTER_MS = 600_000
_MAX_NAMED_PAGES = 10
# The rhythm of a segment is learned from so many of its last syncs, if they reach back far enough: pressing "Sync now"
# a few times is no rhythm. It is late after twice its longest interval and an hour.
_RHYTHM_SYNCS = 16
_MIN_INTERVALS = 3
_MIN_RHYTHM_MS = 12 * _HOUR_MS
_LATE_FACTOR = 2
_LATE_MS = _HOUR_MS
_SILENT_UNTIL_MS = 14 * _DAY_MS


class ConditionLog:
    """Keeps when conditions began and ended, and reads what is so of lists and syncs."""

    def __init__(self, writer: Writer, reader: Connection, clock: SteadyClock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def lasting(self) -> list[RecordedCondition]:
        """Return the conditions that have not ended."""
        return await self._conditions("lasting", {})

    async def history(
        self,
        limit: int,
        *,
        kind: str | None = None,
        account: str | None = None,
        subject: str | None = None,
        list_id: int | None = None,
    ) -> list[RecordedCondition]:
        """Return the conditions that are over, the latest begun first."""
        values = {"limit": limit, "kind": kind, "account": account, "subject": subject, "list_id": list_id}
        return await self._conditions("history", values)

    async def record(
        self,
        begun: Collection[RecordedCondition],
        ended: Collection[RecordedCondition],
        changed: Collection[RecordedCondition],
    ) -> None:
        """Write what has begun, what has ended, and what is different by now; raises `StoreUnavailableError`."""
        rows = {
            statement: [msgspec.structs.asdict(each) for each in conditions]
            for statement, conditions in (("begin", begun), ("end", ended), ("change", changed))
        }

        def write(connection: sqlite3.Connection) -> None:
            for statement, values in rows.items():
                connection.executemany(_SQL[statement], values)

        await self._writer.run(write)

    async def facts(self, accounts: Mapping[str, AccountSettings]) -> list[Fact]:
        """Return what is so of the lists and syncs of these accounts; raises `StoreUnavailableError`."""
        # Pages have the time of the machine's clock; what the service did itself has that of the steady one.
        wall_ms, steady_ms = self._clock.wall_ms(), self._clock.now_ms()
        expected_ms = {
            name: round(account.expect_sync_hours * _HOUR_MS)
            for name, account in accounts.items()
            if account.expect_sync_hours
        }
        names = json.dumps(list(accounts))
        found: list[Fact] = await self._read(
            lambda connection: _facts(connection, names, wall_ms, steady_ms, expected_ms)
        )
        return found

    async def _conditions(self, statement: str, values: dict[str, Any]) -> list[RecordedCondition]:
        rows = await self._read(lambda connection: named_rows(connection.execute(_SQL[statement], values)))
        return msgspec.convert(rows, list[RecordedCondition])

    async def _read(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return await self._reader.run(function)
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error


def _facts(
    connection: sqlite3.Connection, accounts: str, now_ms: int, steady_ms: int, expected_ms: Mapping[str, int]
) -> list[Fact]:
    """Return what is so; `accounts` are the names of those configured, as JSON."""

    def rows(statement: str, **values: int) -> list[dict[str, Any]]:
        found = named_rows(connection.execute(_SQL[statement], {"accounts": accounts, **values}))
        return [row | {"subject": _subject(row, shared)} if "segment" in row else row for row in found]

    shared = {(account, name) for account, name in connection.execute(_SQL["shared_names"])}
    facts: list[Fact] = []
    for row in rows("troubled_lists", limit=_MAX_ROWS):
        facts += _facts_of_list(row)
    incomplete = {"before_ms": now_ms - INCOMPLETE_AFTER_MS, "after_ms": now_ms - _INCOMPLETE_UNTIL_MS}
    facts += [_incomplete(connection, row) for row in rows("overdue_pages", limit=_MAX_ROWS, **incomplete)]
    facts += [
        Fact("changes_old", row["account"], "", f"for {_hours(now_ms - row['since_ms'])}")
        for row in rows("oldest", before_ms=now_ms - _OLD_AFTER_MS)
    ]
    facts += [
        Fact("users_unusable", row["account"], row["subject"], people=row["users"], list_id=row["list_id"])
        for row in rows("unusable", limit=_MAX_ROWS)
    ]
    facts += [
        Fact("account_not_configured", row["account"], people=row["owed"])
        for row in rows("not_configured", limit=_MAX_ROWS)
    ]
    facts += [
        Fact("pages_missing", detail=f"{row['pages']:,} in the last week")
        for row in rows("pages_missing", rows=_MAX_AUDIT_ROWS, after_ms=now_ms - _MISSING_UNTIL_MS)
        if row["pages"]
    ]
    facts += [
        Fact("import_in_doubt", row["account"], "", row["doubt"], row["contacts"]) for row in rows("imports_in_doubt")
    ]
    facts += [Fact("contacts_in_doubt", row["account"], people=row["contacts"]) for row in rows("contacts_in_doubt")]
    facts += [
        Fact("members_differed", row["account"], row["subject"], people=row["contacts"], list_id=row["list_id"])
        for row in rows("members_differed", limit=_MAX_ROWS)
    ]
    facts += [
        Fact(
            "removals_held",
            row["account"],
            row["subject"],
            f"sync {row['sync_id']} would remove {row['removals']:,} of {row['members']:,} people",
            row["removals"],
            row["list_id"],
        )
        for row in rows("removals_held", limit=_MAX_ROWS)
    ]
    facts += [
        Fact("pages_stuck", row["account"], row["subject"], list_id=row["list_id"])
        for row in rows("unfolded", before_ms=now_ms - _UNFOLDED_AFTER_MS, limit=_MAX_ROWS)
    ]
    uncounted = {"syncs": _MAX_SYNCS, "before_ms": steady_ms - _UNCOUNTED_AFTER_MS, "limit": _MAX_ROWS}
    facts += [
        Fact("list_not_counted", row["account"], row["subject"], list_id=row["list_id"])
        for row in rows("not_counted", **uncounted)
    ]
    rhythm = rows("rhythm", syncs=_MAX_SYNCS, most=_RHYTHM_SYNCS)
    for _, latest_first in groupby(rhythm, key=lambda row: row["list_id"]):
        latest, *earlier = latest_first
        if late := _lateness(latest, [row["first_received_at_ms"] for row in earlier], now_ms, expected_ms):
            facts.append(Fact("heap_silent", latest["account"], latest["subject"], late, list_id=latest["list_id"]))
    return facts


def _incomplete(connection: sqlite3.Connection, row: Mapping[str, Any]) -> Fact:
    received = {number for (number,) in connection.execute(_SQL["pages"], {"sync_id": row["id"]})}
    missing = [number for number in range(1, row["total_pages"] + 1) if number not in received]
    named = ", ".join(map(str, missing[:_MAX_NAMED_PAGES])) + (" …" if len(missing) > _MAX_NAMED_PAGES else "")
    which = (
        f"page {named} of {row['total_pages']} is"
        if len(missing) == 1
        else f"pages {named} of {row['total_pages']} are"
    )
    return Fact("sync_incomplete", row["account"], row["subject"], f"{which} missing", list_id=row["list_id"])


def _lateness(
    latest: Mapping[str, Any], earlier_ms: Sequence[int], now_ms: int, expected_ms: Mapping[str, int]
) -> str | None:
    """Return in words how late a segment is, None if it is not.

    The time that the service did not run does not count: nothing could come then.
    """
    began_at_ms = [latest["first_received_at_ms"], *earlier_ms]
    silent_ms = min(now_ms - began_at_ms[0], latest["lived_since_ms"] or 0)
    expected = expected_ms.get(latest["account"])
    if expected is None:
        if len(earlier_ms) < _MIN_INTERVALS or began_at_ms[0] - began_at_ms[-1] < _MIN_RHYTHM_MS:
            return None
        expected = max(later - earlier for later, earlier in pairwise(began_at_ms))
        is_late = silent_ms > _LATE_FACTOR * expected + _LATE_MS
    else:
        is_late = silent_ms > expected + _LATE_MS
    if not is_late or silent_ms > _SILENT_UNTIL_MS:
        return None
    return f"nothing for {_hours(silent_ms)}, expected every {_hours(expected)}"


def _facts_of_list(row: dict[str, Any]) -> list[Fact]:
    def fact(kind: str, detail: str, people: int = 0) -> Fact:
        return Fact(kind, row["account"], row["subject"], detail, people, row["id"])

    facts = []
    if row["list_state"] == "held":
        kind = "list_awaits_approval" if row["awaits_approval"] else "list_held"
        facts.append(fact(kind, row["list_reason"], row["owed"]))
    elif row["list_state"] != "ready":
        if row["owed"] and is_kept_back(row["list_reason"]):
            facts.append(fact("list_not_ready", row["list_reason"], row["owed"]))
    elif difference := row["unexplained"]:
        detail = f"Cordial counts {row['list_count']:,}, {row['confirmed']:,} are confirmed"
        if row["remove_failed"]:
            detail += f", {row['remove_failed']:,} could not be removed"
        facts.append(fact(of_difference(difference), detail, abs(difference)))
    if row["unnamed"]:
        settled = row["confirmed"] + row["unnamed"]
        facts.append(fact("rows_unnamed", f"{row['unnamed']:,} of {settled:,}", row["unnamed"]))
    if row["dead"]:
        facts.append(fact("people_failed", "", row["dead"]))
    return facts


def _subject(row: Mapping[str, Any], shared: Collection[tuple[str, str]]) -> str:
    """Return what people call a segment: its name, or the list's where several segments of the account share the name."""
    is_shared = (row["account"], row["segment"]) in shared
    return str((is_shared and row["list_name"]) or row["segment"])


def _hours(milliseconds: int) -> str:
    return f"{milliseconds / _HOUR_MS:.1f} h"
