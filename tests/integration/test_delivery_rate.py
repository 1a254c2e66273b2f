"""How fast Cordial is called, in which order, and never two calls at a time for one contact (R5, R8, R9)."""

import asyncio
import time

import msgspec
import pytest

from service.deliver.rate.limiter import RateLimiter, Ticket
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.service_fixtures import ACCOUNT, POST_CONTACT, PUT_CONTACT, delivering, users


def max_in_one_second(times: list[float]) -> int:
    """Return the most of these times that lie within any one second."""
    return max(sum(start <= time < start + 1.0 for time in times) for start in times)


@pytest.fixture
def written(monkeypatch) -> list[float]:
    """When each call was written: arrivals would also show how a busy machine bunches what was written in time."""
    times: list[float] = []
    note_written = RateLimiter.written

    def spy(limiter: RateLimiter, ticket: Ticket) -> None:
        times.append(time.monotonic())
        note_written(limiter, ticket)

    monkeypatch.setattr(RateLimiter, "written", spy)
    return times


async def test_no_second_sees_more_calls_than_configured(tmp_path, written):
    async with delivering(tmp_path, requests_per_second=20) as world:
        await world.deliver("Readers", users(45))
        await world.settled()
        assert len(written) == len(world.calls()) > 45
        assert max_in_one_second(written) <= 20


@pytest.mark.parametrize("account", ["changed", "back"])
async def test_no_second_sees_the_calls_of_two_configurations_whatever_an_operator_says(tmp_path, written, account):
    async with delivering(tmp_path, requests_per_second=20) as world:
        await world.deliver("Readers", users(50))
        await world.until(lambda: len(written) >= 20)
        settings = world.service.settings
        if account == "changed":
            changed = msgspec.structs.replace(world.account, requests_per_second=21)
            await world.service.apply(msgspec.structs.replace(settings, accounts={ACCOUNT: changed}))
        else:
            await world.service.apply(msgspec.structs.replace(settings, accounts={}))
            await world.service.apply(settings)
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert max_in_one_second(written) <= 21


@pytest.mark.parametrize("ending", ["stop", "crash"])
@pytest.mark.parametrize("rate", [20, 0.5])
async def test_no_second_sees_the_calls_of_two_lives(tmp_path, written, ending, rate):
    """A rate below one call a second has a window that is longer."""
    async with delivering(tmp_path, requests_per_second=rate) as world:
        await world.deliver("Readers", users(60))
        await world.until(lambda: len(written) >= min(20, 60 * rate) // 20 + 1)
        await world.until(lambda: world.rows("SELECT called_at_ms FROM account") == [(None,)])
        crashed = world.copy_store()
        await world.stop()
        if ending == "crash":
            world.replace_store(crashed)
        before = len(written)
        await world.start()
        await world.until(lambda: len(written) > before)
        window = max(1.0, 1 / rate)
        within = [time for time in written if time > written[before] - window]
        assert len(within) <= max(1, rate)


async def test_after_a_restart_an_endpoint_waits_as_cordial_told_and_others_go_on(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["leaves@example.com"])
        await world.settled()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": "4"})
        )
        await world.deliver("Readers", ["joins@example.com"])
        await world.until(lambda: world.rows("SELECT 1 FROM call_wait WHERE operation LIKE 'POST %'"))
        crashed = world.copy_store()
        await world.stop()
        world.replace_store(crashed)
        await world.start()
        await world.deliver("Readers", [], ["leaves@example.com"])
        await world.settled()
        refused, added = world.calls(POST_CONTACT)[-2:]
        removed = world.calls(PUT_CONTACT)[-1]
        assert (refused.status, removed.status, added.status) == (429, 200, 201)
        assert removed.arrived_at_seconds < added.arrived_at_seconds
        assert added.arrived_at_seconds >= refused.finished_at_seconds + 4
        assert world.members("Readers") == ["joins@example.com"]


async def test_cordials_limit_below_ours_is_found_and_kept_to(tmp_path):
    options = SandboxOptions(rate=25)
    async with delivering(tmp_path, options, requests_per_second=200) as world:
        await world.deliver("Readers", users(60))
        await world.settled()
        assert world.members("Readers") == sorted(users(60))
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]
        refused = world.cordial.journal.by_status.get(429, 0)
        assert refused <= 8 * 3, "each period at most the calls that were on their way"


async def test_a_small_segment_is_done_long_before_a_large_one(tmp_path):
    async with delivering(tmp_path, requests_per_second=150) as world:
        await world.deliver("Large", users(1_000, "large"), segment_id=1)
        await world.until(lambda: "Large" in world.cordial.state.lists_by_name and world.members("Large"))
        await world.deliver("Small", users(10, "small"), segment_id=2)
        await world.until(lambda: "Small" in world.cordial.state.lists_by_name and len(world.members("Small")) == 10)
        assert len(world.members("Large")) < 800


async def test_never_two_calls_at_a_time_for_one_contact(tmp_path):
    """Few contacts, flipped in several lists as fast as pages are taken, while each call takes its time."""
    contacts = users(6)
    options = SandboxOptions(latency_ms=4)
    async with delivering(tmp_path, options, max_concurrency=16) as world:

        async def flip(segment_id: int) -> None:
            for turn in range(12):
                joins, leaves = (contacts, []) if turn % 2 == 0 else ([], contacts)
                await world.deliver(f"List {segment_id}", joins, leaves, segment_id=segment_id)
                await asyncio.sleep(0.01 * segment_id)
            await world.deliver(
                f"List {segment_id}", contacts[:segment_id], contacts[segment_id:], segment_id=segment_id
            )

        await asyncio.gather(*(flip(segment_id) for segment_id in range(1, 5)))
        await world.settled()
        assert world.cordial.journal.max_in_flight_per_contact == 1
        for segment_id in range(1, 5):
            assert world.members(f"List{segment_id}") == sorted(contacts[:segment_id])
        assert world.dead_letters() == []


@pytest.mark.parametrize("header", ["1", "2"])
async def test_no_call_of_an_endpoint_is_made_before_retry_after(tmp_path, header):
    async with delivering(tmp_path, max_concurrency=1) as world:
        await world.deliver("Readers", ["first@example.com"])
        await world.settled()
        world.cordial.journal.reset()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": header})
        )
        await world.deliver("Readers", users(20))
        await world.settled()
        calls = world.calls(POST_CONTACT)
        assert calls[0].status == 429
        assert calls[1].arrived_at_seconds >= calls[0].finished_at_seconds + float(header)
        assert calls[1].contact == calls[0].contact
        assert len(world.members("Readers")) == 21
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]


async def test_other_endpoints_go_on_while_one_is_told_to_wait(tmp_path):
    async with delivering(tmp_path, max_concurrency=2) as world:
        await world.deliver("Readers", ["leaves@example.com"])
        await world.settled()
        world.cordial.journal.reset()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers={"Retry-After": "3"})
        )
        await world.deliver("Readers", ["joins@example.com"], ["leaves@example.com"])
        await world.settled()
        removed = world.calls(PUT_CONTACT)[0]
        added = world.calls(POST_CONTACT)[-1]
        assert (removed.status, added.status) == (200, 201)
        assert removed.arrived_at_seconds < added.arrived_at_seconds
        assert world.members("Readers") == ["joins@example.com"]
