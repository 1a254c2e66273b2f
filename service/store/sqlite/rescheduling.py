"""Stored moments that are waited for, moved at a start by as much as the clock jumped while the service did not run.

Within a life the clock is steady. Between two lives only the machine's clock tells how long it was, and it may have been
years ahead in one of them. The time is noted while the service runs (`lived`), so a start sees how far the clock is from
where it was. Back, or ahead by more than an hour, it tells nothing: then no time has passed, as far as waiting is what
keeps a list right (R5).
"""

import sqlite3

from service.store.sqlite import queries
from service.store.sqlite.ledger import NEVER_MS

_SQL = queries.load("reschedule")
# A stop may last as long as that and be believed.
_MAX_GAP_MS = 3_600_000


def reschedule(connection: sqlite3.Connection, now_ms: int) -> int:
    """Move what is waited for; return by how many milliseconds, negative where the clock went back."""
    row = connection.execute(_SQL["last_noted"]).fetchone()
    if row is None:
        return 0
    shift_ms: int = now_ms - row[0]
    if 0 <= shift_ms <= _MAX_GAP_MS:
        return 0
    statements = [
        "note_moved",
        "move_read_backs",
        "move_imports",
        "move_call_waits",
        "move_last_calls",
        "move_creations",
    ]
    if shift_ms < 0:
        # After a long time that nothing ran, what else waits may be done at once.
        statements += ["move_failures", "move_notices", "move_conditions", "move_member_reads", "forget_minutes"]
    for statement in statements:
        connection.execute(_SQL[statement], {"shift_ms": shift_ms, "now_ms": now_ms, "never_ms": NEVER_MS})
    return shift_ms
