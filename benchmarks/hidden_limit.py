"""A limit as Cordial may have it, which nobody knows, and what calls through a pace make of it, in simulated time."""

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.deliver.cordial.answers import NO_LIMITS, Limits
from service.deliver.rate.pace import Pace

Window = Literal["fixed", "sliding"]
Headers = Literal["none", "retry after", "on 429", "always"]

# A client's connection to Cordial, one way, and what it varies by.
_LATENCY_SECONDS = 0.03
_JITTER_SECONDS = 0.01


@dataclass(frozen=True)
class HiddenLimit:
    """What counts the calls: `calls_per_second` on average over a period of so many seconds.

    `headers`: none at all; `Retry-After` on a 429; this and the other three on a 429; the three always.
    """

    calls_per_second: int
    period_seconds: int
    window: Window
    headers: Headers


class Counter:
    """Counts calls in periods that begin on the clock, or in a window that slides. A refused call does not count."""

    def __init__(self, hidden: HiddenLimit, phase_seconds: float) -> None:
        self._hidden = hidden
        self._phase_seconds = phase_seconds
        self._times: deque[float] = deque()

    def call(self, now: float, calls_per_second: int) -> tuple[bool, Limits]:
        """Return whether a call passes, and what its headers say, in whole seconds as Cordial's do."""
        period = self._hidden.period_seconds
        begin = now - period
        if self._hidden.window == "fixed":
            begin = (now + self._phase_seconds) // period * period - self._phase_seconds
        while self._times and self._times[0] <= begin:
            self._times.popleft()
        most = calls_per_second * period
        passes = len(self._times) < most
        if passes:
            self._times.append(now)
        oldest = begin if self._hidden.window == "fixed" else self._times[0]
        reset = max(1, math.ceil(oldest + period - now))
        return passes, self._limits(passes, most, most - len(self._times), reset)

    def _limits(self, passes: bool, most: int, remaining: int, reset: int) -> Limits:
        headers = self._hidden.headers
        retry_after = None if passes else float(reset)
        if headers == "none" or (passes and headers != "always"):
            return NO_LIMITS
        if headers == "retry after":
            return Limits(retry_after)
        return Limits(retry_after, max(0, remaining), reset, most)


@dataclass
class Run:
    """What became of the calls: when they passed and when they were refused, in seconds from the start."""

    passed: list[float]
    refused: list[float]
    paces: list[tuple[float, float]]


def simulate(
    hidden: HiddenLimit,
    seconds: float,
    *,
    changes: Sequence[tuple[float, int]] = (),
    workers: int = 64,
    seed: int = 1,
) -> Run:
    """Call through a pace as fast as it allows, with so many calls at a time at most.

    `changes`: from which second on the limit is another one.
    """
    chance = random.Random(seed)  # noqa: S311  nothing secret
    counter = Counter(hidden, chance.random() * hidden.period_seconds)
    pace = Pace(0.0)
    run = Run([], [], [])
    # Events: (time, order, kind, when the call was allowed, answer).
    on_the_way: list[tuple[float, int, bool, float, tuple[bool, Limits] | None]] = []
    order = 0
    free, now = workers, 0.0
    while now < seconds:
        wait = pace.wait_seconds(now) if free else math.inf
        if wait <= 0:
            pace.allowed(now)
            run.paces.append((now, pace.calls_per_second))
            free -= 1
            order += 1
            arrival = now + _LATENCY_SECONDS + chance.random() * _JITTER_SECONDS
            heapq.heappush(on_the_way, (arrival, order, False, now, None))
            continue
        if not on_the_way or now + wait < on_the_way[0][0]:
            # A timer of a real loop is late by up to a millisecond or so.
            now += wait + chance.random() * 0.001
            continue
        now, _, is_back, allowed_at, answer = heapq.heappop(on_the_way)
        if not is_back or answer is None:
            limit = next((limit for since, limit in reversed(changes) if now >= since), hidden.calls_per_second)
            answer = counter.call(now, limit)
            (run.passed if answer[0] else run.refused).append(now)
            order += 1
            back = now + _LATENCY_SECONDS + chance.random() * _JITTER_SECONDS
            heapq.heappush(on_the_way, (back, order, True, allowed_at, answer))
            continue
        free += 1
        pace.answered(allowed_at, now, answer[1], throttled=not answer[0])
    return run
