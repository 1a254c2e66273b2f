"""How fast an account may be called (R8): at the rate configured, or at a pace found for each (method, endpoint).

Both keep to what Cordial says of each endpoint.
"""

import asyncio
import contextlib
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Protocol

from service.deliver.cordial.answers import Limits
from service.deliver.rate.pace import Pace

_WINDOW_SECONDS = 1.0
# How much later than written a call may arrive, against another's that arrives at once. An answer within this time
# ends the doubt early.
_TRANSIT_SECONDS = 0.05
_NOT_WRITTEN_POLL_SECONDS = 0.005


class Ticket:
    """One call that the rate allows. It counts from when it was written to the network, not from when it was allowed."""

    __slots__ = ("counts_from", "operation")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.counts_from: float | None = None


class Limiter(Protocol):
    """Hands out tickets to call, first come, first served."""

    @property
    def window_seconds(self) -> float:
        """So long after the last call, no window of the own rate holds it any more."""

    @property
    def waits(self) -> dict[str, float]:
        """For how many seconds more Cordial's word keeps each operation from being called; those that may be are left out."""

    def wait(self, operation: str, seconds: float) -> None:
        """Make no call of an operation for so long: Cordial has told so whoever called before."""

    @property
    def found_rates(self) -> dict[str, float]:
        """The calls a second found for each operation; empty where the rate is given."""

    async def acquire(self, operation: str) -> Ticket:
        """Wait until one call of `operation` may be made, a (method, endpoint) such as `PUT contacts`."""

    def written(self, ticket: Ticket) -> None:
        """Note that the call's request has been written to the network."""

    def answered(self, ticket: Ticket, limits: Limits, *, throttled: bool) -> None:
        """Note that the call is over, and what the answer said of the limit."""

    def returned(self, ticket: Ticket) -> None:
        """Note that the call was not made: its permission ended while it waited."""

    def forget_wait(self, operation: str) -> None:
        """Call an operation again at once: what Cordial asked for was about one contact alone."""

    def forget_waits(self) -> None:
        """Call again at once, whatever Cordial has asked for: an operator wants it so."""


def make_limiter(requests_per_second: float | str) -> Limiter:
    """Return the limiter for a setting: a number is never exceeded, `"auto"` is found."""
    return AdaptiveLimiter() if isinstance(requests_per_second, str) else RateLimiter(requests_per_second)


class _Endpoint:
    """What Cordial has said of one (method, endpoint)."""

    __slots__ = ("blocked_until", "changed", "in_flight", "remaining", "resets_at")

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.blocked_until = -math.inf
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
    """Allows calls, first come, first served.

    At most `requests_per_second` calls in any one second, of all endpoints together: call number n waits until call
    n - requests_per_second has been on its way for a second. Below one call a second, calls are spaced evenly.
    """

    def __init__(self, requests_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = max(1, int(requests_per_second))
        self._window_seconds = _WINDOW_SECONDS / min(1.0, requests_per_second)
        self._clock = clock
        self._latest: deque[Ticket] = deque()
        self._endpoints: defaultdict[str, _Endpoint] = defaultdict(_Endpoint)
        self._turn = asyncio.Lock()

    @property
    def window_seconds(self) -> float:
        """So long after the last call, no window of the own rate holds it any more."""
        return self._window_seconds + _TRANSIT_SECONDS

    @property
    def waits(self) -> dict[str, float]:
        """For how many seconds more Cordial's word keeps each operation from being called; those that may be are left out."""
        now = self._clock()
        waits = {operation: endpoint.free_at(now) - now for operation, endpoint in self._endpoints.items()}
        return {operation: seconds for operation, seconds in waits.items() if seconds > 0}

    def wait(self, operation: str, seconds: float) -> None:
        """Make no call of an operation for so long: Cordial has told so whoever called before."""
        endpoint = self._endpoints[operation]
        endpoint.blocked_until = max(endpoint.blocked_until, self._clock() + seconds)

    @property
    def found_rates(self) -> dict[str, float]:
        """Empty: the rate is given, and shared by all operations."""
        return {}

    async def acquire(self, operation: str) -> Ticket:
        """Wait until one call of `operation` may be made, a (method, endpoint) such as `PUT contacts`."""
        endpoint = self._endpoints[operation]
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
            wait = limits.wait_seconds or _WINDOW_SECONDS
            endpoint.blocked_until = max(endpoint.blocked_until, now + wait)
        elif limits.retry_after_seconds:
            endpoint.blocked_until = max(endpoint.blocked_until, now + limits.retry_after_seconds)
        if limits.remaining is not None and limits.reset_seconds is not None:
            # Calls on their way were perhaps not counted yet when this was said.
            remaining = max(0, limits.remaining - endpoint.in_flight)
            endpoint.remaining = remaining if endpoint.remaining is None else min(remaining, endpoint.remaining)
            endpoint.resets_at = now + limits.reset_seconds

    def returned(self, ticket: Ticket) -> None:
        """Note that the call was not made: its permission ended while it waited."""
        endpoint = self._endpoints[ticket.operation]
        endpoint.in_flight -= 1
        if endpoint.remaining is not None:
            endpoint.remaining += 1
        ticket.counts_from = -math.inf

    def forget_wait(self, operation: str) -> None:
        """Call an operation again at once: what Cordial asked for was about one contact alone."""
        endpoint = self._endpoints[operation]
        endpoint.blocked_until = -math.inf
        endpoint.remaining = None
        endpoint.changed.set()

    def forget_waits(self) -> None:
        """Call again at once, whatever Cordial has asked for: an operator wants it so."""
        for operation in self._endpoints:
            self.forget_wait(operation)

    async def _wait_until(self, endpoint: _Endpoint) -> None:
        # While the time is awaited an answer may put it off, or an operator may not want to wait any longer.
        while (wait := endpoint.free_at(self._clock()) - self._clock()) > 0:
            endpoint.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await endpoint.changed.wait()

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


class _Pacing:
    """Those who wait to call one (method, endpoint), first come, first served."""

    __slots__ = ("changed", "pace", "turn")

    def __init__(self, now: float) -> None:
        self.pace = Pace(now)
        self.turn = asyncio.Lock()
        self.changed = asyncio.Event()


class AdaptiveLimiter:
    """Allows calls of each (method, endpoint) on its own: a limit that one runs into slows no other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pacings: dict[str, _Pacing] = {}

    @property
    def window_seconds(self) -> float:
        """So long after the last call, no window of the own rate holds it any more."""
        return _WINDOW_SECONDS + _TRANSIT_SECONDS

    @property
    def waits(self) -> dict[str, float]:
        """For how many seconds more Cordial's word keeps each operation from being called; those that may be are left out."""
        now = self._clock()
        waits = {operation: pacing.pace.slowed_seconds(now) for operation, pacing in self._pacings.items()}
        return {operation: seconds for operation, seconds in waits.items() if seconds > 0}

    def wait(self, operation: str, seconds: float) -> None:
        """Make no call of an operation for so long: Cordial has told so whoever called before."""
        self._pacing(operation).pace.wait(self._clock(), seconds)

    @property
    def found_rates(self) -> dict[str, float]:
        """The calls a second that each operation called so far is allowed now."""
        return {operation: pacing.pace.calls_per_second for operation, pacing in self._pacings.items()}

    async def acquire(self, operation: str) -> Ticket:
        """Wait until one call of `operation` may be made, a (method, endpoint) such as `PUT contacts`."""
        pacing = self._pacing(operation)
        async with pacing.turn:
            while (wait := pacing.pace.wait_seconds(self._clock())) > 0:
                pacing.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait == math.inf else wait):
                        await pacing.changed.wait()
            ticket = Ticket(operation)
            ticket.counts_from = self._clock()
            pacing.pace.allowed(ticket.counts_from)
            return ticket

    def written(self, ticket: Ticket) -> None:
        """Note nothing: a pace is judged by the answers, and its calls are spread evenly anyhow."""

    def answered(self, ticket: Ticket, limits: Limits, *, throttled: bool) -> None:
        """Note that the call is over, and what the answer said of the limit."""
        pacing, now = self._pacings[ticket.operation], self._clock()
        allowed_at = now if ticket.counts_from is None else ticket.counts_from
        pacing.pace.answered(allowed_at, now, limits, throttled=throttled)
        pacing.changed.set()

    def returned(self, ticket: Ticket) -> None:
        """Note that the call was not made: its permission ended while it waited."""
        pacing = self._pacings[ticket.operation]
        pacing.pace.returned()
        pacing.changed.set()

    def forget_wait(self, operation: str) -> None:
        """Call an operation again at once: what Cordial asked for was about one contact alone."""
        pacing = self._pacings[operation]
        pacing.pace.forget_waits(self._clock())
        pacing.changed.set()

    def forget_waits(self) -> None:
        """Call again at once, whatever Cordial has asked for: an operator wants it so."""
        for operation in self._pacings:
            self.forget_wait(operation)

    def _pacing(self, operation: str) -> _Pacing:
        if operation not in self._pacings:
            self._pacings[operation] = _Pacing(self._clock())
        return self._pacings[operation]
