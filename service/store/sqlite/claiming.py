"""Finding what to send next: the pieces of a segment say which contacts, the ledger says what they want now."""

import sqlite3
from collections.abc import Mapping

import msgspec

from service.model.changes import CONTACT_NOT_FOUND, Change, ClaimCursor, Claimed, ContactWork, Stretch
from service.store.sqlite import queries

_SQL = queries.load("claim")
_decode_rows = msgspec.json.Decoder(list[tuple[str, int, int, int, int, int, int]]).decode

# A crash can leave many pieces that turn out to be settled; no claim holds the reader up for all of them.
_MAX_PIECES = 32


def claim(connection: sqlite3.Connection, account_id: int, segment_id: int, cursor: ClaimCursor, limit: int) -> Claimed:
    """Return contacts with a pending change in the segment, at most `limit`, going on from `cursor`.

    Each comes with its pending changes in all lists of the account (R5). It may find none and yet not be at the end.
    """
    stretches: list[Stretch] = []
    place = {"account_id": account_id, "segment_id": segment_id, "piece_id": cursor.piece_id}
    passed_over = connection.execute(_SQL["passed_over"], place).fetchone()
    if passed_over is not None:
        first, last = passed_over
        stretches.append(Stretch(first, [], complete=False, has_skipped=True))
        cursor = ClaimCursor(last + 1, 0)
    for _ in range(_MAX_PIECES):
        position = {"segment_id": segment_id, "piece_id": cursor.piece_id}
        row = connection.execute(_SQL["next_piece"], position).fetchone()
        if row is None:
            return Claimed(stretches, cursor, exhausted=True)
        piece_id, identity, length = row
        start = cursor.start if piece_id == cursor.piece_id else 0
        values = {
            "account_id": account_id,
            "piece_id": piece_id,
            "prefix": f"{identity}:" if identity else "",
            "start": start,
            "stop": start + limit,
            "absent": CONTACT_NOT_FOUND,
        }
        works, has_skipped = _read_works(connection, values)
        complete = start + limit >= length
        stretches.append(Stretch(piece_id, works, complete, has_skipped))
        cursor = ClaimCursor(piece_id + 1, 0) if complete else ClaimCursor(piece_id, start + limit)
        if works:
            break
    return Claimed(stretches, cursor, exhausted=False)


def _read_works(connection: sqlite3.Connection, values: Mapping[str, str | int]) -> tuple[list[ContactWork], bool]:
    """Return the contacts to send, and whether any was skipped because it travels with an import."""
    works: list[ContactWork] = []
    has_skipped = False
    contact = ""
    changes: list[Change] = []
    (rows,) = connection.execute(_SQL["claim"], values).fetchone()
    for row_contact, segment_id, wanted, attempts, failures, was_absent, is_sent in _decode_rows(rows):
        if is_sent:
            has_skipped = True
            continue
        if row_contact != contact:
            if changes:
                works.append(ContactWork(contact, tuple(changes)))
            contact, changes = row_contact, []
        changes.append(Change(segment_id, bool(wanted), attempts, failures, bool(was_absent)))
    if changes:
        works.append(ContactWork(contact, tuple(changes)))
    return works, has_skipped
