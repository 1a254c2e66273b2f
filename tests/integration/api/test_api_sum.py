"""The sum that tells nine from ten, in each state of a list: it adds up, and behind each number are so many people."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from service.model.guard import RemovalGuard
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from tests.api_fixtures import API_KEY as SECOND_API_KEY
from tests.api_fixtures import ApiWorld, asking
from tests.import_fixtures import add_contacts, importing, set_timings
from tests.service_fixtures import API_KEY, World, drain, users


@pytest.fixture
async def world(tmp_path, quick_retries) -> AsyncIterator[ApiWorld]:  # noqa: ARG001  failures are not waited for
    async with asking(tmp_path, max_attempts=1) as running:
        yield running


def refuse(world: World, user: str) -> None:
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None))


async def adds_up(world: World, named: int) -> dict[str, Any]:
    """Return the sum of the first list, once it is seen that it adds up, and who is behind each number.

    What changes while people are counted is counted again.
    """
    await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
    before, people = None, dict[str, int]()
    while before != (found := msgspec.json.decode(await read(world, "lists/1/sum"))):
        before = found
        people = {
            state: len(await members(world, f"wanted=true&state={state}"))
            for state in ("settled", "pending", "waiting", "dead")
        }
    assert found["wanted"] + found["same_person"] + found["unusable"] == named
    assert found["wanted"] == found["on_list"] + found["unnamed"] + found["to_add"] + found["failed"]
    assert people == {
        "settled": found["on_list"] + found["unnamed"],
        "pending": found["to_add"] - found["add_later"],
        "waiting": found["add_later"],
        "dead": found["failed"],
    }
    for wanted, number in (("true", found["failed"]), ("false", found["remove_failed"])):
        failures = msgspec.json.decode(await read(world, f"failures?list=1&dead=true&wanted={wanted}"))["items"]
        assert len(failures) == number
    leaving = await members(world, "wanted=false&state=pending"), await members(world, "wanted=false&state=waiting")
    assert sum(map(len, leaving)) == found["to_remove"]
    answer: dict[str, Any] = found
    return answer


async def members(world: World, filters: str) -> list[Any]:
    found = await read(world, f"lists/1/members?format=ndjson&{filters}")
    return msgspec.json.Decoder().decode_lines(found)


async def read(world: World, path: str) -> bytes:
    key = SECOND_API_KEY if isinstance(world, ApiWorld) else API_KEY
    headers = {"Authorization": aiohttp.encode_basic_auth(key, "")}
    async with world._session.get(f"{world.service.url}/api/v1/{path}", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def test_unusable_ids_and_other_spellings_are_named_too(world):
    await world.deliver("One", [*users(6), "undefined", "User1@Example.com", "USER1@EXAMPLE.COM", "null"])
    await world.settled()
    found = await adds_up(world, 10)
    assert (found["on_list"], found["same_person"], found["unusable"]) == (6, 2, 2)
    # Whoever leaves is named no more, whether the id can be used or not.
    await world.deliver("One", [], ["User1@Example.com", "nobody-knows\n", "null"])
    await world.settled()
    found = await adds_up(world, 9)
    assert (found["on_list"], found["same_person"], found["unusable"]) == (6, 1, 2)
    assert len(world.members("One")) == found["on_list"]
    # Who they are: as many as are counted.
    assert [len((await world.get(f"unusable?list=1&wanted={wanted}"))["items"]) for wanted in ("true", "false")] == [
        2,
        1,
    ]


async def test_who_fails_and_who_cannot_be_taken_off(world):
    await world.deliver("One", users(9))
    await world.settled()
    refuse(world, "bad@example.com")
    refuse(world, "user0@example.com")
    await world.deliver("One", ["bad@example.com"], ["user0@example.com", "user1@example.com"])
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(2,)])
    await world.settled()
    found = await adds_up(world, 8)
    assert (found["on_list"], found["failed"], found["remove_failed"]) == (7, 1, 1)
    assert len(world.members("One")) == found["on_list"] + found["remove_failed"]
    # The ones are counted and retried without the others.
    for filters, number in (("dead=true&wanted=true", 1), ("wanted=false", 1), ("dead=false", 0), ("dead=true", 2)):
        groups = await world.get(f"failures/groups?list=1&{filters}")
        assert (sum(groups["reasons"].values()), sum(each["changes"] for each in groups["items"])) == (number, number)
    world.cordial.faults.clear()
    retried = await world.post("failures/retry", {"list": 1, "dead": True, "wanted": False})
    assert retried.document == {"retried": 1, "kept_back": []}
    await world.settled()
    found = await adds_up(world, 8)
    assert (found["failed"], found["remove_failed"]) == (1, 0)
    assert (await world.post("failures/retry", {"list": 1, "dead": False})).document == {"retried": 0, "kept_back": []}


async def test_who_is_tried_again_later(tmp_path):
    async with asking(tmp_path, max_attempts=20) as world:
        await world.deliver("One", users(5))
        await world.settled()
        refuse(world, "bad@example.com")
        await world.deliver("One", ["bad@example.com"])
        await world.until(lambda: world.rows("SELECT count(*) FROM member WHERE state = 2") == [(1,)])
        await world.post("accounts/acme/pause")
        found = await adds_up(world, 6)
        assert (found["on_list"], found["to_add"], found["add_later"]) == (5, 1, 1)
        # Nothing of it is sent now: terminal, page and filter say so in the words of its standing.
        lists = await world.get("lists?standing=tried_again_later")
        assert (lists["standings"], [each["id"] for each in lists["items"]]) == ({"tried_again_later": 1}, [1])


async def test_a_paused_account_and_changes_that_are_overtaken(world):
    await world.deliver("One", users(4))
    await world.settled()
    await world.post("accounts/acme/pause")
    await world.deliver("One", ["new@example.com"], ["user0@example.com"])
    await world.deliver("One", ["user0@example.com"], ["new@example.com", "user3@example.com"])
    found = await adds_up(world, 3)
    assert (found["on_list"], found["to_add"], found["to_remove"]) == (2, 1, 2)
    assert found["overtaken"] == 2
    await world.post("accounts/acme/resume")
    await world.settled()
    found = await adds_up(world, 3)
    assert world.members("One") == users(3)


async def test_pages_that_have_not_arrived(world):
    await world.deliver("One", users(9), page_size=3, first_pages=2)
    await world.settled()
    found = await adds_up(world, 6)
    assert (found["on_list"], found["unread_pages"]) == (6, False)
    [missing] = found["missing_pages"]
    assert (missing["pages_received"], missing["total_pages"]) == (2, 3)


async def test_a_drained_list_names_nobody(tmp_path, quick_retries):  # noqa: ARG001
    async with asking(tmp_path, max_attempts=1, allow_drain=True) as world:
        refuse(world, "bad@example.com")
        await world.deliver("One", [*users(4), "bad@example.com", "undefined"])
        await world.settled()
        await adds_up(world, 6)
        await drain(world, "One")
        await world.until(lambda: world.members("One") == [])
        await world.settled()
        found = await adds_up(world, 0)
        assert (found["on_list"], found["failed"], found["unusable"]) == (0, 0, 0)
        assert (await world.get("unusable?list=1&wanted=true"))["items"] == []
        await world.deliver("One", [*users(2), "undefined"])
        await world.settled()
        await adds_up(world, 3)


async def test_a_dry_run_sends_nobody(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        await world.deliver("One", users(4))
        found = await adds_up(world, 4)
        assert (found["on_list"], found["to_add"]) == (0, 4)


async def test_a_held_sync_and_one_that_is_not_complete(tmp_path, quick_retries):  # noqa: ARG001
    async with asking(tmp_path, hold_removals=RemovalGuard(share=0.5, least=2)) as world:
        await world.deliver("One", users(10))
        await world.settled()
        parted: dict[str, Any] = {"task": "parted", "page_size": 1}
        await world.deliver("One", ["new@example.com"], ["user0@example.com"], **parted, first_pages=1)
        found = await adds_up(world, 10)
        assert (found["additions_set_aside"], found["removals_set_aside"], found["is_held"]) == (1, 0, False)
        assert found["unread_pages"] is False
        named = (await world.post("lists/1/members/find", {"user": "new@example.com"})).document
        words = "Pages of a sync have not arrived: the users in the other pages may count only when they have. No page "
        assert named["explanation"].startswith(words)
        await world.deliver("One", ["new@example.com"], ["user0@example.com"], **parted)
        await world.settled()
        assert (await adds_up(world, 10))["additions_set_aside"] == 0
        await world.deliver("One", ["newer@example.com"], users(9)[1:])
        await world.until(lambda: world.rows("SELECT count(*) FROM sync WHERE guard = 'held'") == [(1,)])
        found = await adds_up(world, 10)
        assert (found["on_list"], found["is_held"], found["unread_pages"]) == (10, True, False)
        assert (found["additions_set_aside"], found["removals_set_aside"]) == (1, 8)
        await world.post("syncs/3/discard")
        await world.until(lambda: world.rows("SELECT sum(discarded_users) FROM sync") == [(9,)])
        assert (await adds_up(world, 10))["is_held"] is False


async def test_an_import_under_way_and_rows_that_cordial_refused(tmp_path, monkeypatch):
    set_timings(monkeypatch, store_retry=0.05, repeat=0.1, recount=(0.0, 0.1), first_look=0.05, max_look=0.2)
    everybody = users(300)
    async with importing(tmp_path, max_attempts=1) as world:
        add_contacts(world, everybody)
        world.cordial.imports.faults.add(ImportFault(ends="never", after_share=0.5))
        await world.deliver("One", everybody[:100])
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running'"))
        found = await adds_up(world, 100)
        assert (found["on_list"], found["to_add"]) == (0, 100)
    folder = tmp_path / "refused"
    folder.mkdir()
    async with importing(folder, max_attempts=1) as world:
        world.cordial.imports.refused_addresses.add(everybody[7])
        refuse(world, everybody[7])
        add_contacts(world, everybody)
        await world.deliver("One", everybody)
        await world.until(lambda: world.rows("SELECT 1 FROM unnamed"))
        await world.restart(dry_run=True)
        found = await adds_up(world, 300)
        # However far the search has come by now.
        assert (found["unnamed"], found["failed"]) in {(0, 0), (1, 0), (0, 1)}
        await world.restart(dry_run=False)
        await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(1,)])
        # Until Cordial has counted, the one who failed may not be the only one.
        await world.until(lambda: world.rows("SELECT sum(unnamed) FROM segment") == [(0,)])
        found = await adds_up(world, 300)
        assert (found["on_list"], found["unnamed"], found["failed"]) == (299, 0, 1)
