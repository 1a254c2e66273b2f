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
