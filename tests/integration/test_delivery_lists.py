"""Which list a segment gets, and what happens when Cordial's side of it changes."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from service.deliver.lists.questions import CordialLists, Directory, NoAnswer
from service.model.lists import ListState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from tests.service_fixtures import ACCOUNT, CREATE_LIST, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")


async def test_many_segments_at_once_get_one_list_each(tmp_path):
    async with delivering(tmp_path, SandboxOptions(latency_ms=5)) as world:
        await asyncio.gather(
            *(world.deliver(f"Segment {number}", users(20), segment_id=number) for number in range(1, 13))
        )
        await world.settled()
        names = [f"Segment{number}" for number in range(1, 13)]
        assert sorted(world.cordial.state.lists_by_name) == sorted(names)
        assert len(world.calls(CREATE_LIST)) == 12
        assert all(world.members(name) == sorted(users(20)) for name in names)
        assert all(each.enhanced for each in world.cordial.state.lists.values())


async def test_after_a_restart_all_lists_are_seen_by_one_look_up(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"], segment_id=1)
        await world.deliver("Writers", ["jane@example.com"], segment_id=2)
        await world.settled()
        await world.stop()
        world.cordial.journal.reset()
        await world.start()
        await world.deliver("Readers", ["joe@example.com"], segment_id=1)
        await world.deliver("Writers", ["joe@example.com"], segment_id=2)
        await world.settled()
        before_contacts = [f"{call.method} {call.endpoint}" for call in world.calls()][: -len(world.contact_calls())]
        assert "POST /v2/accountlists" not in before_contacts
        assert 1 <= len(world.calls("GET /v2/accountlists")) <= 2
        assert world.calls("GET /v2/accountlists/{id}") == []
        assert world.members("Readers") == ["jane@example.com", "joe@example.com"]


async def test_a_list_whose_creation_was_not_answered_is_known_as_ours_after_a_restart(tmp_path):
    async with delivering(tmp_path, request_timeout_seconds=30) as world:
        # The list is made, the answer is on its way for so long that the service is stopped meanwhile.
        world.cordial.faults.add(
            Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/accountlists", seconds=20)
        )
        await world.deliver("Readers", ["jane@example.com"])
        await world.until(lambda: "Readers" in world.cordial.state.lists_by_name)
        assert (await world.segment()).list_state is ListState.CREATING
        await world.restart()
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        assert len(world.cordial.state.lists) == 1


async def test_a_list_whose_creation_was_cut_is_found_without_a_restart(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/accountlists"))
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        assert len(world.cordial.state.lists) == 1


async def test_a_list_that_is_not_ours_is_left_alone_until_the_operator_says_so(tmp_path):
    async with delivering(tmp_path) as world:
        foreign = world.cordial.state.create_list("Readers")
        await world.deliver("Readers", ["jane@example.com"], segment_id=1)
        await world.deliver("Writers", ["joe@example.com"], segment_id=2)
        await world.until(lambda: "Writers" in world.cordial.state.lists_by_name and world.members("Writers"))
        words = "list_state = 'held' AND list_reason LIKE '%adopt_existing_lists = true%'"
        await world.until(lambda: world.rows(f"SELECT 1 FROM segment WHERE heap_id = '1' AND {words}"))  # noqa: S608  ours
        await world.until(lambda: world.service.store.backlog.total == 1)
        assert foreign.members == {}
        await world.restart(adopt_existing_lists=True)
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]
        assert (await world.segment(1)).list_id == str(foreign.id)


async def test_a_held_segment_goes_on_under_a_name_of_its_own(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.state.create_list("Readers")
        await world.deliver("Readers", ["jane@example.com"])
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
        await world.restart(list_names={"1": "HeapReaders"})
        await world.settled()
        assert world.members("HeapReaders") == ["jane@example.com"]
        assert world.members("Readers") == []


@pytest.mark.parametrize("names", [("Active Users", "ActiveUsers"), ("Active Users", "active users")])
async def test_two_segments_never_share_a_list(tmp_path, names):
    async with delivering(tmp_path) as world:
        await world.deliver(names[0], ["jane@example.com"], segment_id=1)
        await world.settled()
        await world.deliver(names[1], ["joe@example.com"], segment_id=2)
        await world.settled()
        first, second = await world.segment(1), await world.segment(2)
        assert first.list_name == "ActiveUsers"
        assert second.list_name == names[1].replace(" ", "") + "-2"
        assert "another segment" in second.list_reason
        assert (world.members(first.list_name), world.members(second.list_name)) == (
            ["jane@example.com"],
            ["joe@example.com"],
        )


async def test_a_segment_called_like_a_contact_attribute_gets_a_list_beside_it(tmp_path):
    async with delivering(tmp_path, SandboxOptions(attributes={"VIP": "string"})) as world:
        await world.deliver("VIP", ["jane@example.com"])
        await world.settled()
        assert world.members("VIP-list") == ["jane@example.com"]
        assert all("VIP" not in call.body for call in world.contact_calls())


@pytest.mark.parametrize("status", [429, 503])
async def test_attributes_that_cannot_be_read_at_first_are_still_respected(tmp_path, status):
    options = SandboxOptions(attributes={"VIP": "string"})
    async with delivering(tmp_path, options) as world:
        headers = {"Retry-After": "1"} if status == 429 else {}
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, endpoint="/v2/accountcontactattributes", status=status, headers=headers)
        )
        await world.deliver("VIP", ["jane@example.com"])
        await world.settled()
        assert world.members("VIP-list") == ["jane@example.com"]
        assert [call.body["name"] for call in world.calls(CREATE_LIST)] == ["VIP-list"]


async def test_a_key_that_is_refused_at_first_does_not_lead_to_a_wrong_name(tmp_path):
    async with delivering(tmp_path, SandboxOptions(attributes={"VIP": "string"})) as world:
        world.key_file.write_text("wrong")
        await world.deliver("VIP", ["jane@example.com"])
        await world.until(lambda: world.cordial.journal.by_status.get(401, 0) >= 2)
        world.key_file.write_text(DEFAULT_API_KEY)
        await world.settled()
        assert [call.body["name"] for call in world.calls(CREATE_LIST)] == ["VIP-list"]


async def test_a_key_that_may_not_read_attributes_still_creates_lists(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, endpoint="/v2/accountcontactattributes", status=403, times=None)
        )
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        assert world.members("Readers") == ["jane@example.com"]


@pytest.mark.parametrize(
    ("segment", "prefix", "starts_with"),
    [
        ("S" * 300, "", "S" * 119 + "-"),
        ("Müller & Söhne", "", "Muller-Sohne-"),
        ("cID", "", "cID-list"),
        ("日本", "", "segment-1"),
        ("Email", "heap-", "heap-Email"),
    ],
)
async def test_names_that_cordial_does_not_allow_are_mapped_to_ones_it_does(tmp_path, segment, prefix, starts_with):
    async with delivering(tmp_path, list_prefix=prefix) as world:
        await world.deliver(segment, ["jane@example.com"])
        await world.settled()
        [name] = world.cordial.state.lists_by_name
        assert name.startswith(starts_with)
        assert len(name) <= 128
        assert world.members(name) == ["jane@example.com"]
        assert len(world.calls(CREATE_LIST)) == 1


async def test_a_list_renamed_in_cordial_goes_on_under_its_new_name(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        world.cordial.state.rename_list(world.cordial.state.lists_by_name["Readers"], "Book-Lovers")
        await world.deliver("Readers", users(60, "late"), users(1))
        await world.settled()
        assert world.members("Book-Lovers") == sorted([*users(3)[1:], *users(60, "late")])
        assert (await world.segment()).list_name == "Book-Lovers"
        assert world.dead_letters() == []
        assert len(world.cordial.state.lists) == 1


async def test_a_renamed_list_costs_the_calls_that_found_it_out_and_no_more(tmp_path):
    async with delivering(tmp_path, SandboxOptions(latency_ms=30), max_concurrency=8) as world:
        await world.deliver("Readers", users(1))
        await world.settled()
        world.cordial.state.rename_list(world.cordial.state.lists_by_name["Readers"], "Book-Lovers")
        world.cordial.journal.reset()
        # One is refused under the old name long after the new one has been found: that says nothing of the new one.
        world.cordial.faults.add(Fault(FaultKind.HANG, contact="email:late0@example.com", seconds=0.6))
        await world.deliver("Readers", users(40, "late"))
        await world.settled()
        assert len(world.members("Book-Lovers")) == 41
        refused = [call for call in world.contact_calls() if call.status == 422]
        # None, if the list was counted since: then it is seen again before it is written to.
        assert len(refused) <= 8
        assert world.calls("GET /v2/accountlists/{id}") == []


async def test_a_deleted_list_holds_its_segment_and_nobody_elses(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"], segment_id=1)
        await world.deliver("Writers", ["jane@example.com"], segment_id=2)
        await world.settled()
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        await world.deliver("Readers", ["joe@example.com"], segment_id=1)
        await world.deliver("Writers", ["joe@example.com"], segment_id=2)
        await world.until(lambda: len(world.members("Writers")) == 2)
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE heap_id = '1' AND list_state = 'held'"))
        segment = await world.segment(1)
        assert "deleted in Cordial" in segment.list_reason
        assert segment.pending == 1
        assert world.dead_letters() == []
        assert list(world.cordial.state.lists_by_name) == ["Writers"]


async def test_a_list_that_exists_but_is_not_accepted_on_contacts_is_not_hammered(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, retry=3_600.0))
    async with delivering(tmp_path, max_concurrency=8) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        refusal = '{"error":true,"messages":{"validationErrors":{"Readers":["key Readers is not part of the schema"]}}}'
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=422, body=refusal, times=None)
        )
        world.cordial.journal.reset()
        await world.deliver("Readers", users(100))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
        await world.until(lambda: world.service.store.backlog.pending_total == 100)
        assert 1 <= len(world.contact_calls()) <= 8
        assert "does not accept it" in (await world.segment()).list_reason
        assert world.dead_letters() == []
        world.cordial.faults.clear()
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert len(world.members("Readers")) == 101


async def test_a_fallback_name_that_another_segment_has_is_passed_by_too(tmp_path):
    async with delivering(tmp_path) as world:
        for heap_id, name in ((7, "Foo"), (8, "Foo-9"), (9, "Foo")):
            await world.deliver(name, [f"user{heap_id}@example.com"], segment_id=heap_id)
            await world.settled()
        assert (await world.segment(9)).list_name == "Foo-9-2"
        assert world.members("Foo-9-2") == ["user9@example.com"]


def _resume_during_a_look(world: World, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
    """Have an operator resume once, between Cordial's answer about all lists and its use."""
    ask_for_all = CordialLists.all
    has_resumed: list[bool] = []

    async def all_then_resume(asked: CordialLists) -> Directory | NoAnswer:
        answer = await ask_for_all(asked)
        if not has_resumed:
            has_resumed.append(True)
            before()
            world.service.deliverer.account(ACCOUNT).resume()
        return answer

    monkeypatch.setattr(CordialLists, "all", all_then_resume)


async def test_a_resume_while_a_held_list_is_looked_at_has_it_looked_at_again(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, retry=3_600.0))
    async with delivering(tmp_path) as world:
        state = world.cordial.state
        foreign = state.create_list("Readers", enhanced=True)
        await world.deliver("Readers", users(3))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_held_for = 'not_ours'"))
        _resume_during_a_look(world, monkeypatch, lambda: state.delete_list(foreign))
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert world.members("Readers") == users(3)


async def test_a_list_whose_look_was_overtaken_by_a_resume_is_looked_at_again_at_once(tmp_path, monkeypatch):
    never = msgspec.structs.replace(World.list_timings, soon=3_600.0, retry=3_600.0)
    monkeypatch.setattr(World, "list_timings", never)
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", users(2))
        await world.settled()
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Readers", users(3))
        await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
        # The look that this wants waits for the resume, and what it sees is not relied on afterwards.
        await asyncio.sleep(0.1)
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert world.members("Readers") == users(3)
