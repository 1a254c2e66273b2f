import pytest

from tests.import_fixtures import ADDRESS, importing


@pytest.fixture
async def importer():
    async with importing() as one:
        yield one


def result(**counts: int) -> dict[str, int]:
    zero = {"totalRecords": 0, "updated": 0, "inserted": 0, "rejected": 0, "error": 0, "ignored": 0}
    return zero | {"totalRecords": sum(counts.values())} | counts


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
    assert (await cordial.call("GET", "/sandbox/state")).json["subscription_changes"] == 0
