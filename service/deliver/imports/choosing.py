"""Which segments travel as a file, and when it is time to begin. Pure, no I/O."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

# Cordial names no most; a file of so many list columns is still a plain table.
_MAX_SEGMENTS = 16

# A sync whose pages never come to an end must not keep what has come from being sent.
_LONGEST_WAIT_SECONDS = 300.0


class Choice(NamedTuple):
    """`waiting`: segments that single calls do not send. `now`: those of them to begin an import with, at once."""

    waiting: frozenset[int]
    now: tuple[int, ...]


class Chooser:
    """Says which segments of one account send their changes as a file.

    A segment does when it has more than `threshold` changes to send, those still to come of a sync under way among
    them: a first sync of many pages would otherwise begin with single calls.
    """

    def __init__(self, threshold: int, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._clock = clock
        self._since: dict[int, float] = {}

    def choose(self, pending: Mapping[int, int], arriving: Callable[[int], int], inbox_users: int) -> Choice:
        """Choose among segments with changes to send, by the users still to come of each and those not folded yet."""
        now = self._clock()
        to_come = {segment_id: arriving(segment_id) for segment_id in pending}
        waiting = [segment_id for segment_id in pending if pending[segment_id] + to_come[segment_id] > self._threshold]
        self._since = {segment_id: self._since.get(segment_id, now) for segment_id in waiting}
        if not waiting:
            return Choice(frozenset(), ())
        is_complete = not inbox_users and not any(to_come[segment_id] for segment_id in waiting)
        if not is_complete and now - min(self._since.values()) < _LONGEST_WAIT_SECONDS:
            return Choice(frozenset(waiting), ())
        due = [segment_id for segment_id in waiting if pending[segment_id] > self._threshold]
        return Choice(frozenset(waiting), tuple(due[:_MAX_SEGMENTS]))
