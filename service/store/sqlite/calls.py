"""What whoever calls for an account leaves to the next, over restarts and crashes (R8)."""

import math
import sqlite3
from collections.abc import Mapping

from service.model.accounts import PAUSED_BY_OPERATOR, AccountState, CallsBefore
from service.store.sqlite import queries

_SQL = queries.load("lists")

# The time is rounded down, here and where the next process learns what time it is: no wait may end early for that.
_ROUNDED_MS = 2


def take_over(
    connection: sqlite3.Connection, account_id: int, now_ms: int, unknown_since_seconds: float
) -> CallsBefore:
    """Return what is left, and note that calls may be made from now on.

    `unknown_since_seconds`: how long ago the last call was at least, where it was not written down.
    """
    values = {"account_id": account_id}
    called_at_ms, state, reason = connection.execute(_SQL["called_at"], values).fetchone()
    rows = connection.execute(_SQL["call_waits"], values).fetchall()
    connection.execute(_SQL["set_called_at"], {**values, "called_at_ms": None})
    # Where the clock was ahead when it was written, it is no longer than it was then.
    waits = {operation: min(until_ms - now_ms, wait_ms) / 1000 for operation, until_ms, wait_ms in rows}
    since_seconds = (now_ms - called_at_ms) / 1000 if called_at_ms else math.inf
    is_stopped = AccountState.of_record(state, reason) is AccountState.PAUSED and reason != PAUSED_BY_OPERATOR
    return CallsBefore(
        {operation: seconds for operation, seconds in waits.items() if seconds > 0},
        unknown_since_seconds if called_at_ms is None else max(0.0, since_seconds),
        reason if is_stopped else "",
    )


def end(connection: sqlite3.Connection, account_id: int, left: CallsBefore, now_ms: int) -> None:
    """Note that no call is made any more."""
    called_at_ms = 0 if left.since_seconds == math.inf else now_ms - int(left.since_seconds * 1000)
    connection.execute(_SQL["set_called_at"], {"account_id": account_id, "called_at_ms": called_at_ms})
    set_waits(connection, account_id, left.waits, now_ms)


def set_waits(connection: sqlite3.Connection, account_id: int, waits: Mapping[str, float], now_ms: int) -> None:
    """Keep for how many seconds each operation must not be called."""
    connection.execute(_SQL["forget_call_waits"], {"account_id": account_id})
    for operation, seconds in waits.items():
        wait_ms = math.ceil(seconds * 1000)
        until_ms = now_ms + wait_ms + _ROUNDED_MS
        values = {"account_id": account_id, "operation": operation, "until_ms": until_ms, "wait_ms": wait_ms}
        connection.execute(_SQL["set_call_wait"], values)
