"""Calls at paces that are found, in virtual time: in order, and each operation on its own."""

import asyncio

import pytest

from service.deliver.cordial.answers import NO_LIMITS, Limits
from service.deliver.rate.limiter import AdaptiveLimiter, RateLimiter, make_limiter
from tests.unit.deliver import virtual_time
from tests.unit.deliver.virtual_time import now

PUT, POST = "PUT contacts", "POST contacts"


def test_a_number_is_kept_to_and_auto_is_found():
    assert isinstance(make_limiter(25), RateLimiter)
    assert isinstance(make_limiter("auto"), AdaptiveLimiter)


def test_an_operation_that_is_throttled_slows_no_other():
    async def scenario() -> None:
        limiter = AdaptiveLimiter(now)
        limiter.answered(await limiter.acquire(PUT), Limits(retry_after_seconds=30), throttled=True)
        throttled_at = now()
        waiting = asyncio.create_task(limiter.acquire(PUT))
        for _ in range(20):
            limiter.answered(await limiter.acquire(POST), NO_LIMITS, throttled=False)
        assert now() - throttled_at < 3
        assert max(limiter.waits.values()) == pytest.approx(30 - (now() - throttled_at))
        assert not waiting.done()
        await waiting
        assert now() - throttled_at == pytest.approx(30)

    virtual_time.run(scenario())


def test_a_429_holds_back_those_who_wait_already_and_one_that_passes_lets_them_go():
    async def scenario() -> None:
        limiter = AdaptiveLimiter(now)
        first = await limiter.acquire(PUT)
        second = asyncio.create_task(limiter.acquire(PUT))
        third = asyncio.create_task(limiter.acquire(PUT))
        limiter.answered(first, Limits(retry_after_seconds=5), throttled=True)
        throttled_at = now()
        ticket = await second
        assert now() - throttled_at >= 5
        await asyncio.sleep(10)
        assert not third.done()
        limiter.answered(ticket, NO_LIMITS, throttled=False)
        await third
        assert now() - throttled_at == pytest.approx(15)

    virtual_time.run(scenario())


def test_a_waiter_that_gives_up_lets_the_next_one_through():
    async def scenario() -> None:
        limiter = AdaptiveLimiter(now)
        await limiter.acquire(PUT)
        impatient = asyncio.create_task(limiter.acquire(PUT))
        patient = asyncio.create_task(limiter.acquire(PUT))
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
        assert impatient.cancelled()
        assert limiter.found_rates.keys() == {PUT}

    virtual_time.run(scenario())


def test_the_window_of_our_own_rate_is_a_second():
    assert AdaptiveLimiter().window_seconds == RateLimiter(1).window_seconds


def test_a_trial_that_is_not_made_lets_whoever_waits_for_its_outcome_try_at_once():
    async def scenario() -> None:
        limiter = AdaptiveLimiter(now)
        limiter.answered(await limiter.acquire(PUT), Limits(retry_after_seconds=5), throttled=True)
        trial = await limiter.acquire(PUT)
        waiting = asyncio.create_task(limiter.acquire(PUT))
        await asyncio.sleep(60)
        assert not waiting.done()
        limiter.returned(trial)
        returned_at = now()
        await waiting
        assert now() == returned_at

    virtual_time.run(scenario())


def test_an_operator_ends_all_waits_and_whoever_waits_goes_on_at_once():
    async def scenario() -> None:
        limiter = AdaptiveLimiter(now)
        for operation in (PUT, POST):
            limiter.answered(await limiter.acquire(operation), Limits(retry_after_seconds=600), throttled=True)
        waiters = [asyncio.create_task(limiter.acquire(operation)) for operation in (PUT, POST)]
        await asyncio.sleep(1)
        assert limiter.waits == {PUT: pytest.approx(599), POST: pytest.approx(599)}
        limiter.forget_waits()
        began = now()
        await asyncio.gather(*waiters)
        assert now() == began
        assert limiter.waits == {}

    virtual_time.run(scenario())
