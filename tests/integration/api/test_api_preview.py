"""What would be sent, as the API tells it: exactly what goes out once the dry run ends."""

from typing import Any

import pytest

from tests.api_fixtures import ApiWorld, asking

pytestmark = pytest.mark.usefixtures("quick_retries")


async def owed(world: ApiWorld, changes: int) -> None:
    await world.until(lambda: world.service.store.backlog.pending_total == changes)


def sent(world: ApiWorld) -> list[tuple[str, Any]]:
    """The writes that Cordial saw, as a preview has them."""
    return [(call.method, call.body) for call in world.calls() if call.method != "GET"]


def shown(preview: Any) -> list[tuple[str, Any]]:
    return [(call["method"], call["body"]) for call in preview["calls"]]


async def test_what_is_shown_is_what_goes_out_when_the_dry_run_ends(tmp_path):
    async with asking(tmp_path, dry_run=True, max_concurrency=1, list_prefix="heap-") as world:
        world.cordial.state.create_contact("email:gone@example.com", "gone@example.com")
        await world.deliver("Readers", ["Jane@example.com", "joe+1@example.com"], ["gone@example.com"])
        await owed(world, 3)
        preview = await world.get("lists/1/preview")
        assert (preview["list_name"], preview["fate"], preview["reason"]) == ("heap-Readers", "create", "")
        assert (preview["additions"], preview["removals"], preview["more_calls"]) == (2, 1, False)
        assert (preview["dry_run"], preview["unread_pages"]) == (True, False)
        assert [call["path"] for call in preview["calls"]] == [
            "/v2/accountlists",
            "/v2/contacts",
            "/v2/contacts",
            "/v2/contacts/email:gone%40example.com",
        ]
        assert sent(world) == []
        await world.restart(dry_run=False)
        await world.settled()
        assert sorted(map(str, sent(world))) == sorted(map(str, shown(preview)))


async def test_lists_of_one_contact_travel_in_one_call(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        await world.deliver("Readers", ["jane@example.com"], segment_id=1)
        await world.deliver("Writers", ["jane@example.com"], segment_id=2)
        await owed(world, 2)
        await world.until(lambda: len(world.rows("SELECT 1 FROM segment WHERE list_reason LIKE 'dry run%'")) == 2)
        *_, call = (await world.get("lists/1/preview"))["calls"]
        assert (call["body"]["Readers"], call["body"]["Writers"]) == (True, True)


async def test_by_another_key_the_contact_is_created_only_if_there_is_none(tmp_path):
    async with asking(tmp_path, dry_run=True, identify_by="custID") as world:
        await world.deliver("Readers", ["C-42"])
        await owed(world, 1)
        _, update, upsert = (await world.get("lists/1/preview"))["calls"]
        assert (update["method"], update["path"], update["condition"]) == ("PUT", "/v2/contacts/custID:C-42", "")
        assert (upsert["method"], upsert["path"]) == ("POST", "/v2/contacts")
        assert upsert["condition"] == "Cordial knows no such contact"


async def test_only_as_many_calls_are_shown_as_asked_for(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        await world.deliver("Readers", [f"user{number}@example.com" for number in range(250)], page_size=60)
        await owed(world, 250)
        preview = await world.get("lists/1/preview?calls=100")
        assert (len(preview["calls"]), preview["more_calls"], preview["additions"]) == (100, True, 250)
        assert (await world.ask("lists/1/preview?calls=101")).status == 422


@pytest.mark.parametrize(("adopt", "fate", "calls"), [(False, "hold", 0), (True, "take_over", 1)])
async def test_a_foreign_list_is_told(tmp_path, adopt, fate, calls):
    async with asking(tmp_path, dry_run=True, adopt_existing_lists=adopt) as world:
        world.cordial.state.create_list("Readers")
        await world.deliver("Readers", ["jane@example.com"])
        await owed(world, 1)
        preview = await world.get("lists/1/preview")
        assert (preview["fate"], len(preview["calls"])) == (fate, calls)
        assert ("did not create" in preview["reason"]) is not adopt


async def test_a_rebuild_is_shown_by_its_own_first_calls(tmp_path):
    async with asking(tmp_path) as world:
        people = [f"user{number}@example.com" for number in range(5)]
        await world.deliver("Others", [f"a{number}@example.com" for number in range(5)], segment_id=2)
        await world.deliver("Readers", [*people, "gone@example.com"])
        await world.deliver("Readers", (), ["gone@example.com"])
        await world.settled()
        assert (await world.get("lists/2/preview"))["calls"] == []
        [readers] = [each["id"] for each in (await world.get("lists"))["items"] if each["segment_name"] == "Readers"]
        preview = await world.get(f"lists/{readers}/preview?calls=2&rebuild=true")
        assert [str(call["body"]).count("user") for call in preview["calls"]] == [1, 1]
        assert (preview["more_calls"], preview["additions"]) == (True, 0)
        preview = await world.get(f"lists/{readers}/preview?rebuild=true")
        before = len(sent(world))
        await world.post(f"lists/{readers}/rebuild")
        await world.settled()
        assert sorted(map(str, sent(world)[before:])) == sorted(map(str, shown(preview)))


async def test_a_list_in_use_is_shown_under_its_name_with_what_was_given_up_left_out(tmp_path):
    async with asking(tmp_path, create_contacts=False) as world:
        await world.deliver("Readers", ["nobody@example.com"])
        await world.settled()
        await world.restart(dry_run=True)
        await world.deliver("Readers", ["jane@example.com"], ["gone@example.com"])
        await owed(world, 2)
        preview = await world.get("lists/1/preview")
        assert (preview["fate"], preview["list_name"]) == ("use", "Readers")
        assert (preview["additions"], preview["removals"]) == (1, 1)
        assert [call["method"] for call in preview["calls"]] == ["PUT", "PUT"]


async def test_without_an_answer_of_cordials_the_rest_is_shown(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        world.key_file.write_text("another-key")
        await world.deliver("Readers", ["jane@example.com"])
        await owed(world, 1)
        preview = await world.get("lists/1/preview")
        assert (preview["fate"], preview["list_name"], len(preview["calls"])) == ("unknown", "Readers", 1)
        assert preview["reason"]


async def test_the_account_is_shown_in_its_dry_run(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        (account,) = (await world.get("accounts"))["items"]
        assert (account["state"], account["reason"]) == ("dry_run", "dry run: nothing is written to Cordial")
        assert "heap-cordial preview" in account["hint"]
        assert (await world.ask("lists/7/preview")).status == 404
