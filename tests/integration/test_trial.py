"""A trial does on a Cordial what its documents leave open; the stand-in behaves otherwise in each point, one at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from service.model.accounts import AccountState
from service.model.trial import POINT_TEXTS, TrialPoint, may_use_files
from service.sandbox.deviations import Deviation
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from tests.import_fixtures import add_contacts, ask, statuses
from tests.ports import free_port
from tests.service_fixtures import ACCOUNT, API_KEY, World, delivering, users

CONTACTS = ["ann@example.com", "ben@example.com"]
SUBSCRIBED = "cleo@example.com"
TOLD = SandboxOptions(rate=10_000)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    timings = msgspec.structs.replace(
        World.trial_timings, look=0.05, prompt=1.5, visible=4.0, settle=0.2, job=2.0, prompt_job=1.0
    )
    monkeypatch.setattr(World, "trial_timings", timings)


@contextlib.asynccontextmanager
async def trying(directory: Path, options: SandboxOptions = TOLD, **account: Any) -> AsyncIterator[World]:
    port = free_port()
    async with delivering(directory, options) as world:
        await world.stop()
        world.port = port
        await world.start(**{"public_url": f"http://127.0.0.1:{port}", "bulk_threshold": 50} | account)
        add_contacts(world, [SUBSCRIBED], "subscribed")
        add_contacts(world, CONTACTS[:1])
        yield world


async def make(world: World, contacts: list[str] | None = None, subscribed: str | None = SUBSCRIBED) -> dict[str, Any]:
    """Make a trial by the API and return all of it once it is over."""
    await ask(world, f"accounts/{ACCOUNT}/trial", {"contacts": contacts or CONTACTS, "subscribed": subscribed})
    document: dict[str, Any] = {}
    while document.get("trial", {}).get("state") in {None, "running"}:
        await asyncio.sleep(0.05)
        document = await ask(world, f"accounts/{ACCOUNT}/trial")
    return document


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {each["point"]: each["outcome"] for each in document["results"]}


def all_but(*points: TrialPoint) -> set[str]:
    return {point.value for point in TrialPoint} - {point.value for point in points}


async def test_a_cordial_as_documented_passes_and_is_left_tidy(tmp_path):
    async with trying(tmp_path) as world:
        document = await make(world)
        assert outcomes(document) == dict.fromkeys(all_but(), "as_documented"), document
        assert document["trial"] | {"lists_left": 0, "contacts_left": 0} == {
            "state": "done",
            "trying": None,
            "problem": "",
            "lists_left": 0,
            "contacts_left": 0,
        }
        lists = world.cordial.state.lists_by_name
        assert sorted(lists) == sorted(document["trial"]["lists_left"])
        assert all(not each.members for each in lists.values()), "everybody is off the lists again"
        known = statuses(world)
        assert sorted(known) == sorted({*CONTACTS[:1], SUBSCRIBED, *document["trial"]["contacts_left"]})
        assert known == dict.fromkeys(known, "none") | {SUBSCRIBED: "subscribed"}
        told = msgspec.json.encode(document["results"]).decode()
        assert "@" not in told, "no address is in what may be sent to us"


async def test_after_it_files_are_used_and_the_outcome_outlives_a_restart(tmp_path):
    async with trying(tmp_path) as world:
        await make(world)
        await world.restart()
        assert not (await ask(world, "accounts"))["items"][0]["waits_for_trial"]
        add_contacts(world, users(100))
        before = len(world.contact_calls())
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))
        assert len(world.contact_calls()) == before
        document = await ask(world, f"accounts/{ACCOUNT}/trial")
        assert (document["trial"], len(document["results"])) == (None, len(TrialPoint))


OTHERWISE: list[tuple[TrialPoint, SandboxOptions]] = [
    (TrialPoint.LIMITS_TOLD, SandboxOptions()),
    (TrialPoint.FILE_UPDATES, msgspec.structs.replace(TOLD, imports=ImportOptions(subscribes_existing=True))),
    (TrialPoint.JOB_WAIT, msgspec.structs.replace(TOLD, imports=ImportOptions(delay_seconds=0.7))),
    *(
        (point, msgspec.structs.replace(TOLD, deviations=frozenset({deviation})))
        for point, deviation in [
            (TrialPoint.UNKNOWN_CONTACT, Deviation.CREATES_ON_PUT),
            (TrialPoint.UNKNOWN_LIST, Deviation.IGNORES_UNKNOWN_LISTS),
            (TrialPoint.ODD_CHARACTERS, Deviation.NO_SLASH),
            (TrialPoint.ODD_CHARACTERS, Deviation.CASE_MATTERS),
            (TrialPoint.TWO_LISTS, Deviation.ONE_LIST_A_CALL),
            (TrialPoint.LIST_NAME_UNDERSCORE, Deviation.NO_UNDERSCORE),
            (TrialPoint.LIST_NAME_LENGTH, Deviation.SHORT_NAMES),
            (TrialPoint.READ_AFTER_WRITE, Deviation.READS_LATE),
            (TrialPoint.RENAMED_LIST, Deviation.RENAME_EMPTIES),
            (TrialPoint.RENAMED_LIST, Deviation.OLD_NAME_STAYS),
            (TrialPoint.CALL_CREATES, Deviation.SUBSCRIBES_CREATED),
            (TrialPoint.FILE_CREATES, Deviation.SUBSCRIBES_IMPORTED),
        ]
    ),
]


@pytest.mark.parametrize(("point", "options"), OTHERWISE)
async def test_a_cordial_that_does_otherwise_is_told_with_what_to_do(tmp_path, point, options):
    async with trying(tmp_path, options) as world:
        document = await make(world)
        found = {each["point"]: each for each in document["results"]}
        assert found[point.value]["outcome"] == "otherwise", found
        assert found[point.value]["what_to_do"] == POINT_TEXTS[point].what_to_do
        assert (document["trial"]["state"], document["trial"]["problem"]) == ("done", "")
        assert all(not each.members for each in world.cordial.state.lists.values()), "everybody is off the lists again"
        is_proven = point not in {TrialPoint.FILE_UPDATES, TrialPoint.FILE_CREATES}
        results = await world.service.store.trials.results(ACCOUNT, world.account.cordial_base_url)
        assert may_use_files(results, creates_contacts=True, untested=False) == is_proven
        await world.until(lambda: world.service.deliverer.imports_statuses()[ACCOUNT].waits_for_trial != is_proven)


async def test_a_missing_permission_is_named(tmp_path):
    async with trying(tmp_path) as world:
        for endpoint in ("/v2/contactimports", "/v2/jobs"):
            refusal = Fault(FaultKind.ANSWER, endpoint=endpoint, times=None, status=403, body='{"error": "Forbidden"}')
            world.cordial.faults.add(refusal)
        document = await make(world)
        [found] = [each for each in document["results"] if each["point"] == "permissions"]
        assert (found["outcome"], found["detail"]) == (
            "otherwise",
            "Cordial refuses: Add a contact import job, Get jobs",
        )
        assert outcomes(document)["file_updates"] == "not_tried"
        assert world.service.deliverer.pauses() == {ACCOUNT: 0}


@pytest.mark.parametrize(
    ("account", "contacts", "subscribed", "points"),
    [
        ({"public_url": ""}, CONTACTS, SUBSCRIBED, ["file_updates", "file_creates", "job_wait"]),
        ({"create_contacts": False}, CONTACTS[:1], SUBSCRIBED, ["call_creates", "odd_characters", "file_creates"]),
        ({}, [SUBSCRIBED], None, ["file_updates", "file_creates", "job_wait"]),
        ({}, CONTACTS, CONTACTS[0], ["file_updates", "file_creates", "job_wait"]),
    ],
)
async def test_what_cannot_be_tried_says_why_and_proves_nothing(tmp_path, account, contacts, subscribed, points):
    async with trying(tmp_path, **account) as world:
        document = await make(world, contacts, subscribed)
        found = {each["point"]: each for each in document["results"]}
        assert [point for point in points if found[point]["outcome"] != "not_tried"] == []
        assert all(found[point]["detail"] for point in points)


async def test_a_job_that_does_not_end_is_told_and_leaves_files_unused(tmp_path):
    async with trying(tmp_path) as world:
        world.cordial.imports.faults.add(ImportFault(times=None, ends="never"))
        document = await make(world)
        assert outcomes(document)["job_wait"] == "otherwise"
        assert outcomes(document)["file_updates"] == "not_tried"
        assert (await ask(world, "accounts"))["items"][0]["waits_for_trial"]


async def test_a_trial_that_could_not_be_made_again_leaves_what_was_known(tmp_path):
    async with trying(tmp_path) as world:
        await make(world)
        world.cordial.imports.faults.add(ImportFault(times=None, ends="failed"))
        assert outcomes(await make(world))["file_updates"] == "as_documented"


@pytest.mark.usefixtures("quick_retries")
async def test_after_a_wrong_key_that_only_a_trial_met_another_trial_can_be_made(tmp_path):
    async with trying(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
        await make(world)
        assert world.service.deliverer.statuses()[ACCOUNT].state is AccountState.PAUSED
        world.cordial.faults.clear()
        await world.until(lambda: world.service.deliverer.statuses()[ACCOUNT].state is AccountState.SENDING)
        assert (await make(world))["trial"]["state"] == "done"


async def test_a_trial_is_refused_where_it_could_do_harm(tmp_path):
    async with trying(tmp_path) as world:
        await world.deliver("Active Users", ["dora@example.com"])
        await world.settled()
        url = f"{world.service.url}/api/v1/accounts/{ACCOUNT}/trial"
        headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def refusal(contact: str) -> tuple[int, str]:
                async with session.post(url, json={"contacts": [contact]}) as answer:
                    return answer.status, (await answer.json())["error"]["message"]

            assert await refusal("dora@example.com") == (
                409,
                "one of these contacts is or was in a segment; name contacts that Heap does not send",
            )
            assert (await refusal("No Address"))[0] == 422
            world.service.deliverer.account(ACCOUNT).pause()
            assert await refusal(CONTACTS[0]) == (409, "a person paused the account")
        assert world.cordial.state.lists_by_name.keys() == {"ActiveUsers"}


async def test_a_stop_ends_a_trial_at_once(tmp_path):
    async with trying(tmp_path) as world:
        world.cordial.imports.faults.add(ImportFault(times=None, throttled_seconds=600))
        await ask(world, f"accounts/{ACCOUNT}/trial", {"contacts": CONTACTS})
        await world.until(lambda: world.cordial.imports.jobs)
        async with asyncio.timeout(10):
            await world.stop()
        await world.start()
        assert (await ask(world, f"accounts/{ACCOUNT}/trial"))["trial"] is None
