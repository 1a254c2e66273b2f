"""How a pace goes from call to call and from answer to answer (R8); what it finds is in `test_hidden_limits.py`."""

import pytest

from service.deliver.cordial.answers import NO_LIMITS, Limits
from service.deliver.rate.pace import START_CALLS_PER_SECOND, Pace


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


def passes(pace: Pace, at: float) -> None:
    """Make a call that passes at once."""
    pace.allowed(at)
    pace.answered(at, at, NO_LIMITS, throttled=False)


def used_fully(pace: Pace, begin: float, seconds: float) -> tuple[float, float]:
    """Call as soon as it is allowed, for so long; return the time then, and for how long calls were held back."""
    now, held_back = begin, 0.0
    while now < begin + seconds:
        now += pace.wait_seconds(now)
        held_back += 1 / pace.calls_per_second
        passes(pace, now)
    return now, held_back


def throttled(pace: Pace, at: float, seconds: float = 1.0, limits: Limits = NO_LIMITS) -> None:
    """Have a call refused, and the next one pass, so much later."""
    pace.allowed(at)
    pace.answered(at, at, limits, throttled=True)
    passes(pace, at + seconds)


def test_a_pace_that_is_used_doubles_every_three_seconds_until_calls_are_refused():
    pace = Pace(100.0)
    now, _ = used_fully(pace, 100.0, 0.1)
    for _ in range(5):
        before = pace.calls_per_second
        now, held_back = used_fully(pace, now, 3.0)
        assert pace.calls_per_second == pytest.approx(before * 2 ** (held_back / 3))


def test_after_a_429_the_pace_nears_the_level_it_came_at_and_then_goes_beyond_it():
    pace = Pace(100.0)
    throttled(pace, 100.0)
    assert pace.calls_per_second == pytest.approx(9)
    assert pace.wait_seconds(101.0) == pytest.approx(1 / 9)
    now, held_back = 101.0, 0.0
    for _ in range(120):
        now, more = used_fully(pace, now, 0.4)
        held_back += more
        if held_back < 30:
            assert pace.calls_per_second == pytest.approx(10 * (1 - 0.1 * ((30 - held_back) / 30) ** 3))
        else:
            assert pace.calls_per_second == pytest.approx(10 * (1 + ((held_back - 30) / 20) ** 3))
    assert held_back > 50


@pytest.mark.parametrize(("seconds", "cut"), [(5, 0.3), (15, 0.1)])
def test_a_429_soon_after_the_last_says_that_the_cut_was_too_small(seconds, cut):
    pace = Pace(100.0)
    throttled(pace, 100.0)
    now, _ = used_fully(pace, 101.0, seconds)
    reached = pace.calls_per_second
    throttled(pace, now + 0.2)
    assert pace.calls_per_second == pytest.approx(reached * (1 - cut))
    _, held_back = used_fully(pace, now + 1.2, 30.0)
    assert held_back >= 30
    assert pace.calls_per_second == pytest.approx(reached, rel=0.01)


@pytest.mark.parametrize(("refused_seconds", "counted"), [(3, None), (4, 111), (20, 79), (60, 1), (61, None)])
def test_after_a_refusal_of_some_length_the_pace_begins_at_what_passed_in_a_minute(refused_seconds, counted):
    """Two calls a second for a minute and a half: those of the latest minute count, and the one that tries."""
    pace = Pace(1_000.0)
    for half_seconds in range(180):
        passes(pace, 1_000.0 + half_seconds / 2)
    throttled(pace, 1_090.0, refused_seconds)
    expected = 10 * 0.9 if counted is None else max(0.2, counted / 60) * 0.95
    assert pace.calls_per_second == pytest.approx(max(0.2, expected))


def test_of_a_pace_younger_than_a_minute_what_passed_since_it_began_counts():
    pace = Pace(1_000.0)
    for second in range(20):
        passes(pace, 1_000.0 + second)
    throttled(pace, 1_020.0, 5.0)
    assert pace.calls_per_second == pytest.approx(21 / 25 * 0.95)


def test_where_minutes_are_counted_a_pace_is_doubled_at_most_until_a_whole_minute_has_passed():
    pace = Pace(1_000.0)
    for second in range(100):
        passes(pace, 1_000.0 + second)
    throttled(pace, 1_100.0, 30.0)
    level = 30 / 60
    now, held_back = 1_130.0, 0.0
    while held_back < 109:
        now, more = used_fully(pace, now, 1.0)
        held_back += more
        assert held_back < 30 or pace.calls_per_second == pytest.approx(
            level * (1 + min(1, ((held_back - 30) / 20) ** 3))
        )
    # Now the doubled one is the level that it goes beyond.
    now, _ = used_fully(pace, now, 2.0)
    assert pace.calls_per_second == pytest.approx(2 * level, rel=0.01)
    used_fully(pace, now, 30.0)
    assert pace.calls_per_second == pytest.approx(4 * level)


def test_a_call_that_was_on_its_way_when_another_was_refused_tells_nothing_of_what_came_after():
    for has_passed in (True, False):
        pace = Pace(100.0)
        pace.allowed(100.0)
        pace.allowed(100.1)
        pace.answered(100.0, 100.1, NO_LIMITS, throttled=True)
        pace.answered(100.1, 100.2, NO_LIMITS, throttled=not has_passed)
        assert pace.calls_per_second == START_CALLS_PER_SECOND
        assert pace.wait_seconds(100.2) == pytest.approx(0.9 if has_passed else 1.0)
        pace.allowed(102.0)
        assert pace.wait_seconds(102.0) == float("inf")


def test_where_no_time_is_told_trials_wait_twice_as_long_each_up_to_eight_seconds():
    pace = Pace(100.0)
    now = 100.0
    for seconds in (1, 2, 4, 8, 8):
        pace.allowed(now)
        pace.answered(now, now, NO_LIMITS, throttled=True)
        assert pace.wait_seconds(now) == pytest.approx(seconds)
        now += seconds
    passes(pace, now)
    now += 10
    pace.allowed(now)
    pace.answered(now, now, NO_LIMITS, throttled=True)
    assert pace.slowed_seconds(now) == pytest.approx(1)


def test_a_call_may_be_made_up_for_that_came_late_but_not_what_nobody_asked_for():
    pace = Pace(100.0)
    assert pace.wait_seconds(100.0) == 0
    passes(pace, 100.0)
    assert pace.wait_seconds(100.0) == pytest.approx(0.075)
    passes(pace, 100.08)
    assert pace.wait_seconds(100.08) == pytest.approx(0.095, abs=0.005)
    passes(pace, 900.0)
    assert pace.wait_seconds(900.0) == pytest.approx(0.075, abs=0.005)


def test_a_success_that_asks_for_a_pause_gets_it_and_a_shorter_one_does_not_end_it():
    pace = Pace(100.0)
    pace.allowed(100.0)
    pace.allowed(100.1)
    pace.answered(100.0, 100.2, Limits(retry_after_seconds=9), throttled=False)
    pace.answered(100.1, 100.2, Limits(retry_after_seconds=2), throttled=False)
    assert pace.wait_seconds(100.2) == pytest.approx(9)


def test_a_wait_that_was_told_before_counts_until_an_operator_ends_it():
    pace = Pace(100.0)
    pace.wait(100.0, 7)
    pace.wait(100.0, 3)
    assert pace.slowed_seconds(100.0) == pytest.approx(7)
    pace.forget_waits(101.0)
    assert pace.wait_seconds(101.0) == 0
    pace.allowed(102.0)
    pace.answered(102.0, 102.0, Limits(remaining=0, reset_seconds=40), throttled=False)
    assert pace.wait_seconds(103.0) == pytest.approx(39)
    pace.forget_waits(103.0)
    assert pace.wait_seconds(103.0) == 0


def test_what_is_left_is_spent_by_calls_on_their_way_and_comes_back_with_the_reset():
    pace = Pace(100.0)
    for tenths in range(3):
        pace.allowed(100.0 + tenths / 10)
    pace.answered(100.0, 101.0, Limits(remaining=3, reset_seconds=40), throttled=False)
    assert pace.wait_seconds(101.0) == 0
    pace.allowed(101.0)
    assert pace.wait_seconds(102.0) == pytest.approx(39)
    assert pace.wait_seconds(141.0) == 0


@pytest.mark.parametrize(
    ("limit", "resets", "calls_per_second"),
    [(5, [1], 4.8), (5, [2], 4.8), (90, [30, 10], 2.88), (90, [10, 30], 2.88), (90, [], START_CALLS_PER_SECOND)],
)
def test_a_promised_limit_is_spread_over_the_longest_time_to_its_reset(limit, resets, calls_per_second):
    pace = Pace(100.0)
    for seconds in resets or [None]:
        pace.allowed(100.0)
        pace.answered(100.0, 100.0, Limits(remaining=9, reset_seconds=seconds, limit=limit), throttled=False)
    assert pace.calls_per_second == pytest.approx(calls_per_second)


def test_in_a_period_of_a_second_the_spacing_keeps_to_the_limit_and_not_the_reset():
    for limit, wait_seconds in ((5, 1 / 10 - 0.025), (None, 1)):
        pace = Pace(100.0)
        pace.allowed(100.0)
        pace.answered(100.0, 100.0, Limits(remaining=0, reset_seconds=1, limit=limit), throttled=False)
        assert pace.wait_seconds(100.0) == pytest.approx(wait_seconds)


def test_after_a_429_that_names_the_limit_the_level_is_no_higher():
    pace = Pace(100.0)
    throttled(pace, 100.0, 2.0, Limits(remaining=0, reset_seconds=30, limit=120))
    assert pace.calls_per_second == pytest.approx(4 * 0.9)
    pace = Pace(100.0)
    throttled(pace, 100.0, 2.0, Limits(remaining=0, reset_seconds=30, limit=1_200))
    assert pace.calls_per_second == pytest.approx(10 * 0.9)
