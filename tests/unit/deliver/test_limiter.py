"""Held in virtual time: whatever calls take, no second sees more of them than allowed (R8)."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.deliver.cordial.answers import NO_LIMITS, Limits
from service.deliver.rate.limiter import AdaptiveLimiter, Limiter, RateLimiter
from tests.unit.deliver import virtual_time
from tests.unit.deliver.virtual_time import now

# What floating point may lose over a few minutes of virtual time.
EPSILON = 1e-6
PUT, POST = "PUT contacts", "POST contacts"

# Of each call, in seconds: before it is asked for, from leave to being written, on the wire, until the answer.
durations = st.tuples(
    st.sampled_from([0.0, 0.0, 0.1, 0.9]) | st.floats(0, 2),
    st.sampled_from([0.0, 0.0, 0.3, 0.99, 1.0]) | st.floats(0, 3),
    st.floats(0, 0.05),
    st.sampled_from([0.0, 0.04, 0.2]) | st.floats(0, 3),
)


async def arrivals_of(
    limiter: RateLimiter, calls: Sequence[tuple[float, float, float, float]], operations: Sequence[str] = (PUT,)
) -> list[float]:
    """Make the calls as given; return when each arrived at the other side."""
    arrived: list[float] = []

    async def call(number: int, before: float, to_writing: float, on_the_wire: float, to_answer: float) -> None:
        await asyncio.sleep(before)
        ticket = await limiter.acquire(operations[number % len(operations)])
        await asyncio.sleep(to_writing)
        limiter.written(ticket)
        await asyncio.sleep(on_the_wire)
        arrived.append(now())
        await asyncio.sleep(to_answer)
        limiter.answered(ticket, NO_LIMITS, throttled=False)

    await asyncio.gather(*(call(number, *times) for number, times in enumerate(calls)))
    return sorted(arrived)


@settings(max_examples=150)
@given(rate=st.integers(1, 6), calls=st.lists(durations, min_size=1, max_size=40))
def test_no_second_sees_more_calls_than_allowed_whatever_they_take(rate, calls):
    async def scenario() -> list[float]:
        return await arrivals_of(RateLimiter(rate, now), calls, (PUT, POST))

    arrived = virtual_time.run(scenario())
    assert len(arrived) == len(calls)
    for first, beyond in zip(arrived, arrived[rate:], strict=False):
        assert beyond - first >= 1.0 - EPSILON


@settings(max_examples=50)
@given(rate=st.floats(0.05, 0.99), calls=st.lists(durations, min_size=2, max_size=8))
def test_below_one_call_a_second_calls_are_spaced_evenly(rate, calls):
    async def scenario() -> list[float]:
        return await arrivals_of(RateLimiter(rate, now), calls)

    arrived = virtual_time.run(scenario())
    assert all(later - earlier >= 1 / rate - EPSILON for earlier, later in pairwise(arrived))


def test_the_rate_is_reached_and_not_only_kept_to():
    async def scenario() -> list[float]:
        return await arrivals_of(RateLimiter(50, now), [(0.0, 0.0, 0.0, 0.02)] * 500)

    arrived = virtual_time.run(scenario())
    assert arrived[-1] - arrived[0] <= 10.0


@pytest.mark.parametrize(("answered_after", "next_after"), [(0.0, 1.0), (0.02, 1.02), (0.7, 1.05)])
def test_a_call_counts_from_its_answer_or_from_when_it_was_surely_there(answered_after, next_after):
    async def scenario() -> float:
        limiter = RateLimiter(1, now)
        began = now()
        ticket = await limiter.acquire(PUT)
        limiter.written(ticket)
        await asyncio.sleep(answered_after)
        limiter.answered(ticket, NO_LIMITS, throttled=False)
        await limiter.acquire(PUT)
        return now() - began

    assert virtual_time.run(scenario()) == pytest.approx(next_after)


@pytest.mark.parametrize(("rate", "calls_a_second"), [(1.5, 1), (2.9, 2)])
def test_a_rate_with_a_fraction_is_never_exceeded_either(rate, calls_a_second):
    async def scenario() -> list[float]:
        return await arrivals_of(RateLimiter(rate, now), [(0.0, 0.0, 0.0, 0.0)] * 10)

    arrived = virtual_time.run(scenario())
    assert all(
        beyond - first >= 1.0 - EPSILON for first, beyond in zip(arrived, arrived[calls_a_second:], strict=False)
    )


def test_a_call_given_up_before_it_was_written_blocks_nobody():
    async def scenario() -> float:
        limiter = RateLimiter(1, now)
        ticket = await limiter.acquire(PUT)
        limiter.answered(ticket, NO_LIMITS, throttled=False)
        waiter = asyncio.create_task(limiter.acquire(PUT))
        await asyncio.sleep(0.5)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        started = now()
        await limiter.acquire(PUT)
        return now() - started

    assert virtual_time.run(scenario()) == pytest.approx(0.5)


@given(
    limits=st.builds(
        Limits,
        retry_after_seconds=st.none() | st.just(0) | st.floats(0.01, 1_000),
        remaining=st.none() | st.integers(0, 50),
        reset_seconds=st.none() | st.just(0) | st.floats(0.01, 1_000),
    )
)
def test_after_a_429_no_call_of_the_endpoint_is_made_too_soon_and_others_go_on(limits):
    async def scenario() -> float:
        limiter = RateLimiter(1_000, now)
        limiter.answered(await limiter.acquire(PUT), limits, throttled=True)
        throttled_at = now()
        await limiter.acquire(POST)
        assert now() == throttled_at
        await limiter.acquire(PUT)
        return now() - throttled_at

    waited = virtual_time.run(scenario())
    assert waited >= (limits.retry_after_seconds or 0) - EPSILON
    assert waited >= (limits.reset_seconds or 0) - EPSILON
    assert waited > 0


def test_a_later_429_puts_off_those_who_wait_already():
    async def scenario() -> float:
        limiter = RateLimiter(1_000, now)
        first, second = await limiter.acquire(PUT), await limiter.acquire(PUT)
        limiter.answered(first, Limits(retry_after_seconds=1), throttled=True)
        waiter = asyncio.create_task(limiter.acquire(PUT))
        await asyncio.sleep(0.5)
        limiter.answered(second, Limits(retry_after_seconds=5), throttled=True)
        started = now()
        await waiter
        return now() - started

    assert virtual_time.run(scenario()) >= 5 - EPSILON


def test_a_shorter_retry_after_does_not_shorten_a_longer_one():
    async def scenario() -> float:
        limiter = RateLimiter(1_000, now)
        first, second = await limiter.acquire(PUT), await limiter.acquire(PUT)
        limiter.answered(first, Limits(retry_after_seconds=60), throttled=True)
        limiter.answered(second, Limits(retry_after_seconds=1), throttled=True)
        assert max(limiter.waits.values()) == pytest.approx(60)
        started = now()
        await limiter.acquire(PUT)
        return now() - started

    assert virtual_time.run(scenario()) >= 60 - EPSILON


class Cordial:
    """Counts calls as Cordial may: in fixed periods, or in a window that slides; says so in whole seconds."""

    def __init__(self, limit: int, period_seconds: float, *, slides: bool) -> None:
        self.limit, self.period_seconds, self.slides = limit, period_seconds, slides
        self.times: deque[float] = deque()
        self.refused = 0

    def call(self) -> tuple[bool, Limits]:
        begin = now() - self.period_seconds if self.slides else now() // self.period_seconds * self.period_seconds
        while self.times and (self.times[0] <= begin if self.slides else self.times[0] < begin):
            self.times.popleft()
        allowed = len(self.times) < self.limit
        if allowed:
            self.times.append(now())
        self.refused += not allowed
        reset = math.ceil((self.times[0] if self.slides else begin) + self.period_seconds - now()) or 1
        remaining = self.limit - len(self.times)
        return allowed, Limits(None if allowed else reset, remaining, reset)


async def worked_off(
    limiter: RateLimiter, cordial: Cordial, calls: int, workers: int = 8, to_answer: float = 0.02
) -> float:
    """Make so many calls, repeated until they are allowed; return how long that took."""
    left = list(range(calls))
    started = now()

    async def work() -> None:
        while left:
            left.pop()
            allowed = False
            while not allowed:
                ticket = await limiter.acquire(PUT)
                limiter.written(ticket)
                await asyncio.sleep(to_answer / 2)
                allowed, limits = cordial.call()
                await asyncio.sleep(to_answer / 2)
                limiter.answered(ticket, limits, throttled=not allowed)

    await asyncio.gather(*(work() for _ in range(workers)))
    return now() - started


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize(("limit", "period_seconds"), [(100, 1), (6_000, 60)])
def test_a_limit_of_cordials_well_above_ours_hardly_slows_us_down(slides, limit, period_seconds):
    async def scenario(limit: int) -> tuple[float, int]:
        cordial = Cordial(limit, period_seconds, slides=slides)
        return await worked_off(RateLimiter(25, now), cordial, 2_500), cordial.refused

    seconds, refused = virtual_time.run(scenario(limit))
    seconds_without_limit, _ = virtual_time.run(scenario(1_000_000))
    assert refused == 0
    assert seconds <= seconds_without_limit * 1.1


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize(("limit", "period_seconds"), [(20, 1), (300, 60)])
def test_a_limit_of_cordials_below_ours_is_well_used_and_never_run_into(slides, limit, period_seconds):
    async def scenario() -> tuple[float, int]:
        cordial = Cordial(limit, period_seconds, slides=slides)
        calls = 10 * limit
        return await worked_off(RateLimiter(100, now), cordial, calls), cordial.refused

    seconds, refused = virtual_time.run(scenario())
    assert refused == 0
    assert seconds <= 10 * period_seconds * 1.5


async def wait_of(limiter: Limiter, operation: str = PUT) -> float:
    """Return how long the next call has to wait; it is not made."""
    began = now()
    limiter.returned(await limiter.acquire(operation))
    return now() - began


def test_a_call_that_is_not_made_gives_back_its_place_and_what_is_left_of_the_limit():
    async def scenario() -> None:
        limiter = RateLimiter(1, now)
        limiter.answered(await limiter.acquire(PUT), Limits(remaining=1, reset_seconds=40), throttled=False)
        assert await wait_of(limiter) == pytest.approx(1)
        # Neither the second of our own rate nor the one call that is left was spent.
        assert await wait_of(limiter) == 0
        limiter.written(await limiter.acquire(PUT))
        assert await wait_of(limiter) == pytest.approx(39)

    virtual_time.run(scenario())


def test_calls_on_their_way_are_taken_from_what_is_left_until_they_are_over_or_not_made():
    async def scenario() -> None:
        limiter = RateLimiter(100, now)
        first, second, third = [await limiter.acquire(PUT) for _ in range(3)]
        limiter.returned(third)
        limiter.answered(first, Limits(remaining=2, reset_seconds=40), throttled=False)
        assert await wait_of(limiter) == 0
        await limiter.acquire(PUT)
        assert await wait_of(limiter) == pytest.approx(40)
        limiter.answered(second, Limits(remaining=0, reset_seconds=7), throttled=False)
        assert await wait_of(limiter) == pytest.approx(7)

    virtual_time.run(scenario())


def test_an_answer_that_comes_while_a_place_is_awaited_is_heeded():
    async def scenario() -> float:
        limiter = RateLimiter(1, now)
        ticket = await limiter.acquire(PUT)
        limiter.written(ticket)
        waiter = asyncio.create_task(limiter.acquire(PUT))
        await asyncio.sleep(0.5)
        limiter.answered(ticket, Limits(retry_after_seconds=9), throttled=True)
        answered_at = now()
        await waiter
        return now() - answered_at

    assert virtual_time.run(scenario()) >= 9 - EPSILON


def test_an_operator_ends_all_waits_and_whoever_waits_goes_on_at_once():
    async def scenario() -> None:
        limiter = RateLimiter(1_000, now)
        for operation in (PUT, POST):
            limiter.answered(await limiter.acquire(operation), Limits(retry_after_seconds=600), throttled=True)
        waiters = [asyncio.create_task(limiter.acquire(operation)) for operation in (PUT, POST)]
        await asyncio.sleep(1)
        assert {operation: round(seconds) for operation, seconds in limiter.waits.items()} == {PUT: 599, POST: 599}
        limiter.forget_waits()
        began = now()
        tickets = await asyncio.gather(*waiters)
        assert now() == began
        assert limiter.waits == {}
        limiter.answered(tickets[1], Limits(remaining=0, reset_seconds=600), throttled=False)
        assert limiter.waits == {POST: pytest.approx(600)}
        limiter.forget_waits()
        assert await wait_of(limiter, POST) == 0
        # What comes later counts again, and is waited for.
        limiter.answered(tickets[0], Limits(retry_after_seconds=5), throttled=True)
        assert await wait_of(limiter) == pytest.approx(5)

    virtual_time.run(scenario())


@pytest.mark.parametrize("make", [lambda: RateLimiter(1_000, now), lambda: AdaptiveLimiter(now)])
def test_what_was_told_before_a_restart_is_waited_for_and_never_shortened(make):
    async def scenario() -> None:
        limiter = make()
        limiter.wait(PUT, 7)
        limiter.wait(PUT, 3)
        assert limiter.waits == {PUT: pytest.approx(7)}
        assert await wait_of(limiter, POST) == 0
        await asyncio.sleep(6.5)
        assert limiter.waits == {PUT: pytest.approx(0.5)}
        assert await wait_of(limiter) == pytest.approx(0.5)
        assert limiter.waits == {}

    virtual_time.run(scenario())


@pytest.mark.parametrize(("rate", "seconds"), [(25, 1.05), (1, 1.05), (0.5, 2.05)])
def test_the_window_of_our_own_rate_is_a_second_or_as_long_as_one_call_takes(rate, seconds):
    assert RateLimiter(rate).window_seconds == pytest.approx(seconds)
    assert RateLimiter(rate).found_rates == {}


def test_a_429_without_a_time_waits_a_second_and_a_success_with_one_waits_too():
    async def scenario() -> None:
        limiter = RateLimiter(1_000, now)
        limiter.answered(await limiter.acquire(PUT), NO_LIMITS, throttled=True)
        assert await wait_of(limiter) == pytest.approx(1)
        limiter.answered(await limiter.acquire(PUT), Limits(retry_after_seconds=4), throttled=False)
        assert await wait_of(limiter) == pytest.approx(4)

    virtual_time.run(scenario())
