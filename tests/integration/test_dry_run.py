"""A dry run: everything but writing to Cordial, whatever happens, and nothing is lost by it."""

import asyncio

import pytest

from service.deliver.cordial import requests
from service.deliver.cordial.answers import AnswerKind
from service.model.accounts import AccountState
from service.model.lists import ListState
from service.sandbox.options import DEFAULT_API_KEY
from tests.import_fixtures import POST_IMPORT, importing, imports_of
from tests.service_fixtures import ACCOUNT, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")


def methods(world: World) -> set[str]:
    return {call.method for call in world.calls()}


async def until_reason(world: World, words: str, heap_id: int = 1) -> None:
    sought = f"SELECT 1 FROM segment WHERE heap_id = '{heap_id}' AND list_reason LIKE '%{words}%'"  # noqa: S608  ours
    await world.until(lambda: world.rows(sought))


async def test_nothing_is_written_and_everything_is_sent_once_the_dry_run_ends(tmp_path):
    async with delivering(tmp_path, dry_run=True) as world:
        await world.deliver("Readers", users(30), ["gone@example.com"], segment_id=1)
        await world.deliver("Writers", users(3), segment_id=2)
        await until_reason(world, "would be created", 1)
        await until_reason(world, "would be created", 2)
        assert methods(world) == {"GET"}
        assert world.service.store.backlog.pending_segments(ACCOUNT) == {1: 31, 2: 3}
        assert (await world.segment()).list_state is ListState.UNRESOLVED
        assert world.cordial.state.lists == {}
        await world.restart(dry_run=False)
        await world.settled()
        assert world.members("Readers") == sorted(users(30))
        assert world.members("Writers") == sorted(users(3))
        assert (await world.segment()).list_reason == ""


async def test_a_list_that_was_written_before_is_left_alone_meanwhile(tmp_path):
    async with delivering(tmp_path, on_segment_rename="rename") as world:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        await world.restart(dry_run=True)
        world.cordial.journal.reset()
        await world.deliver("Renamed", ["joe@example.com"], ["jane@example.com"], segment_id=1)
        await world.deliver("Others", ["joe@example.com"], segment_id=2)
        await until_reason(world, "would be created", 2)
        assert world.members("Readers") == ["jane@example.com"]
        assert methods(world) == {"GET"}
        await world.restart(dry_run=False)
        await world.settled()
        await world.until(lambda: "Renamed" in world.cordial.state.lists_by_name)
        assert world.members("Renamed") == ["joe@example.com"]


async def test_rebuilding_a_list_deleted_in_cordial_creates_nothing(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        await world.restart(dry_run=True)
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        world.cordial.journal.reset()
        await world.service.deliverer.account(ACCOUNT).lists.recreate(1)
        await world.service.store.steering.rebuild(1, include_removed=True, actor="test")
        await until_reason(world, "would be created")
        assert (methods(world), world.cordial.state.lists) == ({"GET"}, {})
        await world.restart(dry_run=False)
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]


async def test_a_foreign_list_is_not_taken_over(tmp_path):
    async with delivering(tmp_path, dry_run=True, adopt_existing_lists=True) as world:
        world.cordial.state.create_list("Readers")
        await world.deliver("Readers", ["jane@example.com"])
        await until_reason(world, "would be taken over")
        segment = await world.segment()
        assert (segment.list_state, segment.list_id) == (ListState.UNRESOLVED, "")
        await world.restart(adopt_existing_lists=False, dry_run=False)
        await until_reason(world, "did not create; to use it set")
        assert world.members("Readers") == []


async def test_the_account_says_so_and_the_service_is_ready(tmp_path):
    async with delivering(tmp_path, dry_run=True) as world:
        status = world.service.deliverer.statuses()[ACCOUNT]
        assert (status.state, status.reason) == (AccountState.DRY_RUN, "dry run: nothing is written to Cordial")
        assert await world.ready() == (200, "")
        await world.until(lambda: world.rows("SELECT 1 FROM account WHERE state_reason LIKE 'dry run%'"))


async def test_a_refused_key_shows_in_a_dry_run_too_and_mends_itself(tmp_path):
    async with delivering(tmp_path, dry_run=True) as world:
        world.key_file.write_text("another-key")
        await world.deliver("Readers", ["jane@example.com"])
        await world.until(lambda: world.service.deliverer.statuses()[ACCOUNT].state is AccountState.PAUSED)
        world.key_file.write_text(DEFAULT_API_KEY)
        await until_reason(world, "would be created")
        assert world.service.deliverer.statuses()[ACCOUNT].state is AccountState.DRY_RUN


async def test_a_large_backlog_is_not_given_to_cordial_as_a_file_either(tmp_path):
    async with importing(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"], segment_id=1)
        await world.settled()
        await world.restart(dry_run=True)
        world.cordial.journal.reset()
        await world.deliver("Readers", users(200), segment_id=1)
        await world.deliver("Writers", users(200), segment_id=2)
        await until_reason(world, "would be created", 2)
        preview = await world.service.deliverer.account(ACCOUNT).previewer.of_segment(1, 10)
        assert (preview.as_import, len(preview.calls), preview.more_calls) == (True, 10, True)
        assert methods(world) == {"GET"}
        assert imports_of(world) == []
        await world.restart(dry_run=False)
        await world.settled()
        assert world.members("Readers") == sorted([*users(200), "jane@example.com"])
        assert world.members("Writers") == sorted(users(200))
        assert len(world.calls(POST_IMPORT)) > 0


async def test_whatever_writes_is_held_on_the_line_itself_and_what_reads_goes_on(tmp_path):
    async with delivering(tmp_path, dry_run=True) as world:
        line = world.service.deliverer.account(ACCOUNT).line
        writes = [
            requests.create_list("Readers"),
            requests.rename_list("1", "Readers"),
            requests.Request("POST", "/contactimports", "contactimports", {}),
            requests.Request("DELETE", "/contacts/email:jane%40example.com", "contacts"),
        ]
        waiting = [asyncio.create_task(line.call(write)) for write in writes]
        assert (await line.call(requests.all_lists())).kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND}
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert methods(world) == {"GET"}
        assert line.calls == 1
