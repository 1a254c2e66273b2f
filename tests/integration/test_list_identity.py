"""Which list is ours (R10): the one whose id Cordial gave to our creation, whatever people do to names in Cordial."""

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from service.sandbox.server import running_sandbox
from service.sandbox.state import AccountList
from service.store.sqlite.store import SqliteStore
from tests.api_fixtures import ApiWorld, asking
from tests.reload_fixtures import Reloadable
from tests.service_fixtures import ACCOUNT, CREATE_LIST, World, users

pytestmark = pytest.mark.usefixtures("quick_retries")

LOST = Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/accountlists")
CUT = Fault(FaultKind.RESET, method="POST", endpoint="/v2/accountlists")


async def held_for(world: ApiWorld, reason: str, list_id: int = 1) -> str:
    """Wait until a list is held for that; return the words."""
    query = f"SELECT 1 FROM segment WHERE id = {list_id} AND list_state = 'held' AND list_held_for = '{reason}'"  # noqa: S608  ours
    await world.until(lambda: world.rows(query))
    document = await world.get(f"lists/{list_id}")
    assert (document["state"], document["held_for"]) == ("held", reason)
    assert document["what_to_do"]
    return str(document["reason"])


def members_of(world: ApiWorld, found: AccountList) -> list[str]:
    return sorted(world.cordial.state.contacts[cid].email for cid in found.members)


async def pass_on(world: ApiWorld, name: str, renamed: str) -> tuple[AccountList, AccountList]:
    """Rename a list in Cordial and make another one of its old name, as people may; return both."""
    ours = world.cordial.state.lists_by_name[name]
    world.cordial.state.rename_list(ours, renamed)
    return ours, world.cordial.state.create_list(name)


@pytest.mark.parametrize("between", ["sync", "restart", "pause"])
async def test_a_list_that_got_our_lists_old_name_is_never_written_to(tmp_path, between):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        if between == "restart":
            await world.stop()
        elif between == "pause":
            await world.post(f"accounts/{ACCOUNT}/pause")
            await world.deliver("Readers", users(2, "late"))
        ours, foreign = await pass_on(world, "Readers", "Book-Lovers")
        if between == "restart":
            await world.start()
        elif between == "pause":
            await world.post(f"accounts/{ACCOUNT}/resume")
        await world.deliver("Readers", users(40, "late"), users(1))
        await world.settled()
        assert members_of(world, foreign) == []
        assert members_of(world, ours) == sorted([*users(3)[1:], *users(40, "late")])
        assert (await world.get("lists/1"))["list_name"] == "Book-Lovers"
        assert not [call for call in world.contact_calls() if "Readers" in call.body and call.body["Readers"] is False]


async def test_a_proof_call_is_not_made_by_a_name_that_has_passed_on(tmp_path):
    async with asking(tmp_path, requests_per_second=1, max_attempts=2) as world:
        await world.deliver("Readers", ["reader@example.com"])
        await world.settled()
        world.cordial.faults.add(
            Fault(
                FaultKind.ANSWER, status=422, contact="email:bad@example.com", body='{"error": true, "message": "No."}'
            )
        )
        await world.deliver("Readers", ["bad@example.com"])
        # The proof call that follows waits for its second.
        await world.until(lambda: 422 in world.cordial.journal.by_status)
        _, foreign = await pass_on(world, "Readers", "Book-Lovers")
        await world.post(f"accounts/{ACCOUNT}/pause")
        await world.post(f"accounts/{ACCOUNT}/resume")
        await world.settled()
        assert members_of(world, foreign) == []
        assert world.dead_letters() == []


async def test_names_that_come_into_doubt_while_a_proof_call_looks_for_somebody_fail_nothing(tmp_path, monkeypatch):
    async with asking(tmp_path, max_attempts=2) as world:
        await world.deliver("Readers", ["reader@example.com"])
        await world.settled()
        settled_contacts, looks = SqliteStore.settled_contacts, []

        async def settled_contacts_while_names_are_doubted(store, *arguments, **options):
            looks.append(arguments)
            found = await settled_contacts(store, *arguments, **options)
            world.service.deliverer.account(ACCOUNT).pause()
            world.service.deliverer.account(ACCOUNT).resume()
            return found

        monkeypatch.setattr(SqliteStore, "settled_contacts", settled_contacts_while_names_are_doubted)
        refusal = Fault(FaultKind.ANSWER, status=422, contact="email:bad@example.com", times=1)
        world.cordial.faults.add(refusal)
        with capture_logs() as lines:
            await world.deliver("Readers", ["bad@example.com"])
            await world.settled()
        assert looks
        assert [line for line in lines if line["event"] == "worker.failed"] == []
        assert world.members("Readers") == ["bad@example.com", "reader@example.com"]


async def test_a_name_that_passes_on_while_a_list_is_sent_loses_nobody(tmp_path, monkeypatch):
    quick = msgspec.structs.replace(World.list_timings, look_again=0.2, trust=0.4)
    monkeypatch.setattr(World, "list_timings", quick)
    async with asking(tmp_path, requests_per_second=60) as world:
        await world.deliver("Readers", users(200))
        await world.until(lambda: len(world.contact_calls()) > 20)
        ours, foreign = await pass_on(world, "Readers", "Book-Lovers")
        await world.settled()
        assert members_of(world, ours) == sorted(users(200))
        # As many as can be sent between two looks.
        assert len(foreign.members) < 100


async def test_a_name_that_passes_to_another_list_of_ours_while_it_is_sent_leaves_nobody_there(tmp_path, monkeypatch):
    quick = msgspec.structs.replace(World.list_timings, look_again=0.2, trust=0.4)
    monkeypatch.setattr(World, "list_timings", quick)
    async with asking(tmp_path, requests_per_second=60) as world:
        await world.deliver("Writers", users(20, "writer"), segment_id=2)
        await world.settled()
        await world.deliver("Readers", users(200), users(5, "writer"), segment_id=1)
        await world.until(lambda: len(world.contact_calls()) > 40)
        state = world.cordial.state
        readers, writers = (state.lists_by_name[name] for name in ("Readers", "Writers"))
        state.rename_list(readers, "Book-Lovers")
        state.rename_list(writers, "Readers")
        await world.settled()
        assert members_of(world, readers) == sorted(users(200))
        # Neither those whom calls by the old name put there, nor without those whom they took away.
        await world.until(lambda: members_of(world, writers) == sorted(users(20, "writer")))


async def test_two_of_our_lists_that_swap_names_stay_exact(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3, "reader"), segment_id=1)
        await world.deliver("Writers", users(3, "writer"), segment_id=2)
        await world.settled()
        readers, writers = (world.cordial.state.lists_by_name[name] for name in ("Readers", "Writers"))
        world.cordial.state.rename_list(readers, "Between")
        world.cordial.state.rename_list(writers, "Readers")
        world.cordial.state.rename_list(readers, "Writers")
        await asyncio.gather(
            world.deliver("Readers", users(30, "new-reader"), users(1, "reader"), segment_id=1),
            world.deliver("Writers", users(30, "new-writer"), users(1, "writer"), segment_id=2),
        )
        await world.settled()
        assert members_of(world, readers) == sorted([*users(3, "reader")[1:], *users(30, "new-reader")])
        assert members_of(world, writers) == sorted([*users(3, "writer")[1:], *users(30, "new-writer")])
        names = {each["segment_name"]: each["list_name"] for each in (await world.get("lists"))["items"]}
        assert names == {"Readers": "Writers", "Writers": "Readers"}
        assert world.service.store.fault is None
        assert world.dead_letters() == []
        assert (await world.ready())[0] == 200


async def test_a_list_deleted_and_made_again_by_hand_is_not_ours(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        state = world.cordial.state
        state.delete_list(state.lists_by_name["Readers"])
        foreign = state.create_list("Readers")
        await world.deliver("Readers", users(2, "late"))
        words = await held_for(world, "deleted")
        assert "another list Readers exists that this service did not create; rebuild it" in words
        await world.post("lists/1/rebuild")
        assert "did not create" in await held_for(world, "not_ours")
        assert foreign.members == {}
        # Whoever made it takes it away: then the list is made anew, with everybody on it.
        state.delete_list(foreign)
        await world.settled()
        assert world.members("Readers") == sorted([*users(3), *users(2, "late")])


async def test_a_list_made_anew_has_those_too_whose_answer_was_not_written_down_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "settle_interval_seconds", 3.0)
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(9))
        await world.until(lambda: len(world.contact_calls()) == 9)
        state = world.cordial.state
        before = state.lists_by_name["Readers"]
        assert (len(before.members), world.service.store.backlog.total) == (9, 9)
        state.delete_list(before)
        await world.post("lists/1/rebuild")
        await world.until(lambda: "Readers" in state.lists_by_name)
        # The answers of the old list are written down first, so for a moment nothing seems to be owed.
        made_anew = state.lists_by_name["Readers"].id
        await world.until(lambda: world.rows(f"SELECT 1 FROM segment WHERE list_id = '{made_anew}'"))  # noqa: S608  ours
        await world.settled()
        assert world.members("Readers") == sorted(users(9))


async def test_a_list_that_is_deleted_while_nothing_is_sent_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, idle=0.3))
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3), segment_id=1)
        await world.deliver("Buyers", users(2), segment_id=2)
        await world.settled()
        state = world.cordial.state
        state.delete_list(state.lists_by_name["Readers"])
        await held_for(world, "deleted")
        assert world.rows("SELECT list_state FROM segment ORDER BY id") == [("held",), ("ready",)]


async def test_an_answer_that_was_lost_needs_nobody_if_all_speaks_for_our_list(tmp_path):
    async with asking(tmp_path) as world:
        world.cordial.faults.add(LOST)
        await world.deliver("Readers", users(3))
        await world.settled()
        assert world.members("Readers") == users(3)
        assert len(world.cordial.state.lists) == 1


async def somebody_elses(world: ApiWorld, *, enhanced: bool = True, member: bool = False) -> AccountList:
    """Lose the call of a creation, and have somebody else make a list of the name before it is looked for."""
    world.cordial.faults.add(CUT)
    # Held while the list is made by hand.
    world.cordial.faults.add(Fault(FaultKind.HANG, method="GET", endpoint="/v2/accountlists", seconds=0.1, times=None))
    await world.deliver("Readers", users(3))
    await world.until(lambda: world.calls(CREATE_LIST))
    found = world.cordial.state.create_list("Readers", enhanced=enhanced)
    if member:
        contact = world.cordial.state.create_contact("email:stranger@example.com", "stranger@example.com")
        found.members[contact.cid] = 1
    return found


@pytest.mark.parametrize(("enhanced", "member"), [(False, False), (True, True)])
async def test_a_list_that_may_be_somebody_elses_waits_for_a_person(tmp_path, enhanced, member):
    async with asking(tmp_path) as world:
        found = await somebody_elses(world, enhanced=enhanced, member=member)
        words = await held_for(world, "creation_in_doubt")
        assert "if nobody else created it, approve it" in words
        world.cordial.faults.clear()
        before = members_of(world, found)
        await world.restart()
        await held_for(world, "creation_in_doubt")
        assert members_of(world, found) == before
        assert (await world.post("lists/1/approve")).document == {"approved": True, "kept_back": []}
        await world.settled()
        assert members_of(world, found) == sorted([*before, *users(3)])


async def test_a_creation_long_ago_proves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, doubt=0.0))
    async with asking(tmp_path) as world:
        world.cordial.faults.add(LOST)
        await world.deliver("Readers", users(3))
        await held_for(world, "creation_in_doubt")
        assert world.members("Readers") == []
        # Deleted by whoever does not want it: made anew.
        world.cordial.state.delete_list(world.cordial.state.lists_by_name["Readers"])
        await world.settled()
        assert world.members("Readers") == users(3)


@pytest.mark.parametrize("is_made_before", [True, False])
async def test_another_segments_list_is_not_taken_for_the_one_asked_for(tmp_path, is_made_before):
    """Not even on a person's word, who sees a list of that name in Cordial."""
    async with asking(tmp_path) as world:
        if is_made_before:
            await world.deliver("Readers", users(3), segment_id=1)
            await world.settled()
        # Nothing comes of the creation of the second one.
        world.cordial.faults.add(Fault(FaultKind.RESET, method="POST", endpoint="/v2/accountlists", times=None))
        await world.deliver("Writers", users(2, "writer"), segment_id=2)
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE name = 'Writers' AND list_asked_at_ms"))
        if is_made_before:
            ours = world.cordial.state.lists_by_name["Readers"]
            world.cordial.state.rename_list(ours, "Writers")
        else:
            # Empty and new, as the one asked for would be.
            world.execute("UPDATE segment SET list_ids_before = '[]'")
            ours = world.cordial.state.create_list("Writers", enhanced=True)
            world.execute(
                "INSERT INTO segment (account_id, heap_id, name, list_state, list_name, list_id, list_home, created_at_ms) "  # noqa: S608  ours
                f"SELECT account_id, '1', 'Readers', 'ready', 'Readers', '{ours.id}', list_home, 0 FROM segment"
            )
        world.cordial.faults.clear()
        for _ in range(20):
            await world.post("lists/2/approve")
            await world.post("lists/1/approve")
            await asyncio.sleep(0.05)
        await world.settled()
        (other,) = [each for each in world.cordial.state.lists.values() if each.id != ours.id]
        assert members_of(world, other) == users(2, "writer")
        assert members_of(world, ours) == (users(3) if is_made_before else [])


async def test_a_list_that_was_there_before_is_not_taken_for_the_one_asked_for(tmp_path):
    async with asking(tmp_path) as world:
        # Renamed to the name that we ask for, while we ask.
        foreign = world.cordial.state.create_list("Older", enhanced=True)
        world.cordial.faults.add(Fault(FaultKind.HANG, method="POST", endpoint="/v2/accountlists", seconds=1.0))
        world.cordial.faults.add(CUT)
        await world.deliver("Readers", users(3))
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'creating'"))
        world.cordial.state.rename_list(foreign, "Readers")
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
        assert (await world.get("lists/1"))["held_for"] in {"creation_in_doubt", "not_ours"}
        assert foreign.members == {}


async def test_two_accounts_of_one_cordial_share_no_list(tmp_path):
    async with running_sandbox(SandboxOptions(journal=True, latency_ms=20)) as cordial:
        service = Reloadable(tmp_path, cordial.url, "acme", "globex")
        service.account_defaults["requests_per_second"] = 1_000
        async with service.running():
            names = [f"Segment {number}" for number in range(6)]
            await asyncio.gather(
                *(
                    service.post(account, [f"{account}@example.com"], task=f"{account} {name}", segment=name)
                    for name in names
                    for account in ("acme", "globex")
                )
            )
            async with asyncio.timeout(30):
                while True:
                    _, page = await service.ask("lists")
                    states = {each["state"] for each in page["items"]}
                    if len(page["items"]) == 12 and states <= {"ready", "held"} and not open_of(page["items"]):
                        break
                    await asyncio.sleep(0.05)
        ids = [each["cordial_list_id"] for each in page["items"] if each["state"] == "ready"]
        assert len(ids) == len(set(ids)) == 6
        for each in page["items"]:
            if each["state"] == "ready":
                assert cordial.state.members(each["list_name"]) == [f"{each['account']}@example.com"]
            else:
                assert each["held_for"] == "not_ours"
                assert "belongs to a segment of the account" in each["reason"]


def open_of(lists: list[dict[str, object]]) -> list[dict[str, object]]:
    return [each for each in lists if each["state"] == "ready" and each["pending"]]


async def test_another_url_is_another_account_until_a_person_says_otherwise(tmp_path):
    async with asking(tmp_path) as world, running_sandbox(SandboxOptions(journal=True)) as other:
        await world.deliver("Readers", users(3))
        await world.settled()
        foreign = other.state.create_list("Readers")
        assert str(foreign.id) == (await world.get("lists/1"))["cordial_list_id"]
        ours = world.cordial.state.lists_by_name["Readers"]
        await world.restart(cordial_base_url=other.url)
        await world.deliver("Readers", users(2, "late"), segment_id=1)
        await world.deliver("Writers", users(1, "writer"), segment_id=2)
        words = await held_for(world, "other_cordial")
        assert world.cordial.url in words
        assert other.url in words
        await world.until(
            lambda: world.rows("SELECT 1 FROM segment WHERE id = 2 AND list_reason LIKE 'waits because%'")
        )
        assert list(other.state.lists_by_name) == ["Readers"]
        assert foreign.members == {}
        # The way back needs nobody.
        await world.restart(cordial_base_url=world.cordial.url)
        await world.settled()
        assert members_of(world, ours) == sorted([*users(3), *users(2, "late")])
        # On purpose: a new list there, and nobody counts as done.
        await world.restart(cordial_base_url=other.url)
        await world.deliver("Readers", users(1, "last"), segment_id=1)
        await held_for(world, "other_cordial")
        other.state.delete_list(foreign)
        for list_id in (1, 2):
            await world.post(f"lists/{list_id}/rebuild")
        await world.settled()
        assert other.state.members("Readers") == sorted([*users(3), *users(2, "late"), *users(1, "last")])
        assert other.state.members("Writers") == users(1, "writer")


async def test_approving_says_that_it_is_the_same_account_behind_another_url(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3), segment_id=1)
        await world.deliver("Writers", users(3), segment_id=2)
        await world.settled()
        await world.restart(cordial_base_url=world.cordial.url.replace("127.0.0.1", "localhost"))
        await world.deliver("Readers", users(2, "late"), segment_id=1)
        await held_for(world, "other_cordial", 1)
        # A yes to one is a yes to all that are held for it.
        await held_for(world, "other_cordial", 2)
        assert (await world.post("lists/1/approve")).document == {"approved": True, "kept_back": []}
        await world.deliver("Writers", users(2, "late"), segment_id=2)
        await world.settled()
        for name in ("Readers", "Writers"):
            assert world.members(name) == sorted([*users(3), *users(2, "late")])


async def test_a_key_of_another_account_is_noticed_and_a_new_key_of_this_one_is_not_minded(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(30))
        await world.settled()
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_count = 30"))
        sandbox = world.cordial.sandbox
        sandbox.change_key("another key")
        world.key_file.write_text("another key")
        await world.restart()
        await world.deliver("Readers", users(2, "late"))
        await world.settled()
        assert len(world.members("Readers")) == 32
        await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_count = 32"))
        # An account whose list has the same id and name, and fewer people on it.
        sandbox.change_key("a third key")
        world.key_file.write_text("a third key")
        for cid in list(world.cordial.state.lists_by_name["Readers"].members)[5:]:
            del world.cordial.state.lists_by_name["Readers"].members[cid]
        await world.restart()
        await world.deliver("Readers", users(2, "last"))
        assert "the API key has changed" in await held_for(world, "other_cordial")
        assert len(world.members("Readers")) == 5


@pytest.mark.parametrize("kind", [FaultKind.ANSWER, FaultKind.HANG])
async def test_attributes_that_cannot_be_read_stop_no_list(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, side_question=0.3))
    fault = Fault(kind, endpoint="/v2/accountcontactattributes", status=500, seconds=60, times=None)
    if kind is FaultKind.ANSWER:
        fault = msgspec.structs.replace(fault, seconds=0)
    async with asking(tmp_path) as world:
        world.cordial.faults.add(fault)
        await world.deliver("Readers", users(3), segment_id=1)
        await world.settled()
        await world.deliver("Writers", users(3), segment_id=2)
        await world.settled()
        assert world.members("Readers") == world.members("Writers") == users(3)
        assert "could not be read" in (await world.get("lists/1"))["reason"]
        asked = world.calls("GET /v2/accountcontactattributes")
        assert len(asked) <= 3


async def test_the_fault_of_one_list_leaves_the_others_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "list_timings", msgspec.structs.replace(World.list_timings, follow=0.05))
    async with asking(tmp_path, on_segment_rename="rename") as world:
        for number in (1, 2, 3):
            await world.deliver(f"Segment {number}", users(2), segment_id=number)
        await world.settled()
        # What the database cannot keep.
        broken = "CREATE TRIGGER broken BEFORE UPDATE OF list_name ON segment WHEN new.id = 1 AND new.list_name = 'New1' BEGIN SELECT raise(ABORT, 'broken'); END"
        await world.service.store._writer.run(lambda connection: connection.execute(broken).fetchall())
        for number in (1, 2, 3):
            await world.deliver(f"New {number}", users(1, "late"), segment_id=number)
        await world.until(lambda: {"New2", "New3"} <= world.cordial.state.lists_by_name.keys())
        await world.until(lambda: len(world.members("New2")) == len(world.members("New3")) == 3)


async def test_what_is_verified_is_in_the_audit_whatever_becomes_of_it(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, endpoint="/v2/accountlists/{id}/count", status=404, times=None)
        )
        assert (await world.post("lists/1/verify")).status == 409
        audit = (await world.get("audit"))["items"]
        assert [line["action"] for line in audit] == ["list.verify"]
