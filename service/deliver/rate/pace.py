"""How fast one (method, endpoint) may be called where nobody has told: found from Cordial's answers. Pure (R8).

Cordial publishes no limits. Its articles name one for each second in one place and a period of "typically one minute"
in another, and leave open whether answers that succeed carry the headers; so nothing is taken for granted here:

- Until the first 429 the pace doubles every few seconds.
- After a 429 calls stop for as long as Cordial asks. One call then tries whether it is over; only when that passes do
  the others follow, a little below the level at which the 429 came.
- From there the pace nears that level ever more slowly, stays around it, and beyond it grows ever faster: the limit is
  well used while it stays, and found again soon when it has changed.
- Where answers carry `X-Rate-Limit-Limit` and `-Reset` the pace stays just below what they promise.

The pace grows with the calls that it held back, not with time: while other things limit, it learns nothing and stays.
"""

import math
from collections import deque

from service.backoff import backoff_seconds
from service.deliver.cordial.answers import Limits

START_CALLS_PER_SECOND = 10.0
MAX_CALLS_PER_SECOND = 10_000.0
_MIN_CALLS_PER_SECOND = 0.2
_DOUBLING_SECONDS = 3.0

# After a 429: so far below the level it came at, and so long to rise to it, and for the next such time beyond to double.
_CUT = 0.1
_CUT_AGAIN = 0.3
_CUT_BELOW_MEASURED = 0.05
_RISE_SECONDS = 30.0
_SEARCH_SECONDS = 20.0
# A 429 so soon after the last says that the cut was too small.
_SOON_SECONDS = 10.0

# A 429 that names no time still means "slower": a second is Cordial's shortest period.
_SHORTEST_PERIOD_SECONDS = 1.0
_ROUNDED_SECONDS = 2.0
_LONGEST_BLIND_WAIT_SECONDS = 8.0
# Calls that stay refused for longer than this were counted in a period of minutes, not of seconds.
_LONG_REFUSAL_SECONDS = 3.0
_LONG_PERIOD_SECONDS = 60.0

# How much of a promised limit is used: what is on its way may bunch.
_SHARE_OF_PROMISED = 0.96
# A call may be made up for that could not be made in time because the process was busy.
_CATCH_UP_SECONDS = 0.025


class _LatestPeriod:
    """Counts what happened in the latest minute, to the second."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque(maxlen=int(_LONG_PERIOD_SECONDS))

    def add(self, now: float) -> None:
        """Count one that happened at `now`."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])

    def count(self, now: float) -> int:
        """Return how many there were."""
        return sum(number for second, number in self._seconds if second > now - _LONG_PERIOD_SECONDS)


class Pace:
    """The pace of one (method, endpoint). All times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._next_at = now - _CATCH_UP_SECONDS
        self._in_flight = 0
        # What the pace was when calls were last refused; None until they are. `_grown_seconds` of held-back calls since.
        self._level: float | None = None
        self._cut = 0.0
        self._grown_seconds = 0.0
        self._blocked_until = now
        self._refused_since: float | None = None
        self._refused_trials = 0
        self._counts_minutes = False
        self._passed = _LatestPeriod()
        self._limit: int | None = None
        self._period_seconds = 0.0
        self._promised = math.inf
        self._remaining = math.inf
        self._resets_at = now

    @property
    def calls_per_second(self) -> float:
        """How many calls a second are allowed now, evenly spaced."""
        return max(_MIN_CALLS_PER_SECOND, min(self._found(), self._promised, MAX_CALLS_PER_SECOND))

    def slowed_seconds(self, now: float) -> float:
        """Return for how much longer Cordial's word keeps calls from being made; 0 if it does not."""
        until = self._blocked_until
        if self._remaining <= 0:
            until = max(until, self._resets_at)
        return max(0.0, until - now)

    def wait_seconds(self, now: float) -> float:
        """Return how long the next call has to wait; infinite while the outcome of another one has to be awaited."""
        if self._refused_since is not None and self._in_flight:
            return math.inf
        return max(self.slowed_seconds(now), self._next_at - now, 0.0)

    def allowed(self, now: float) -> None:
        """Note that a call is made now."""
        self._in_flight += 1
        self._remaining -= 1
        calls_per_second = self.calls_per_second
        is_held_back = self._next_at > now - _CATCH_UP_SECONDS
        if is_held_back and self._refused_since is None and self._found() <= calls_per_second:
            self._grow(1 / calls_per_second)
        self._next_at = max(self._next_at, now - _CATCH_UP_SECONDS) + 1 / calls_per_second

    def answered(self, allowed_at: float, now: float, limits: Limits, *, throttled: bool) -> None:
        """Note how a call ended that was made at `allowed_at`, and what the answer said of the limit."""
        self._in_flight -= 1
        self._read_headers(now, limits, throttled=throttled)
        if throttled:
            self._refused(allowed_at, now, limits)
            return
        self._passed.add(now)
        if limits.retry_after_seconds:
            self._blocked_until = max(self._blocked_until, now + limits.retry_after_seconds)
        if self._refused_since is not None and allowed_at > self._refused_since:
            self._go_on(allowed_at, now, self._refused_since)

    def returned(self) -> None:
        """Note that a call that was allowed is not made."""
        self._in_flight -= 1
        self._remaining += 1

    def wait(self, now: float, seconds: float) -> None:
        """Make no call for so long."""
        self._blocked_until = max(self._blocked_until, now + seconds)

    def forget_waits(self, now: float) -> None:
        """Forget until when Cordial has asked to wait."""
        self._blocked_until = now
        self._remaining = math.inf

    def _found(self) -> float:
        if self._level is None:
            return START_CALLS_PER_SECOND * math.exp2(min(self._grown_seconds / _DOUBLING_SECONDS, 30.0))
        to_level = _RISE_SECONDS - self._grown_seconds
        if to_level > 0:
            return self._level * (1 - self._cut * (to_level / _RISE_SECONDS) ** 3)
        beyond = (-to_level / _SEARCH_SECONDS) ** 3
        return self._level * (1 + (min(1.0, beyond) if self._counts_minutes else beyond))

    def _grow(self, seconds: float) -> None:
        self._grown_seconds += seconds
        searched_seconds = self._grown_seconds - _RISE_SECONDS - _SEARCH_SECONDS
        if self._level is not None and self._counts_minutes and searched_seconds > _LONG_PERIOD_SECONDS:
            # A whole period at twice the level and nothing refused: this is the level now.
            self._level = self._found()
            self._grown_seconds = _RISE_SECONDS

    def _refused(self, allowed_at: float, now: float, limits: Limits) -> None:
        if self._refused_since is None:
            self._refused_since = now
            self._refused_trials = 0
        elif allowed_at > self._refused_since:
            self._refused_trials += 1
        blind = backoff_seconds(self._refused_trials, _SHORTEST_PERIOD_SECONDS, _LONGEST_BLIND_WAIT_SECONDS)
        self._blocked_until = max(self._blocked_until, now + (limits.wait_seconds or blind))

    def _go_on(self, allowed_at: float, now: float, refused_since: float) -> None:
        """Choose the level to grow to again, and where to begin, now that a call has passed."""
        refused_seconds = now - refused_since
        reached = self.calls_per_second
        is_soon = self._level is not None and self._grown_seconds < _SOON_SECONDS
        self._counts_minutes = self._counts_minutes or refused_seconds > _LONG_REFUSAL_SECONDS
        level, cut = reached, _CUT
        if self._counts_minutes and refused_seconds <= _LONG_PERIOD_SECONDS:
            # What passed in a minute, the refused part of it included, is what Cordial counts to.
            level, cut = self._passed.count(now) / min(_LONG_PERIOD_SECONDS, now - self._began_at), _CUT_BELOW_MEASURED
        if self._limit is not None:
            level = min(level, self._limit / self._period_seconds)
        self._level = max(_MIN_CALLS_PER_SECOND, level)
        begin = min(self._level * (1 - cut), reached * (1 - (_CUT_AGAIN if is_soon else cut)))
        self._cut = 1 - begin / self._level
        self._grown_seconds = 0.0
        self._refused_since = None
        self._next_at = allowed_at + 1 / self.calls_per_second

    def _read_headers(self, now: float, limits: Limits, *, throttled: bool) -> None:
        reset_seconds = limits.reset_seconds
        if reset_seconds is None:
            return
        if limits.limit:
            # A reset counts down from the period's length: the longest one seen is nearest to it.
            self._limit = limits.limit
            # Of a second, too, up to two may be said: whole seconds are rounded up.
            seen = reset_seconds if reset_seconds > _ROUNDED_SECONDS else _SHORTEST_PERIOD_SECONDS
            self._period_seconds = max(self._period_seconds, seen)
            if not throttled:
                self._promised = _SHARE_OF_PROMISED * limits.limit / self._period_seconds
        # In a period of one second a reset in whole seconds is always one second away, however soon there is room again:
        # there the even spacing below the promised limit is what keeps to it.
        if limits.remaining is not None and not (limits.limit and self._period_seconds <= _SHORTEST_PERIOD_SECONDS):
            # Calls on their way were perhaps not counted yet when this was said.
            self._remaining = max(0, limits.remaining - self._in_flight)
            self._resets_at = now + reset_seconds
