"""Rows of a file that Cordial refuses without naming them: the list is right at once, and each one gets a name."""

import asyncio
import time

import pytest

from service.deliver.imports.suspects import Suspects, oddity
from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite.unnamed import UnnamedRanges
from tests.import_fixtures import GET_JOB, POST_IMPORT, add_contacts, ask, importing, imports_of, set_timings
from tests.integration.test_imports_in_doubt import Failing, import_over
from tests.service_fixtures import World, users


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    set_timings(monkeypatch, store_retry=0.05, repeat=0.1, recount=(0.0, 0.1), first_look=0.05, max_look=0.2)


def refuse(world: World, addresses: list[str]) -> None:
    """Have Cordial refuse these, in files and in calls."""
    world.cordial.imports.refused_addresses.update(addresses)
    for address in addresses:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{address}", times=None, status=422))


async def all_named(world: World) -> None:
    await world.until(
        lambda: world.service.store.backlog.unfolded_users == 0 and world.rows("SELECT 1 FROM bulk_import")
    )
    await world.until(lambda: not world.rows("SELECT 1 FROM unnamed") and world.service.store.backlog.total == 0)


def dead(world: World) -> list[str]:
    return [letter.contact.removeprefix("email:") for letter in world.dead_letters()]


async def test_those_that_look_bad_are_named_first_and_the_count_ends_the_search(tmp_path):
    odd = [f"visitor{number}@gmial.com" for number in range(3)] + ["postmaster@example.com", "asdf@example.com"]
    everybody = users(1_000) + odd
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, odd)
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody)
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(1_000)), "right at once"
        await all_named(world)
        assert sorted(dead(world)) == sorted(odd)
        # A refusal counts once others of its kind pass: the sender asks again, and about others.
        assert len(world.contact_calls()) <= 5 * len(odd), "hardly anybody else is called"
        assert len(world.calls(POST_IMPORT)) == 1
        assert imports_of(world)[0][2:4] == (1_000, 5), "who was refused is not done"


async def test_one_that_looks_like_all_others_is_found_by_halves(tmp_path):
    everybody = users(2_000)
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[777:778])
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody)
        await all_named(world)
        assert dead(world) == everybody[777:778]
        assert imports_of(world)[0][2:4] == (1_999, 1)
        assert world.members("ActiveUsers") == sorted({*everybody} - {everybody[777]})
        assert world.rows("SELECT gathered_to, gather_end FROM bulk_import") == [("", "")], "no address stays"
        files = len(world.calls(POST_IMPORT)) + len(world.calls(GET_JOB))
        assert (len(world.contact_calls()) <= 40, files <= 60) == (True, True)


async def test_a_change_that_comes_later_does_not_wait_for_the_search(tmp_path):
    """Even of contacts in the range; only those whose file is on its way wait for that file."""
    everybody = users(3_000)
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[::750])
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody)
        await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
        # Its rows are settled one after the other, and are on the list then.
        segment = (await ask(world, "lists"))["items"][0]
        assert segment["on_list"] + segment["unnamed"] + segment["pending"] + segment["waiting"] == 3_000
        assert (segment["standing"], segment["differs"]) in {("incomplete", None), ("incomplete", False)}
        began = time.monotonic()
        await world.deliver("Active Users", ["late@example.com"], everybody[1:3])
        await world.until(lambda: "late@example.com" in world.members("ActiveUsers"))
        await world.until(lambda: not {*everybody[1:3]} & {*world.members("ActiveUsers")})
        assert time.monotonic() - began < 20, "a busy machine is slow, a search of all would be slower"
        await all_named(world)
        assert sorted(dead(world)) == sorted(everybody[::750])


async def test_the_search_goes_on_after_a_restart_and_without_files(tmp_path):
    everybody = users(1_500)
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[3:4])
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody)
        await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
        await world.restart(dry_run=True)
        await asyncio.sleep(1.5)
        assert world.service.store.backlog.total == 0, "a dry run looks for nobody"
        await world.restart(dry_run=False)
        await world.restart(public_url="")
        await all_named(world)
        assert dead(world) == everybody[3:4]


async def test_a_person_who_bounds_a_range_is_erased_once_the_search_is_over(tmp_path):
    everybody = sorted(users(1_000))
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[500:501])
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody)
        await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
        await world.forget(everybody[-1])
        await all_named(world)
        await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
        assert dead(world) == everybody[500:501]
        assert everybody[-1] not in world.members("ActiveUsers")


async def test_who_leaves_is_taken_off_though_others_were_refused(tmp_path):
    everybody = users(800)
    async with importing(tmp_path, max_attempts=1) as world:
        add_contacts(world, everybody)
        await world.deliver("Active Users", everybody[:400])
        await world.settled()
        refuse(world, everybody[500:502])
        await world.deliver("Active Users", everybody[400:], everybody[:300])
        await all_named(world)
        assert world.members("ActiveUsers") == sorted({*everybody[300:]} - {*everybody[500:502]})
        assert sorted(dead(world)) == sorted(everybody[500:502])


async def test_contacts_refused_when_created_are_found_too(tmp_path):
    everybody = users(1_000)
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[10:12])
        await world.deliver("Active Users", everybody)
        await all_named(world)
        assert sorted(dead(world)) == sorted(everybody[10:12])
        assert world.members("ActiveUsers") == sorted({*everybody} - {*everybody[10:12]})
        assert world.cordial.state.subscription_changes == 0


async def test_the_file_of_rejected_rows_names_them_without_a_call(tmp_path):
    everybody = users(1_000)
    async with importing(tmp_path, max_attempts=1) as world:
        refuse(world, everybody[5:9])
        add_contacts(world, everybody)
        # The search waits for the list to be quiet; nothing is sent while the account is paused.
        await world.deliver("Active Users", everybody)
        await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
        world.service.deliverer.account("acme").pause()
        async with asyncio.timeout(30):
            while "rows_unnamed" not in (told := [each["id"] for each in (await ask(world, "conditions"))["items"]]):  # noqa: ASYNC110  conditions are asked for, as a person does
                await asyncio.sleep(0.1)
        assert "list_differs" not in told
        # Nor is a sync done of which somebody is looked for.
        while (await ask(world, "syncs"))["states"] == {"sending": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        found = await ask(world, "syncs?state=searching&sort=trouble")
        assert ([each["id"] for each in found["items"]], found["states"]) == ([1], {"searching": 1})
        (shown,) = (await ask(world, "lists"))["items"]
        assert (
            shown["wanted"]
            == shown["on_list"] + shown["unnamed"] + shown["pending"] + shown["waiting"] + shown["failed"]
        )
        # Nobody who was refused is said to be on the list, and nobody who may be.
        for address in everybody[6:9]:
            answer = await ask(world, "lists/1/members/find", {"user": address})
            assert answer["on_list"] is None
            assert "has confirmed it" not in answer["explanation"]
        calls = len(world.contact_calls())
        named = await ask(world, "imports/1/rejected", {"addresses": [*everybody[5:9], "stranger@example.com"]})
        assert named == {"named": 4}
        assert len(world.contact_calls()) == calls
        assert {(letter.contact, letter.reason) for letter in world.dead_letters()} >= {
            (f"email:{address}", "rejected_row") for address in everybody[6:9]
        }
        world.service.deliverer.account("acme").resume()
        await all_named(world)
        assert sorted(dead(world)) == sorted(everybody[5:9])
        assert (await ask(world, "syncs"))["states"] == {"failed": 1}
        await asyncio.sleep(0)


SEARCH = ("keep", "ranges", "members", "middle", "call_likely", "call", "drop", "begin_halving", "halve")


@pytest.mark.parametrize("after", [False, True], ids=["failed", "answer lost"])
async def test_whichever_step_of_a_search_fails_it_goes_on_by_itself(tmp_path, monkeypatch, after):
    everybody = [*users(199), "postmaster@gmial.com"]
    number, is_reached = 1 + 2 * after, True
    while is_reached:
        with monkeypatch.context() as patch:
            directory = tmp_path / str(number)
            directory.mkdir()
            async with importing(directory, max_attempts=1) as world:
                failing = Failing(patch, number, after=after, of=UnnamedRanges, steps=SEARCH)
                refuse(world, [everybody[50], everybody[-1]])
                add_contacts(world, everybody)
                await world.deliver("Active Users", everybody)
                await all_named(world)
                await import_over(world)
                assert sorted(dead(world)) == sorted([everybody[50], everybody[-1]])
                assert world.members("ActiveUsers") == sorted({*everybody} - {*dead(world)})
                is_reached = failing.left <= 0
        number += 4


def test_what_looks_odd():
    plain = ["jane.doe@example.com", "k.miller77@mail.example.org", "a.b+c@web.de"]
    assert [address for address in plain if oddity(address)] == []
    odd = ["info@example.com", "jane@gmial.com", "jane@mail.con", "x@example.com", "jane@host.local", "test@abc.com"]
    assert [address for address in odd if not oddity(address)] == []


def test_suspects_are_the_worst_and_no_more_than_asked_for():
    addresses = [f"user{number}@mail.com" for number in range(20_000)] + ["rare@lonely.org", "info@gmial.com"]
    suspects = Suspects(1)
    suspects.learn(addresses)
    suspects.show(addresses)
    assert suspects.found == ["info@gmial.com"]
    both = Suspects(5)
    both.learn(addresses)
    both.show(addresses)
    assert both.found == ["info@gmial.com", "rare@lonely.org"]
