"""Stored moments that are waited for, moved at a start by as much as the clock jumped while the service did not run.

Within a life the clock is steady. The time is noted while the service runs (`lived`), with how long the machine has run by
then. A start on a machine that has run since sees how much time has passed, and by how much the clock was set meanwhile.
After a start of the machine only its clock tells how long nothing ran, and it may have been years ahead before. Back, or
ahead by more than an hour, it tells nothing: then no time has passed, as far as waiting is what keeps a list right (R5).
"""

import sqlite3

from service.clock import Boot
from service.store.sqlite import queries
from service.store.sqlite.ledger import NEVER_MS

_SQL = queries.load("reschedule")
# A stop may last as long as that and be believed.
_MAX_GAP_MS = 3_600_000
# By less, two clocks of one machine differ anyway.
_MIN_STEP_MS = 1_000


def reschedule(connection: sqlite3.Connection, now_ms: int, boot: Boot | None) -> int:
    """Move what is waited for; return by how many milliseconds, negative where the clock went back."""
    row = connection.execute(_SQL["last_noted"]).fetchone()
    if row is None:
        return 0
    noted_ms, boot_id, boot_ago_ms = row
    shift_ms: int = now_ms - noted_ms
    if boot is not None and boot.id == boot_id and boot.ago_ms >= boot_ago_ms:
        shift_ms -= boot.ago_ms - boot_ago_ms
        if abs(shift_ms) < _MIN_STEP_MS:
            return 0
    elif 0 <= shift_ms <= _MAX_GAP_MS:
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
