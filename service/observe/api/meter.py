"""How fast each account is called, and how that and the backlog went over the last hour; in memory and bounded."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

SAMPLE_SECONDS = 5.0
_SAMPLES = 720
_WINDOW_SECONDS = 3.0


class Sample(msgspec.Struct, frozen=True):
    """One moment: all that is accepted and not settled, and the calls per second of each account."""

    at: datetime
    backlog: int
    calls_per_second: dict[str, float]


class History(msgspec.Struct, frozen=True):
    """The last hour, oldest first, one sample every `interval_seconds`; nothing from before the service started."""

    interval_seconds: float
    samples: list[Sample]


class Meter:
    """Made current by `tick`, which is to be called about once a second."""

    def __init__(
        self,
        calls: Callable[[], Mapping[str, int]],
        backlog: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._backlog = backlog
        self._clock = clock
        self._window: deque[tuple[float, dict[str, int]]] = deque([(clock(), dict(calls()))])
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._sampled_at = float("-inf")
        self.rates: dict[str, float] = dict.fromkeys(self._window[0][1], 0.0)

    @property
    def backlog(self) -> int:
        """Everything accepted and not settled."""
        return self._backlog()

    def tick(self) -> None:
        """Measure; keep a sample if it is time for one."""
        now, calls = self._clock(), dict(self._calls())
        self._window.append((now, calls))
        while len(self._window) > 2 and now - self._window[1][0] >= _WINDOW_SECONDS:  # noqa: PLR2004  two make a span
            self._window.popleft()
        began, before = self._window[0]
        seconds = now - began
        if seconds > 0:
            self.rates = {name: round((count - before.get(name, 0)) / seconds, 1) for name, count in calls.items()}
        if now - self._sampled_at >= SAMPLE_SECONDS:
            self._sampled_at = now
            self._samples.append(Sample(datetime.now(UTC), self._backlog(), self.rates))

    def history(self) -> History:
        """Return what was kept."""
        return History(SAMPLE_SECONDS, list(self._samples))
