"""Large backlogs travel as files that Cordial fetches: few calls, the same lists, nobody subscribed (R14)."""

import asyncio
from collections.abc import Collection

import pytest

from service.deliver.deliverer import Deliverer
from service.model.imports import ImportPart, PartState, StepResult
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.options import ImportOptions
from service.store.sqlite import imports
from service.store.sqlite.imports import Imports
from tests.import_fixtures import GET_JOB, POST_IMPORT, add_contacts, importing, imports_of, statuses
from tests.service_fixtures import delivering, users

LOST_ANSWER = Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/contactimports")
SLOW = ImportOptions(delay_seconds=0.4)


async def test_a_first_sync_creates_whom_cordial_does_not_know_and_subscribes_nobody(tmp_path):
    async with importing(tmp_path) as world:
        known = users(300)
        add_contacts(world, known[:100])
        add_contacts(world, known[100:200], "subscribed")
        add_contacts(world, known[200:], "unsubscribed")
        before = statuses(world)
        await world.deliver("Active Users", users(1000))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(1000))
        assert statuses(world) == before | dict.fromkeys(set(users(1000)) - set(known), "none")
        assert world.contact_calls() == []
        assert len(world.calls(POST_IMPORT)) == 2
        assert imports_of(world) == [(1000, 2, 1000, 0, "")]


async def test_one_file_takes_who_joins_and_who_leaves_of_several_lists(tmp_path):
    async with importing(tmp_path) as world:
        add_contacts(world, users(300))
        await world.deliver("One", users(200), segment_id=1)
        await world.deliver("Two", users(300)[100:], segment_id=2)
        await world.settled()
        jobs_before = len(world.calls(POST_IMPORT))
        await world.stop()
        await world.start()
        world.service.deliverer.account("acme").pause()
        await world.deliver("One", users(300)[200:], users(100), segment_id=1)
        await world.deliver("Two", users(100), users(300)[200:], segment_id=2)
        await world.until(lambda: world.service.store.backlog.pending_total == 400)
        world.service.deliverer.account("acme").resume()
        await world.settled()
        assert world.members("One") == sorted(users(300)[100:])
        assert world.members("Two") == sorted(users(200))
        assert world.contact_calls() == []
        assert len(world.calls(POST_IMPORT)) == jobs_before + 1


async def test_a_list_that_a_file_does_not_change_for_a_contact_stays_as_it_is(tmp_path):
    """Also where somebody else put the contact there, and where the service did."""
    async with importing(tmp_path) as world:
        add_contacts(world, users(200))
        await world.deliver("One", users(40), segment_id=1)
        await world.deliver("Two", users(40)[20:], segment_id=2)
        await world.settled()
        by_hand = world.cordial.state.find("email", "user150@example.com")
        assert by_hand is not None
        world.cordial.state.lists_by_name["Two"].members[by_hand.cid] = 0
        world.service.deliverer.account("acme").pause()
        await world.deliver("One", users(200)[40:], segment_id=1)
        await world.deliver("Two", users(130)[60:], segment_id=2)
        await world.until(lambda: world.service.store.backlog.pending_total == 230)
        world.service.deliverer.account("acme").resume()
        await world.settled()
        assert world.members("One") == sorted(users(200))
        assert world.members("Two") == sorted([*users(40)[20:], *users(130)[60:], "user150@example.com"])


async def test_without_a_public_url_every_change_is_a_call(tmp_path):
    async with delivering(tmp_path, bulk_threshold=50) as world:
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert len(world.contact_calls()) == 200
        assert world.calls(POST_IMPORT) == []


async def test_a_sync_of_many_small_pages_waits_to_be_whole(tmp_path):
    async with importing(tmp_path) as world:
        await world.deliver("Active Users", users(400), page_size=20)
        await world.settled()
        assert world.contact_calls() == []
        assert imports_of(world) == [(400, 2, 400, 0, "")]


async def test_a_small_list_beside_is_not_kept_waiting(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        await world.deliver("Large", users(500), segment_id=1)
        await world.until(lambda: world.calls(POST_IMPORT))
        await world.deliver("Small", users(10, "other"), segment_id=2)
        await world.until(lambda: len(world.contact_calls()) == 10)
        assert world.members("Large") == []
        await world.settled()
        assert world.members("Large") == sorted(users(500))
        assert world.members("Small") == sorted(users(10, "other"))


async def test_changes_of_contacts_in_a_running_import_wait_for_it(tmp_path):
    """R5: neither in the same list nor in another one is a call made for them."""
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(500))
        await world.deliver("Large", users(500), segment_id=1)
        await world.until(lambda: world.calls(POST_IMPORT))
        await world.deliver("Large", [], users(5), segment_id=1)
        await world.deliver("Small", users(8), segment_id=2)
        await world.until(lambda: imports_of(world)[0][2] or world.contact_calls())
        assert imports_of(world)[0][2] == 500
        await world.settled()
        ended_at = max(call.arrived_at_seconds for call in world.calls(GET_JOB))
        assert all(call.arrived_at_seconds > ended_at for call in world.contact_calls())
        # One call for both lists of each contact.
        assert len(world.contact_calls()) == 8
        assert world.members("Large") == sorted(users(500)[5:])
        assert world.members("Small") == sorted(users(8))


@pytest.mark.parametrize("moment", ["posted", "settled"])
async def test_an_import_survives_a_restart(tmp_path, moment):
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(3000))
        await world.deliver("Active Users", users(3000))
        if moment == "posted":
            await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running'"))
        else:
            await world.until(lambda: imports_of(world) and imports_of(world)[0][2])
        await world.restart()
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(3000))
        assert len(world.calls(POST_IMPORT)) == 1
        assert world.contact_calls() == []


async def test_files_can_be_fetched_while_other_accounts_are_still_being_started(tmp_path, monkeypatch):
    start = Deliverer.start

    async def start_many(deliverer: Deliverer, paused: Collection[str]) -> None:
        await start(deliverer, paused)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(Deliverer, "start", start_many)
    async with importing(tmp_path, dry_run=True) as world:
        add_contacts(world, users(500))
        await world.deliver("Active Users", users(500))
        await world.restart(dry_run=False)
        await world.settled()
        assert imports_of(world) == [(500, 1, 500, 0, "")]
        assert len(world.calls(POST_IMPORT)) == 1


async def test_an_import_whose_answer_was_lost_is_given_again_under_another_name(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(200))
        world.cordial.faults.add(LOST_ANSWER)
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))
        assert len(world.calls(POST_IMPORT)) == 2
        assert world.contact_calls() == []


async def test_addresses_that_are_not_beyond_doubt_go_by_calls(tmp_path):
    odd = [
        "jösé@example.com",
        "a,b@example.com",
        '"quoted one"@example.com',
        "nobody",
        "x@localhost",
        "o'neil@example.com",
    ]
    async with importing(tmp_path, max_attempts=1) as world:
        await world.deliver("Active Users", [*users(100), *odd])
        await world.settled()
        assert imports_of(world)[0][:1] == (100,)
        assert len(world.contact_calls()) >= len(odd)
        dead = {letter.contact.removeprefix("email:") for letter in world.dead_letters()}
        assert set(world.members("ActiveUsers")) | dead == {*users(100), *odd}


async def test_a_list_of_which_nothing_suits_a_file_goes_by_calls_and_others_go_on_by_file(tmp_path):
    odd = [f"o'neil{number}@example.com" for number in range(60)]
    async with importing(tmp_path) as world:
        await world.deliver("Odd", odd, segment_id=1)
        await world.until(world.contact_calls)
        await world.deliver("Plain", users(100), segment_id=2)
        await world.settled()
        assert world.members("Odd") == sorted(odd)
        assert world.members("Plain") == sorted(users(100))
        assert len(world.contact_calls()) == len(odd)


async def test_a_paused_account_begins_no_import(tmp_path):
    async with importing(tmp_path) as world:
        world.service.deliverer.account("acme").pause()
        await world.deliver("Active Users", users(100))
        await world.until(lambda: world.service.store.backlog.pending_total == 100)
        await asyncio.sleep(0.3)
        assert world.calls(POST_IMPORT) == []
        world.service.deliverer.account("acme").resume()
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))


@pytest.mark.parametrize("ending", ["goes on", "restart"])
async def test_what_comes_while_a_file_is_settled_is_sent_at_once(tmp_path, monkeypatch, ending):
    """And what travels waits, whatever Heap says of it meanwhile; nothing of either is lost when the file is done."""
    settle_some, may_settle, has_begun = Imports.settle_some, asyncio.Event(), asyncio.Event()

    async def settle_when_allowed(store: Imports, account: str, part: ImportPart) -> StepResult:
        if part.state is PartState.SETTLING:
            has_begun.set()
            await may_settle.wait()
        return await settle_some(store, account, part)

    monkeypatch.setattr(imports, "_CHANGES_PER_STEP", 10)
    monkeypatch.setattr(Imports, "settle_some", settle_when_allowed)
    async with importing(tmp_path) as world:
        add_contacts(world, users(100))
        # One whom no file takes was there before the import began: it waits for the end, and is not forgotten.
        await world.deliver("Active Users", [*users(100), "odd!name@example.com"])
        await has_begun.wait()
        gone = users(100)[99]
        await world.deliver("Active Users", ["late@example.com"], [gone])
        await world.until(lambda: "late@example.com" in world.members("ActiveUsers"))
        assert gone in world.members("ActiveUsers")
        await world.deliver("Active Users", [], ["late@example.com"])
        await world.until(lambda: "late@example.com" not in world.members("ActiveUsers"))
        assert {call.contact for call in world.contact_calls()} == {"email:late@example.com"}
        if ending == "restart":
            await world.restart()
            await world.deliver("Active Users", ["later@example.com"])
            await world.until(lambda: "later@example.com" in world.members("ActiveUsers"))
        may_settle.set()
        await world.settled()
        later = ["later@example.com"] if ending == "restart" else []
        assert world.members("ActiveUsers") == sorted([*users(100)[:99], "odd!name@example.com", *later])
        assert imports_of(world)[0][2:4] == (100, 0)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("keep_on_lists", [True, False])
async def test_who_is_erased_before_the_file_is_asked_for_is_in_no_file(tmp_path, keep_on_lists):
    async with importing(tmp_path) as world:
        full = Fault(
            FaultKind.ANSWER, method="POST", endpoint="/v2/contactimports", status=429, headers={"Retry-After": "3"}
        )
        world.cordial.faults.add(full)
        await world.deliver("Active Users", users(1000))
        await world.until(lambda: not world.cordial.faults.script)
        await world.forget(users(1)[0], keep_on_lists=keep_on_lists)
        await world.settled()
        await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
        assert world.members("ActiveUsers") == sorted(users(1000)[1:])
        assert world.cordial.state.find("email", users(1)[0]) is None
        # The others went by file, but those whose call began before the next file did. Calls take one person off, too, and
        # look at another for that.
        called = {call.contact for call in world.contact_calls()} - {f"email:{users(1)[0]}"}
        by_file = sum(settled for _, _, settled, _, _ in imports_of(world))
        assert by_file >= 999 - len(called)
        assert by_file > 0
