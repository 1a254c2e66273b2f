"""Reading for people: pages of what is kept, on connections of its own that cannot write and never read for long."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from service.clock import SteadyClock
from service.errors import ErrorCode, ServiceError
from service.model.accounts import PAUSED_BY_OPERATOR
from service.model.changes import MemberState
from service.model.conditions import RecordedCondition
from service.model.deliveries import Action
from service.model.imports import ImportSort, ImportState, ImportView, Journey
from service.model.lists import ListState
from service.model.views import (
    AuditView,
    DeliveryView,
    FailureGroupView,
    FailureSort,
    FailureView,
    HeldRemovals,
    ListSort,
    ListStanding,
    ListSum,
    MemberRow,
    MemberSlice,
    MemberView,
    Minute,
    MissingPages,
    OwedView,
    RecordedAccount,
    SegmentView,
    SyncSort,
    SyncState,
    SyncView,
    UnusableView,
)
from service.store.sqlite import opening, queries
from service.store.sqlite.conditions import INCOMPLETE_AFTER_MS
from service.store.sqlite.imports import read_imports, read_journey
from service.store.sqlite.ledger import NEVER_MS
from service.store.sqlite.opening import Connection
from service.store.sqlite.rows import View, as_views, named_rows

Result = TypeVar("Result")

_SQL = queries.load("read")
_LISTS = queries.load("lists")
_CONDITIONS = queries.load("conditions")
_TIME_LIMIT_SECONDS = 2.0
_INSTRUCTIONS_BETWEEN_LOOKS = 20_000
_MAX_WAITING = 64
_RETRY_AFTER_SECONDS = 5
_LARGEST_ID = 2**63 - 1
_MAX_GROUPS = 200
# Rows of the ledger, of whichever list, that one slice of members looks at.
_SLICE_ROWS = 20_000
# The states of syncs that all come first where trouble does.
_FIRST_STATES = {
    SyncState.HELD,
    SyncState.FAILED,
    SyncState.SEARCHING,
    SyncState.QUEUED,
    SyncState.SENDING,
    SyncState.WAITING,
}
# Of whom a held sync would remove.
_FIRST_REMOVALS = 10


class Reader:
    """Answers questions about the store at a path; made by `Reader.open`.

    Everything that returns a list takes `after`, the id of the last row of the page before, and `limit`, the most rows
    to return. Each method raises `ServiceError` (`STORE_UNAVAILABLE`, 503) when its query takes longer than the time
    limit or the file cannot be read.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        stack: contextlib.AsyncExitStack,
        clock: SteadyClock,
        time_limit_seconds: float,
    ) -> None:
        self._stack = stack
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._watching = connections[0]
        self._clock = clock
        self._time_limit_seconds = time_limit_seconds
        self._waiting = 0

    @classmethod
    async def open(
        cls,
        database: Path,
        clock: SteadyClock | None = None,
        *,
        connections: int = 2,
        time_limit_seconds: float = _TIME_LIMIT_SECONDS,
    ) -> "Reader":
        """Open the store at `database`; raises `StoreOpenError` when there is none, or it is not ours.

        `clock`: the one of the service that writes it, for moments that are waited for.
        """
        async with contextlib.AsyncExitStack() as stack:
            opened: list[Connection] = []
            for _ in range(connections):
                connection = await opening.open_reader(database)
                stack.push_async_callback(connection.close)
                opened.append(connection)
            return cls(opened, stack.pop_all(), clock or SteadyClock(), time_limit_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()

    async def syncs(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: SyncState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SyncView]:
        """Return syncs, the newest first."""
        values = {"account": account, "list_id": list_id, "state": state and state.value}
        return await self._run(
            lambda connection: _syncs(connection, "syncs", _newest(after, limit) | values | self._times())
        )

    async def sorted_syncs(
        self,
        *,
        sort: SyncSort,
        account: str | None = None,
        list_id: int | None = None,
        state: SyncState | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[SyncView]:
        """Return syncs in some order, without the first `offset` of them."""
        values = {"sort": sort.value, "account": account, "list_id": list_id, "state": state and state.value}
        page = {"offset": offset, "limit": limit}
        return await self._run(lambda connection: _sorted_syncs(connection, values | page | self._times()))

    async def sync_states(self, *, account: str | None = None, list_id: int | None = None) -> dict[SyncState, int]:
        """Return how many syncs are in each state, but for those that are done or discarded."""
        values = {"account": account, "list_id": list_id, **self._times()}
        rows = await self._run(lambda connection: connection.execute(_SQL["sync_states"], values).fetchall())
        return {SyncState(state): number for state, number in rows}

    async def sync(self, sync_id: int) -> SyncView | None:
        """Return one sync."""
        values = {**_only(sync_id), "account": None, "list_id": None, "state": None, **self._times()}
        return await self._run(lambda connection: _one(_syncs(connection, "syncs", values)))

    async def held_removals(self, sync_id: int) -> HeldRemovals | None:
        """Return what a sync removes, as it was judged."""
        sync = await self.sync(sync_id)
        if sync is None:
            return None
        values = {"sync_id": sync_id, "list_id": sync.list_id, "rows": _SLICE_ROWS, "limit": _FIRST_REMOVALS}
        statement = "first_members" if sync.action == Action.DRAIN else "first_removals"

        def read(connection: sqlite3.Connection) -> HeldRemovals:
            [row] = named_rows(connection.execute(_SQL["held_removals"], values))
            first = []
            if sync.state in {SyncState.HELD, SyncState.QUEUED, SyncState.RECEIVING}:
                first = [contact for (contact,) in connection.execute(_SQL[statement], values)]
            return HeldRemovals(sync_id, sync.state, sync.removals, sync.removals_of, **row, first=first)

        return await self._run(read)

    async def segments(
        self,
        *,
        account: str | None = None,
        state: ListState | None = None,
        standing: ListStanding | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SegmentView]:
        """Return segments and their lists, the oldest first; `search` is a part of a name, or Heap's segment id."""
        values = _list_filters(account, state, standing, search)
        page = {"first": (after or 0) + 1, "last": _LARGEST_ID, "sort": None, "sign": 1, "offset": 0, "limit": limit}
        return await self._run(
            lambda connection: _views(connection, "lists", SegmentView, page | values | self._times())
        )

    async def lists(
        self,
        *,
        sort: ListSort,
        reverse: bool = False,
        account: str | None = None,
        state: ListState | None = None,
        standing: ListStanding | None = None,
        search: str | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[SegmentView]:
        """Return lists in some order, without the first `offset` of them."""
        values = _list_filters(account, state, standing, search)
        order = {"sort": sort.value, "sign": -1 if reverse else 1}
        page = {"first": 1, "last": _LARGEST_ID, "offset": offset, "limit": limit}
        shown = page | order | values | self._times()
        return await self._run(lambda connection: _views(connection, "lists", SegmentView, shown))

    async def standings(
        self, *, account: str | None = None, state: ListState | None = None, search: str | None = None
    ) -> dict[ListStanding, int]:
        """Return how many lists stand how."""
        values = {"account": account, "state": state and state.value, "search": search}
        rows = await self._run(lambda connection: connection.execute(_SQL["standings"], values).fetchall())
        return {ListStanding(standing): number for standing, number in rows}

    async def list_sum(self, list_id: int) -> ListSum | None:
        """Return where the users are that Heap named for a list."""
        return await self._run(lambda connection: _list_sum(connection, {"list_id": list_id}))

    async def minutes(self, since: datetime, step_minutes: int) -> list[Minute]:
        """Return what happened since then, one for each step, the oldest first."""
        values = {"since_ms": round(since.timestamp() * 1000), "step_ms": step_minutes * 60_000}
        return await self._run(lambda connection: _views(connection, "minutes", Minute, values))

    async def segment(self, list_id: int) -> SegmentView | None:
        """Return one segment and its list."""
        values = {**_only(list_id), **_list_filters(None, None, None, None), "sort": None, "sign": 1, "offset": 0}
        values |= self._times()
        return await self._run(lambda connection: _one(_views(connection, "lists", SegmentView, values)))

    async def failures(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[FailureView]:
        """Return changes that did not go through, the newest first; `search` is a part of the contact."""
        values = _failure_filters(account, list_id, reason, dead=dead, wanted=wanted, search=search)
        return await self._run(lambda connection: _failures(connection, _newest(after, limit) | values | self._times()))

    async def sorted_failures(
        self,
        *,
        sort: FailureSort,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[FailureView]:
        """Return changes that did not go through in some order, without the first `offset` of them."""
        values = _failure_filters(account, list_id, reason, dead=dead, wanted=wanted, search=search)
        page = {"offset": offset, "limit": limit}
        return await self._run(
            lambda connection: _failures(connection, values | page | self._times(), f"failures_by_{sort.value}")
        )

    async def failures_after(
        self,
        last: FailureView | None,
        *,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        limit: int,
    ) -> list[FailureView]:
        """Return the failures that come after `last` by account, contact and list; None for the first ones."""
        values = _failure_filters(account, list_id, reason, dead=dead, wanted=wanted, search=None)
        after = ("", "", 0) if last is None else (last.account, last.contact, last.list_id)
        place = dict(zip(("after_account", "after_contact", "after_list_id"), after, strict=True))
        page = {**place, "limit": limit}
        return await self._run(
            lambda connection: _failures(connection, values | page | self._times(), "failures_after")
        )

    async def failure_groups(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
    ) -> list[FailureGroupView]:
        """Return the failures grouped by list and reason, the largest groups first, at most 200."""
        values = {"account": account, "list_id": list_id, "dead": dead, "wanted": wanted, "limit": _MAX_GROUPS}
        statement = "failure_groups" if wanted is None else "wanted_failure_groups"
        return await self._run(lambda connection: _views(connection, statement, FailureGroupView, values))

    async def failure_reasons(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
    ) -> dict[str, int]:
        """Return how many failures have each reason, the most frequent first."""
        values = {"account": account, "list_id": list_id, "dead": dead, "wanted": wanted}
        statement = _SQL["failure_reasons" if wanted is None else "wanted_failure_reasons"]
        return dict(await self._run(lambda connection: connection.execute(statement, values).fetchall()))

    async def accounts(self) -> list[RecordedAccount]:
        """Return every account by name."""
        values = {"paused_by_operator": PAUSED_BY_OPERATOR}
        return await self._run(lambda connection: _views(connection, "accounts", RecordedAccount, values))

    async def deliveries(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        sync_id: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[DeliveryView]:
        """Return accepted pages with their rejected users, the newest first."""
        values = {"account": account, "list_id": list_id, "sync_id": sync_id}
        return await self._run(lambda connection: _deliveries(connection, _newest(after, limit) | values))

    async def unusable(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        sync_id: int | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[UnusableView]:
        """Return the users of accepted pages that cannot be synced, the newest first.

        `wanted`: those that a list's sum counts; `search`: a part of the id.
        """
        filters = {"account": account, "list_id": list_id, "sync_id": sync_id, "wanted": wanted, "search": search}
        values = _newest(after, limit) | filters
        return await self._run(lambda connection: _views(connection, "unusable", UnusableView, values))

    async def members(
        self, list_id: int, *, state: MemberState | None = None, wanted: bool | None = None, after: str = ""
    ) -> MemberSlice:
        """Return the members of a list whose contacts come after `after`, as many as one look finds; maybe none."""
        values = {"list_id": list_id, "state": state and state.value, "wanted": wanted, "after": after}
        return await self._run(lambda connection: _members(connection, values))

    async def member(self, list_id: int, contact: str) -> MemberView | None:
        """Return what the ledger knows of a contact (`key:value`) and a list, if anything."""
        return await self._run(
            lambda connection: _member(connection, {"list_id": list_id, "contact": contact, **self._times()})
        )

    async def owed(self, list_id: int) -> OwedView:
        """Return how many additions and removals of a list are still to be sent; none for a list that is not there."""
        values = {"list_id": list_id}
        found = await self._run(lambda connection: _one(_views(connection, "owed", OwedView, values)))
        return found or OwedView(0, 0)

    async def imports(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: ImportState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[ImportView]:
        """Return imports, the newest first."""
        values = {"account": account, "list_id": list_id, "state": state and state.value}
        return await self._run(
            lambda connection: read_imports(connection, _newest(after, limit) | values | self._times())
        )

    async def sorted_imports(
        self,
        *,
        sort: ImportSort,
        reverse: bool = False,
        account: str | None = None,
        list_id: int | None = None,
        state: ImportState | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[ImportView]:
        """Return imports in some order, without the first `offset` of them."""
        values = {"account": account, "list_id": list_id, "state": state and state.value}
        page = {"sort": sort.value, "sign": -1 if reverse else 1, "offset": offset, "limit": limit}
        return await self._run(
            lambda connection: read_imports(connection, values | page | self._times(), "sorted_imports")
        )

    async def journey(self, list_id: int, contact: str) -> Journey | None:
        """Return the import in which a contact (`key:value`) of a list's account travels at the moment, if any."""
        return await self._run(lambda connection: read_journey(connection, {"list_id": list_id, "contact": contact}))

    async def audit(
        self, *, actor: str | None = None, list_id: int | None = None, after: int | None = None, limit: int
    ) -> list[AuditView]:
        """Return what people did, the latest first: a person, or to a list, its syncs and its failures."""
        values = _newest(after, limit) | {"actor": actor, "list_id": list_id}
        return await self._run(lambda connection: _views(connection, "audit", AuditView, values))

    async def unfolded_users(self) -> int:
        """Return how many users of accepted pages were not looked at yet."""
        return await self._run(lambda connection: int(connection.execute(_LISTS["unfolded_users"]).fetchone()[0]))

    async def conditions(self) -> list[RecordedCondition]:
        """Return the conditions that last, as the service last recorded them."""
        rows = await self._run(lambda connection: named_rows(connection.execute(_CONDITIONS["lasting"])))
        return msgspec.convert(rows, list[RecordedCondition])

    async def version(self) -> int:
        """Return a number that is another one whenever something was written since."""

        def read(connection: sqlite3.Connection) -> int:
            version: int = connection.execute(_SQL["data_version"]).fetchone()[0]
            return version

        # The number is only comparable on one and the same connection.
        return await self._watching.run(read)

    def _times(self) -> dict[str, int]:
        """Return the times by which is told what waits: what never comes, and what moves it to the machine's clock."""
        wall_ms = self._clock.wall_ms()
        stepped_ms = wall_ms - self._clock.now_ms()
        return {"overdue_before_ms": wall_ms - INCOMPLETE_AFTER_MS, "never_ms": NEVER_MS, "stepped_ms": stepped_ms}

    async def _run(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._waiting >= _MAX_WAITING:
            raise _unavailable("too many requests at once")
        self._waiting += 1
        try:
            connection = await self._free.get()
        finally:
            self._waiting -= 1
        # Shielded: someone who goes away must not give back a connection that is still reading.
        task = asyncio.ensure_future(self._read(connection, function))
        return await asyncio.shield(task)

    async def _read(self, connection: Connection, function: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return await connection.run(lambda database: _limited(database, function, self._time_limit_seconds))
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise _unavailable(
                    f"the answer would take longer than {self._time_limit_seconds:g} s; ask for less"
                ) from None
            raise _unavailable(f"the store cannot be read: {error}") from error
        finally:
            self._free.put_nowait(connection)


def _unavailable(message: str) -> ServiceError:
    return ServiceError(ErrorCode.STORE_UNAVAILABLE, message, retry_after_seconds=_RETRY_AFTER_SECONDS)


def _limited(
    connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], Result], seconds: float
) -> Result:
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS_BETWEEN_LOOKS)
    return function(connection)


def _newest(after: int | None, limit: int) -> dict[str, Any]:
    return {"first": 0, "last": _LARGEST_ID if after is None else after - 1, "limit": limit}


def _only(row_id: int) -> dict[str, Any]:
    return {"first": row_id, "last": row_id, "limit": 1}


def _one(views: list[View]) -> View | None:
    return views[0] if views else None


def _rows(connection: sqlite3.Connection, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return named_rows(connection.execute(_SQL[statement], values))


def _views(connection: sqlite3.Connection, statement: str, view: type[View], values: Mapping[str, Any]) -> list[View]:
    return as_views(_rows(connection, statement, values), view)


def _syncs(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> list[SyncView]:
    return _views(connection, statement, SyncView, values)


def _sorted_syncs(connection: sqlite3.Connection, values: dict[str, Any]) -> list[SyncView]:
    """Read those that the order puts first, and then the others, the newest first."""
    first = _syncs(connection, "first_syncs", values)
    has_all = values["sort"] == SyncSort.TROUBLE and values["state"] in _FIRST_STATES
    if has_all or len(first) == values["limit"]:
        return first
    before = connection.execute(_SQL["count_first_syncs"], values).fetchone()[0]
    rest = {"offset": max(0, values["offset"] - before), "limit": values["limit"] - len(first)}
    return first + _syncs(connection, "other_syncs", values | rest)


def _failures(
    connection: sqlite3.Connection, values: Mapping[str, Any], statement: str = "failures"
) -> list[FailureView]:
    return _views(connection, statement, FailureView, values)


def _deliveries(connection: sqlite3.Connection, values: Mapping[str, Any]) -> list[DeliveryView]:
    if values["sync_id"] is not None:
        first, last = connection.execute(_SQL["deliveries_of_sync"], {"sync_id": values["sync_id"]}).fetchone()
        values = {**values, "first": first, "last": min(last, values["last"])}
    rows = _rows(connection, "deliveries", values)
    return [msgspec.convert({**row, "rejected_users": json.loads(row["rejected_users"])}, DeliveryView) for row in rows]


def _failure_filters(
    account: str | None,
    list_id: int | None,
    reason: str | None,
    *,
    dead: bool | None,
    wanted: bool | None,
    search: str | None,
) -> dict[str, Any]:
    return {
        "account": account,
        "list_id": list_id,
        "reason": reason,
        "dead": dead,
        "wanted": wanted,
        "search": search,
    }


def _list_filters(
    account: str | None, state: ListState | None, standing: ListStanding | None, search: str | None
) -> dict[str, Any]:
    return {
        "account": account,
        "state": state and state.value,
        "standing": standing and standing.value,
        "search": search,
    }


def _list_sum(connection: sqlite3.Connection, values: Mapping[str, Any]) -> ListSum | None:
    rows = _rows(connection, "list_sum", values)
    if not rows:
        return None
    missing = _views(connection, "missing_pages", MissingPages, values)
    flags = {name: bool(rows[0][name]) for name in ("is_held", "unread_pages")}
    return ListSum(**{**rows[0], **flags}, missing_pages=missing)


def _members(connection: sqlite3.Connection, values: Mapping[str, Any]) -> MemberSlice:
    end = connection.execute(_SQL["members_end"], {**values, "rows": _SLICE_ROWS}).fetchone()
    values = {**values, "end": end and end[0]}
    return MemberSlice(_views(connection, "members", MemberRow, values), values["end"])


def _member(connection: sqlite3.Connection, values: Mapping[str, Any]) -> MemberView | None:
    rows = _rows(connection, "member", values)
    if not rows:
        return None
    row = rows[0]
    failure_id = row.pop("failure_id")
    failure = None
    if failure_id is not None:
        anything = _failure_filters(None, None, None, dead=None, wanted=None, search=None)
        failure = _one(_failures(connection, {**values, **_only(failure_id), **anything}))
    return MemberView(
        **{
            **row,
            "wanted": bool(row["wanted"]),
            "state": MemberState(row["state"]),
            "may_be_refused": bool(row["may_be_refused"]),
        },
        failure=failure,
    )
