"""A list is changed behind our back: the service says so, and an operator makes it right (R11)."""

from typing import Any

import msgspec
import pytest

from service.model.changes import FailureSelection
from service.model.lists import ListState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.hostile_fixtures import HostileWorld, hostile_world, log_lines, page
from tests.service_fixtures import ACCOUNT, World, users

ACTOR = "an operator"


@pytest.fixture(autouse=True)
def soon_counted(monkeypatch, quick_retries):  # noqa: ARG001  asked for to be in force
    quick = msgspec.structs.replace(World.count_timings, tick=0.02, recount_after=(0.05, 0.05, 0.05))
    monkeypatch.setattr(World, "count_timings", quick)


def audit(world: HostileWorld) -> list[Any]:
    return world.rows("SELECT actor, action, changes FROM audit ORDER BY id")


def refusing(user: str) -> Fault:
    return Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None)


async def test_a_drained_list_is_counted(tmp_path):
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            await world.accepted(page(users(7)))
            await world.settled()
            await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_count = 7"))
            await world.until(lambda: lines("list.exact"))
    assert lines("list.differs") == []
    assert (lines("list.exact")[0]["counted"], lines("list.exact")[0]["expected"]) == (7, 7)


async def test_a_list_cleared_by_hand_is_reported_and_made_right(tmp_path):
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            await world.accepted(page(users(30), task="first"))
            await world.settled()
            await world.until(lambda: lines("list.exact"))
            world.cordial.state.lists_by_name["Readers"].members.clear()
            await world.accepted(page(["late@example.com"], task="second"))
            await world.until(lambda: lines("list.differs"))
            [told] = lines("list.differs")
            assert (told["list"], told["counted"], told["expected"]) == ("Readers", 1, 31)
            assert "rebuild" in told["hint"]
            segment = await world.segment()
            found = await world.service.deliverer.account(ACCOUNT).verify(segment.id)
            assert (found.differs, found.counted, found.expected) == (True, 1, 31)
            assert await world.service.store.steering.rebuild(segment.id, include_removed=False, actor=ACTOR) == 31
            await world.settled()
            assert world.members("Readers") == sorted(["late@example.com", *users(30)])
            assert not (await world.service.deliverer.account(ACCOUNT).verify(segment.id)).differs
            await world.until(lambda: len(lines("list.exact")) == 2)
            assert audit(world) == [(ACTOR, "list.rebuild", 31)]
            after = await world.segment()
            assert (after.members, after.settled, after.pending, after.dead) == (31, 31, 0, 0)


async def test_who_was_put_back_by_hand_is_removed_by_a_rebuild_that_includes_the_removed(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(5), task="first"))
        await world.settled()
        await world.accepted(page([], users(2), task="second"))
        await world.settled()
        account_list = world.cordial.state.lists_by_name["Readers"]
        for contact in world.cordial.state.contacts.values():
            account_list.members[contact.cid] = 0
        segment = await world.segment()
        found = await world.service.deliverer.account(ACCOUNT).verify(segment.id)
        assert (found.counted, found.expected) == (5, 3)
        assert await world.service.store.steering.rebuild(segment.id, include_removed=True, actor=ACTOR) == 5
        await world.settled()
        assert world.members("Readers") == users(5)[2:]


async def test_a_deleted_list_is_created_anew_with_everyone_on_it(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(20), task="first"))
        await world.settled()
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        await world.accepted(page(["late@example.com"], task="second"))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
        assert world.cordial.state.lists == {}
        segment = await world.segment()
        await world.service.deliverer.account(ACCOUNT).lists.recreate(segment.id)
        await world.service.store.steering.rebuild(segment.id, include_removed=False, actor=ACTOR)
        await world.settled()
        assert world.members("Readers") == sorted(["late@example.com", *users(20)])
        assert (await world.segment()).list_state is ListState.READY
        assert world.dead_letters() == []


async def test_a_deleted_list_that_nobody_missed_yet_is_created_anew_at_once(tmp_path):
    async with hostile_world(tmp_path) as world:
        await world.accepted(page(users(20), task="first"))
        await world.settled()
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        segment = await world.segment()
        await world.service.deliverer.account(ACCOUNT).lists.recreate(segment.id)
        await world.service.store.steering.rebuild(segment.id, include_removed=False, actor=ACTOR)
        await world.settled()
        assert world.members("Readers") == sorted(users(20))


async def test_a_rebuild_is_not_lost_while_the_held_list_is_being_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, retry=0.001))
    async with hostile_world(tmp_path, cordial=SandboxOptions(latency_ms=5)) as world:
        await world.accepted(page(users(5), task="first"))
        await world.settled()
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        await world.accepted(page(["late@example.com"], task="second"))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
        segment = await world.segment()
        await world.service.deliverer.account(ACCOUNT).lists.recreate(segment.id)
        await world.service.store.steering.rebuild(segment.id, include_removed=False, actor=ACTOR)
        await world.settled()
        assert world.members("Readers") == sorted(["late@example.com", *users(5)])


async def test_a_rebuild_sends_failures_too(tmp_path):
    async with hostile_world(tmp_path, max_attempts=1) as world:
        world.cordial.faults.add(refusing("user0@example.com"), refusing("user1@example.com"))
        await world.accepted(page(users(5)))
        await world.settled()
        assert [letter.contact for letter in world.dead_letters()] == [
            "email:user0@example.com",
            "email:user1@example.com",
        ]
        world.cordial.faults.clear()
        world.cordial.faults.add(refusing("user1@example.com"))
        segment = await world.segment()
        assert segment.dead == 2
        assert await world.service.store.steering.rebuild(segment.id, include_removed=False, actor=ACTOR) == 5
        await world.settled()
        assert world.members("Readers") == ["user0@example.com", *users(5)[2:]]
        assert [letter.contact for letter in world.dead_letters()] == ["email:user1@example.com"]
        after = await world.segment()
        assert (after.settled, after.dead, after.pending, after.waiting) == (4, 1, 0, 0)


async def test_retries_by_id_reason_and_list_are_audited_and_done_once(tmp_path):
    async with hostile_world(tmp_path, max_attempts=1) as world:
        everyone = users(6)
        world.cordial.faults.add(*(refusing(user) for user in everyone))
        await world.accepted(page(["good@example.com", *everyone], segment="Readers", segment_id=1))
        await world.accepted(page(["good@example.com", *everyone[:2]], segment="Writers", segment_id=2))
        await world.settled()
        world.cordial.faults.clear()
        first, second = await world.segment(1), await world.segment(2)
        assert (first.id, first.dead, second.dead) == (1, 6, 2)

        async def retry(selection: FailureSelection) -> int:
            return (await world.service.store.steering.retry_failures(selection, ACTOR)).changes

        [one, *_] = [row for (row,) in world.rows("SELECT id FROM failure WHERE segment_id = 1 ORDER BY id")]
        by_id = FailureSelection(ids=[one])
        by_list = FailureSelection(segment_id=second.id)
        by_reason = FailureSelection(account=ACCOUNT, reason="refused")
        nothing = FailureSelection(reason="no such reason")
        assert await retry(nothing) == 0
        assert len(world.dead_letters()) == 8
        assert [await retry(by_id), await retry(by_id)] == [1, 0]
        assert [await retry(by_list), await retry(by_list)] == [2, 0]
        assert [await retry(by_reason), await retry(by_reason)] == [5, 0]
        await world.settled()
        good = ["good@example.com"]
        assert (world.members("Readers"), world.members("Writers")) == (good + everyone, good + everyone[:2])
        assert world.dead_letters() == []
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]
        assert audit(world) == [(ACTOR, "failures.retry", changes) for changes in (0, 1, 0, 2, 0, 5, 0)]


@pytest.mark.parametrize(
    "body", ['{"id": 101, "count": -5}', '{"id": 101, "count": true}', '{"id": 101, "count": 1e40}']
)
async def test_an_odd_count_is_not_kept_and_the_list_is_counted_again(tmp_path, monkeypatch, body):
    monkeypatch.setattr(World, "count_timings", msgspec.structs.replace(World.count_timings, repeat_first=0.05))
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            world.cordial.faults.add(
                Fault(FaultKind.ANSWER, endpoint="/v2/accountlists/{id}/count", status=200, body=body, times=2)
            )
            await world.accepted(page(users(3)))
            await world.until(lambda: lines("list.exact"))
            assert world.rows("SELECT list_count FROM segment") == [(3,)]
    assert len(lines("list.not_counted")) == 2


async def test_a_list_that_stays_held_is_told_once(tmp_path):
    with log_lines() as lines:
        async with hostile_world(tmp_path) as world:
            world.cordial.state.create_list("Readers")
            await world.accepted(page(users(1)))
            await world.until(lambda: lines("list.held"))
            looked = len(world.calls("GET /v2/accountlists"))
            await world.until(lambda: len(world.calls("GET /v2/accountlists")) >= looked + 4)
            assert len(lines("list.held")) == 1
