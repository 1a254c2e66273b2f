"""How often something costly may be done for senders who have not shown who they are."""

import time
from collections.abc import Callable


class Budget:
    """Allows a few in a row and then one in each `seconds_each`; `clock` gives seconds that only ever advance."""

    def __init__(self, most: int, seconds_each: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds_each = seconds_each
        self._clock = clock
        self._left = float(most)
        self._counted_at = clock()

    def is_left(self) -> bool:
        """Whether there is one to spend."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._counted_at) / self._seconds_each)
        self._counted_at = now
        return self._left >= 1

    def spend(self) -> None:
        """Take one, after `is_left` has said that there is one."""
        self._left -= 1
