"""Who did what: a line of the audit is written in the transaction of the action, or before it, never after."""

import sqlite3

from service.store.sqlite import queries

_SQL = queries.load("audit")


def write(connection: sqlite3.Connection, *, at_ms: int, actor: str, action: str, target: str, changes: int) -> int:
    """Write a line; return its id."""
    line = {"at_ms": at_ms, "actor": actor, "action": action, "target": target, "changes": changes}
    line_id: int = connection.execute(_SQL["write"], line).fetchone()[0]
    return line_id


def add_changes(connection: sqlite3.Connection, line_id: int, changes: int) -> None:
    """Count more changes in a line, of an action of several transactions."""
    connection.execute(_SQL["add_changes"], {"id": line_id, "changes": changes})
