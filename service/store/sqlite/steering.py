"""What people may do to the ledger: retry failures, send a list again, pause an account. Each is audited."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from service.clock import SteadyClock
from service.model.changes import FailureSelection
from service.store.sqlite import queries
from service.store.sqlite.folding import DEAD, WAITING, Delta, Tally, uncount_member
from service.store.sqlite.settling import NEVER_MS
from service.store.sqlite.writer import Writer

# One transaction's share, so that deliveries never wait long behind an operator.
_ROWS_AT_ONCE = 1_000

_SQL = queries.load("steer")
_REQUEUE = queries.load("fold")["requeue"]


class Steering:
    """The operator's actions on one store. `apply` keeps figures in memory current; `wake_folder` what is requeued."""

    def __init__(
        self,
        writer: Writer,
        clock: SteadyClock,
        apply: Callable[[Mapping[int, Delta]], None],
        wake_folder: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._apply = apply
        self._wake_folder = wake_folder

    async def retry_failures(self, selection: FailureSelection, actor: str) -> int:
        """Give the selected failures, dead or waiting, their attempts anew and send them soon; return how many."""
        total, after = 0, 0
        while True:
            start = after
            after, retried, _ = await self._writer.run(
                lambda connection: _retry_some(connection, selection, start, self._clock.now_ms()),  # noqa: B023
                on_commit=lambda result: self._apply(result[2].segments),
            )
            total += retried
            self._wake_folder()
            if not after:
                break
        target = msgspec.json.encode(selection).decode()
        await self.record(actor, "failures.retry", target, total)
        return total

    async def rebuild(self, segment_id: int, *, include_removed: bool, actor: str) -> int:
        """Send a segment's members to Cordial again, failures and all; return how many.

        `include_removed` also sends again who has left: wanted where the list may hold more than it should.
        Raises `KeyError` for a segment that does not exist.
        """
        total, after = 0, ""
        while True:
            start = after
            after, repeated, _ = await self._writer.run(
                lambda connection: _repeat_some(
                    connection,
                    segment_id,
                    start,  # noqa: B023
                    include_removed=include_removed,
                    now_ms=self._clock.now_ms(),
                ),
                on_commit=lambda result: self._apply(result[2].segments),
            )
            total += repeated
            self._wake_folder()
            if not after:
                break
        await self.record(actor, "list.rebuild", str(segment_id), total)
        return total

    async def set_paused(self, account: str, *, paused: bool, actor: str) -> bool:
        """Note that an operator pauses or resumes an account; return whether that changed anything."""
        values = {"account": account, "paused": paused}
        changed = await self._writer.run(lambda connection: connection.execute(_SQL["pause"], values).rowcount)
        await self.record(actor, "account.pause" if paused else "account.resume", account, changed)
        return bool(changed)

    async def paused_accounts(self) -> set[str]:
        """Return the accounts that an operator has paused."""
        rows = await self._writer.run(lambda connection: connection.execute(_SQL["paused_accounts"]).fetchall())
        return {row[0] for row in rows}

    async def record(self, actor: str, action: str, target: str, changes: int) -> None:
        """Write into the audit: who did what to what, and how much it changed."""
        values = {
            "at_ms": self._clock.now_ms(),
            "actor": actor,
            "action": action,
            "target": target,
            "changes": changes,
        }
        await self._writer.run(lambda connection: connection.execute(_SQL["audit"], values).rowcount)


def _retry_some(
    connection: sqlite3.Connection, selection: FailureSelection, after: int, now_ms: int
) -> tuple[int, int, Tally]:
    """Retry the next failures after an id; return the last one's id (0 at the end), how many, and the counts."""
    tally = Tally()
    released: dict[int, list[str]] = defaultdict(list)
    conditions: dict[str, Any] = {
        "ids": None if selection.ids is None else json.dumps(selection.ids),
        "account": selection.account,
        "segment_id": selection.segment_id,
        "reason": selection.reason,
        "after": after,
        "never_ms": NEVER_MS,
        "limit": _ROWS_AT_ONCE,
    }
    rows = connection.execute(_SQL["failures_to_retry"], conditions).fetchall()
    retried = 0
    for failure_id, account_id, contact, segment_id in rows:
        values = {"account_id": account_id, "contact": contact, "segment_id": segment_id}
        for state in (DEAD, WAITING):
            row = connection.execute(_SQL["revive"], {**values, "state": state}).fetchone()
            if row is None:
                continue
            segment, sync = tally.segments[segment_id], tally.syncs[row[0]]
            uncount_member(segment, sync, state, wanted=False, number=1)
            segment.add("pending", 1)
            sync.add("pending", 1)
            released[segment_id].append(contact)
            retried += 1
        connection.execute(_SQL["give_new_attempts"], {"id": failure_id, "never_ms": NEVER_MS})
    for segment_id, contacts in released.items():
        connection.execute(_REQUEUE, {"segment_id": segment_id, "contacts": json.dumps(contacts)})
    tally.write(connection, now_ms)
    return (rows[-1][0] if len(rows) == _ROWS_AT_ONCE else 0), retried, tally


def _repeat_some(
    connection: sqlite3.Connection, segment_id: int, after: str, *, include_removed: bool, now_ms: int
) -> tuple[str, int, Tally]:
    """Make the next members after a contact pending; return the last one (empty at the end), how many, the counts."""
    tally = Tally()
    account = connection.execute(_SQL["segment_account"], {"segment_id": segment_id}).fetchone()
    if account is None:
        raise KeyError(segment_id)
    values: dict[str, Any] = {
        "account_id": account[0],
        "segment_id": segment_id,
        "after": after,
        "include_removed": include_removed,
        "limit": _ROWS_AT_ONCE,
    }
    rows = connection.execute(_SQL["members_to_rebuild"], values).fetchall()
    if rows:
        for _, wanted, state, sync_id in rows:
            segment, sync = tally.segments[segment_id], tally.syncs[sync_id]
            uncount_member(segment, sync, state, wanted=bool(wanted), number=1)
            segment.add("pending", 1)
            sync.add("pending", 1)
        values["contacts"] = json.dumps([row[0] for row in rows])
        connection.execute(_SQL["repeat_members"], values)
        connection.execute(_SQL["forget_failures"], values)
        connection.execute(_REQUEUE, {"segment_id": segment_id, "contacts": values["contacts"]})
        tally.write(connection, now_ms)
    return (rows[-1][0] if len(rows) == _ROWS_AT_ONCE else ""), len(rows), tally
