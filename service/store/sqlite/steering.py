"""What people may do to the ledger: retry failures, send a list again, pause an account. Each is audited."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from service.clock import SteadyClock
from service.model.changes import FailureSelection, RetriedFailures
from service.model.lists import Segment
from service.model.proof import ReadBackReason
from service.store.sqlite import auditing, loading, queries, unnamed
from service.store.sqlite.ledger import NEVER_MS, LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Writer

Position = TypeVar("Position", int, str)

# One transaction's share, so that deliveries never wait long behind an operator.
_ROWS_AT_ONCE = 1_000

_SQL = queries.load("steer")
_LISTS = queries.load("lists")
_ASK_READ_BACK = queries.load("read_backs")["ask"]


class Steering:
    """The operator's actions on one store."""

    def __init__(
        self, writer: Writer, clock: SteadyClock, account_ids: Mapping[str, int], *, ledger: LedgerWriter
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._account_ids = account_ids
        self._ledger = ledger

    async def retry_failures(self, selection: FailureSelection, actor: str) -> RetriedFailures:
        """Give the selected failures, dead or waiting, their attempts anew and send them soon; return how many, and of what."""
        audit = self._audit(actor, "failures.retry", msgspec.json.encode(selection).decode())
        accounts: set[str] = set()
        held_lists: set[int] = set()

        def retry_some(ledger: LedgerTransaction, after: int) -> tuple[int, int]:
            rows = _failures_to_retry(ledger, selection, after)
            accounts.update(row.account for row in rows)
            held_lists.update(row.segment_id for row in rows if row.is_held)
            return (rows[-1].id if len(rows) == _ROWS_AT_ONCE else 0), _retry(ledger, rows)

        changes = await self._in_steps(audit, 0, retry_some)
        return RetriedFailures(changes, frozenset(accounts), frozenset(held_lists))

    async def rebuild(self, segment_id: int, *, include_removed: bool, actor: str) -> int:
        """Send a segment's members to Cordial again, failures and all; return how many.

        `include_removed` also sends again who has left: wanted where the list may hold more than it should.
        Raises `KeyError` for a segment that does not exist.
        """
        audit = self._audit(actor, "list.rebuild", str(segment_id))
        return await self._in_steps(
            audit, "", lambda ledger, after: _repeat_some(ledger, segment_id, after, include_removed=include_removed)
        )

    async def take_back(self, segment_id: int, other_id: int, *, since_ms: int, actor: str) -> int:
        """Undo what calls for a segment may have done to another segment's list since then; return how many memberships.

        Whom they may have added there is removed, and the other segment's own members are sent again.
        """
        audit = self._audit(actor, "list.take_back", str(other_id))
        removed = await self._in_steps(
            audit, "", lambda ledger, after: _take_back_some(ledger, segment_id, other_id, after, since_ms)
        )
        return removed + await self.rebuild(other_id, include_removed=True, actor=actor)

    async def set_paused(
        self, account: str, *, paused: bool, actor: str, follow: Callable[[], None] = lambda: None
    ) -> bool:
        """Note that an operator pauses or resumes an account; return whether that changed anything.

        `follow` is called once it is durable, whatever becomes of the caller and of the answer.
        """
        values = {"account": account, "paused": paused}
        line = self._line(actor, "account.pause" if paused else "account.resume", account)

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(_SQL["pause"], values).rowcount
            auditing.write(connection, **line, changes=changed)
            return bool(changed)

        return await self._writer.run(work, on_commit=lambda _: follow())

    async def approve_lists(self, segment_id: int, approved: Sequence[Segment], actor: str) -> None:
        """Record what the lists are after a person approved one of them."""
        line = self._line(actor, "list.approve", str(segment_id))

        def work(connection: sqlite3.Connection) -> None:
            for segment in approved:
                connection.execute(_LISTS["set_list"], loading.list_values(segment))
            auditing.write(connection, **line, changes=1)

        await self._writer.run(work)

    async def paused_accounts(self) -> set[str]:
        """Return the accounts that an operator has paused."""
        rows = await self._writer.run(lambda connection: connection.execute(_SQL["paused_accounts"]).fetchall())
        return {row[0] for row in rows}

    async def name_rejected(self, import_id: int, addresses: Sequence[str], *, actor: str) -> int | None:
        """Take these addresses for rows of an import that Cordial rejected; return how many are.

        None where no row of the import is without a name.
        """
        line = self._line(actor, "import.rejected", str(import_id))

        def work(ledger: LedgerTransaction) -> int | None:
            named = unnamed.name(ledger, import_id, addresses)
            if named is not None:
                auditing.write(ledger.connection, **line, changes=named)
            return named

        return await self._ledger.change(work, alone=True)

    async def ask_read_back(self, account: str, segment_id: int, contacts: Collection[str], *, actor: str) -> None:
        """Have contacts (`key:value`) that a person names for a list read back soon."""
        line = self._line(actor, "list.read_back", str(segment_id))
        values = {
            "account_id": self._account_ids[account],
            "contacts": json.dumps(list(contacts)),
            "reason": ReadBackReason.NAMED.value,
            "due_at_ms": self._clock.now_ms(),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ASK_READ_BACK, values)
            auditing.write(connection, **line, changes=len(contacts))

        await self._writer.run(work)

    async def record(self, actor: str, action: str, target: str, changes: int) -> None:
        """Write into the audit: who did what to what, and how much it changed."""
        line = self._line(actor, action, target)
        await self._writer.run(lambda connection: auditing.write(connection, **line, changes=changes))

    def _line(self, actor: str, action: str, target: str) -> dict[str, Any]:
        return {"at_ms": self._clock.wall_ms(), "actor": actor, "action": action, "target": target}

    async def _in_steps(
        self,
        audit: "_Audit",
        first: Position,
        do_some: Callable[[LedgerTransaction, Position], tuple[Position, int]],
    ) -> int:
        """Do one transaction's share after another, counted in the audit; return how many changes.

        `do_some` goes on after a position, and returns the next one (empty or 0 at the end) and how many changes it made.
        """
        total, after = 0, first
        while True:
            start = after
            after, done = await self._ledger.change(lambda ledger: audit.count(ledger, do_some(ledger, start)))  # noqa: B023
            total += done
            if not after:
                return total

    def _audit(self, actor: str, action: str, target: str) -> "_Audit":
        return _Audit(self._line(actor, action, target))


class _Audit:
    """The line of the audit about an action of several transactions: each adds to it what it changed."""

    def __init__(self, line: dict[str, Any]) -> None:
        self._line = line
        self._id: int | None = None

    def count(self, ledger: LedgerTransaction, done: tuple[Position, int]) -> tuple[Position, int]:
        """Return what was done, its changes counted."""
        if self._id is None:
            self._id = auditing.write(ledger.connection, **self._line, changes=done[1])
        else:
            auditing.add_changes(ledger.connection, self._id, done[1])
        return done


class _Failure(NamedTuple):
    """A row of `failures_to_retry`."""

    id: int
    account_id: int
    segment_id: int
    contact: str
    account: str
    is_held: int


def _failures_to_retry(ledger: LedgerTransaction, selection: FailureSelection, after: int) -> list[_Failure]:
    """Return the next failures after an id, one transaction's share."""
    conditions: dict[str, Any] = {
        "ids": None if selection.ids is None else json.dumps(selection.ids),
        "account": selection.account,
        "segment_id": selection.segment_id,
        "reason": selection.reason,
        "dead": selection.dead,
        "wanted": selection.wanted,
        "after": after,
        "never_ms": NEVER_MS,
        "limit": _ROWS_AT_ONCE,
    }
    return [_Failure(*row) for row in ledger.connection.execute(_SQL["failures_to_retry"], conditions)]


def _retry(ledger: LedgerTransaction, failures: Sequence[_Failure]) -> int:
    """Retry failures; return how many."""
    contacts_of: dict[tuple[int, int], list[str]] = defaultdict(list)
    for each in failures:
        contacts_of[each.account_id, each.segment_id].append(each.contact)
    return sum(ledger.retry(*place, contacts) for place, contacts in contacts_of.items())


def _take_back_some(
    ledger: LedgerTransaction, segment_id: int, other_id: int, after: str, since_ms: int
) -> tuple[str, int]:
    """Remove the next contacts of a segment from the other's list; return the last one (empty at the end), and how many."""
    account_id, _ = ledger.connection.execute(_SQL["segment_account"], {"segment_id": segment_id}).fetchone()
    values = {
        "account_id": account_id,
        "segment_id": segment_id,
        "after": after,
        "since_ms": since_ms,
        "limit": _ROWS_AT_ONCE,
    }
    contacts = [row[0] for row in ledger.connection.execute(_SQL["misdirected"], values)]
    removed = ledger.remove_unknown(account_id, other_id, contacts)
    return (contacts[-1] if len(contacts) == _ROWS_AT_ONCE else ""), removed


def _repeat_some(ledger: LedgerTransaction, segment_id: int, after: str, *, include_removed: bool) -> tuple[str, int]:
    """Make the next members after a contact pending; return the last one (empty at the end), and how many."""
    account = ledger.connection.execute(_SQL["segment_account"], {"segment_id": segment_id}).fetchone()
    if account is None:
        raise KeyError(segment_id)
    values: dict[str, Any] = {
        "account_id": account[0],
        "segment_id": segment_id,
        "after": after,
        "include_removed": include_removed,
        "limit": _ROWS_AT_ONCE,
    }
    contacts = [row[0] for row in ledger.connection.execute(_SQL["members_to_rebuild"], values)]
    if contacts:
        ledger.repeat(account[0], segment_id, contacts)
    return (contacts[-1] if len(contacts) == _ROWS_AT_ONCE else ""), len(contacts)
