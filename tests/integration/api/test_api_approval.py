"""A segment seen for the first time waits for a person, where the account wants it so."""

import pytest

from service.model.lists import ListState
from tests.api_fixtures import ApiWorld, asking

pytestmark = pytest.mark.usefixtures("quick_retries")


async def held(world: ApiWorld, heap_id: int = 1) -> None:
    condition = f"list_state = 'held' AND heap_id = '{heap_id}'"
    await world.until(lambda: world.rows(f"SELECT 1 FROM segment WHERE {condition}"))  # noqa: S608  ours


async def test_a_new_segment_waits_over_restarts_until_it_is_approved(tmp_path):
    async with asking(tmp_path, hold_new_segments=True) as world:
        await world.deliver("Heap Sample", ["dummy@example.com"], segment_id=1)
        await world.deliver("Readers", ["jane@example.com"], segment_id=2)
        await held(world, 1)
        await held(world, 2)
        await world.restart()
        document = await world.get("lists/2")
        assert (document["state"], document["awaits_approval"]) == ("held", True)
        assert document["reason"].startswith("a new segment, held until you approve it")
        preview = await world.get("lists/2/preview")
        assert (preview["list_name"], preview["fate"], len(preview["calls"])) == ("Readers", "create", 2)
        assert {call.method for call in world.calls()} <= {"GET"}
        answer = await world.post("lists/2/approve")
        assert (answer.status, answer.document) == (200, {"approved": True, "kept_back": []})
        await world.until(lambda: world.service.store.backlog.total == 1)
        assert world.members("Readers") == ["jane@example.com"]
        assert "HeapSample" not in world.cordial.state.lists_by_name
        assert (await world.post("lists/2/approve")).document == {"approved": False, "kept_back": []}
        await world.restart()
        await world.deliver("Readers", ["joe@example.com"], segment_id=2)
        await world.until(lambda: world.members("Readers") == ["jane@example.com", "joe@example.com"])
        audit = (await world.get("audit"))["items"]
        assert [(line["action"], line["target"], line["changes"]) for line in audit] == [
            ("list.approve", "2", 0),
            ("list.approve", "2", 1),
        ]


async def test_a_list_that_cannot_be_counted_is_told_with_its_own_reason(tmp_path):
    async with asking(tmp_path, hold_new_segments=True) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await held(world)
        reason = (await world.get("lists/1"))["reason"]
        verified = await world.post("lists/1/verify")
        message = f"the list cannot be counted now: {reason}"
        assert (verified.status, verified.document["error"]["message"]) == (409, message)


async def test_an_approval_is_kept_though_the_service_ends_at_once(tmp_path):
    async with asking(tmp_path, hold_new_segments=True, dry_run=True) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await held(world)
        await world.post("lists/1/approve")
        await world.restart(dry_run=False)
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]


async def test_segments_known_before_go_on(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        await world.restart(hold_new_segments=True)
        await world.deliver("Readers", ["joe@example.com"])
        await world.settled()
        assert (await world.segment()).list_state is ListState.READY
        assert world.members("Readers") == ["jane@example.com", "joe@example.com"]


async def test_who_is_held_for_another_reason_is_not_approved(tmp_path):
    async with asking(tmp_path) as world:
        world.cordial.state.create_list("Readers")
        await world.deliver("Readers", ["jane@example.com"])
        await held(world)
        assert (await world.get("lists/1"))["awaits_approval"] is False
        assert (await world.post("lists/1/approve")).document == {"approved": False, "kept_back": []}
        assert (await world.post("lists/9/approve")).status == 404
        assert world.members("Readers") == []
