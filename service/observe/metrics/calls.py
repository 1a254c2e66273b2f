"""Calls to Cordial, counted on the way of every one: plain numbers that become metrics when somebody asks.

The client library's own counters and histograms take a lock for each step, together some 17 microseconds for each call,
four times what this takes. Here everything happens on the event loop's thread and needs no lock.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_NO_STATUS = "none"
_CALL_BOUNDS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT_BOUNDS_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class _Durations:
    """How many durations fell up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "sum_seconds")

    def __init__(self, bounds_seconds: tuple[float, ...]) -> None:
        self._bounds = bounds_seconds
        self._counts = [0] * (len(bounds_seconds) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.sum_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return (bound, how many are not above it) as Prometheus has it, the last bound being infinite."""
        total = 0
        cumulative: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            cumulative.append((bound, total))
        return cumulative


class AccountCalls:
    """What the metrics say of one account's calls since the start: their answers, and how long each waited and took."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int | None], int] = defaultdict(int)
        self.durations: dict[str, _Durations] = {}
        self.waits = _Durations(_WAIT_BOUNDS_SECONDS)

    def waited(self, seconds: float) -> None:
        """Note for how long a call waited for the rate limiter's permit."""
        self.waits.observe(seconds)

    def called(self, operation: str, kind: str, status: int | None, seconds: float) -> None:
        """Note a call that is over: what it was, what its answer meant, and how long the answer took."""
        self.answers[operation, kind, status] += 1
        durations = self.durations.get(operation)
        if durations is None:
            durations = self.durations[operation] = _Durations(_CALL_BOUNDS_SECONDS)
        durations.observe(seconds)


class Calls(Collector):
    """The calls of all accounts, as metrics."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self.of: dict[str, AccountCalls] = {}
        self.add(accounts)

    def add(self, accounts: Iterable[str]) -> None:
        """Count for these accounts as well; one that was counted before goes on from there."""
        for name in accounts:
            self.of.setdefault(name, AccountCalls())

    def collect(self) -> Iterator[Metric]:
        """Give the metrics as they stand now."""
        answers = CounterMetricFamily(
            "heap_cordial_calls",
            "Calls to Cordial, by operation, meaning of the answer and HTTP status.",
            labels=["account", "operation", "answer", "status"],
        )
        durations = HistogramMetricFamily(
            "heap_cordial_call_seconds",
            "How long Cordial took to answer, or until the call ended without an answer.",
            labels=["account", "operation"],
        )
        waits = HistogramMetricFamily(
            "heap_cordial_limiter_wait_seconds",
            "How long a call waited for the rate limiter's permit.",
            labels=["account"],
        )
        for account, calls in self.of.items():
            for (operation, kind, status), number in calls.answers.items():
                answers.add_metric([account, operation, kind, _NO_STATUS if status is None else str(status)], number)
            for operation, taken in calls.durations.items():
                durations.add_metric([account, operation], taken.buckets(), taken.sum_seconds)
            waits.add_metric([account], calls.waits.buckets(), calls.waits.sum_seconds)
        yield from (answers, durations, waits)
