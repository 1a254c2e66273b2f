"""A large segment beside a small one, and more deliveries than the service may hold (R2, R9)."""

import asyncio

import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import hostile_world, page
from tests.service_fixtures import users

REQUESTS_PER_SECOND = 50


async def test_a_small_segment_is_done_while_a_large_one_drains(tmp_path):
    """By order, not by time: when the small one is done, hardly more than its share of calls has gone to the large."""
    small, large = users(10, "small"), users(5_000, "large")
    async with hostile_world(tmp_path, requests_per_second=REQUESTS_PER_SECOND) as world:
        await world.accepted(page(large, segment="Large", segment_id=1))
        await world.until(lambda: len(world.contact_calls()) > 10)
        await world.accepted(page(small, segment="Small", segment_id=2))
        await world.until(lambda: "Small" in world.cordial.state.lists_by_name)
        calls_before = len(world.contact_calls())
        await world.until(lambda: world.members("Small") == small)
        calls = [call.contact for call in world.contact_calls()]
        last_of_small = max(calls.index(f"email:{user}") for user in small)
        # Besides ten of its own: what had been claimed and allowed before it came, one in turn for each of its own,
        # and the second or two until it is known that its list was made.
        assert last_of_small - calls_before <= 2 * len(small) + 8 + 2 * REQUESTS_PER_SECOND
        assert (await world.segment(1)).pending > 4_000
        assert len(world.members("Large")) < 500


async def test_three_segments_take_turns(tmp_path):
    async with hostile_world(tmp_path, max_concurrency=1, requests_per_second=100) as world:
        for number in (1, 2, 3):
            await world.accepted(page(users(1, "first"), segment=f"Segment {number}", segment_id=number, task="first"))
        await world.settled()
        world.cordial.journal.reset()
        world.service.deliverer.account("acme").pause()
        for number in (1, 2, 3):
            await world.accepted(page(users(150, f"s{number}-"), segment=f"Segment {number}", segment_id=number))
        await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
        world.service.deliverer.account("acme").resume()
        await world.settled()
        segments = [call.contact.removeprefix("email:s")[0] for call in world.contact_calls()]
        # From when all three are claimed until the first segment is done, nine calls in a row serve all three.
        begins = max(segments.index(each) for each in "123")
        ends = min(len(segments) - segments[::-1].index(each) for each in "123")
        assert begins < ends - 9
        for start in range(begins, ends - 9):
            assert set(segments[start : start + 9]) == {"1", "2", "3"}


async def test_over_the_backlog_new_pages_wait_and_nothing_accepted_is_hurt(tmp_path):
    async with hostile_world(tmp_path, start=False) as world:
        world.store_settings = msgspec.structs.replace(world.store_settings, max_backlog=100)
        await world.start()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=503, times=None))
        await world.accepted(page(users(60, "first"), task="first"))
        await world.accepted(page(users(60, "second"), task="second"))
        refused = page(users(60, "third"), task="third")
        for _ in range(3):
            answer = await world.post(refused)
            assert (answer.status, '"backlog_full"' in answer.text) == (429, True)
            assert answer.retry_after_seconds
        assert world.rows("SELECT count(*) FROM delivery") == [(2,)]
        assert (await world.get("/livez"))[0] == 200
        world.cordial.faults.clear()
        await world.settled()
        assert world.members("Readers") == sorted(users(60, "first") + users(60, "second"))
        await world.accepted(refused)
        await world.settled()
        assert world.members("Readers") == sorted(users(60, "first") + users(60, "second") + users(60, "third"))
        assert world.dead_letters() == []


@pytest.mark.parametrize(
    "trouble",
    [{"cordial_base_url": "http://127.0.0.1:9"}, {"hold_new_segments": True}],
    ids=["unreachable", "unapproved"],
)
@pytest.mark.parametrize("max_backlog", [0, 50])
async def test_one_accounts_backlog_refuses_no_other_accounts_pages(tmp_path, trouble, max_backlog):
    async with hostile_world(tmp_path, start=False) as world:
        world.store_settings = msgspec.structs.replace(world.store_settings, max_backlog=100)
        world.others["globex"] = {"max_backlog": max_backlog} | trouble
        await world.start()
        # Folded and not, it must count for its account alone.
        for number in range(2):
            sample = page(users(max_backlog or 100, f"s{number}-"), task=f"sample-{number}", segment="Sample")
            assert (await world.post(sample, account="globex")).status == (429 if number else 200)
            for part in range(5):
                await world.accepted(page(users(10, f"r{number}{part}-"), task=f"task-{number}-{part}"))
                await world.until(lambda: world.service.store.backlog.total_of("acme") == 0)
            await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
            refused = await world.post(page(["one@x.com"], task="more", segment="Sample"), account="globex")
            assert refused.status == 429
            whose = "max_backlog of account globex is 50" if max_backlog else "max_backlog of the store is 100"
            assert whose in refused.text
            await world.restart()
        assert len(world.members("Readers")) == 100


async def test_a_full_backlog_is_still_full_after_a_restart(tmp_path):
    async with hostile_world(tmp_path, start=False) as world:
        world.store_settings = msgspec.structs.replace(world.store_settings, max_backlog=50)
        await world.start()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=503, times=None))
        await world.accepted(page(users(60)))
        await world.restart()
        assert (await world.post(page(users(1), task="second"))).status == 429
        world.cordial.faults.clear()
        await world.settled()
        assert world.members("Readers") == sorted(users(60))


async def test_many_pages_at_once_are_taken_and_none_is_lost(tmp_path):
    async with hostile_world(tmp_path) as world:
        pages = [page(users(5, f"p{number}-"), task=f"task-{number}") for number in range(100)]
        answers = await asyncio.gather(*(world.post(body) for body in pages))
        assert {answer.status for answer in answers} == {200}
        await world.settled()
        assert len(world.members("Readers")) == 500
