"""A page tried out: authenticated and understood like any other, answered with what would happen, kept nowhere."""

import aiohttp
import msgspec
import pytest

from service.sandbox.heap_pages import PageAnswer, build_pages, post_page
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, World, delivering

pytestmark = pytest.mark.usefixtures("quick_retries")


async def post(
    world: World,
    *users: str,
    segment: str = "Readers",
    segment_id: int = 1,
    query: str = "dry_run=true",
    secret: str = HEAP_SECRET,
) -> PageAnswer:
    [page] = build_pages(segment_id, segment, users, ["gone@example.com"], task_id="trial")
    async with aiohttp.ClientSession() as session:
        return await post_page(session, f"{world.service.url}/webhooks/heap/{ACCOUNT}?{query}", secret, page)


async def test_it_is_answered_with_what_would_happen_and_kept_nowhere(tmp_path):
    async with delivering(tmp_path) as world:
        answer = await post(world, "Jane@example.com", "undefined")
        assert answer.status == 200
        document = msgspec.json.decode(answer.text)
        preview = document.pop("preview")
        assert document == {
            "status": "dry_run",
            "sync_task_id": "trial",
            "page_number": 1,
            "added": 1,
            "removed": 1,
            "rejected": 1,
        }
        assert (preview["list_name"], preview["fate"]) == ("Readers", "create")
        assert [(call["method"], call["path"]) for call in preview["calls"]] == [
            ("POST", "/v2/accountlists"),
            ("POST", "/v2/contacts"),
            ("PUT", "/v2/contacts/email:gone%40example.com"),
        ]
        assert preview["calls"][1]["body"]["channels"] == {"email": {"address": "jane@example.com"}}
        assert world.rows("SELECT * FROM segment") == []
        assert world.rows("SELECT * FROM delivery") == []
        assert {call.method for call in world.calls()} == {"GET"}
        # The same page is still a new one when it comes in earnest.
        assert '"accepted"' in (await post(world, "Jane@example.com", "undefined", query="")).text


async def test_a_page_of_a_segment_that_is_known_is_shown_under_its_own_list(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", ["jane@example.com"])
        await world.settled()
        same = msgspec.json.decode((await post(world, "joe@example.com", segment="Renamed")).text)["preview"]
        other = msgspec.json.decode((await post(world, "joe@example.com", segment_id=2)).text)["preview"]
        assert (same["list_name"], same["fate"]) == ("Readers", "use")
        assert (other["list_name"], other["fate"]) == ("Readers-2", "create")


async def test_it_needs_its_signature_like_any_other(tmp_path):
    async with delivering(tmp_path) as world:
        answer = await post(world, "jane@example.com", secret="another")
        assert (answer.status, "preview" in answer.text) == (403, False)


@pytest.mark.parametrize("query", ["dry_run=1", "dry_run", "dry_run=true&dry_run=false"])
async def test_what_may_have_been_meant_as_a_dry_run_is_not_delivered(tmp_path, query):
    async with delivering(tmp_path) as world:
        answer = await post(world, "jane@example.com", query=query)
        assert (answer.status, "dry_run must be true or false" in answer.text) == (422, True)
        assert world.rows("SELECT * FROM delivery") == []


async def test_without_an_answer_of_cordials_it_still_says_what_it_can(tmp_path):
    async with delivering(tmp_path) as world:
        world.key_file.write_text("another-key")
        await world.deliver("Writers", ["jane@example.com"], segment_id=2)
        await world.until(lambda: world.service.deliverer.statuses()[ACCOUNT].reason)
        preview = msgspec.json.decode((await post(world, "jane@example.com")).text)["preview"]
        assert (preview["fate"], preview["list_name"], len(preview["calls"])) == ("unknown", "Readers", 2)
        assert "unauthorized" in preview["reason"]


async def test_its_users_are_not_counted_as_delivered(tmp_path):
    async with delivering(tmp_path) as world:
        await post(world, "jane@example.com")
        async with aiohttp.ClientSession() as session, session.get(f"{world.service.url}/metrics") as answer:
            metrics = await answer.text()
        assert 'heap_cordial_deliveries_total{account="acme",answer="dry_run"} 1.0' in metrics
        assert 'heap_cordial_delivered_users_total{account="acme",change="add"} 0.0' in metrics
