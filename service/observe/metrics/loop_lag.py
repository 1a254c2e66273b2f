"""How late the event loop is: what everything else in the process waits for."""

import asyncio
from collections import deque

from prometheus_client import CollectorRegistry, Histogram

from service import supervision
from service.supervision import Supervisor

_TICK_SECONDS = 0.25
_TICKS_A_MINUTE = 240
_BUCKETS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """Sleeps for a moment, again and again, and notes by how much it was woken too late."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "heap_cordial_event_loop_lag_seconds",
            "How late timers of the event loop are, measured four times a second.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self._recent: deque[float] = deque([0.0], maxlen=_TICKS_A_MINUTE)
        self._task: asyncio.Task[None] | None = None

    @property
    def mean_seconds(self) -> float:
        """How late it was on average, over the last minute of a loop that is not late."""
        return sum(self._recent) / _TICKS_A_MINUTE

    def start(self, supervisor: Supervisor) -> None:
        """Begin to measure."""
        self._task = supervisor.start("event loop lag", self._measure())

    async def stop(self) -> None:
        """Stop measuring."""
        await supervision.stop(self._task)

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            lag = max(0.0, loop.time() - due)
            self._lag.observe(lag)
            self._recent.append(lag)
