"""Stopping with calls on their way (R13): in order, at once, or when the grace is over; nothing is lost in any case."""

import contextlib
import signal
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from service.sandbox.heap_pages import build_pages, post_page
from tests.crash.harness import Harness, Restart, running_harness
from tests.crash.processes import HEAP_SECRET, ServiceOptions

CONCURRENCY = 4
USERS = 40
LONG_SECONDS = 120.0


@contextlib.asynccontextmanager
async def service_with_calls_held(grace_seconds: float) -> AsyncIterator[Harness]:
    """Run a service that has taken a page and whose calls for its users, as many as may be at once, are on their way."""
    options = ServiceOptions(max_concurrency=CONCURRENCY, grace_seconds=grace_seconds)
    async with running_harness(segments=1, senders=1, options=options, knows_removed=True) as harness:
        await harness.start()
        await harness.send_wave(1, USERS)
        await harness.hold_calls(CONCURRENCY)
        yield harness


async def finish(harness: Harness) -> Restart:
    """Start again, wait until nothing is owed, compare; return what the start had to do."""
    await harness.restart()
    await harness.service.wait_until_answered(harness.session, "/readyz")
    figures = await harness.wait_until_drained()
    (finding,) = await harness.compare()
    assert (finding.missing, finding.unexpected) == (0, 0)
    assert figures.settled == {finding.list_name: finding.contacts}
    assert figures.dead == 0
    assert await harness.senders.count_lost() == 0
    (restart,) = await harness.restarts()
    return restart


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_calls_on_their_way_are_finished_and_not_repeated_while_new_deliveries_are_refused(number):
    async with service_with_calls_held(LONG_SECONDS) as harness:
        harness.service.send_signal(number)
        await harness.service.wait_for_log("service.stopping")

        (page,) = build_pages(9, "Too Late", ["late@example.com"], task_id="late")
        answer = await post_page(harness.session, harness.service.webhook_url, HEAP_SECRET, page)
        assert answer.status == 503
        assert answer.retry_after_seconds
        assert msgspec.json.decode(answer.text)["error"]["code"] == "stopping"
        async with harness.session.get(harness.service.url + "/readyz") as ready:
            assert ready.status == 503

        calls = await harness.call_total()
        await harness.let_calls_through()
        assert await harness.service.wait(LONG_SECONDS / 2) == 0
        assert await harness.call_total() == calls + CONCURRENCY
        restart = await finish(harness)
        assert restart.repeated_calls == 0
        assert restart.crashed.owed == USERS - CONCURRENCY


async def test_a_second_signal_ends_at_once_and_loses_nothing():
    async with service_with_calls_held(LONG_SECONDS) as harness:
        harness.service.send_signal(signal.SIGTERM)
        await harness.service.wait_for_log("service.stopping")
        harness.service.send_signal(signal.SIGTERM)
        assert await harness.service.wait(LONG_SECONDS / 2) != 0
        await harness.let_calls_through()
        restart = await finish(harness)
        assert restart.repeated_calls == CONCURRENCY


async def test_when_the_grace_is_over_the_service_ends_and_sends_the_rest_after_the_next_start():
    async with service_with_calls_held(grace_seconds=1.0) as harness:
        told_at = time.monotonic()
        harness.service.send_signal(signal.SIGTERM)
        assert await harness.service.wait(LONG_SECONDS / 2) == 0
        assert time.monotonic() - told_at >= 1.0
        await harness.let_calls_through()
        restart = await finish(harness)
        assert restart.repeated_calls == CONCURRENCY


async def test_without_work_the_service_stops_within_a_long_grace_and_gives_its_port_back():
    async with running_harness(segments=1, senders=1, options=ServiceOptions(grace_seconds=LONG_SECONDS)) as harness:
        await harness.start()
        harness.service.send_signal(signal.SIGTERM)
        assert await harness.service.wait(LONG_SECONDS / 2) == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await harness.session.get(harness.service.url + "/livez")
