"""A limit that nobody told is found, used, kept to and followed, whatever it counts and says; in simulated time (R8)."""

from bisect import bisect_left
from collections.abc import Sequence

import pytest

from benchmarks.hidden_limit import HiddenLimit, simulate

RATES = (5, 12, 50, 120)
PERIODS = pytest.mark.parametrize("period_seconds", [1, 60])
WINDOWS = pytest.mark.parametrize("window", ["fixed", "sliding"])
HEADERS = pytest.mark.parametrize("headers", ["none", "retry after", "on 429", "always"])


def between(times: Sequence[float], begin: float, end: float) -> int:
    return bisect_left(times, end) - bisect_left(times, begin)


def used(passed: Sequence[float], begin: float, end: float, calls_per_second: float) -> float:
    return between(passed, begin, end) / ((end - begin) * calls_per_second)


def refused_share(passed: Sequence[float], refused: Sequence[float], begin: float, end: float) -> float:
    refusals = between(refused, begin, end)
    return refusals / (refusals + between(passed, begin, end))


@PERIODS
@WINDOWS
@HEADERS
@pytest.mark.parametrize("calls_per_second", RATES)
def test_a_limit_is_found_within_a_minute_and_then_hardly_run_into(calls_per_second, period_seconds, window, headers):
    run = simulate(HiddenLimit(calls_per_second, period_seconds, window, headers), 300)
    assert any(used(run.passed, end - 5, end, calls_per_second) >= 0.9 for end in range(5, 61))
    assert used(run.passed, 60, 300, calls_per_second) >= 0.9
    assert refused_share(run.passed, run.refused, 60, 300) < 0.02


@PERIODS
@WINDOWS
def test_the_highest_limit_is_found_with_the_least_help(period_seconds, window):
    run = simulate(HiddenLimit(500, period_seconds, window, "none"), 240)
    assert any(used(run.passed, end - 5, end, 500) >= 0.9 for end in range(5, 61))
    assert used(run.passed, 60, 240, 500) >= 0.9
    assert refused_share(run.passed, run.refused, 60, 240) < 0.02


@PERIODS
@WINDOWS
@HEADERS
@pytest.mark.parametrize("after", [12, 48])
@pytest.mark.parametrize("changes_at", [150, 177])
def test_a_limit_that_changes_is_followed_within_a_minute(period_seconds, window, headers, after, changes_at):
    hidden = HiddenLimit(24, period_seconds, window, headers)
    run = simulate(hidden, changes_at + 180, changes=[(changes_at, after)])
    # Two minutes: a fixed minute in which the limit changed may have spent what it has before it begins.
    assert used(run.passed, changes_at + 60, changes_at + 180, after) >= 0.9
    assert refused_share(run.passed, run.refused, changes_at + 60, changes_at + 180) < 0.02


def test_the_pace_stays_below_the_limit_that_headers_promise():
    run = simulate(HiddenLimit(50, 1, "sliding", "always"), 120)
    assert not run.refused
    assert max(calls_per_second for _, calls_per_second in run.paces) <= 50
