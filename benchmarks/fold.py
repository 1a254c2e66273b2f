"""How fast accepted users go into the ledger and out of it, and how many bytes each leaves behind."""

import random
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Figure, median_of, progress
from service.model.changes import ClaimCursor, Outcome, OutcomeKind
from service.model.deliveries import Action, Delivery, UserIds
from service.store.sqlite.store import SqliteStore

_ACCOUNT = "bench"
_USERS_PER_PAGE = 1_000
_CLAIM_LIMIT = 250
_SETTLE_RESULTS = 500

_MIN_FOLDED_PER_SECOND = 200_000
_MAX_BYTES = 90


class _Round(NamedTuple):
    """Users folded and changes settled per second, microseconds on a core for each, and bytes left for each."""

    folded_per_second: float
    fold_cpu_microseconds: float
    settled_per_second: float
    settle_cpu_microseconds: float
    bytes_per_member: float


async def measure(*, users: int, rounds: int) -> list[Figure]:
    """Accept, fold and settle users with random ids, through the store alone: nobody else uses the process."""
    measured = []
    for number in range(rounds):
        measured.append(await _round(users))
        progress(
            f"fold, round {number + 1}: {measured[-1].folded_per_second:,.0f} users/s, "
            f"settle {measured[-1].settled_per_second:,.0f} changes/s"
        )
    folded_per_second = median_of(measured, lambda each: each.folded_per_second)
    bytes_per_member = median_of(measured, lambda each: each.bytes_per_member)
    return [
        Figure(
            f"fold: inbox to ledger, {users:,} random ids",
            f"{folded_per_second:,.0f} users/s",
            f"{median_of(measured, lambda each: each.fold_cpu_microseconds):.1f} µs a user",
            measured=folded_per_second,
            target=("≥", _MIN_FOLDED_PER_SECOND),
            unit="users/s",
        ),
        Figure(
            "store: claim and settle, 500 a commit",
            f"{median_of(measured, lambda each: each.settled_per_second):,.0f} changes/s",
            f"{median_of(measured, lambda each: each.settle_cpu_microseconds):.1f} µs a change",
        ),
        Figure(
            "store: bytes on disk per settled member",
            f"{bytes_per_member:.0f} B",
            measured=bytes_per_member,
            target=("≤", _MAX_BYTES),
            unit="B",
        ),
    ]


async def _round(users: int) -> _Round:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        store = await SqliteStore.open(path, [_ACCOUNT], max_backlog=users + 1)
        try:
            for page in range(users // _USERS_PER_PAGE):
                await store.accept(_delivery(page, users // _USERS_PER_PAGE))
            times = [(time.perf_counter(), time.process_time())]
            folded = await _fold_all(store)
            times.append((time.perf_counter(), time.process_time()))
            settled = await _settle_all(store)
            times.append((time.perf_counter(), time.process_time()))
        finally:
            await store.close()
        (fold_seconds, fold_cpu_seconds), (settle_seconds, settle_cpu_seconds) = (
            (after - before, cpu_after - cpu_before) for (before, cpu_before), (after, cpu_after) in pairwise(times)
        )
        return _Round(
            folded / fold_seconds,
            fold_cpu_seconds * 1e6 / folded,
            settled / settle_seconds,
            settle_cpu_seconds * 1e6 / settled,
            path.stat().st_size / settled,
        )


def _delivery(page: int, pages: int) -> Delivery:
    users = [f"{random.getrandbits(64):016x}@example.com" for _ in range(_USERS_PER_PAGE)]
    return Delivery(
        account=_ACCOUNT,
        action=Action.SYNC,
        segment_id="1",
        segment_name="Benchmark",
        task_id="benchmark",
        page_number=page + 1,
        total_pages=pages,
        digest=page.to_bytes(32, "big"),
        identity="email",
        add=UserIds.of(users, "email"),
        remove=UserIds([]),
        rejected=[],
        rejected_count=0,
        received_at_ms=time.time_ns() // 1_000_000,
        signed_at_ms=time.time_ns() // 1_000_000,
    )


async def _fold_all(store: SqliteStore) -> int:
    """Return how many users were folded; begins small, as after any burst, as the service does."""
    users = 0
    while True:
        progressed = await store.fold_next()
        users += progressed.users
        if not progressed.more:
            return users


async def _settle_all(store: SqliteStore) -> int:
    (segment,) = await store.segments()
    cursor = ClaimCursor()
    outcomes: list[Outcome] = []
    spent_pieces: list[int] = []
    settled = 0
    exhausted = False
    while not exhausted:
        claimed = await store.claim(_ACCOUNT, segment.id, cursor, _CLAIM_LIMIT)
        cursor, exhausted = claimed.cursor, claimed.exhausted
        for stretch in claimed.stretches:
            outcomes += [
                Outcome(_ACCOUNT, work.contact, change.segment_id, change.wanted, OutcomeKind.SETTLED)
                for work in stretch.works
                for change in work.changes
            ]
            spent_pieces += [stretch.piece_id] * stretch.complete
        if len(outcomes) >= _SETTLE_RESULTS or exhausted:
            await store.settle(outcomes, spent_pieces)
            settled += len(outcomes)
            outcomes, spent_pieces = [], []
    return settled
