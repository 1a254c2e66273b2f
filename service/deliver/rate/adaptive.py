"""How fast an account may be called where the operator left it open: each (method, endpoint) at a pace found for it (R8)."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from service.deliver.cordial.answers import Limits
from service.deliver.rate.limiter import Limiter, RateLimiter, Ticket
from service.deliver.rate.pace import Pace


def make_limiter(requests_per_second: float | str) -> Limiter:
    """Return the limiter for a setting: a number is never exceeded, `"auto"` is found."""
    return AdaptiveLimiter() if isinstance(requests_per_second, str) else RateLimiter(requests_per_second)


class _Line:
    """Those who wait to call one (method, endpoint), first come, first served."""

    __slots__ = ("changed", "pace", "turn")

    def __init__(self, now: float) -> None:
        self.pace = Pace(now)
        self.turn = asyncio.Lock()
        self.changed = asyncio.Event()


class AdaptiveLimiter:
    """Hands out leave to call, each (method, endpoint) on its own: a limit that one runs into slows no other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    @property
    def slowed_seconds(self) -> float:
        """For how much longer Cordial's word keeps some endpoint from being called; 0 if none."""
        now = self._clock()
        return max((line.pace.slowed_seconds(now) for line in self._lines.values()), default=0.0)

    @property
    def found_rates(self) -> dict[str, float]:
        """The calls a second that each operation called so far is allowed now."""
        return {operation: line.pace.calls_per_second for operation, line in self._lines.items()}

    async def acquire(self, operation: str) -> Ticket:
        """Wait for leave to make one call of `operation`, a (method, endpoint) such as `PUT contacts`."""
        line = self._lines.get(operation)
        if line is None:
            line = self._lines[operation] = _Line(self._clock())
        async with line.turn:
            while (wait := line.pace.wait_seconds(self._clock())) > 0:
                line.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait == math.inf else wait):
                        await line.changed.wait()
            ticket = Ticket(operation)
            ticket.counts_from = self._clock()
            line.pace.allowed(ticket.counts_from)
            return ticket

    def written(self, ticket: Ticket) -> None:
        """Note nothing: a pace is judged by the answers, and its calls are spread evenly anyhow."""

    def answered(self, ticket: Ticket, limits: Limits, *, throttled: bool) -> None:
        """Note that the call is over, and what the answer said of the limit."""
        line, now = self._lines[ticket.operation], self._clock()
        allowed_at = now if ticket.counts_from is None else ticket.counts_from
        line.pace.answered(allowed_at, now, limits, throttled=throttled)
        line.changed.set()
