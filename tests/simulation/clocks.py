"""Virtual time in place of the machine's. To be imported before the service: its parts keep the clocks they were given.

The machine's clocks stay within reach for those who measure how long a simulation takes.
"""

import time

real_monotonic = time.monotonic
_START_WALL_SECONDS = 1_790_000_000.0
_START_SECONDS = 100_000.0


class VirtualClock:
    """Seconds that only move when somebody moves them; the wall clock may be stepped, the steady one may not."""

    def __init__(self) -> None:
        self.now = _START_SECONDS
        self.wall_offset = _START_WALL_SECONDS - _START_SECONDS
        # How often the machine has started, and when it did last.
        self.boots = 1
        self.booted_at = 0.0
        # Nobody's clock has moved yet: until a simulation begins, the machine's is shown.
        self.is_shown = False

    def start(self) -> None:
        """Show virtual time to everybody in this process from now on."""
        self.is_shown = True

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self.wall_offset += seconds

    def reboot(self) -> None:
        """Start the machine anew."""
        self.boots += 1
        self.booted_at = self.now


CLOCK = VirtualClock()
_real = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}


def _seconds(name: str) -> float:
    if not CLOCK.is_shown:
        return float(_real[name]())
    return CLOCK.now + CLOCK.wall_offset if name == "time" else CLOCK.now


def install() -> None:
    """Put virtual time in the place of the `time` module's clocks."""
    for name in _real:
        setattr(time, name, lambda name=name: _seconds(name))
        setattr(time, f"{name}_ns", lambda name=name: int(_seconds(name) * 1e9))


install()
