"""`verify` and the page of a list say the same, whatever keeps a list from being what its segment is. One service for all."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.server import RunningSandbox, running_sandbox
from tests.api_names import answer_of, differences
from tests.command_fixtures import WEBHOOK_SECRET, eventually
from tests.integration.commands.test_errors import WITH_JSON
from tests.reload_fixtures import Reloadable

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = [f"user{number}@example.com" for number in range(6)]


class World(NamedTuple):
    service: Reloadable
    cordial: RunningSandbox

    async def ask(self, path: str) -> Any:
        status, document = await self.service.ask(path)
        assert status == 200, document
        return document

    async def lists(self) -> dict[str, Any]:
        return {each["segment_name"]: each for each in (await self.ask("lists?limit=100"))["items"]}

    async def comes_to(self, segment: str, standing: str) -> None:
        async def now() -> str:
            found = (await self.lists()).get(segment)
            return str(found and found["standing"])

        await eventually(now, standing)

    def fault(self, kind: FaultKind, **where: Any) -> None:
        self.cordial.faults.add(Fault(kind, times=None, **where))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory) -> AsyncIterator[World]:
    async with running_sandbox() as cordial:
        service = Reloadable(tmp_path_factory.mktemp("states"), cordial.url, "acme", "paused", "approving")
        service.account_defaults |= {"max_attempts": 1}
        service.accounts["acme"] |= {"hold_removals.share": 0.5, "hold_removals.least": 2}
        service.accounts["approving"]["hold_new_segments"] = True
        service.write()
        async with service.serving("--config", str(service.config), killed=True):
            found = World(service, cordial)
            await make_all(found)
            yield found


async def make_all(world: World) -> None:
    service, state = world.service, world.cordial.state
    first = dict.fromkeys(
        (
            "Exact",
            "Failed",
            "Short",
            "Leaving",
            "Unusable",
            "Sending",
            "Held",
            "Arriving",
            "Fewer",
            "More",
            "Uncounted",
        ),
        "acme",
    ) | dict.fromkeys(("Still", "Stopped"), "paused")
    for segment, account in first.items():
        await service.post(account, PEOPLE, task=f"{segment} 1", segment=segment)
    for segment in first:
        await world.comes_to(segment, "exact")
    for segment, refused, add, remove in (
        ("Failed", "bad@example.com", ["bad@example.com"], []),
        ("Short", "bad@example.com", ["bad@example.com"], []),
        ("Leaving", PEOPLE[0], [], [PEOPLE[0]]),
    ):
        world.fault(FaultKind.ANSWER, contact=f"email:{refused}", status=422)
        await service.post("acme", add, remove, task=f"{segment} 2", segment=segment)
        await world.comes_to(segment, "incomplete")
        world.cordial.faults.clear()
    await service.post("acme", ["undefined"], task="Unusable 2", segment="Unusable")
    page, _ = build_pages(
        sum(b"Arriving"), "Arriving", ("one@example.com", "two@example.com"), (), task_id="Arriving 2", page_size=1
    )
    async with aiohttp.ClientSession() as session:
        assert (await post_page(session, f"{service.url}/webhooks/heap/acme", WEBHOOK_SECRET, page)).status == 200
    await world.comes_to("Arriving", "receiving")
    await service.post("acme", [], PEOPLE[1:], task="Held 2", segment="Held")
    await world.comes_to("Held", "sync_held")
    for name in ("Fewer", "Short"):
        fewer = state.lists_by_name[name].members
        fewer.pop(next(iter(fewer)))
    state.lists_by_name["More"].members[state.create_contact("email:more@example.com", "more@example.com").cid] = 1
    await service.post("approving", PEOPLE, task="New 1", segment="New")
    await world.comes_to("New", "to_approve")
    assert (await service.run("pause", "paused", "--config", str(service.config))).status == 0
    await service.post("paused", ["late@example.com"], task="Stopped 2", segment="Stopped")
    await world.comes_to("Stopped", "sending")
    world.fault(FaultKind.HANG, contact="email:slow@example.com", seconds=600)
    await service.post("acme", ["slow@example.com"], task="Sending 2", segment="Sending")
    await world.comes_to("Sending", "sending")


@pytest.mark.parametrize(
    ("segment", "standing", "words"),
    [
        ("Exact", "exact", "Exact is exact: Cordial counts 6"),
        ("Failed", "incomplete", "1 change failed"),
        ("Short", "differs", "Short differs: Cordial counts 5, 6 should be there. "),
        ("Leaving", "incomplete", "Cordial counts 6, 5 are confirmed, and 1 change failed"),
        ("Unusable", "exact", "Unusable is exact: Cordial counts 6"),
        ("Sending", "sending", "1 change is still to be sent"),
        ("Held", "sync_held", "a sync is held"),
        ("Arriving", "receiving", "pages of a sync have not arrived"),
        ("Fewer", "differs", "Cordial counts 5, 6 should be there"),
        ("More", "differs", "Cordial counts 7, 6 should be there"),
        ("New", "to_approve", "the list cannot be counted now"),
        ("Still", "exact", "the list cannot be counted now: a person paused the account"),
        ("Stopped", "sending", "the list cannot be counted now: a person paused the account"),
        ("Uncounted", "not_counted", "Cordial gave no count of the list"),
    ],
)
async def test_verify_and_the_page_agree(world, segment, standing, words):
    before = world.cordial.faults.script
    if segment == "Uncounted":
        world.fault(FaultKind.ANSWER, endpoint="/v2/accountlists/{id}/count", status=503)
        await world.service.post("acme", ["new@example.com"], task="Uncounted 2", segment=segment)
        await world.comes_to(segment, "not_counted")
    told = await world.service.run("verify", segment, "--config", str(world.service.config))
    found = (await world.lists())[segment]
    sum_of = await world.ask(f"lists/{found['id']}/sum")
    # Other lists are counted by the tests that follow.
    world.cordial.faults.clear()
    world.cordial.faults.add(*before)
    assert (found["standing"], words in told.output + told.errors) == (standing, True), (found, told)
    # While a person has paused the account, nobody knows anew.
    assert told.status == (0 if "is exact" in words else 1)
    # The sum that the page shows leaves room for nothing but what is said.
    assert sum_of["wanted"] == sum_of["on_list"] + sum_of["unnamed"] + sum_of["to_add"] + sum_of["failed"]
    is_all_there = sum_of["on_list"] == sum_of["wanted"] and not sum_of["to_remove"] + sum_of["remove_failed"]
    says_nothing_of_the_sum = {"exact", "sync_held", "receiving", "differs", "not_counted"}
    assert is_all_there == (standing in says_nothing_of_the_sum and segment != "Short")
    assert sum_of["is_held"] == (standing == "sync_held")
    # Who is not on the list for another reason than is known comes first, and the failure is still told.
    assert ("Besides, 1 change failed" in told.output) == (segment == "Short")
    assert found["what_to_do"].startswith("Verify the list again.") == (segment in {"Short", "Fewer"})
    assert bool(sum_of["missing_pages"]) == (standing == "receiving")
    assert sum_of["unusable"] == (segment == "Unusable")
    assert found["differs"] == (
        None if standing in {"sending", "to_approve", "not_counted"} else found["counted"] != found["on_list"]
    )


async def test_a_sync_of_a_segment_to_approve_is_told_in_the_word_of_its_list(world):
    for command in ("lists", "syncs"):
        told = await world.service.run(command, "--account", "approving", "--config", str(world.service.config))
        assert "to approve" in told.output, command


async def test_of_a_sync_that_is_not_judged_yet_it_is_said_why_nobody_in_it_counts(world):
    """Its other page may remove so many that it is held."""
    for command, words in (
        (("preview", "Arriving"), "not counted: 1 user in a sync that waits for its other pages or is being read\n"),
        (("why", "Arriving", "one@example.com"), "\nPages of a sync have not arrived: the users in the other pages "),
    ):
        told = await world.service.run(*command, "--config", str(world.service.config))
        assert words in told.output, told


# With the operation of the API of which a command prints the answer, or the items of the answer.
ANSWERS = {
    "lists": "GET /lists items",
    "syncs": "GET /syncs items",
    "deliveries": "GET /deliveries items",
    "failures": "GET /failures/groups items",
    "failures --each": "GET /failures items",
    "failures --find BAD@": "GET /failures items",
    "unusable": "GET /unusable items",
    "unusable --list Unusable --find undef": "GET /unusable items",
    "audit": "GET /audit items",
    "conditions": "GET /conditions items",
    "why Failed bad@example.com": "POST /lists/{id}/members/find",
    "why Exact nobody@example.com": "POST /lists/{id}/members/find",
    "preview Stopped": "GET /lists/{id}/preview",
    "verify Exact": "POST /lists/{id}/verify",
    "trial --account acme --show": "GET /accounts/{name}/trial",
    "reload": "POST /reload",
    "pause paused": "POST /accounts/{name}/pause",
    "resume approving": "POST /accounts/{name}/resume",
    "retry --id 1": "POST /failures/retry",
    "approve Exact": "POST /lists/{id}/approve",
    "approve --sync 1": "POST /syncs/{id}/approve",
    "discard --sync 1": "POST /syncs/{id}/discard",
    "rebuild Exact": "POST /lists/{id}/rebuild",
    "forget nobody@example.com": "POST /forget",
}
# Of each part of `status` that the API has too, as far as the store knows it.
PARTS = {
    "accounts": "GET /accounts items",
    "lists": "GET /lists items",
    "syncs": "GET /syncs items",
    "failure_groups": "GET /failures/groups items",
    "imports": "GET /imports items",
    "conditions": "GET /conditions items",
}
# They print nothing that the API answers.
OWN = {"check", "init", "backup", "restore", "notices test", "send", "sandbox", "compare", "imports rejected"}
# Tried where an import runs.
OF_IMPORTS = {"imports", "imports end-doubt"}


async def test_each_command_with_json_has_the_names_of_the_api(world):
    tried = {name for name in WITH_JSON for each in ANSWERS if f"{each} ".startswith(f"{name} ")}
    assert tried | OWN | OF_IMPORTS | {"status"} == WITH_JSON
    config = ("--config", str(world.service.config))
    _, api = await world.service.get("/openapi.json")
    api = msgspec.json.decode(api)
    for command, answer in ANSWERS.items():
        told = await world.service.run(*command.split(), "--json", *config)
        documents = [msgspec.json.decode(line) for line in told.output.splitlines()]
        assert documents, (command, told)
        found = [differences(each, answer_of(answer, api), api) for each in documents]
        assert set().union(*found) == set(), command
    status = msgspec.json.decode((await world.service.run("status", "--json", *config)).output)
    assert status.keys() - PARTS.keys() == {"service", "unfolded_users"}
    for name, answer in PARTS.items():
        found = [differences(each, answer_of(answer, api), api, part=True) for each in status[name]]
        assert set().union(*found) == set(), name
