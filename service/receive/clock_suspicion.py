"""Telling that this host's clock is wrong, from deliveries whose signature is right and whose time is not. No I/O."""

from collections import OrderedDict
from collections.abc import Callable

_STALE_TO_SUSPECT = 3
_MOST_KEPT = 100
# While a load balancer keeps deliveries away because of the suspicion, none can come that would end it.
_FORGET_AFTER_MS = 3_600_000


class ClockSuspicion:
    """Suspects the clock after three stale deliveries in a row without a valid one between them.

    One old delivery proves nothing: Heap may have been cut off, or somebody repeats what he recorded. A delivery sent
    again with the same timestamp counts once. The suspicion ends with a valid delivery, when the clock is put right,
    or after an hour without another stale one.

    `wall_ms` is the host's clock, `steady_ms` one that no correction moves; both in milliseconds.
    """

    def __init__(self, wall_ms: Callable[[], int], steady_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms
        # Signed at, by the sender's clock: arrived at, by the steady one, and the tolerance that was exceeded.
        self._stale: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def note_valid(self) -> None:
        """Note a delivery that was signed at about the time it came."""
        self._stale.clear()

    def note_stale(self, signed_at_ms: int, tolerance_seconds: float) -> bool:
        """Note a delivery with a right signature and a wrong time; return whether it raised the suspicion."""
        before = self.off_seconds()
        self._stale.setdefault(signed_at_ms, (self._steady_ms(), tolerance_seconds))
        if len(self._stale) > _MOST_KEPT:
            self._stale.popitem(last=False)
        return before is None and self.off_seconds() is not None

    def off_seconds(self) -> float | None:
        """Return how far the clock is likely ahead (negative: behind) as it stands now; None without suspicion."""
        if len(self._stale) < _STALE_TO_SUSPECT:
            return None
        latest_ms = max(arrived_at_ms for arrived_at_ms, _ in self._stale.values())
        if self._steady_ms() - latest_ms > _FORGET_AFTER_MS:
            return None
        correction_ms = self._wall_ms() - self._steady_ms()
        # A delivery can be late, never early: the youngest tells most of the clock.
        age_ms, tolerance_seconds = min(
            (arrived_at_ms + correction_ms - signed_at_ms, tolerance_seconds)
            for signed_at_ms, (arrived_at_ms, tolerance_seconds) in self._stale.items()
        )
        return age_ms / 1000 if abs(age_ms) > tolerance_seconds * 1000 else None

    def fault(self) -> str | None:
        """Return what is wrong, in words for the operator, or None."""
        off_seconds = self.off_seconds()
        if off_seconds is None:
            return None
        direction = "ahead of" if off_seconds > 0 else "behind"
        return (
            f"deliveries are rightly signed, but for another time: this host's clock is likely {abs(off_seconds):.0f} s "
            f"{direction} Heap's; check its time synchronisation"
        )
