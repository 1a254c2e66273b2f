"""The ledger: every change of a member's state is written here, and nowhere else.

The states and what leads from one to the other are drawn in `docs/states.md`. Whoever makes a member pending also has it
queued, counted and looked at, because no other way exists.
"""

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from service.clock import SteadyClock
from service.errors import StoreFaultError
from service.model.changes import MemberState, Outcome, OutcomeKind
from service.store.sqlite import queries, spellings
from service.store.sqlite.confirmed import Way
from service.store.sqlite.writer import Writer

Result = TypeVar("Result")
Figures = Mapping[str, int]

# Stands for "no call planned": later than any clock will show.
NEVER_MS = 9_000_000_000_000_000

_SQL = queries.load("ledger")

# Who is in no state yet, or is forgotten, has no row: None.
TRANSITIONS: frozenset[tuple[MemberState | None, MemberState | None]] = frozenset(
    {
        (None, MemberState.PENDING),
        (MemberState.PENDING, MemberState.PENDING),
        (MemberState.PENDING, MemberState.SETTLED),
        (MemberState.PENDING, MemberState.WAITING),
        (MemberState.PENDING, MemberState.DEAD),
        (MemberState.SETTLED, MemberState.PENDING),
        (MemberState.WAITING, MemberState.PENDING),
        (MemberState.DEAD, MemberState.PENDING),
        (MemberState.PENDING, None),
        (MemberState.SETTLED, None),
        (MemberState.WAITING, None),
        (MemberState.DEAD, None),
    }
)

_SEGMENT_COLUMNS = ("members", "settled", "pending", "waiting", "dead")
_SYNC_COLUMNS = ("unfolded", "changes", "pending", "settled", "dead", "superseded", "overtaken_users")
# A sync does not tell a change that waits for its next call from one that may be sent now.
_SYNC_COLUMN_OF = {
    MemberState.PENDING: "pending",
    MemberState.WAITING: "pending",
    MemberState.SETTLED: "settled",
    MemberState.DEAD: "dead",
}


_NO_SYNC = 0


class Standing(NamedTuple):
    """Where members stand alike: their state, whether they are wanted on the list, and the sync that said so."""

    state: MemberState
    wanted: bool
    sync_id: int


class Key(NamedTuple):
    """One member: a contact (`key:value`) of an account, and a segment."""

    account_id: int
    contact: str
    segment_id: int


@dataclass(frozen=True)
class Changed:
    """What a transaction did to the counters of segments, whom it settled, and whether it put contacts into the queue."""

    segments: Mapping[int, Figures]
    settled: Mapping[Way, Sequence[str]]
    has_queued: bool


class LedgerTransaction:
    """The changes of one transaction; `connection` is for whatever else belongs into it.

    The counters on disk follow at its end, by `write`.
    """

    def __init__(self, connection: sqlite3.Connection, now_ms: int, told_ms: int) -> None:
        self.connection = connection
        # By the steady clock, and as people read it.
        self.now_ms = now_ms
        self.told_ms = told_ms
        self._segments: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SEGMENT_COLUMNS, 0))
        self._syncs: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SYNC_COLUMNS, 0))
        self._settled: dict[Way, Sequence[str]] = {}
        self._has_queued = False

    def decide_staged(self, account_id: int, segment_id: int, sync_id: int, *, wanted: bool, is_queued: bool) -> None:
        """Make what is staged (see `folding.py`) pending, in the name of a sync.

        `is_queued`: a piece that stays names them, so they need not be put into the queue.
        """
        groups = self.connection.execute(_SQL["staged_groups"]).fetchall()
        if not groups:
            return
        after = Standing(MemberState.PENDING, wanted, sync_id)
        for old_state, old_wanted, old_sync_id, number in groups:
            before = None if old_state is None else Standing(MemberState(old_state), bool(old_wanted), old_sync_id)
            self._count(segment_id, number, before, after)
        values = {"account_id": account_id, "segment_id": segment_id, "sync_id": sync_id, "wanted": wanted}
        if self.connection.execute(_SQL["any_failure"]).fetchone():
            self.connection.execute(_SQL["forget_staged_failures"], values)
        self.connection.execute(_SQL["write_known"], values)
        self.connection.execute(_SQL["write_new"], values)
        if not is_queued:
            self.connection.execute(_SQL["queue_staged"], values)
            self._has_queued = True

    def settle(self, account_id: int, segment_id: int, contacts: Sequence[str], *, wanted: bool) -> None:
        """Settle what is pending and still wanted as it was sent (R5), failures forgotten.

        By few statements, however many contacts: each step of a statement hands the interpreter from thread to thread,
        and a step for each contact costs those who make the calls half of their speed.
        """
        values = {
            "account_id": account_id,
            "segment_id": segment_id,
            "wanted": wanted,
            "contacts": json.dumps(contacts),
        }
        for sync_id, number in self.connection.execute(_SQL["count_to_settle"], values).fetchall():
            self._count(
                segment_id,
                number,
                Standing(MemberState.PENDING, wanted, sync_id),
                Standing(MemberState.SETTLED, wanted, sync_id),
            )
        if self.connection.execute(_SQL["any_failure"]).fetchone():
            self.connection.execute(_SQL["forget_failures_to_settle"], values)
        self.connection.execute(_SQL["settle"], values)
        self._settled[Way(segment_id, wanted)] = contacts

    def set_aside(self, account_id: int, outcome: Outcome) -> None:
        """Let a change wait for its next call, or be dead, if it is pending and still wanted as it was sent (R7)."""
        state = MemberState.DEAD if outcome.kind is OutcomeKind.DEAD else MemberState.WAITING
        values = {
            "account_id": account_id,
            "contact": outcome.contact,
            "segment_id": outcome.segment_id,
            "wanted": outcome.wanted,
            "state": state.value,
        }
        row = self.connection.execute(_SQL["set_aside"], values).fetchone()
        if row is None:
            return
        before = Standing(MemberState.PENDING, outcome.wanted, row[0])
        self._count(outcome.segment_id, 1, before, before._replace(state=state))
        failure = outcome.failure
        recorded = {
            **values,
            "dead": state is MemberState.DEAD,
            "attempts": outcome.attempts,
            "reason": failure.reason if failure else "",
            "message": failure.message if failure else "",
            "status": failure.status if failure else None,
            "next_attempt_at_ms": NEVER_MS if state is MemberState.DEAD else outcome.retry_at_ms,
            "told_ms": self.told_ms,
        }
        self.connection.execute(_SQL["record_failure"], recorded)

    def send_due(self, account_id: int, segment_id: int, contacts: Sequence[str]) -> None:
        """Make pending whatever of these waits, its failures remembered."""
        self._make_pending(account_id, segment_id, contacts, {MemberState.WAITING})
        self._on_failures("plan_no_call", account_id, segment_id, contacts)

    def retry(self, account_id: int, segment_id: int, contacts: Sequence[str]) -> int:
        """Make pending whatever of these waits or is dead, with all its attempts anew; return how many."""
        moved = self._make_pending(account_id, segment_id, contacts, {MemberState.WAITING, MemberState.DEAD})
        self._on_failures("give_new_attempts", account_id, segment_id, contacts)
        return moved

    def repeat(self, account_id: int, segment_id: int, contacts: Sequence[str]) -> None:
        """Make all of these pending as if they had never been sent."""
        states = {MemberState.SETTLED, MemberState.WAITING, MemberState.DEAD}
        self._make_pending(account_id, segment_id, contacts, states)
        self._on_failures("forget_failures", account_id, segment_id, contacts)

    def mend(self, account_id: int, segment_id: int, contacts: Sequence[str]) -> None:
        """Make pending whatever of these is settled: Cordial has it otherwise."""
        self._make_pending(account_id, segment_id, contacts, {MemberState.SETTLED})

    def take_off(self, key: Key) -> None:
        """Have a member taken off the list, whatever Heap says."""
        contacts = [key.contact]
        self._make_pending(key.account_id, key.segment_id, contacts, set(MemberState), wanted=False)
        spellings.take_off(self.connection, key.segment_id, key.contact)
        self._on_failures("forget_failures", key.account_id, key.segment_id, contacts)

    def remove_unknown(self, account_id: int, segment_id: int, contacts: Sequence[str]) -> int:
        """Have contacts removed from a list on which Heap never wanted them; return how many are not members there."""
        values = {"account_id": account_id, "segment_id": segment_id, "contacts": json.dumps(contacts)}
        added = [row[0] for row in self.connection.execute(_SQL["add_removals"], values)]
        if added:
            self._count(segment_id, len(added), None, Standing(MemberState.PENDING, wanted=False, sync_id=_NO_SYNC))
            queued = {**values, "contacts": json.dumps(added), "states": json.dumps([MemberState.PENDING.value])}
            self.connection.execute(_SQL["queue"], queued)
            self._has_queued = True
        return len(added)

    def forget(self, key: Key) -> None:
        """Forget a member and its failure; nothing is owed for it any more."""
        row = self.connection.execute(_SQL["standing"], key._asdict()).fetchone()
        if row is None:
            return
        state, wanted, sync_id = row
        self._count(key.segment_id, 1, Standing(MemberState(state), bool(wanted), sync_id), None)
        self._on_failures("forget_failures", key.account_id, key.segment_id, [key.contact])
        self.connection.execute(_SQL["forget"], key._asdict())
        spellings.forget(self.connection, key.segment_id, key.contact)

    def count_unfolded(self, sync_id: int, pieces: int) -> None:
        """Add to the pieces of a sync that are not in the ledger yet."""
        self._syncs[sync_id]["unfolded"] += pieces

    def count_overtaken(self, sync_id: int, users: int) -> None:
        """Add to the users of a sync of whom a newer one had already spoken."""
        self._syncs[sync_id]["overtaken_users"] += users

    def mark_told(self, account_id: int, segment_id: int) -> None:
        """Mark the members of whom something was told (see `spellings.py`), now that each has a row."""
        self.connection.execute(_SQL["mark_told"], {"account_id": account_id, "segment_id": segment_id})
        self.look_at(segment_id)

    def look_at(self, segment_id: int) -> None:
        """Drop the pieces of a segment that has nothing to send, even if nothing else about it changes."""
        self._segments[segment_id]["pending"] += 0

    def write(self) -> Changed:
        """Add everything gathered to the counters on disk; drop the pieces of segments that have nothing to send."""
        for segment_id, figures in self._segments.items():
            self.connection.execute(_SQL["count_segment"], {**figures, "segment_id": segment_id})
            self.connection.execute(_SQL["remove_void_pieces"], {"segment_id": segment_id})
        for sync_id, figures in self._syncs.items():
            values = {"sync_id": sync_id, "now_ms": self.now_ms, "told_ms": self.told_ms}
            self.connection.execute(_SQL["count_sync"], {**figures, **values})
        return Changed(self._segments, self._settled, self._has_queued)

    def _make_pending(
        self,
        account_id: int,
        segment_id: int,
        contacts: Sequence[str],
        states: Collection[MemberState],
        *,
        wanted: bool | None = None,
    ) -> int:
        values: dict[str, Any] = {
            "account_id": account_id,
            "segment_id": segment_id,
            "contacts": json.dumps(contacts),
            "states": json.dumps([state.value for state in states]),
            "wanted": wanted,
        }
        groups = self.connection.execute(_SQL["groups"], values).fetchall()
        for state, old_wanted, sync_id, number in groups:
            before = Standing(MemberState(state), bool(old_wanted), sync_id)
            after_wanted = before.wanted if wanted is None else wanted
            self._count(segment_id, number, before, Standing(MemberState.PENDING, after_wanted, sync_id))
        if groups:
            self.connection.execute(_SQL["queue"], values)
            self.connection.execute(_SQL["make_pending"], values)
            self._has_queued = True
        return sum(number for *_, number in groups)

    def _on_failures(self, statement: str, account_id: int, segment_id: int, contacts: Sequence[str]) -> None:
        values = {
            "account_id": account_id,
            "segment_id": segment_id,
            "contacts": json.dumps(contacts),
            "never_ms": NEVER_MS,
        }
        self.connection.execute(_SQL[statement], values)

    def _count(self, segment_id: int, number: int, before: Standing | None, after: Standing | None) -> None:
        """Count so many members over from where they stood to where they stand."""
        transition = (before and before.state, after and after.state)
        if transition not in TRANSITIONS:
            raise StoreFaultError(f"no member may go from {transition[0]} to {transition[1]}")
        segment = self._segments[segment_id]
        for standing, signed in ((before, -number), (after, number)):
            if standing is None:
                continue
            segment["members"] += signed * standing.wanted
            is_settled = standing.state is MemberState.SETTLED
            segment[standing.state.value] += signed * standing.wanted if is_settled else signed
        is_same_sync = before is not None and after is not None and before.sync_id == after.sync_id
        # What a sync has settled stays to its credit; what it still owed is overtaken.
        if before is not None and (is_same_sync or before.state is not MemberState.SETTLED):
            self._syncs[before.sync_id][_SYNC_COLUMN_OF[before.state]] -= number
            self._syncs[before.sync_id]["superseded"] += 0 if is_same_sync else number
        if after is not None:
            self._syncs[after.sync_id][_SYNC_COLUMN_OF[after.state]] += number
            self._syncs[after.sync_id]["changes"] += 0 if is_same_sync else number


class LedgerWriter:
    """The one way to change the ledger. What is kept in memory follows once a change is durable.

    `apply` adds to the figures in memory. `note_settled` is told some of the contacts that were settled. `inbox_grew` wakes
    the folder, which has sending look for what the change has queued.
    """

    def __init__(
        self,
        writer: Writer,
        clock: SteadyClock,
        apply: Callable[[Mapping[int, Figures]], None],
        note_settled: Callable[[Mapping[Way, Sequence[str]]], None],
        inbox_grew: asyncio.Event,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._apply = apply
        self._note_settled = note_settled
        self._inbox_grew = inbox_grew

    async def change(
        self,
        work: Callable[[LedgerTransaction], Result],
        *,
        alone: bool = False,
        on_commit: Callable[[Result], None] | None = None,
    ) -> Result:
        """Return what `work` returns, once all it did is durable. Raises as `Writer.run` does; `alone` is as there."""
        now_ms, told_ms = self._clock.now_ms(), self._clock.wall_ms()

        def run(connection: sqlite3.Connection) -> tuple[Result, Changed]:
            ledger = LedgerTransaction(connection, now_ms, told_ms)
            return work(ledger), ledger.write()

        def conclude(done: tuple[Result, Changed]) -> None:
            result, changed = done
            self._apply(changed.segments)
            self._note_settled(changed.settled)
            if changed.has_queued:
                self._inbox_grew.set()
            if on_commit is not None:
                on_commit(result)

        result, _ = await self._writer.run(run, alone=alone, on_commit=conclude)
        return result
