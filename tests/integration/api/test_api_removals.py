"""Syncs that are held because they remove an unusual share of a list, seen and decided over HTTP (R17)."""

import pytest

from service.config.settings import ApiKeySettings, SecretReference
from service.model.guard import RemovalGuard
from tests.api_fixtures import ApiWorld, asking
from tests.service_fixtures import users

GUARD = RemovalGuard(share=0.5, least=2)
pytestmark = pytest.mark.usefixtures("quick_retries")


async def state_of(world: ApiWorld, sync: int) -> str:
    return str((await world.get(f"syncs/{sync}"))["state"])


async def held(world: ApiWorld) -> None:
    """Make a list of ten people of whom a sync would remove eight."""
    await world.deliver("Readers", users(10))
    await world.settled()
    await world.deliver("Readers", ["new@example.com"], users(8))
    await world.until(lambda: "removals_held" in world.conditions())


async def test_nothing_of_it_is_sent_until_it_is_approved(tmp_path):
    async with asking(tmp_path, hold_removals=GUARD) as world:
        await held(world)
        calls = len(world.calls())
        await world.deliver("Readers", ["later@example.com"])
        await world.deliver("Others", ["other@example.com"], segment_id=2)
        await world.until(lambda: "Others" in world.cordial.state.lists_by_name and world.members("Others"))
        await world.until(lambda: world.service.store.backlog.pending_total == 0)
        sync = await world.get("syncs/2")
        assert (sync["state"], sync["removals"], sync["removals_of"]) == ("held", 8, 10)
        assert await state_of(world, 3) == "queued"
        await world.until(lambda: world.service.store.backlog.pending_total == 0)
        # What is held is not to be sent, and is not forgotten either.
        assert [each["set_aside"] for each in (await world.get("syncs?list=1"))["items"]] == [1, 9, 0]
        [account] = (await world.get("accounts"))["items"]
        assert (account["pending"], account["set_aside"], account["held"]) == (0, 10, 10)
        overview = await world.get("overview")
        assert (overview["to_send"], overview["guarded"], account["to_send"]) == (0, 10, 0)
        # The plot, of which samples are seconds apart, has the same number.
        assert world.service.api._meter.backlog == 0
        assert [row["id"] for row in (await world.get("syncs?state=held"))["items"]] == [2]
        found = await world.get("syncs/2/removals")
        assert sorted(found.pop("first")) == sorted(f"email:{user}" for user in users(8))
        assert found == {
            "sync_id": 2, "state": "held", "removals": 8, "removals_of": 10, "additions": 1, "pages_missing": 0,
            "queued_syncs": 1,
        }  # fmt: skip
        assert world.members("Readers") == sorted(users(10))
        assert not [call for call in world.calls()[calls:] if call.method != "GET" and "user" in call.contact]
        assert world.conditions()["removals_held"] == "sync 2 would remove 8 of 10 people"
        named = (await world.post("lists/1/members/find", {"user": "later@example.com"})).document
        assert "A sync of this list is held" in named["explanation"]
        named = (await world.post("lists/1/members/find", {"user": "user0@example.com"})).document
        assert "A sync of this list is held" in named["explanation"]
        preview = await world.get("lists/1/preview")
        assert (preview["unread_pages"], preview["set_aside"], preview["is_held"]) == (False, 10, True)
        await world.restart()
        answer = await world.post("syncs/2/approve")
        assert (answer.status, answer.document) == (200, {"decided": True, "kept_back": []})
        wanted = sorted([*users(10)[8:], "new@example.com", "later@example.com"])
        await world.until(lambda: world.members("Readers") == wanted)
        assert (await world.post("syncs/2/approve")).document == {"decided": False, "kept_back": []}
        await world.until(lambda: "removals_held" not in world.conditions())


async def test_discarded_it_stays_so_when_heap_repeats_it(tmp_path):
    async with asking(tmp_path, hold_removals=GUARD) as world:
        await world.deliver("Readers", users(10))
        await world.settled()
        await world.deliver("Readers", [], users(8), task="task")
        await world.until(lambda: "removals_held" in world.conditions())
        assert (await world.post("syncs/2/discard")).document == {"decided": True, "kept_back": []}
        await world.deliver("Readers", [], users(8), task="task")
        await world.settled()
        sync = await world.get("syncs/2")
        assert (sync["state"], sync["discarded_users"], sync["duplicates"]) == ("discarded", 8, 1)
        assert (await world.get("syncs/2/removals"))["first"] == []
        for user in ("user0@example.com", "new@example.com"):
            found = (await world.post("lists/1/members/find", {"user": user})).document
            assert "A person discarded a sync of this list" in found["explanation"]
        assert world.members("Readers") == sorted(users(10))
        assert (await world.post("syncs/2/approve")).document == {"decided": False, "kept_back": []}
        assert [(line["action"], line["target"], line["changes"]) for line in (await world.get("audit"))["items"]] == [
            ("sync.discard", "2", 8)
        ]


async def test_it_is_decided_by_who_may_operate_and_named_in_the_audit(tmp_path):
    for name in ("reader", "ann"):
        (tmp_path / name).write_text(f"key of {name}")
    named = {
        "reader": ApiKeySettings("reader", SecretReference(file=str(tmp_path / "reader")), "read"),
        "ann": ApiKeySettings("ann", SecretReference(file=str(tmp_path / "ann")), "operate"),
    }
    async with asking(tmp_path, named=named, hold_removals=GUARD) as world:
        await held(world)
        for action in ("approve", "discard"):
            assert (await world.post(f"syncs/2/{action}", key="key of reader")).status == 403
            assert (await world.post(f"syncs/9/{action}")).status == 404
        assert (await world.ask("syncs/9/removals")).status == 404
        assert (await world.post("syncs/2/approve", key="key of ann")).document == {"decided": True, "kept_back": []}
        assert (await world.get("audit"))["items"][0]["actor"] == "API key ann"


async def test_a_sync_in_several_pages_is_held_though_each_page_alone_would_pass(tmp_path):
    async with asking(tmp_path, hold_removals=GUARD) as world:
        await world.deliver("Readers", users(10))
        await world.settled()
        await world.deliver("Readers", [], users(8), task="task", page_size=2, first_pages=2)
        await world.until(lambda: world.service.store.backlog.guarded_total == 4)
        assert await state_of(world, 2) == "receiving"
        assert world.members("Readers") == sorted(users(10))
        await world.deliver("Readers", [], users(8), task="task", page_size=2)
        await world.until(lambda: "removals_held" in world.conditions())
        assert world.members("Readers") == sorted(users(10))


async def test_a_list_is_not_exact_while_a_sync_waits_behind_one_that_is_not_complete(tmp_path):
    async with asking(tmp_path, hold_removals=GUARD) as world:
        await world.deliver("Readers", users(10))
        await world.settled()
        assert (await world.post("lists/1/verify")).document["counted"] == 10
        assert (await world.get("lists/1"))["standing"] == "exact"
        await world.deliver("Readers", users(4, "new"), task="task", page_size=2, first_pages=1)
        await world.deliver("Readers", ["later@example.com"])
        await world.until(lambda: world.service.store.backlog.guarded_total == 3)
        assert [(each["id"], each["state"]) for each in (await world.get("syncs?list=1"))["items"]] == [
            (3, "queued"),
            (2, "receiving"),
            (1, "done"),
        ]
        assert (await world.get("lists/1"))["standing"] == "receiving"
        assert (await world.get("lists?standing=exact"))["items"] == []
        await world.deliver("Readers", users(4, "new"), task="task", page_size=2)
        await world.until(lambda: len(world.members("Readers")) == 15)


async def test_the_setting_is_taken_up_while_it_runs(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(10))
        await world.settled()
        await world.deliver("Readers", [], users(4))
        await world.settled()
        await world.restart(hold_removals=GUARD)
        await world.deliver("Readers", [], users(10)[4:8])
        await world.until(lambda: "removals_held" in world.conditions())
        assert world.members("Readers") == sorted(users(10)[4:])
