"""Appending a delivery to the inbox: one short transaction, the same price for ten users as for ten thousand."""

import sqlite3
from typing import NamedTuple

import msgspec

from service.errors import ForgottenDeliveryError
from service.model.deliveries import Action, Delivery, Receipt, ReceiptStatus
from service.store.sqlite import precedence, queries

_SQL = queries.load("accept")
_encode = msgspec.json.Encoder().encode


class _Known(NamedTuple):
    """A row of `find`."""

    segment_id: int
    segment_name: str
    sync_id: int | None
    pages_received: int
    delivery_id: int | None
    has_page: bool
    has_newer: bool
    is_forgotten: bool


def append_delivery(connection: sqlite3.Connection, account_id: int, delivery: Delivery, steady_ms: int) -> Receipt:
    """Keep the whole of a delivery, unless it was kept before (R3).

    By few statements: each hands the interpreter to the thread that answers, and waits to get it back. Raises
    `ForgottenDeliveryError`.
    """
    identity = {
        "account_id": account_id,
        "heap_id": delivery.segment_id,
        "task_id": delivery.task_id,
        "page_number": delivery.page_number,
        "digest": delivery.digest,
        "precedence_ms": delivery.precedence_ms,
        "signed_at_ms": delivery.signed_at_ms,
    }
    row = connection.execute(_SQL["find"], identity).fetchone()
    known = _add_segment(connection, account_id, delivery) if row is None else _Known(*row)
    if known.delivery_id is not None:
        connection.execute(_SQL["count_duplicate"], {"sync_id": known.sync_id})
        return Receipt(ReceiptStatus.DUPLICATE, known.delivery_id, known.segment_id, known.pages_received)
    if known.is_forgotten:
        raise ForgottenDeliveryError
    sync_id = known.sync_id or _add_sync(connection, known.segment_id, delivery)
    if known.segment_name != delivery.segment_name and not known.has_newer:
        connection.execute(_SQL["rename_segment"], {"segment_id": known.segment_id, "name": delivery.segment_name})
    pieces = _pieces(delivery)
    superseded = known.has_newer and precedence.is_superseded(
        connection,
        sync_id,
        [
            {
                "account_id": account_id,
                "segment_id": known.segment_id,
                "identity": delivery.identity,
                "users": users,
                "contacts": contacts,
                "spellings": spellings,
            }
            for _, users, contacts, spellings in pieces
        ],
    )
    figures = {
        "added": len(delivery.add),
        "removed": len(delivery.remove),
        "rejected": delivery.rejected_count,
        "unusable": delivery.unusable_count,
        "now_ms": delivery.received_at_ms,
        "steady_ms": steady_ms,
        "sync_id": sync_id,
        "superseded": superseded,
    }
    rejected_users = _encode(delivery.rejected).decode()
    cursor = connection.execute(_SQL["add_delivery"], {**identity, **figures, "rejected_users": rejected_users})
    delivery_id = cursor.lastrowid or 0
    connection.executemany(
        _SQL["add_piece"],
        [
            (known.segment_id, delivery_id, delivery.identity, wanted, users, contacts, spellings)
            for wanted, users, contacts, spellings in pieces
        ],
    )
    connection.execute(
        _SQL["count_delivery"],
        {**figures, "total_pages": delivery.total_pages, "new_page": not known.has_page, "pieces": len(pieces)},
    )
    status = ReceiptStatus.SUPERSEDED if superseded else ReceiptStatus.ACCEPTED
    return Receipt(status, delivery_id, known.segment_id, known.pages_received + (not known.has_page))


def _add_segment(connection: sqlite3.Connection, account_id: int, delivery: Delivery) -> _Known:
    values = {
        "account_id": account_id,
        "heap_id": delivery.segment_id,
        "name": delivery.segment_name,
        "now_ms": delivery.received_at_ms,
    }
    segment_id = connection.execute(_SQL["add_segment"], values).lastrowid or 0
    return _Known(segment_id, delivery.segment_name, None, 0, None, has_page=False, has_newer=False, is_forgotten=False)


def _add_sync(connection: sqlite3.Connection, segment_id: int, delivery: Delivery) -> int:
    values = {
        "segment_id": segment_id,
        "task_id": delivery.task_id,
        "action": delivery.action.value,
        "total_pages": delivery.total_pages,
        "precedence_ms": delivery.precedence_ms,
        "now_ms": delivery.received_at_ms,
    }
    return connection.execute(_SQL["add_sync"], values).lastrowid or 0


def _pieces(delivery: Delivery) -> list[tuple[int, int, str | None, str | None]]:
    """Return (wanted, users, contacts, spellings) of each piece, as the table has them; a drain is one piece without."""
    if delivery.action is Action.DRAIN:
        return [(0, 0, None, None)]
    both = ((1, delivery.add), (0, delivery.remove))
    return [(wanted, *piece) for wanted, ids in both for piece in ids.pieces]
