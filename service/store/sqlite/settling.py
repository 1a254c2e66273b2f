"""Outcomes: what Cordial answered, compared with what is wanted now, and written (R5, R7)."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.model.changes import Outcome, OutcomeKind
from service.store.sqlite import queries
from service.store.sqlite.folding import DEAD, WAITING, Tally, uncount_member

# Stands for "no call planned": later than any clock will show.
NEVER_MS = 9_000_000_000_000_000

_SQL = queries.load("settle")
_REQUEUE = queries.load("fold")["requeue"]
_MOST_RELEASED = 1_000


def settle(
    connection: sqlite3.Connection, outcomes: Iterable[tuple[int, Outcome]], spent_pieces: Sequence[int], now_ms: int
) -> Tally:
    """Write (account id, outcome) pairs; an outcome of something no longer wanted changes nothing.

    Pieces whose contacts are all dealt with are removed.
    """
    tally = Tally()
    if spent_pieces:
        connection.execute(_SQL["remove_pieces"], {"pieces": json.dumps(spent_pieces)})
    together: dict[Sent, list[str]] = defaultdict(list)
    for account_id, outcome in outcomes:
        if outcome.kind is not OutcomeKind.SETTLED:
            _set_aside(connection, account_id, outcome, tally, now_ms)
            continue
        sent = Sent(account_id, outcome.segment_id, outcome.wanted)
        if outcome.failures:
            forgotten = {**sent._asdict(), "contact": outcome.contact}
            connection.execute(_SQL["forget_failure"], forgotten)
        together[sent].append(outcome.contact)
    for sent, contacts in together.items():
        settle_together(connection, sent, contacts, tally)
    tally.write(connection, now_ms)
    return tally


class Sent(NamedTuple):
    """What was sent alike for many contacts."""

    account_id: int
    segment_id: int
    wanted: bool


def settle_together(connection: sqlite3.Connection, sent: Sent, contacts: list[str], tally: Tally) -> None:
    """Settle what is still wanted as it was sent.

    By two statements, however many contacts: each step of a statement hands the interpreter from thread to thread, and
    a step for each contact costs those who make the calls half of their speed.
    """
    values = {**sent._asdict(), "contacts": json.dumps(contacts)}
    for sync_id, number in connection.execute(_SQL["count_settling"], values).fetchall():
        segment, sync = tally.segments[sent.segment_id], tally.syncs[sync_id]
        segment.add("pending", -number)
        sync.add("pending", -number)
        sync.add("settled", number)
        if sent.wanted:
            segment.add("settled", number)
    connection.execute(_SQL["settle"], values)


def _set_aside(connection: sqlite3.Connection, account_id: int, outcome: Outcome, tally: Tally, now_ms: int) -> None:
    dead = outcome.kind is OutcomeKind.DEAD
    values = {
        "account_id": account_id,
        "contact": outcome.contact,
        "segment_id": outcome.segment_id,
        "wanted": outcome.wanted,
        "state": DEAD if dead else WAITING,
    }
    row = connection.execute(_SQL["set_aside"], values).fetchone()
    if row is None:
        return
    segment, sync = tally.segments[outcome.segment_id], tally.syncs[row[0]]
    segment.add("pending", -1)
    segment.add("dead" if dead else "waiting", 1)
    if dead:
        sync.add("pending", -1)
        sync.add("dead", 1)
    failure = outcome.failure
    connection.execute(
        _SQL["record_failure"],
        {
            **values,
            "dead": dead,
            "attempts": outcome.attempts,
            "reason": failure.reason if failure else "",
            "message": failure.message if failure else "",
            "status": failure.status if failure else None,
            "next_attempt_at_ms": NEVER_MS if dead else outcome.retry_at_ms,
            "now_ms": now_ms,
        },
    )


def release_due(connection: sqlite3.Connection, now_ms: int) -> tuple[Tally, int | None]:
    """Make waiting changes pending whose time has come; return also when the next one's will, if any waits."""
    tally = Tally()
    released: dict[int, list[str]] = defaultdict(list)
    due = connection.execute(_SQL["due_failures"], {"now_ms": now_ms, "limit": _MOST_RELEASED}).fetchall()
    for account_id, contact, segment_id in due:
        values = {"account_id": account_id, "contact": contact, "segment_id": segment_id, "never_ms": NEVER_MS}
        row = connection.execute(_SQL["release"], values).fetchone()
        connection.execute(_SQL["mark_released"], values)
        if row is not None:
            segment, sync = tally.segments[segment_id], tally.syncs[row[0]]
            uncount_member(segment, sync, WAITING, wanted=False, number=1)
            segment.add("pending", 1)
            sync.add("pending", 1)
            released[segment_id].append(contact)
    for segment_id, contacts in released.items():
        connection.execute(_REQUEUE, {"segment_id": segment_id, "contacts": json.dumps(contacts)})
    tally.write(connection, now_ms)
    next_due: int | None = connection.execute(_SQL["next_due"], {"never_ms": NEVER_MS}).fetchone()[0]
    return tally, next_due


def hasten(connection: sqlite3.Connection, account_id: int, now_ms: int) -> None:
    """Plan now whatever waits through no fault of its own: the account can be served again (R7)."""
    connection.execute(_SQL["hasten_blameless"], {"account_id": account_id, "now_ms": now_ms, "never_ms": NEVER_MS})
