"""The machine's clock is stepped by an hour while the service runs."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from service import clock
from service.clock import wall_ms
from service.deliver import retry
from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import hostile_world, log_lines, page
from tests.service_fixtures import World

HOUR_SECONDS = 3_600


class SteppedTime:
    """The machine's time for all that asks `service.clock`; Heap's, and the time that only advances, are as they are."""

    def __init__(self) -> None:
        self.ahead_seconds = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.ahead_seconds * 1_000_000_000


@pytest.fixture
def stepped(monkeypatch):
    steps = SteppedTime()
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=steps.time_ns, monotonic_ns=time.monotonic_ns))
    return steps


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
async def test_a_wrong_clock_refuses_deliveries_and_says_why(tmp_path, stepped, ahead_seconds):
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            await world.accepted(page(["jane@example.com"], task="before"))
            stepped.ahead_seconds = ahead_seconds
            for number in range(2):
                assert (await world.post(page([], task=f"stale-{number}"))).status == 403
                # Signed in the same millisecond, two would count as one.
                await asyncio.sleep(0.005)
            assert (await world.ready())[0] == 200
            answer = await world.post(page([], task="stale-2"))
            assert answer.status == 403
            assert "clock" not in answer.text
            word = "ahead of" if ahead_seconds > 0 else "behind"
            said = f"the clock of this machine is probably {HOUR_SECONDS} s {word} Heap's"
            status, message = await world.ready()
            # A balancer must not keep away the page that shows the clock to be right again.
            assert status == 200
            assert said in message.replace("3599", "3600")
            assert (await world.get("/livez"))[0] == 200
            stepped.ahead_seconds = 0
            assert (await world.ready())[0] == 200
            await world.accepted(page(["joe@example.com"], task="after"))
            await world.settled()
            assert world.members("Readers") == ["jane@example.com", "joe@example.com"]
    [line] = lines("clock.suspected")
    assert said in line["reason"].replace("3599", "3600")


async def test_recorded_pages_sent_again_blame_no_clock(tmp_path, stepped):
    """Whoever has no secret can record pages and send them again when they are stale, also after a restart."""
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            recorded = [(page([], task=f"task-{number}"), wall_ms() + number) for number in range(4)]
            for body, signed_at_ms in recorded:
                assert (await world.post(body, signed_at_ms)).status == 200
            stepped.ahead_seconds = HOUR_SECONDS
            for _ in range(2):
                for body, signed_at_ms in recorded:
                    assert (await world.post(body, signed_at_ms)).status == 403
                await world.restart()
            assert world.service.webhook.clock_suspicion.fault() is None
    assert not lines("clock.suspected")


@pytest.mark.parametrize("off_seconds", [250, -250])
async def test_within_the_tolerance_a_wrong_clock_costs_nothing(tmp_path, stepped, off_seconds):
    async with hostile_world(tmp_path) as world:
        stepped.ahead_seconds = off_seconds
        for number in range(4):
            await world.accepted(page([f"user{number}@example.com"], task=f"task-{number}"))
        await world.settled()
        assert len(world.members("Readers")) == 4
        assert (await world.ready())[0] == 200


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
async def test_a_step_neither_hastens_nor_delays_what_waits(tmp_path, stepped, monkeypatch, ahead_seconds):
    """A retry comes when it was planned: not with the step forward, nor an hour late after one back."""
    planned_seconds = 1.5

    class Planned(retry.Timings, frozen=True):
        def retry_delay(self, failures: int, random: Callable[[], float]) -> float:
            del failures, random
            return planned_seconds

    monkeypatch.setattr(World, "retry_timings", Planned())
    async with hostile_world(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:jane@example.com", status=500))
        await world.accepted(page(["jane@example.com"]))
        await world.until(lambda: world.service.store.waiting_changes)
        stepped.ahead_seconds = ahead_seconds
        await world.settled()
        first, second = world.contact_calls()
        assert (first.status, second.status) == (500, 201)
        assert second.arrived_at_seconds - first.finished_at_seconds >= planned_seconds - 0.1


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
async def test_a_step_does_not_shorten_retry_after(tmp_path, stepped, ahead_seconds):
    async with hostile_world(tmp_path) as world:
        throttle = Fault(
            FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": "1"}
        )
        world.cordial.faults.add(throttle)
        await world.accepted(page(["jane@example.com"]))
        await world.until(world.contact_calls)
        stepped.ahead_seconds = ahead_seconds
        await world.settled()
        first, second = world.contact_calls()
        assert (first.status, second.status) == (429, 201)
        assert second.arrived_at_seconds - first.finished_at_seconds >= 1.0 - 0.05


async def test_a_restart_does_not_shorten_retry_after(tmp_path):
    """Told to wait, stopped and started again: the new process waits for the rest."""
    async with hostile_world(tmp_path) as world:
        throttle = Fault(
            FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": "2"}
        )
        world.cordial.faults.add(throttle)
        await world.accepted(page(["jane@example.com"]))
        await world.until(world.contact_calls)
        await world.restart()
        await world.restart()
        await world.settled()
        first, second = world.contact_calls()
        assert (first.status, second.status) == (429, 201)
        assert second.arrived_at_seconds - first.finished_at_seconds >= 2.0 - 0.05
