"""Cordial's rate limit: so many calls in any window of time, counted for each (method, endpoint). Pure."""

import math
from collections import deque
from collections.abc import Callable

import msgspec


class RateDecision(msgspec.Struct, frozen=True, gc=False):
    """Whether a call may pass, and what its headers say; `reset_seconds` are whole seconds from now, at least 1."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """Return the headers of Cordial's contract: three always, `Retry-After` on a refused call."""
        headers = {
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": str(self.remaining),
            "X-Rate-Limit-Reset": str(self.reset_seconds),
        }
        return headers if self.allowed else {"Retry-After": str(self.reset_seconds), **headers}


class RateLimiter:
    """A sliding window: never more than `limit` calls within any `window_seconds`; refused calls do not count.

    `clock` gives monotonic seconds.
    """

    def __init__(self, limit: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._clock = clock
        self._passed: dict[tuple[str, str], deque[float]] = {}

    def take(self, method: str, endpoint: str) -> RateDecision:
        """Count a call, or refuse it."""
        now = self._clock()
        passed = self._passed.setdefault((method, endpoint), deque())
        while passed and passed[0] <= now - self._window_seconds:
            passed.popleft()
        allowed = len(passed) < self._limit
        if allowed:
            passed.append(now)
        reset_seconds = max(1, math.ceil(passed[0] + self._window_seconds - now))
        return RateDecision(allowed, self._limit, self._limit - len(passed), reset_seconds)

    def reset(self) -> None:
        """Forget all calls."""
        self._passed.clear()
