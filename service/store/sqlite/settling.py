"""Outcomes: what Cordial answered, compared with what is wanted now, and written (R5, R7).

`service/deliver/settler.py` gathers them, and hands them over in batches.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

from service.model.changes import CONTACT_NOT_FOUND, Outcome, OutcomeKind
from service.store.sqlite import queries
from service.store.sqlite.ledger import NEVER_MS, LedgerTransaction

_SQL = queries.load("settle")
_MAX_DUE = 1_000
_PUT_OFF_MS = 3_600_000


def settle(ledger: LedgerTransaction, outcomes: Iterable[tuple[int, Outcome]], spent_pieces: Sequence[int]) -> None:
    """Write (account id, outcome) pairs; an outcome of something no longer wanted changes nothing.

    Pieces whose contacts are all dealt with are removed.
    """
    if spent_pieces:
        ledger.connection.execute(_SQL["remove_pieces"], {"pieces": json.dumps(spent_pieces)})
    settled: dict[tuple[int, int, bool], list[str]] = defaultdict(list)
    for account_id, outcome in outcomes:
        if outcome.kind is OutcomeKind.SETTLED:
            settled[account_id, outcome.segment_id, outcome.wanted].append(outcome.contact)
        else:
            ledger.set_aside(account_id, outcome)
    for (account_id, segment_id, wanted), contacts in settled.items():
        ledger.settle(account_id, segment_id, contacts, wanted=wanted)


def send_due(ledger: LedgerTransaction) -> int | None:
    """Make waiting changes pending whose time has come; return when the next one's will, if any waits."""
    contacts_of: dict[tuple[int, int], list[str]] = defaultdict(list)
    for account_id, segment_id, contact in due(ledger.connection, ledger.now_ms):
        contacts_of[account_id, segment_id].append(contact)
    for (account_id, segment_id), contacts in contacts_of.items():
        ledger.send_due(account_id, segment_id, contacts)
    next_due: int | None = ledger.connection.execute(_SQL["next_due"], {"never_ms": NEVER_MS}).fetchone()[0]
    return next_due


def due(connection: sqlite3.Connection, now_ms: int) -> list[tuple[int, int, str]]:
    """Return (account id, segment id, contact) of the first waiting changes whose time has come."""
    return connection.execute(_SQL["due_failures"], {"now_ms": now_ms, "limit": _MAX_DUE}).fetchall()


def put_off(connection: sqlite3.Connection, account_id: int, segment_id: int, contact: str, now_ms: int) -> None:
    """Plan the next try of a change that could not be made pending."""
    values = {"account_id": account_id, "segment_id": segment_id, "contact": contact, "at_ms": now_ms + _PUT_OFF_MS}
    connection.execute(_SQL["put_off"], values)


def hasten(connection: sqlite3.Connection, account_id: int, now_ms: int) -> None:
    """Plan now whatever waits through no fault of its own: the account can be served again (R7)."""
    values = {"account_id": account_id, "now_ms": now_ms, "never_ms": NEVER_MS, "absent": CONTACT_NOT_FOUND}
    connection.execute(_SQL["hasten_blameless"], values)
