"""The names under which lists were seen lately, together with their ids: contacts are written by no other name (R10)."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping


class SeenNames:
    """Which lists of one account may be written to, and by which names.

    A name is known until something speaks against it, or for `trust_seconds`. When its list owes nothing, anything may happen
    to it that nobody notices, so what comes next is sent only after another look; until then, a proof call may repeat by
    that name what is confirmed.
    """

    def __init__(self, trust_seconds: float, is_key_new: Callable[[], bool]) -> None:
        self._trust_seconds = trust_seconds
        self._is_key_new = is_key_new
        self._names: dict[int, str] = {}
        # Of lists that owe nothing.
        self._idle: dict[int, str] = {}
        self._kept: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        # Lists whose names were used since they were last seen: something may have been written by them.
        self._given_out: set[int] = set()
        # When all lists were last seen, by the loop's clock.
        self.seen_at = float("-inf")
        # Grows each time when what was seen so far can no longer be relied on.
        self.distrusted = 0

    def __contains__(self, segment_id: int) -> bool:
        return segment_id in self._names

    def __bool__(self) -> bool:
        return bool(self._names)

    def current(self) -> Mapping[int, str]:
        """Return the list's name of each segment that can be written."""
        if self._names and self._is_outdated():
            self.distrust()
        return self._names

    def to_prove(self) -> dict[int, str]:
        """Return the list's name of each segment of which what is confirmed may be sent again."""
        if self._idle and self._is_outdated():
            self._idle.clear()
        return {**self._idle, **self.current()}

    def are_current(self, names: Mapping[int, str]) -> bool:
        """Tell whether these segments' lists may still be written by these names."""
        return names.items() <= self.current().items()

    def may_prove(self, names: Mapping[int, str]) -> bool:
        """Tell whether what is confirmed of these segments may still be sent again by these names."""
        return names.items() <= self.to_prove().items()

    def _is_outdated(self) -> bool:
        # The loop's clock; to find the running loop takes longer than all else here, several times a call.
        return time.monotonic() - self.seen_at > self._trust_seconds or self._is_key_new()

    def is_known(self, segment_id: int, name: str) -> bool:
        """Tell whether the segment's list was last seen under this name, however long ago."""
        return self._names.get(segment_id) == name

    def times_lost(self, segment_ids: Collection[int]) -> dict[int, int]:
        """Return how often each segment's list has lost a name: what was written by that name may be on another list."""
        return {segment_id: self._lost[segment_id] for segment_id in segment_ids}

    @contextlib.contextmanager
    def keeping(self, segment_ids: Collection[int]) -> Iterator[None]:
        """Keep the names of these segments' lists until the block ends, even if no change waits for them."""
        self._kept.update(segment_ids)
        try:
            yield
        finally:
            self._kept -= Counter(segment_ids)

    def forget_all_but(self, segment_ids: Collection[int]) -> None:
        """Send by no names but those of these segments, and those that `keeping` keeps: the others owe nothing."""
        for segment_id in self._names.keys() - segment_ids - self._kept.keys():
            self._idle[segment_id] = self._names.pop(segment_id)

    def distrust(self) -> None:
        """Write to no list until it is seen again: somebody may have changed it since."""
        self.distrusted += 1
        self._names.clear()
        self._idle.clear()

    def see(self, segment_id: int, name: str) -> None:
        """Write to the segment's list by this name from now on."""
        self._names[segment_id] = name
        self._idle.pop(segment_id, None)

    def forget(self, segment_id: int) -> None:
        """Do not write to the segment's list until it is seen again."""
        self._names.pop(segment_id, None)
        self._idle.pop(segment_id, None)

    def lose(self, segment_id: int) -> None:
        """Note that the segment's list no longer has the name by which it may have been written."""
        self.forget(segment_id)
        self._lost[segment_id] += 1

    def give_out(self, segment_ids: Iterable[int]) -> None:
        """Note that these lists may be written by their names from now on."""
        self._given_out.update(segment_ids)

    def was_given_out(self, segment_id: int) -> bool:
        """Tell whether something may have been written by the list's name since the last look."""
        return segment_id in self._given_out

    def settle(self, segment_id: int) -> None:
        """Note that everything written by the list's name so far is accounted for."""
        self._given_out.discard(segment_id)
