"""Bounds on what strangers cause, who may come as often as they like."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog

_log = structlog.get_logger()

_LINES_AT_ONCE = 100
_SECONDS_PER_LINE = 1.0
_TELL_SECONDS = 10.0


class Budget:
    """How often something costly may be done for senders who have not shown who they are.

    Allows a few in a row and then one in each `seconds_each`; `clock` gives seconds that only ever advance.
    """

    def __init__(self, max_at_once: int, seconds_each: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_at_once = max_at_once
        self._seconds_each = seconds_each
        self._clock = clock
        self._left = float(max_at_once)
        self._counted_at = clock()

    def is_left(self) -> bool:
        """Whether there is one to spend."""
        now = self._clock()
        self._left = min(self._max_at_once, self._left + (now - self._counted_at) / self._seconds_each)
        self._counted_at = now
        return self._left >= 1

    def spend(self) -> None:
        """Take one, after `is_left` has said that there is one."""
        self._left -= 1


class BoundedLog:
    """Writes lines that strangers can cause: 100 of each kind in a row, then one a second; `log.left_out` counts the others.

    For the event loop alone. A line's kind is its event and `kind`, which must be of a closed list.
    """

    def __init__(self) -> None:
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._left_out: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def info(self, event: str, kind: str = "", **fields: object) -> None:
        """Write the line, or count it as left out."""
        self._write(_log.info, event, kind, fields)

    def warning(self, event: str, kind: str = "", **fields: object) -> None:
        """Write the line, or count it as left out."""
        self._write(_log.warning, event, kind, fields)

    def error(self, event: str, kind: str = "", **fields: object) -> None:
        """Write the line, or count it as left out."""
        self._write(_log.error, event, kind, fields)

    def _write(self, write: Callable[..., object], event: str, kind: str, fields: dict[str, object]) -> None:
        budget = self._budgets.setdefault((event, kind), Budget(_LINES_AT_ONCE, _SECONDS_PER_LINE))
        if budget.is_left():
            budget.spend()
            write(event, **fields)
            return
        self._left_out[event] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Say now how many lines were left out since the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for event, lines in self._left_out.items():
            _log.warning("log.left_out", left_out=event, lines=lines)
        self._left_out.clear()
