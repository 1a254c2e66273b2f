"""What any store must hold, seen from outside. Nothing here knows how a store keeps its things."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from service.clock import Boot, SteadyClock
from service.model.changes import Change, ClaimCursor, ContactWork, Failure, MemberState, Outcome, OutcomeKind
from service.model.deliveries import Action, Delivery, UserIds
from service.store.sqlite.store import SqliteStore

Store = SqliteStore
ACCOUNTS = ("acme", "globex")
SEGMENT = "7"
START_MS = 1_700_000_000_000


class SettableClock(SteadyClock):
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.ms = START_MS
        # By how much the machine's clock was set while the service ran.
        self.stepped_ms = 0
        # What the machine says of its last start; nothing, unless a test lets it.
        self.booted: Boot | None = None

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.now_ms() + self.stepped_ms

    def boot(self) -> Boot | None:
        return self.booted


class MemberFact(NamedTuple):
    account: str
    contact: str
    segment_id: int
    wanted: bool
    state: MemberState
    sync_id: int


class SegmentFact(NamedTuple):
    id: int
    account: str
    heap_id: str
    name: str
    members: int
    settled: int
    pending: int
    waiting: int
    dead: int


class SyncFact(NamedTuple):
    id: int
    segment_id: int
    task_id: str
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
    overtaken_users: int
    drained_at_ms: int | None
    drained_told_ms: int | None
    guard: str | None
    guard_removals: int
    guard_members: int | None
    discarded_users: int


class FailureFact(NamedTuple):
    account: str
    contact: str
    segment_id: int
    dead: bool
    failures: int
    attempts: int
    reason: str
    message: str
    status: int | None


@dataclass(frozen=True)
class Facts:
    """Everything a store holds. `to_send` are the (segment id, contact) that a claim from the start would look at."""

    members: list[MemberFact]
    segments: list[SegmentFact]
    syncs: list[SyncFact]
    failures: list[FailureFact]
    deliveries: int
    superseded: int
    unfolded_users: int
    unfolded_pieces: int
    to_send: set[tuple[int, str]]
    guarded_users: int = 0
    guarded_pieces: int = 0

    def wanted(self, heap_id: str = SEGMENT, account: str = "acme") -> set[str]:
        """Return the values of the contacts that are to be on a segment's list."""
        segment_ids = [
            segment.id for segment in self.segments if (segment.account, segment.heap_id) == (account, heap_id)
        ]
        return {value(row.contact) for row in self.members if row.segment_id in segment_ids and row.wanted}

    def sync(self, task_id: str) -> SyncFact:
        """Return the one sync with this task id."""
        (found,) = [sync for sync in self.syncs if sync.task_id == task_id]
        return found

    def states(self) -> dict[str, MemberState]:
        """Return the state of each contact; for tests with one segment."""
        return {value(row.contact): row.state for row in self.members}


class StoreMaker(Protocol):
    """One place where a store of some kind can live."""

    clock: SettableClock

    async def open(self, *, max_backlog: int = 1_000_000) -> Store:
        """Open the store, or make it."""

    def put_new(self) -> None:
        """Put an empty store there, which takes less than to make one."""

    def facts(self) -> Facts:
        """Read what is durable, past the store."""

    def crashed(self, place: Path) -> "StoreMaker":
        """Return another place holding what a crash at this instant would leave behind."""


def value(contact: str) -> str:
    """Return what follows the key of a contact."""
    return contact.split(":", 1)[1]


def page(
    task: str,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    number: int = 1,
    of: int = 1,
    segment: str = SEGMENT,
    name: str = "Buyers",
    account: str = "acme",
    body: str = "",
    received_at_ms: int = START_MS,
    signed_at_ms: int = START_MS,
) -> Delivery:
    """Return a page of a sync; `body` stands for differences in the raw body that the parsed page does not show."""
    raw = repr((account, segment, name, task, number, add, remove, body))
    return Delivery(
        account=account,
        action=Action.SYNC,
        segment_id=segment,
        segment_name=name,
        task_id=task,
        page_number=number,
        total_pages=of,
        digest=hashlib.sha256(raw.encode()).digest(),
        identity="email",
        add=UserIds.of([user for user in add if user not in remove], "email"),
        remove=UserIds.of(list(remove), "email"),
        rejected=[],
        rejected_count=0,
        received_at_ms=received_at_ms,
        signed_at_ms=signed_at_ms,
    )


def drain(timestamp: str, *, segment: str = SEGMENT, account: str = "acme", signed_at_ms: int = START_MS) -> Delivery:
    """Return Heap's request to remove everyone."""
    return Delivery(
        account=account,
        action=Action.DRAIN,
        segment_id=segment,
        segment_name="Buyers",
        task_id=f"drain:{timestamp}",
        page_number=1,
        total_pages=1,
        digest=hashlib.sha256(repr((account, segment, timestamp)).encode()).digest(),
        identity="",
        add=UserIds([]),
        remove=UserIds([]),
        rejected=[],
        rejected_count=0,
        received_at_ms=START_MS,
        signed_at_ms=signed_at_ms,
    )


async def wait_until_well(store: Store) -> None:
    """Write until the store finds nothing wrong with itself any more."""
    async with asyncio.timeout(30):
        while store.fault is not None:
            await store.make_due_pending()
            await asyncio.sleep(0.1)


async def fold_all(store: Store) -> None:
    """Fold until nothing is left in the inbox."""
    while (await store.fold_next()).more:
        pass


async def judge_all(store: Store) -> None:
    """Fold, judge, and fold what was passed, until nothing more happens by itself (R17)."""
    await fold_all(store)
    while await store.guard.advance():
        await fold_all(store)


Answer = Callable[[ContactWork, Change], Outcome]


def accepted_by_cordial(work: ContactWork, change: Change, account: str = "acme") -> Outcome:
    return Outcome(
        account, work.contact, change.segment_id, change.wanted, OutcomeKind.SETTLED, failures=change.failures
    )


def failed(
    work: ContactWork, change: Change, account: str = "acme", *, retry_at_ms: int | None, attempts: int = 0
) -> Outcome:
    """Return a failed call; without `retry_at_ms` the change is given up."""
    return Outcome(
        account,
        work.contact,
        change.segment_id,
        change.wanted,
        OutcomeKind.DEAD if retry_at_ms is None else OutcomeKind.RETRY,
        failure=Failure("refused", "Cordial's own words", 422),
        failures=change.failures,
        attempts=attempts,
        retry_at_ms=retry_at_ms or 0,
    )


async def claim_all(store: Store, account: str = "acme", limit: int = 100) -> tuple[list[ContactWork], list[int]]:
    """Return everything that may be sent, each contact once, and the pieces looked at to their end."""
    works: dict[str, ContactWork] = {}
    pieces: list[int] = []
    for segment_id in store.pending_segments(account):
        cursor = ClaimCursor()
        while not (claimed := await store.claim(account, segment_id, cursor, limit)).exhausted:
            cursor = claimed.cursor
            for stretch in claimed.stretches:
                works.update((work.contact, work) for work in stretch.works)
                if stretch.complete:
                    pieces.append(stretch.piece_id)
    return list(works.values()), pieces


async def send_all(store: Store, answer: Answer = accepted_by_cordial) -> list[ContactWork]:
    """Make one call for every contact with something pending and settle what came back; return the calls."""
    works, pieces = await claim_all(store)
    await store.settle([answer(work, change) for work in works for change in work.changes], pieces)
    return works


def check_invariants(facts: Facts, store: Store) -> None:
    """Compare every counter with a recount, the memory with the disk, and see that nothing owed can be forgotten."""
    rows_of_segment = {
        segment.id: [row for row in facts.members if row.segment_id == segment.id] for segment in facts.segments
    }
    for segment in facts.segments:
        states = Counter(row.state for row in rows_of_segment[segment.id])
        wanted = [row for row in rows_of_segment[segment.id] if row.wanted]
        assert segment.members == len(wanted)
        assert segment.settled == sum(row.state is MemberState.SETTLED for row in wanted)
        assert segment.pending == states[MemberState.PENDING]
        assert segment.waiting == states[MemberState.WAITING]
        assert segment.dead == states[MemberState.DEAD]
        assert all(row.account == segment.account for row in rows_of_segment[segment.id])
    for sync in facts.syncs:
        states = Counter(row.state for row in facts.members if row.sync_id == sync.id)
        assert sync.pending == states[MemberState.PENDING] + states[MemberState.WAITING]
        assert sync.dead == states[MemberState.DEAD]
        # What this sync settled stays to its credit when a newer sync changes the member again.
        assert sync.settled >= states[MemberState.SETTLED]
        assert sync.changes == sync.pending + sync.settled + sync.dead + sync.superseded
        assert (sync.drained_at_ms is not None) == (sync.unfolded == 0 and sync.pending == 0)
        assert (sync.drained_told_ms is None) == (sync.drained_at_ms is None)
    failures = {(failure.account, failure.contact, failure.segment_id): failure for failure in facts.failures}
    members = {(row.account, row.contact, row.segment_id): row for row in facts.members}
    assert failures.keys() <= members.keys()
    for key, row in members.items():
        if row.state in (MemberState.WAITING, MemberState.DEAD):
            assert failures[key].dead == (row.state is MemberState.DEAD)
        if row.state is MemberState.SETTLED:
            assert key not in failures
        if row.state is MemberState.PENDING:
            assert (row.segment_id, row.contact) in facts.to_send
    if not any(segment.pending for segment in facts.segments) and not facts.unfolded_pieces:
        assert not facts.to_send
    for account in ACCOUNTS:
        owed = {
            segment.id: segment.pending for segment in facts.segments if segment.account == account and segment.pending
        }
        assert store.pending_segments(account) == owed
    assert store.backlog.unfolded_users == facts.unfolded_users
    assert store.waiting_changes == sum(segment.waiting for segment in facts.segments)
    assert store.backlog.guarded_total == facts.guarded_users
    assert store.backlog.total == facts.unfolded_users + facts.guarded_users + sum(
        segment.pending + segment.waiting for segment in facts.segments
    )
