"""Judging syncs before they are folded (R17): what removes an unusual share of a list waits for a person.

The folder sets the pieces of guarded accounts aside, in `guarded_piece`. For each segment the sync of the first of them is
judged, once all its pages are here or none has come for an hour: then its pieces go back into the inbox to be folded, or it
is held. All that comes later for the segment waits behind it, in its order. `judge.py` runs this.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from service.clock import SteadyClock
from service.errors import StoreFaultError, StoreUnavailableError
from service.model.guard import RemovalGuard
from service.store.sqlite import auditing, opening, queries
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.ledger import LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Trouble

log = structlog.get_logger()

_SQL = queries.load("guard")

# Nobody knows whether a page that has not come by then still comes. Heap sends the pages of a sync within minutes.
_PATIENCE_MS = 3_600_000
# One transaction's share; a piece has at most 250 users.
_PIECES_AT_ONCE = 80
# Of so many members at once the removals are counted: what is sorted for that stays in memory.
_MEMBERS_AT_ONCE = 200_000
# A sync of many pages is counted again once it has grown by a tenth, not at each page.
_GROWTH = 1.1


class _Head(NamedTuple):
    """A row of `heads`: the sync that comes next in its segment."""

    piece_id: int
    segment_id: int
    sync_id: int
    account_id: int
    account: str
    is_drain: int
    guard: str | None
    judged_to: int
    guard_passed: int
    guard_members: int | None
    members: int
    is_incomplete: int
    last_received_at_ms: int
    unfolded: int
    pieces: int
    last_id: int
    users_to_remove: int
    is_folding: int

    @property
    def is_late(self) -> bool:
        """Whether earlier pages of the sync were passed, and these came afterwards."""
        return self.guard == "passed"

    @property
    def base(self) -> int:
        """How many members the list had before the sync."""
        return self.members if self.guard_members is None else self.guard_members


def set_aside(connection: sqlite3.Connection, pieces: Sequence[tuple[int, int]]) -> None:
    """Move pieces of the inbox, each with its sync, to those that are judged first."""
    values = [{"id": piece_id, "sync_id": sync_id} for piece_id, sync_id in pieces]
    connection.executemany(_SQL["set_aside"], values)
    connection.executemany(_SQL["remove_piece"], values)


class Guard:
    """The guarded syncs of one store; `read` runs a function on a connection that only reads."""

    def __init__(
        self,
        database: Path,
        ledger: LedgerWriter,
        clock: SteadyClock,
        *,
        backlog: Backlog,
        trouble: Trouble,
        read: Callable[..., Any],
        inbox_grew: asyncio.Event,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._backlog = backlog
        self._trouble = trouble
        self._read = read
        self._inbox_grew = inbox_grew
        self._guards: Mapping[str, RemovalGuard] = {}
        # How many users each sync at hand was to remove when it was last counted.
        self._counted: dict[int, int] = {}
        # The last piece of each sync at hand, and since when nothing came after it.
        self._silent_since: dict[int, tuple[int, int]] = {}
        # Those whose fault was told.
        self._told: set[int] = set()
        # Set when there may be something to judge, to give back or to discard.
        self.woken = asyncio.Event()

    def serve(self, guards: Mapping[str, RemovalGuard]) -> None:
        """Judge the syncs of these accounts from now on; what other accounts have set aside is given back."""
        self._guards = guards
        self.woken.set()

    @property
    def accounts(self) -> frozenset[str]:
        """The accounts whose syncs are judged."""
        return frozenset(self._guards)

    async def approve(self, sync_id: int, actor: str) -> bool:
        """Let a held sync be folded, pages that come later too; return whether it was held."""
        return await self._decide(sync_id, "approved", "sync.approve", actor)

    async def discard(self, sync_id: int, actor: str) -> bool:
        """Drop what a held sync says, pages that come later too; return whether it was held."""
        return await self._decide(sync_id, "discarded", "sync.discard", actor)

    async def advance(self) -> bool:
        """Do the next step for each segment; return whether there may be more to do at once."""
        rows = await self._read(lambda connection: connection.execute(_SQL["heads"]).fetchall())
        heads = [_Head(*row) for row in rows]
        at_hand = {head.sync_id for head in heads}
        for memory in (self._counted, self._silent_since):
            for sync_id in memory.keys() - at_hand:
                del memory[sync_id]
        of_account: dict[str, list[_Head]] = defaultdict(list)
        for head in heads:
            of_account[head.account].append(head)
        # Side by side, because counting a large sync takes seconds, and no account waits for another's.
        done = await asyncio.gather(*map(self._advance_some, of_account.values()), return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return any(done)

    async def _advance_some(self, heads: Sequence[_Head]) -> bool:
        has_more = False
        for head in heads:
            try:
                has_more |= await self._advance_one(head)
            except StoreFaultError as error:
                # The others go on; this one is tried again.
                if head.sync_id not in self._told:
                    self._told.add(head.sync_id)
                    log.exception("guard.failed", account=head.account, sync=head.sync_id, reason=error.message)
        return has_more

    async def _advance_one(self, head: _Head) -> bool:
        if head.guard == "discarded":
            return await self._move(head, head.last_id, self._discard_some)
        if head.guard == "approved":
            return await self._move(head, head.last_id, self._give_back_some)
        if head.is_late and head.piece_id <= head.judged_to:
            return await self._move(head, head.judged_to, self._give_back_some)
        # All that was accepted of the sync must be here, and all that is older in the ledger.
        if head.is_folding or head.pieces < head.unfolded:
            return False
        return await self._judge(head)

    async def _judge(self, head: _Head) -> bool:
        guard = self._guards.get(head.account)
        is_held = head.guard == "held"
        is_whole = not head.is_incomplete or self._has_waited(head)
        if guard is None or not head.base:
            # A first sync can only remove whom it has added itself.
            return not is_held and await self._record(head, "passed", head.guard_passed)
        removals = head.guard_passed + (head.base if head.is_drain else head.users_to_remove)
        if not guard.is_passed(removals, head.base) or is_held:
            if not head.is_drain:
                if not self._has_grown(head, is_whole=is_whole):
                    return False
                removals = head.guard_passed + await self._count(head)
                self._counted[head.sync_id] = head.users_to_remove
            if is_held or not guard.is_passed(removals, head.base):
                return await self._record(head, "held", removals)
        return is_whole and await self._record(head, "passed", removals)

    def _has_waited(self, head: _Head) -> bool:
        """Tell whether no page of a sync has come for an hour.

        The clock may be set while one waits: how old the page is by it is asked once, and may be negative.
        """
        now_ms = self._clock.now_ms()
        last_id, since_ms = self._silent_since.get(head.sync_id, (0, 0))
        if last_id != head.last_id:
            since_ms = now_ms - max(0, self._clock.wall_ms() - head.last_received_at_ms)
            self._silent_since[head.sync_id] = head.last_id, since_ms
        return now_ms - since_ms >= _PATIENCE_MS

    def _has_grown(self, head: _Head, *, is_whole: bool) -> bool:
        """Tell whether a sync is to be counted (again)."""
        if head.guard == "held" and head.judged_to in {0, head.last_id}:
            # None of it counts as judged once a member was erased.
            return not head.judged_to
        counted = self._counted.get(head.sync_id, 0)
        return is_whole or head.users_to_remove > _GROWTH * counted

    async def _count(self, head: _Head) -> int:
        """Count how many members the sync takes off the list, on a connection of its own, for that may take seconds."""
        values = {
            **head._asdict(),
            "after": head.judged_to if head.is_late else 0,
            "last": head.last_id,
            "members": _MEMBERS_AT_ONCE,
        }

        def count(connection: sqlite3.Connection) -> int:
            removals: int = 0
            end: str = ""
            while True:
                step = {**values, "after_contact": end}
                found = connection.execute(_SQL["end_of_step"], step).fetchone()
                step["end"] = found and found[0]
                removals += int(connection.execute(_SQL["count_removals"], step).fetchone()[0])
                if found is None:
                    return removals
                end = found[0]

        try:
            connection = await opening.open_reader(self._database)
        except StoreOpenError as error:
            raise StoreUnavailableError(str(error)) from error
        try:
            return await connection.run(count)
        except sqlite3.Error as error:
            raise self._trouble.unavailable(error) from error
        finally:
            await connection.close()

    async def _record(self, head: _Head, guard: str, removals: int) -> bool:
        values = {
            "sync_id": head.sync_id,
            "guard": guard,
            "before": head.guard,
            "removals": removals,
            # What comes later is counted with it.
            "passed": removals if guard == "passed" else head.guard_passed,
            "members": head.base,
            "last": head.last_id,
            "now_ms": self._clock.wall_ms(),
        }
        await self._ledger.change(lambda ledger: ledger.connection.execute(_SQL["judge"], values).rowcount)
        if guard == "held" != head.guard:
            log.warning("guard.held", account=head.account, sync=head.sync_id, removals=removals, members=head.base)
        return guard == "passed"

    async def _move(self, head: _Head, last: int, work: Callable[[LedgerTransaction, Mapping[str, Any]], int]) -> bool:
        """Take the next of a sync's pieces away, up to a last one."""

        def run(ledger: LedgerTransaction) -> int:
            window = {"sync_id": head.sync_id, "last": last, "limit": _PIECES_AT_ONCE}
            rows = ledger.connection.execute(_SQL["next_guarded"], window).fetchall()
            if not rows:
                return 0
            step = {
                "sync_id": head.sync_id,
                "end": rows[-1][0],
                "pieces": len(rows),
                "users": sum(row[1] for row in rows),
            }
            users = work(ledger, step)
            ledger.connection.execute(_SQL["remove_guarded"], step)
            return users

        def note(users: int) -> None:
            self._backlog.add_guarded(head.account, -users)
            if work == self._give_back_some:
                self._backlog.add_unfolded(head.account, users)
                self._inbox_grew.set()

        await self._ledger.change(run, on_commit=note)
        return True

    @staticmethod
    def _give_back_some(ledger: LedgerTransaction, step: Mapping[str, Any]) -> int:
        ledger.connection.execute(_SQL["give_back"], step)
        return int(step["users"])

    @staticmethod
    def _discard_some(ledger: LedgerTransaction, step: Mapping[str, Any]) -> int:
        ledger.count_unfolded(step["sync_id"], -step["pieces"])
        ledger.connection.execute(_SQL["count_discarded"], step)
        return int(step["users"])

    async def _decide(self, sync_id: int, guard: str, action: str, actor: str) -> bool:
        now_ms = self._clock.wall_ms()

        def work(ledger: LedgerTransaction) -> bool:
            values = {"sync_id": sync_id, "guard": guard, "now_ms": now_ms}
            row = ledger.connection.execute(_SQL["decide"], values).fetchone()
            if row is None:
                return False
            auditing.write(
                ledger.connection,
                at_ms=now_ms,
                actor=actor,
                action=action,
                target=str(sync_id),
                changes=row[0],
            )
            return True

        return await self._ledger.change(work, on_commit=lambda _: self.woken.set())
