"""What the stand-in's imports do to contacts and lists, and what is told about it."""

import asyncio
from typing import Any

import pytest
from aiohttp import encode_basic_auth

from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from tests.sandbox_import_fixtures import ADDRESS, STATUS, importing

LENIENT = SandboxOptions(imports=ImportOptions(by_secondary_key=True))
PESSIMISTIC = SandboxOptions(imports=ImportOptions(subscribes_existing=True))


@pytest.fixture
async def importer():
    async with importing() as one:
        yield one


def result(**counts: int) -> dict[str, int]:
    zero = {"totalRecords": 0, "updated": 0, "inserted": 0, "rejected": 0, "error": 0, "ignored": 0}
    return zero | {"totalRecords": sum(counts.values())} | counts


async def subscription_changes(importer) -> Any:
    return (await importer.cordial.call("GET", "/sandbox/state")).json["subscription_changes"]


async def test_a_file_puts_contacts_on_lists_and_takes_them_off(importer):
    cordial = importer.cordial
    readers = await cordial.create_list("Readers")
    await cordial.create_list("Buyers")
    await cordial.add("jane@example.com", Buyers=True)
    await cordial.add("joe@example.com")
    job = await importer.run(
        ["Jane@Example.com,1,0", "joe@example.com,1,-", "nobody@example.com,1,1", "no address,1,1"],
        columns=[ADDRESS, str(readers), "Buyers"],
        strategy="updateOnly",
        nullMarker="-",
        importName="members",
    )
    assert (job["status"], job["jobName"]) == ("Done", "ImportContacts")
    assert (job["totalItems"], job["completedItems"]) == (4, 4)
    assert job["result"] == result(updated=2, ignored=1, rejected=1)
    assert job["metadata"] == {"importName": "members", "lists": []}
    assert job["times"]["start"] <= job["times"]["end"]
    assert await cordial.members("Readers") == ["jane@example.com", "joe@example.com"]
    assert await cordial.members("Buyers") == []
    assert await subscription_changes(importer) == 0


async def test_a_header_names_the_columns_unless_the_call_does(importer):
    await importer.cordial.create_list("Readers")
    job = await importer.run([f"Readers;{ADDRESS}", "1;jane@example.com"], hasHeader=True, delimiter=";")
    assert job["result"] == result(inserted=1)
    # The call's names count, the header is passed over all the same.
    job = await importer.run(
        ["what,ever", "joe@example.com,x"],
        path="/2",
        hasHeader=True,
        columns=[ADDRESS, ""],
        lists={"addTo": ["Readers"]},
    )
    assert job["result"] == result(inserted=1)
    assert await importer.cordial.members("Readers") == ["jane@example.com", "joe@example.com"]


async def test_lists_for_everybody_override_columns(importer):
    cordial = importer.cordial
    for name in ("Readers", "Buyers"):
        await cordial.create_list(name)
    await cordial.add("jane@example.com", Buyers=True)
    lists = {"addTo": ["Readers"], "removeFrom": ["Buyers"]}
    job = await importer.run(
        ["jane@example.com,0,1", "joe@example.com,0,1"], columns=[ADDRESS, "Readers", "Buyers"], lists=lists
    )
    assert job["metadata"]["lists"] == ["Readers", "Buyers"]
    assert await cordial.members("Readers") == ["jane@example.com", "joe@example.com"]
    assert await cordial.members("Buyers") == []


@pytest.mark.parametrize(
    ("strategy", "counts", "members"),
    [
        ({}, {"updated": 1, "inserted": 1}, ["jane@example.com", "joe@example.com"]),
        ({"strategy": "updateOnly"}, {"updated": 1, "ignored": 1}, ["jane@example.com"]),
        ({"strategy": "insertOnly"}, {"inserted": 1, "ignored": 1}, ["joe@example.com"]),
    ],
)
async def test_the_strategy_decides_whom_an_import_touches(importer, strategy, counts, members):
    await importer.cordial.create_list("Readers")
    await importer.cordial.add("jane@example.com")
    job = await importer.run(["jane@example.com,1", "joe@example.com,1"], columns=[ADDRESS, "Readers"], **strategy)
    assert job["result"] == result(**counts)
    assert await importer.cordial.members("Readers") == members


async def test_attributes_and_secondary_keys_are_written_and_must_be_unique(importer):
    cordial = importer.cordial
    await cordial.add("jane@example.com", custID="C-1", firstName="Jane")
    job = await importer.run(
        ["jane@example.com,-,", "joe@example.com,C-1,Joe", "ann@example.com,C-2,Ann"],
        columns=[ADDRESS, "custID", "firstName"],
        nullMarker="-",
    )
    assert job["result"] == result(updated=1, inserted=1, error=1)
    assert (await cordial.contact("custID:C-1"))["attributes"] | {"cID": ""} == {
        "cID": "",
        "custID": "C-1",
        "firstName": None,
    }
    assert (await cordial.contact("custID:C-2"))["channels"]["email"]["address"] == "ann@example.com"
    assert (await cordial.call("GET", "/v2/contacts/email:joe@example.com")).status == 404


async def statuses_after_import(importer, columns: list[str], rows: list[str], **keys: Any) -> dict[str, str]:
    """Import over one contact of each status; the statuses of those and of a new one, if there is one."""
    cordial = importer.cordial
    for status in ("none", "subscribed", "unsubscribed"):
        await cordial.add(f"{status}@example.com")
        email = {"channels": {"email": {"subscribeStatus": status}}}
        await cordial.call("PUT", f"/v2/contacts/email:{status}@example.com", email)
    assert await subscription_changes(importer) == 2
    await importer.run(rows, columns=columns, **keys)
    found = {}
    for name in ("none", "subscribed", "unsubscribed", "new"):
        reply = await cordial.call("GET", f"/v2/contacts/email:{name}@example.com")
        if reply.status == 200:
            found[name] = reply.json["channels"]["email"]["subscribeStatus"]
    assert await subscription_changes(importer) - 2 == sum(
        status != ("none" if name == "new" else name) for name, status in found.items()
    )
    return found


EVERYBODY = [f"{name}@example.com" for name in ("none", "subscribed", "unsubscribed", "new")]
UNCHANGED = {"none": "none", "subscribed": "subscribed", "unsubscribed": "unsubscribed"}


async def test_whom_an_import_creates_it_subscribes(importer):
    assert await statuses_after_import(importer, [ADDRESS], EVERYBODY) == UNCHANGED | {"new": "subscribed"}


@pytest.mark.parametrize("cell", ["", "-"])
async def test_a_status_that_says_nothing_subscribes_too(importer, cell):
    rows = [f"{address},{cell}" for address in EVERYBODY]
    found = await statuses_after_import(importer, [ADDRESS, STATUS], rows, nullMarker="-")
    assert found == UNCHANGED | {"new": "subscribed"}


async def test_only_updating_changes_no_subscription(importer):
    assert await statuses_after_import(importer, [ADDRESS], EVERYBODY, strategy="updateOnly") == UNCHANGED


async def test_by_the_pessimistic_reading_contacts_without_a_status_are_subscribed_too():
    async with importing(PESSIMISTIC) as importer:
        found = await statuses_after_import(importer, [ADDRESS], EVERYBODY, strategy="updateOnly")
    assert found == UNCHANGED | {"none": "subscribed"}


@pytest.mark.parametrize("options", [SandboxOptions(), PESSIMISTIC])
async def test_a_status_in_the_file_counts_but_for_those_who_unsubscribed(options):
    rows = [f"{address},none" for address in EVERYBODY]
    async with importing(options) as importer:
        found = await statuses_after_import(importer, [ADDRESS, STATUS], rows)
    assert found == {"none": "none", "subscribed": "none", "unsubscribed": "unsubscribed", "new": "none"}


async def test_rows_are_carried_out_in_no_order():
    members = set()
    for seed in range(12):
        async with importing(SandboxOptions(seed=seed)) as importer:
            await importer.cordial.create_list("Readers")
            await importer.run(["jane@example.com,1", "jane@example.com,0"], columns=[ADDRESS, "Readers"])
            members.add(tuple(await importer.cordial.members("Readers")))
    assert members == {("jane@example.com",), ()}


async def test_parts_far_from_each_other_keep_no_order_either():
    orders = set()
    for seed in range(12):
        async with importing(SandboxOptions(seed=seed)) as importer:
            rows = [f"user{number}@example.com" for number in range(2000)]
            await importer.run(rows, columns=[ADDRESS])
            first = (await importer.cordial.call("GET", "/v2/contacts?per_page=1")).json[0]
            orders.add(int(first["channels"]["email"]["address"].removeprefix("user").split("@")[0]) // 1000)
    assert orders == {0, 1}


async def test_contacts_known_by_a_secondary_key_only(importer):
    keys: dict[str, Any] = {"columns": ["custID", "Readers"], "strategy": "updateOnly"}
    await importer.cordial.create_list("Readers")
    assert (await importer.run(["C-1,1"], **keys))["status"] == "Failed"
    async with importing(LENIENT) as lenient:
        await lenient.cordial.create_list("Readers")
        await lenient.cordial.add("jane@example.com", custID="C-1")
        job = await lenient.run(["C-1,1", "C-2,1", ",1"], **keys)
        assert job["result"] == result(updated=1, ignored=1, rejected=1)
        # Nobody can be created without an address.
        job = await lenient.run(["C-1,1", "C-2,1"], columns=["custID", "Readers"])
        assert job["result"] == result(updated=1, rejected=1)
        assert await lenient.cordial.members("Readers") == ["jane@example.com"]


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        (["jane@example.com,1"], {"columns": [ADDRESS, "Writers"]}),
        (["jane@example.com,1"], {"columns": ["Readers", ""]}),
        (["jane@example.com"], {"columns": [ADDRESS], "lists": {"addTo": ["Writers"]}}),
        (['jane@example.com,"1'], {"columns": [ADDRESS, "Readers"]}),
        ([f"{ADDRESS},Writers", "jane@example.com,1"], {"hasHeader": True}),
        ([], {"hasHeader": True}),
        (["\N{ZERO WIDTH NO-BREAK SPACE}" + ADDRESS, "jane@example.com"], {"hasHeader": True}),
    ],
)
async def test_a_file_that_cannot_be_understood_fails_and_changes_nothing(importer, rows, keys):
    await importer.cordial.create_list("Readers")
    job = await importer.run(rows, **keys)
    assert (job["status"], job["result"]) == ("Failed", result())
    # Why, is for people to see; Cordial's contract has no place for it.
    (shown,) = (await importer.cordial.call("GET", "/sandbox/imports")).json["imports"]
    assert shown["failure"]
    assert shown["failure"] not in str(job)
    assert (await importer.cordial.call("GET", "/sandbox/state")).json["contacts"] == 0


async def test_an_empty_file_is_done(importer):
    assert (await importer.run([], columns=[ADDRESS]))["result"] == result()


async def test_a_file_that_is_gone_or_kept_from_strangers_fails(importer):
    source = {"transport": "http", "url": f"{importer.files.url}/missing.csv"}
    reply = await importer.cordial.call("POST", "/v2/contactimports", {"source": source, "columns": [ADDRESS]})
    assert (await importer.wait_for(reply.json["jobId"], "Done", "Failed"))["status"] == "Failed"
    importer.files.authorization = encode_basic_auth("cordial", "p@ss:word")
    assert (await importer.run(["jane@example.com"], columns=[ADDRESS]))["status"] == "Failed"
    source["url"] = importer.files.url.replace("://", "://cordial:p%40ss%3Aword@") + "/contacts.csv"
    reply = await importer.cordial.call("POST", "/v2/contactimports", {"source": source, "columns": [ADDRESS]})
    assert (await importer.wait_for(reply.json["jobId"], "Done", "Failed"))["status"] == "Done"
    shown = (await importer.cordial.call("GET", "/sandbox/imports")).text
    assert importer.files.url in shown
    assert "p%40ss" not in shown
    assert "contacts.csv" not in shown


async def test_calls_are_answered_while_a_large_file_is_carried_out(importer):
    await importer.cordial.create_list("Readers")
    rows = "".join(f"user{number}@example.com,1\n" for number in range(30_000)).encode()
    job_id = await importer.start(rows, columns=[ADDRESS, "Readers"])
    seen = set()
    while (job := await importer.job(job_id))["status"] != "Done":
        seen.add(job["completedItems"])
        await asyncio.sleep(0)
    assert job["result"] == result(inserted=30_000)
    assert any(0 < completed < 30_000 for completed in seen)
    assert len(await importer.cordial.members("Readers")) == 30_000
