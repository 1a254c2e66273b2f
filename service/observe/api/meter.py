"""How fast each account is called and its changes are settled, and how that went: in memory for the last hour.

Minutes are kept in the store for a week, so that a restart leaves no gap in the picture.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from service.model.changes import OutcomeKind
from service.model.views import Minute

SAMPLE_SECONDS = 5.0
_MINUTE_SECONDS = 60.0
_SAMPLES = 720
# Rates are of the last seconds; the time that is left is told from a longer stretch, or it would jump.
_RATE_SECONDS = 3.0
_PACE_SECONDS = 60.0
_MIN_PACE_SECONDS = 10.0


class Span(StrEnum):
    """How far back."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


_LENGTH = {Span.HOUR: timedelta(hours=1), Span.DAY: timedelta(days=1), Span.WEEK: timedelta(days=7)}
# One sample for each so many minutes.
_STEP_MINUTES = {Span.HOUR: 1, Span.DAY: 5, Span.WEEK: 30}


class Sample(msgspec.Struct, frozen=True):
    """One moment: all that is to be sent, and what happened a second just before, over all accounts.

    What is to be sent is the overview's `to_send`.

    `failed_per_second`: results that are no success, which is what Cordial refused or could not be asked.
    """

    at: datetime
    backlog: int
    calls_per_second: float
    settled_per_second: float
    failed_per_second: float


class History(msgspec.Struct, frozen=True):
    """The last hour, day or week, oldest first; nothing of the time in which the service did not run."""

    samples: list[Sample]


class _Totals(NamedTuple):
    at: float
    calls: dict[str, int]
    settled: dict[str, int]
    failed: dict[str, int]


class Meter:
    """Made current by `tick`, which is to be called about once a second."""

    def __init__(
        self,
        calls: Callable[[], Mapping[str, int]],
        results: Callable[[], Mapping[str, Mapping[OutcomeKind, int]]],
        backlog: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._results = results
        self._backlog = backlog
        self._clock = clock
        self._window: deque[_Totals] = deque([self._totals()])
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._sampled_at = float("-inf")
        self._minute_began = self._window[0]
        self.rates: dict[str, float] = dict.fromkeys(self._window[0].calls, 0.0)

    @property
    def backlog(self) -> int:
        """All that is to be sent."""
        return self._backlog()

    def tick(self) -> Minute | None:
        """Measure; keep a sample if it is time for one. Returns the minute that is over, to be kept, if one is."""
        now = self._totals()
        self._window.append(now)
        while len(self._window) > 2 and now.at - self._window[1].at >= _PACE_SECONDS:  # noqa: PLR2004  two make a span
            self._window.popleft()
        before = self._since(_RATE_SECONDS)
        seconds = now.at - before.at
        if seconds > 0:
            self.rates = {
                name: round((count - before.calls.get(name, 0)) / seconds, 1) for name, count in now.calls.items()
            }
        if now.at - self._sampled_at >= SAMPLE_SECONDS:
            self._sampled_at = now.at
            self._samples.append(
                Sample(
                    datetime.now(UTC),
                    self._backlog(),
                    round(sum(self.rates.values()), 1),
                    _per_second(before.settled, now.settled, seconds),
                    _per_second(before.failed, now.failed, seconds),
                )
            )
        began = self._minute_began
        if now.at - began.at < _MINUTE_SECONDS:
            return None
        self._minute_began = now
        return self._minute(began, now)

    def last_minute(self) -> Minute | None:
        """Return the minute that is not over at the end, at its pace so far, to be kept; None where that shows nothing yet."""
        began, now = self._minute_began, self._totals()
        seconds = now.at - began.at
        return self._minute(began, now, _MINUTE_SECONDS / seconds) if seconds >= SAMPLE_SECONDS else None

    def _minute(self, began: _Totals, now: _Totals, longer: float = 1) -> Minute:
        calls, settled, failed = (
            round(longer * (sum(after.values()) - sum(before.values())))
            for before, after in zip(began[1:], now[1:], strict=True)
        )
        return Minute(datetime.now(UTC), self._backlog(), calls, settled, failed)

    def settled_per_second(self, account: str) -> float:
        """Return how many changes of an account Cordial confirmed a second, over the last seconds."""
        before, now = self._since(_RATE_SECONDS), self._window[-1]
        return _rate(before.settled, now.settled, account, now.at - before.at)

    def failed_per_second(self, account: str) -> float:
        """Return how many results a second were no success, over the last seconds."""
        before, now = self._since(_RATE_SECONDS), self._window[-1]
        return _rate(before.failed, now.failed, account, now.at - before.at)

    def seconds_left(self, account: str, changes: int) -> float | None:
        """Return in how many seconds so many changes are settled at the pace of the last minute; None if none shows.

        Where sending began within that minute, the pace is the one since then.
        """
        oldest, now = self._window[0].settled.get(account, 0), self._window[-1]
        before = [each for each in self._window if each.settled.get(account, 0) == oldest][-1]
        seconds = now.at - before.at
        pace = _rate(before.settled, now.settled, account, seconds)
        return changes / pace if pace > 0 and seconds >= _MIN_PACE_SECONDS else None

    async def history(self, span: Span, read: Callable[[datetime, int], Awaitable[list[Minute]]]) -> History:
        """Return what is kept; the last hour as finely as it is in memory."""
        now = datetime.now(UTC)
        since = now - _LENGTH[span]
        step = _STEP_MINUTES[span]
        # Where the clock was set back, what it then called later is no part of the picture.
        finer = [sample for sample in self._samples if sample.at <= now] if span is Span.HOUR else []
        kept = await read(since, step)
        end = finer[0].at if finer else now
        minutes = [minute for minute in kept if minute.at < end]
        return History([_as_sample(minute) for minute in minutes] + finer)

    def _since(self, seconds: float) -> _Totals:
        """Return the latest totals that are at least so old, or the oldest there are."""
        now = self._window[-1].at
        for totals in reversed(self._window):
            if now - totals.at >= seconds:
                return totals
        return self._window[0]

    def _totals(self) -> _Totals:
        results = self._results()
        settled = {name: kinds.get(OutcomeKind.SETTLED, 0) for name, kinds in results.items()}
        failed = {name: sum(kinds.values()) - settled[name] for name, kinds in results.items()}
        return _Totals(self._clock(), dict(self._calls()), settled, failed)


def _as_sample(minute: Minute) -> Sample:
    # Of the minutes that are known: the last step is not over, and in others the service did not run all the while.
    seconds = minute.minutes * _MINUTE_SECONDS
    calls, settled, failed = (round(each / seconds, 2) for each in (minute.calls, minute.settled, minute.failed))
    return Sample(minute.at, minute.backlog, calls, settled, failed)


def _rate(before: Mapping[str, int], now: Mapping[str, int], account: str, seconds: float) -> float:
    return round((now.get(account, 0) - before.get(account, 0)) / seconds, 2) if seconds > 0 else 0.0


def _per_second(before: Mapping[str, int], now: Mapping[str, int], seconds: float) -> float:
    return round((sum(now.values()) - sum(before.values())) / seconds, 1) if seconds > 0 else 0.0
