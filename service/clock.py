"""Time as the service uses it: the wall clock to speak with people and Heap, a steady one to wait by."""

import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def wall_ms() -> int:
    """Return Unix time in milliseconds, as the machine's clock has it now, steps and all."""
    return time.time_ns() // 1_000_000


def moment_in_words(moment: datetime) -> str:
    """Return a moment of UTC as every text of the service has it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


class Boot(NamedTuple):
    """Which start of the machine this is, and how many milliseconds it is ago, whatever its clock is set to."""

    id: str
    ago_ms: int


class SteadyClock:
    """Unix time in milliseconds that started right and advances evenly.

    A machine's clock may be stepped by an hour; a retry planned before the step must come neither an hour early nor an
    hour late, so what is waited for, and what a rule compares, is measured by this. What people read has the machine's
    clock: what has happened is noted with `wall_ms`, as the clock was at that moment, and so are pages and the log; what is
    waited for is moved to it where it is read.
    """

    def __init__(self) -> None:
        self._offset_ms = wall_ms() - self._monotonic_ms()

    @staticmethod
    def _monotonic_ms() -> int:
        return time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """Return the time."""
        return self._offset_ms + self._monotonic_ms()

    def wall_ms(self) -> int:
        """Return the time as the machine's clock has it now, steps and all."""
        return wall_ms()

    def boot(self) -> Boot | None:
        """Return when the machine started; None where it does not say."""
        try:
            identifier = _BOOT_ID_FILE.read_text(encoding="ascii").strip()
            # Not everywhere: macOS has neither.
            return Boot(identifier, int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000))
        except (OSError, AttributeError):
            return None
