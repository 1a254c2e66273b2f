"""Appending a delivery to the inbox: one short transaction, the same price for ten users as for ten thousand."""

import sqlite3

import msgspec

from service.model import Action, Delivery, Receipt
from service.store import queries

# Small enough that a delivery arriving while a piece is folded hardly waits.
USERS_PER_PIECE = 250

_SQL = queries.load("accept")
_encode = msgspec.json.Encoder().encode


def append_delivery(connection: sqlite3.Connection, account_id: int, delivery: Delivery) -> Receipt:
    """Keep the whole of a delivery, unless it was kept before (R3)."""
    segment_id, name = _segment(connection, account_id, delivery)
    sync_id = _sync(connection, segment_id, delivery)
    identity = {
        "segment_id": segment_id,
        "sync_id": sync_id,
        "page_number": delivery.page_number,
        "digest": delivery.digest,
    }
    known = connection.execute(_SQL["find_delivery"], identity).fetchone()
    if known:
        connection.execute(_SQL["count_duplicate"], {"sync_id": sync_id})
        return Receipt(duplicate=True, delivery_id=known[0], segment_id=segment_id)
    if name != delivery.segment_name and connection.execute(_SQL["find_newer_sync"], identity).fetchone() is None:
        connection.execute(_SQL["rename_segment"], {"segment_id": segment_id, "name": delivery.segment_name})
    new_page = connection.execute(_SQL["find_page"], identity).fetchone() is None
    figures = {
        "added": len(delivery.add),
        "removed": len(delivery.remove),
        "rejected": delivery.rejected_count,
        "now_ms": delivery.received_at_ms,
    }
    rejected_users = _encode(delivery.rejected).decode()
    cursor = connection.execute(_SQL["add_delivery"], {**identity, **figures, "rejected_users": rejected_users})
    delivery_id = cursor.lastrowid or 0
    pieces = _pieces(delivery)
    connection.executemany(
        _SQL["add_piece"],
        [(segment_id, delivery_id, delivery.identity, wanted, users, contacts) for wanted, users, contacts in pieces],
    )
    connection.execute(
        _SQL["count_delivery"],
        {
            **figures,
            "sync_id": sync_id,
            "total_pages": delivery.total_pages,
            "new_page": new_page,
            "pieces": len(pieces),
        },
    )
    return Receipt(duplicate=False, delivery_id=delivery_id, segment_id=segment_id)


def _segment(connection: sqlite3.Connection, account_id: int, delivery: Delivery) -> tuple[int, str]:
    key = {"account_id": account_id, "heap_id": delivery.segment_id}
    row: tuple[int, str] | None = connection.execute(_SQL["find_segment"], key).fetchone()
    if row is not None:
        return row
    values = {**key, "name": delivery.segment_name, "now_ms": delivery.received_at_ms}
    return connection.execute(_SQL["add_segment"], values).lastrowid or 0, delivery.segment_name


def _sync(connection: sqlite3.Connection, segment_id: int, delivery: Delivery) -> int:
    key = {"segment_id": segment_id, "task_id": delivery.task_id}
    row = connection.execute(_SQL["find_sync"], key).fetchone()
    if row is not None:
        sync_id: int = row[0]
        return sync_id
    values = {
        **key,
        "action": delivery.action.value,
        "total_pages": delivery.total_pages,
        "now_ms": delivery.received_at_ms,
    }
    return connection.execute(_SQL["add_sync"], values).lastrowid or 0


def _pieces(delivery: Delivery) -> list[tuple[int, int, str | None]]:
    """Return (wanted, users, JSON array of user ids) of each piece; a drain is one piece without ids."""
    if delivery.action is Action.DRAIN:
        return [(0, 0, None)]
    pieces: list[tuple[int, int, str | None]] = []
    for wanted, users in ((1, delivery.add), (0, delivery.remove)):
        for start in range(0, len(users), USERS_PER_PIECE):
            piece = users[start : start + USERS_PER_PIECE]
            pieces.append((wanted, len(piece), _encode(piece).decode()))
    return pieces
