"""How fast accepted users go into the ledger and out of it, and how many bytes each leaves behind."""

import random
import tempfile
import time
from pathlib import Path

from benchmarks.report import Figure, progress
from service.model.changes import ClaimCursor, Outcome, OutcomeKind
from service.model.deliveries import Action, Delivery, UserIds
from service.store.sqlite.store import SqliteStore

_ACCOUNT = "bench"
_USERS_PER_PAGE = 1_000
_CLAIM_LIMIT = 250
_SETTLE_RESULTS = 500

_FOLD_TARGET_USERS_PER_SECOND = 100_000
_BYTES_TARGET = 90


async def measure(*, users: int) -> list[Figure]:
    """Accept, fold and settle users with random ids, through the store alone: nobody else uses the process."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        store = await SqliteStore.open(path, [_ACCOUNT], max_backlog=users + 1)
        try:
            for page in range(users // _USERS_PER_PAGE):
                await store.accept(_delivery(page, users // _USERS_PER_PAGE))
            folded, fold_seconds = await _fold_all(store)
            progress(f"fold: {folded / fold_seconds:,.0f} users/s")
            settled, settle_seconds = await _settle_all(store)
            progress(f"settle: {settled / settle_seconds:,.0f} changes/s")
        finally:
            await store.close()
        bytes_per_member = path.stat().st_size / settled
    return [
        Figure(
            f"fold: inbox to ledger, {folded:,} random ids",
            f"{folded / fold_seconds:,.0f} users/s",
            measured=folded / fold_seconds,
            target=("≥", _FOLD_TARGET_USERS_PER_SECOND),
            unit="users/s",
        ),
        Figure("store: claim and settle, 500 a commit", f"{settled / settle_seconds:,.0f} changes/s"),
        Figure(
            "store: bytes on disk per settled member",
            f"{bytes_per_member:.0f} B",
            measured=bytes_per_member,
            target=("≤", _BYTES_TARGET),
            unit="B",
        ),
    ]


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


async def _fold_all(store: SqliteStore) -> tuple[int, float]:
    """Return how many users were folded and the seconds it took; begins small, as after any burst, as the service does."""
    users = 0
    started = time.perf_counter()
    while True:
        progressed = await store.fold_next()
        users += progressed.users
        if not progressed.more:
            return users, time.perf_counter() - started


async def _settle_all(store: SqliteStore) -> tuple[int, float]:
    (segment,) = await store.segments()
    cursor = ClaimCursor()
    outcomes: list[Outcome] = []
    spent_pieces: list[int] = []
    settled = 0
    exhausted = False
    started = time.perf_counter()
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
    return settled, time.perf_counter() - started
