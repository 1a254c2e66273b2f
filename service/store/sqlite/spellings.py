"""Contacts that Heap names by several user ids: wanted as long as any of them is in the segment (R4).

Only these have rows of their own, one for each user id, so that plain ones cost nothing. `values` are those of a piece.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from service.store.sqlite import queries

_SQL = queries.load("spelling")


def prepare(connection: sqlite3.Connection) -> None:
    """Make the temporary table of what is said of user ids."""
    connection.execute(_SQL["create_told"])


def begin(connection: sqlite3.Connection, values: Mapping[str, Any]) -> bool:
    """Tell whether pieces like this one may be about contacts with several user ids; nothing is told yet."""
    if values["spellings"] is None and not connection.execute(_SQL["any_spelling"], values).fetchone():
        return False
    connection.execute(_SQL["clear_told"])
    return True


def tell(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Note what a piece says of user ids of such contacts, where no newer sync has spoken of them; return how many."""
    if values["spellings"] is None:
        return connection.execute(_SQL["tell_plain"], values).rowcount
    connection.execute(_SQL["keep_plain"], values)
    return connection.execute(_SQL["tell_spellings"], values).rowcount


def tell_drained(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Note for a drain that no user id of such contacts is in the segment any more."""
    connection.execute(_SQL["tell_drained"], values)


def stage(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Write what was told, and stage the members that it changes."""
    connection.execute(_SQL["write_told"], values)
    connection.execute(_SQL["stage_told"], values)


def take_off(connection: sqlite3.Connection, segment_id: int, contact: str) -> None:
    """Want no user id of a contact any more, whatever Heap said."""
    connection.execute(_SQL["take_off"], {"segment_id": segment_id, "contact": contact})


def forget(connection: sqlite3.Connection, segment_id: int, contact: str) -> None:
    """Forget the user ids of a contact."""
    connection.execute(_SQL["forget"], {"segment_id": segment_id, "contact": contact})
