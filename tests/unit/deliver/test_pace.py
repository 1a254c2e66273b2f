"""A limit that nobody told is found, used, kept to and followed, whatever it counts and says; in simulated time (R8)."""

from bisect import bisect_left
from collections.abc import Sequence

import pytest

from benchmarks.hidden_limit import HiddenLimit, simulate
from service.deliver.cordial.answers import NO_LIMITS, Limits
from service.deliver.rate.pace import START_CALLS_PER_SECOND, Pace

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


def test_no_call_is_made_before_the_time_that_retry_after_names():
    pace = Pace(0.0)
    pace.allowed(0.0)
    pace.allowed(0.1)
    pace.answered(0.0, 0.2, Limits(retry_after_seconds=30), throttled=True)
    pace.answered(0.1, 0.3, Limits(retry_after_seconds=2), throttled=True)
    assert pace.wait_seconds(0.3) == pytest.approx(29.9)
    assert pace.wait_seconds(30.2) == 0


def test_after_a_429_one_call_tries_before_others_follow():
    pace = Pace(0.0)
    pace.allowed(0.0)
    pace.answered(0.0, 0.1, NO_LIMITS, throttled=True)
    pace.allowed(1.1)
    assert pace.wait_seconds(5.0) == float("inf")
    pace.answered(1.1, 1.2, NO_LIMITS, throttled=False)
    assert pace.wait_seconds(1.3) == 0


def test_a_pace_that_is_not_used_does_not_grow():
    pace = Pace(0.0)
    for second in range(600):
        pace.allowed(float(second))
        pace.answered(float(second), second + 0.1, NO_LIMITS, throttled=False)
    assert pace.calls_per_second == START_CALLS_PER_SECOND


def test_what_is_left_of_a_minute_is_not_overdrawn():
    pace = Pace(0.0)
    pace.allowed(0.0)
    pace.answered(0.0, 0.1, Limits(remaining=0, reset_seconds=40, limit=300), throttled=False)
    assert pace.wait_seconds(0.1) == pytest.approx(40)


def test_the_pace_stays_below_the_limit_that_headers_promise():
    run = simulate(HiddenLimit(50, 1, "sliding", "always"), 120)
    assert not run.refused
    assert max(calls_per_second for _, calls_per_second in run.paces) <= 50


def test_a_call_that_is_not_made_gives_back_what_it_took():
    pace = Pace(0.0)
    pace.allowed(0.0)
    pace.answered(0.0, 0.1, Limits(remaining=1, reset_seconds=40, limit=300), throttled=False)
    pace.allowed(1.0)
    assert pace.wait_seconds(2.0) == pytest.approx(38.1)
    pace.returned()
    assert pace.wait_seconds(2.0) == 0
    pace.allowed(2.0)
    assert pace.wait_seconds(3.0) == pytest.approx(37.1)


def test_the_one_that_tries_after_a_429_lets_the_next_try_if_it_is_not_made():
    pace = Pace(0.0)
    pace.allowed(0.0)
    pace.answered(0.0, 0.1, NO_LIMITS, throttled=True)
    pace.allowed(1.1)
    assert pace.wait_seconds(5.0) == float("inf")
    pace.returned()
    assert pace.wait_seconds(5.0) == 0
    pace.allowed(5.0)
    assert pace.wait_seconds(6.0) == float("inf")
