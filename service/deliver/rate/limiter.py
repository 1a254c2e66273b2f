"""How fast an account may be called: its configured rate, and what Cordial says of each endpoint (R8)."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from service.deliver.cordial.answers import Limits

_WINDOW_SECONDS = 1.0
# How much later than written a call may arrive, against another's that arrives at once. An answer within this time
# ends the doubt early.
_TRANSIT_SECONDS = 0.05
_NOT_WRITTEN_POLL_SECONDS = 0.005


class Ticket:
    """Leave for one call. The call counts from when it was written to the network, not from when it was allowed."""

    __slots__ = ("counts_from", "operation")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.counts_from: float | None = None


class Limiter(Protocol):
    """Hands out leave to call, to whoever asks first."""

    @property
    def slowed_seconds(self) -> float:
        """For how much longer Cordial's word keeps some endpoint from being called; 0 if none."""

    @property
    def found_rates(self) -> dict[str, float]:
        """The calls a second found for each operation; empty where the rate is given."""

    async def acquire(self, operation: str) -> Ticket:
        """Wait for leave to make one call of `operation`, a (method, endpoint) such as `PUT contacts`."""

    def written(self, ticket: Ticket) -> None:
        """Note that the call's request has been written to the network."""

    def answered(self, ticket: Ticket, limits: Limits, *, throttled: bool) -> None:
        """Note that the call is over, and what the answer said of the limit."""


class _Endpoint:
    """What Cordial has said of one (method, endpoint)."""

    __slots__ = ("blocked_until", "in_flight", "remaining", "resets_at")

    def __init__(self) -> None:
        self.blocked_until = 0.0
        self.remaining: int | None = None
        self.resets_at = 0.0
        self.in_flight = 0

    def free_at(self, now: float) -> float:
        """Return when the next call may be made; not after `now` if it may be at once."""
        if self.remaining is not None and now >= self.resets_at:
            self.remaining = None
        if self.remaining is not None and self.remaining <= 0:
            return max(self.blocked_until, self.resets_at)
        return self.blocked_until


class RateLimiter:
    """Hands out leave to call, first come, first served.

    At most `requests_per_second` calls in any one second, of all endpoints together: call number n waits until call
    n - requests_per_second has been on its way for a second. Below one call a second, calls are spaced evenly.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = max(1, int(requests_per_second))
        self._window_seconds = _WINDOW_SECONDS if requests_per_second >= 1 else _WINDOW_SECONDS / requests_per_second
        self._clock = clock
        self._latest: deque[Ticket] = deque()
        self._endpoints: dict[str, _Endpoint] = {}
        self._turn = asyncio.Lock()

    @property
    def slowed_seconds(self) -> float:
        """For how much longer Cordial's word keeps some endpoint from being called; 0 if none."""
        now = self._clock()
        return max((endpoint.free_at(now) - now for endpoint in self._endpoints.values()), default=0.0)

    @property
    def found_rates(self) -> dict[str, float]:
        """Empty: the rate is given, and shared by all operations."""
        return {}

    async def acquire(self, operation: str) -> Ticket:
        """Wait for leave to make one call of `operation`, a (method, endpoint) such as `PUT contacts`."""
        endpoint = self._endpoints.get(operation)
        if endpoint is None:
            endpoint = self._endpoints[operation] = _Endpoint()
        while True:
            await self._wait_until(endpoint)
            async with self._turn:
                await self._wait_for_slot()
                now = self._clock()
                if endpoint.free_at(now) > now:
                    continue
                if endpoint.remaining is not None:
                    endpoint.remaining -= 1
                endpoint.in_flight += 1
                ticket = Ticket(operation)
                self._latest.append(ticket)
                return ticket

    def written(self, ticket: Ticket) -> None:
        """Note that the call's request has been written to the network."""
        ticket.counts_from = self._clock() + _TRANSIT_SECONDS

    def answered(self, ticket: Ticket, limits: Limits, *, throttled: bool) -> None:
        """Note that the call is over, and what the answer said of the limit."""
        now = self._clock()
        ticket.counts_from = now if ticket.counts_from is None else min(now, ticket.counts_from)
        endpoint = self._endpoints[ticket.operation]
        endpoint.in_flight -= 1
        if throttled:
            # A 429 that names no time still means "slower": a second is Cordial's shortest period.
            wait = max(limits.retry_after_seconds or 0.0, limits.reset_seconds or 0.0) or _WINDOW_SECONDS
            endpoint.blocked_until = max(endpoint.blocked_until, now + wait)
        elif limits.retry_after_seconds:
            endpoint.blocked_until = max(endpoint.blocked_until, now + limits.retry_after_seconds)
        if limits.remaining is not None and limits.reset_seconds is not None:
            # Calls on their way were perhaps not counted yet when this was said.
            remaining = max(0, limits.remaining - endpoint.in_flight)
            endpoint.remaining = remaining if endpoint.remaining is None else min(remaining, endpoint.remaining)
            endpoint.resets_at = now + limits.reset_seconds

    async def _wait_until(self, endpoint: _Endpoint) -> None:
        # No event tells that a time has come, and while one is awaited an answer may put it off.
        while (wait := endpoint.free_at(self._clock()) - self._clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait)

    async def _wait_for_slot(self) -> None:
        while len(self._latest) >= self._capacity:
            counts_from = self._latest[0].counts_from
            if counts_from is None:
                await asyncio.sleep(_NOT_WRITTEN_POLL_SECONDS)
                continue
            wait = counts_from + self._window_seconds - self._clock()
            if wait <= 0:
                self._latest.popleft()
                return
            await asyncio.sleep(wait)
