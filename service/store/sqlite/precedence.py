"""Which syncs of a segment are newer than another: the order that R4 speaks of.

A sync is as new as its first page to come is: the moment that page was signed, or received if that is earlier; ties go by
arrival. Its later pages change nothing of that, so what was compared once stays right, over restarts too.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from service.store.sqlite import queries

_SQL = queries.load("precedence")


def prepare(connection: sqlite3.Connection) -> None:
    """Make the temporary table that holds what is newer than one sync."""
    connection.execute(_SQL["create_newer"])


def find_newer(connection: sqlite3.Connection, sync_id: int) -> set[int]:
    """Return the newer syncs of the same segment, and fill the table `newer` with them."""
    connection.execute(_SQL["clear_newer"])
    return {row[0] for row in connection.execute(_SQL["find_newer"], {"sync_id": sync_id}).fetchall()}


def count_overtaken(connection: sqlite3.Connection, piece: Mapping[str, Any]) -> int:
    """Return of how many users of a piece a sync in `newer` has already spoken."""
    statement = "count_overtaken" if piece["spellings"] is None else "count_overtaken_spellings"
    number: int = connection.execute(_SQL[statement], piece).fetchone()[0]
    return number


def is_superseded(connection: sqlite3.Connection, sync_id: int, pieces: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a newer drain, or newer syncs, have already spoken of everybody whom the pieces of a page name.

    What a newer sync says and is not folded yet is not known here; it is found when the page is folded.
    """
    find_newer(connection, sync_id)
    if connection.execute(_SQL["newer_drain"]).fetchone():
        return True
    users = [piece["users"] for piece in pieces]
    return sum(users) > 0 and all(count_overtaken(connection, piece) == piece["users"] for piece in pieces)
