"""How the stand-in's import jobs are asked for, refused, followed, and made to go wrong."""

import asyncio
from typing import Any

import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from tests.ports import free_port
from tests.sandbox_import_fixtures import ADDRESS, importing

IMPORTS = "/v2/contactimports"
HTTP = {"transport": "HTTP", "url": "http://127.0.0.1:9/contacts.csv"}


@pytest.fixture
async def importer():
    async with importing() as one:
        yield one


def addresses(count: int) -> list[str]:
    return [f"user{number}@example.com" for number in range(count)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The source field is required."),
        ({"source": {"url": HTTP["url"]}}, "The source.transport field is required."),
        ({"source": {**HTTP, "transport": "CARRIER-PIGEON"}}, "The selected source.transport is invalid."),
        ({"source": {"transport": "sftp"}}, "The source.path field is required."),
        ({"source": {"transport": "HTTP"}}, "The source.url field is required."),
        ({"source": {**HTTP, "url": "contacts.csv"}}, "The source.url format is invalid."),
        ({"source": {**HTTP, "transport": "HTTPS"}}, "The source.url format is invalid."),
        ({"source": {**HTTP, "url": 7}}, "The source.url format is invalid."),
        ({"source": HTTP, "columns": []}, "The columns field is required."),
        ({"source": HTTP, "columns": None, "hasHeader": False}, "The columns must be an array of strings."),
        ({"source": HTTP, "columns": [7]}, "The columns must be an array of strings."),
        ({"source": HTTP, "hasHeader": 1}, "The hasHeader field must be true or false."),
        ({"source": HTTP, "hasHeader": True, "strategy": "replace"}, "The selected strategy is invalid."),
        ({"source": HTTP, "hasHeader": True, "delimiter": "||"}, "The delimiter must be 1 character."),
        ({"source": HTTP, "hasHeader": True, "delimiter": '"'}, "The delimiter must be 1 character."),
        ({"source": HTTP, "hasHeader": True, "nullMarker": 0}, "The nullMarker must be a string."),
        ({"source": HTTP, "hasHeader": True, "lists": ["Readers"]}, "The lists must be an object."),
        (
            {"source": HTTP, "hasHeader": True, "lists": {"addTo": "Readers"}},
            "The lists.addTo must be an array of strings.",
        ),
        (
            {"source": HTTP, "hasHeader": True, "confirmEmail": "somebody"},
            "The confirm email must be a valid email address.",
        ),
        (
            {"source": HTTP, "hasHeader": True, "jobStatusWebhookUrl": "ftp://x/"},
            "The jobStatusWebhookUrl format is invalid.",
        ),
        (
            {"source": HTTP, "hasHeader": True, "suppressTriggers": "no"},
            "The suppressTriggers field must be true or false.",
        ),
    ],
)
async def test_a_body_at_fault_is_refused(importer, body, message):
    reply = await importer.cordial.call("POST", IMPORTS, body)
    assert reply.status == 406
    assert reply.json == {"error": True, "errorKey": "GENERIC_ERROR_KEY", "message": message}
    assert (await importer.cordial.call("GET", "/sandbox/imports")).json["imports"] == []


def refused(message: str) -> dict[str, Any]:
    return {"jobId": {"error": True, "errorKey": "GENERIC_ERROR_KEY", "message": message}}


async def test_a_server_that_cannot_be_reached_is_an_error_in_place_of_the_id(importer):
    port = free_port()
    for source, server in (
        ({"transport": "HTTP", "url": f"http://127.0.0.1:{port}/contacts.csv"}, "127.0.0.1"),
        ({"transport": "HTTP", "url": "http://no..host/contacts.csv"}, "no..host"),
        ({"transport": "s3", "path": "files/contacts.csv"}, "S3"),
    ):
        reply = await importer.cordial.call("POST", IMPORTS, {"source": source, "columns": [ADDRESS]})
        assert (reply.status, reply.json) == (201, refused(f"Can't connect to the server ({server})"))
    assert (await importer.cordial.call("GET", "/sandbox/imports")).json["imports"] == []


async def test_the_file_is_asked_for_once_and_by_option_for_its_size_before(importer):
    await importer.run(addresses(1), columns=[ADDRESS])
    assert importer.files.requests == [("GET", "/contacts.csv")]
    async with importing(SandboxOptions(imports=ImportOptions(asks_for_size=True))) as asking:
        await asking.run(addresses(1), columns=[ADDRESS])
        assert asking.files.requests == [("HEAD", "/contacts.csv"), ("GET", "/contacts.csv")]
        source = {"transport": "HTTP", "url": f"{asking.files.url}/missing.csv"}
        reply = await asking.cordial.call("POST", IMPORTS, {"source": source, "columns": [ADDRESS]})
        assert (reply.status, reply.json) == (201, refused("Couldn't get the size of the file (/missing.csv)"))


async def test_a_job_passes_through_its_statuses():
    options = SandboxOptions(imports=ImportOptions(delay_seconds=0.4, rows_per_second=500))
    async with importing(options) as importer:
        importer.cordial.sandbox.imports.faults.add(ImportFault(throttled_seconds=0.4))
        job_id = await importer.start(addresses(200), columns=[ADDRESS])
        for status in ("Scheduled", "Throttled", "Pending", "Processing", "Done"):
            job = await importer.wait_for(job_id, status)
            assert ("start" in job["times"]) == (status in ("Processing", "Done"))
            assert ("end" in job["times"]) == ("result" in job) == (status == "Done")


async def test_only_the_fields_asked_for_are_answered(importer):
    await importer.run([], columns=[ADDRESS])
    (job_id,) = importer.cordial.sandbox.imports.jobs
    reply = await importer.cordial.call("GET", f"/v2/jobs/{job_id}?fields=status,jobName,unheard-of")
    assert reply.json == {"status": "Done", "jobName": "ImportContacts"}


async def test_a_job_that_never_was_is_not_found(importer):
    reply = await importer.cordial.call("GET", "/v2/jobs/5f6b1434f778ac145d25391a")
    assert (reply.status, reply.json["errorKey"]) == (404, "RECORD_NOT_FOUND")


async def test_imports_need_the_key_and_have_limits_of_their_own():
    async with importing(SandboxOptions(rate=1 / 3600, rate_window_seconds=3600)) as importer:
        statuses = [(await importer.cordial.call("POST", IMPORTS, {})).status for _ in range(2)]
        assert statuses == [406, 429]
        statuses = [(await importer.cordial.call("GET", f"/v2/jobs/{number}")).status for number in range(2)]
        assert statuses == [404, 429]
        for method, path in (("POST", IMPORTS), ("GET", "/v2/jobs/1")):
            assert (await importer.cordial.call(method, path, {}, headers={"Authorization": ""})).status == 401


async def test_imports_meet_the_faults_of_calls_and_stand_in_the_journal():
    async with importing(SandboxOptions(journal=True)) as importer:
        importer.cordial.sandbox.faults.add(
            Fault(FaultKind.ANSWER, endpoint=IMPORTS, status=429, headers={"Retry-After": "3"}),
            Fault(FaultKind.APPLY_THEN_RESET, endpoint=IMPORTS),
        )
        throttled = await importer.post(addresses(1), columns=[ADDRESS])
        assert (throttled.status, throttled.headers["Retry-After"]) == (429, "3")
        with pytest.raises(OSError):  # noqa: PT011  aiohttp has several errors for a connection that was cut
            await importer.post(addresses(1), columns=[ADDRESS])
        # The caller cannot know, but the import is under way.
        (job_id,) = importer.cordial.sandbox.imports.jobs
        await importer.wait_for(job_id, "Done")
        calls = importer.cordial.sandbox.journal.calls
        assert [(call.method, call.endpoint, call.status, call.applied) for call in calls[:2]] == [
            ("POST", IMPORTS, 429, False),
            ("POST", IMPORTS, None, True),
        ]
        assert calls[1].body["columns"] == [ADDRESS]
        assert (calls[2].method, calls[2].endpoint) == ("GET", "/v2/jobs/{id}")


async def test_faults_are_scripted_over_http_and_met_in_turn(importer):
    async def script(method: str, body: Any = None) -> Any:
        return await importer.cordial.call(method, "/sandbox/imports/faults", body, headers={"Authorization": ""})

    faults = (await script("POST", [{"refused": True, "times": 2}, {"ends": "failed"}])).json["faults"]
    assert [(fault["refused"], fault["times"], fault["ends"]) for fault in faults] == [
        (True, 2, "done"),
        (False, 1, "failed"),
    ]
    for _ in range(2):
        reply = await importer.post(addresses(1), columns=[ADDRESS])
        assert (reply.status, reply.json) == (201, refused("Can't connect to the server (127.0.0.1)"))
    assert (await importer.run(addresses(1), columns=[ADDRESS]))["status"] == "Failed"
    assert (await importer.run(addresses(1), columns=[ADDRESS]))["status"] == "Done"
    await script("POST", {"times": None, "ends": "failed"})
    for _ in range(2):
        assert (await importer.run(addresses(1), columns=[ADDRESS]))["status"] == "Failed"
    assert (await script("DELETE")).json == {"faults": []}
    assert (await importer.run(addresses(1), columns=[ADDRESS]))["status"] == "Done"
    for mistake in ({"ends": "badly"}, {"tmes": 3}, "failed"):
        assert (await script("POST", mistake)).status == 422


async def test_a_job_can_fail_or_hang_part_way(importer):
    importer.cordial.sandbox.imports.faults.add(
        ImportFault(ends="failed", after_share=0.3), ImportFault(ends="never", after_share=0.5)
    )
    job = await importer.run(addresses(1000), columns=[ADDRESS])
    assert (job["status"], job["totalItems"], job["completedItems"]) == ("Failed", 1000, 300)
    assert job["result"]["inserted"] == 300
    job_id = await importer.start(addresses(1000), columns=[ADDRESS], strategy="updateOnly")
    await importer.wait_until(job_id, lambda job: job["completedItems"] >= 500)
    await asyncio.sleep(0.05)
    job = await importer.job(job_id)
    assert (job["status"], job["completedItems"]) == ("Processing", 500)


async def test_rows_can_be_rejected_or_lost_at_random_without_being_named(importer):
    cordial = importer.cordial
    await cordial.create_list("Readers")
    await importer.run(addresses(1000), columns=[ADDRESS])
    cordial.sandbox.imports.faults.add(ImportFault(reject_share=0.1, lose_share=0.2))
    job = await importer.run([f"{address},1" for address in addresses(1000)], columns=[ADDRESS, "Readers"])
    count = len(await cordial.members("Readers"))
    assert job["status"] == "Done"
    assert 50 < job["result"]["rejected"] < 200
    assert job["result"]["updated"] + job["result"]["rejected"] == 1000
    assert 100 < job["result"]["updated"] - count < 300
    assert "user" not in str(job)


async def test_who_asked_to_be_told_is_told_once_and_need_not_care(importer):
    told = f"{importer.files.url}/told"
    job = await importer.run(addresses(2), columns=[ADDRESS], jobStatusWebhookUrl=told)
    failed = await importer.run(addresses(2), columns=["unheard-of"], jobStatusWebhookUrl=told)
    async with asyncio.timeout(30):
        posts = [await importer.files.posts.get() for _ in range(2)]
    jobs = list(importer.cordial.sandbox.imports.jobs)
    assert posts == [{"jobId": jobs[0], **job}, {"jobId": jobs[1], **failed}]
    assert importer.files.posts.empty()
    # Nobody listens there.
    for nobody in ("http://127.0.0.1:9/told", "http://no..host/told"):
        job = await importer.run(addresses(2), columns=[ADDRESS], jobStatusWebhookUrl=nobody)
        assert job["status"] == "Done"


async def test_a_reset_stops_and_forgets_imports(importer):
    importer.cordial.sandbox.imports.faults.add(ImportFault(ends="never"), ImportFault(refused=True, times=None))
    job_id = await importer.start(addresses(1), columns=[ADDRESS])
    await importer.wait_for(job_id, "Processing")
    assert (await importer.cordial.call("GET", "/sandbox/state")).json["imports"] == 1
    await importer.cordial.call("POST", "/sandbox/reset")
    assert (await importer.cordial.call("GET", f"/v2/jobs/{job_id}")).status == 404
    assert (await importer.cordial.call("GET", "/sandbox/imports")).json == {"imports": [], "faults": []}
    assert (await importer.run(addresses(1), columns=[ADDRESS]))["status"] == "Done"


async def test_only_the_latest_thousand_jobs_are_kept(importer):
    first = await importer.start([], columns=[ADDRESS])
    await importer.wait_for(first, "Done")
    second = await importer.start([], columns=[ADDRESS])
    # Not by HTTP: a thousand connections would be most of the work.
    source = {"transport": "HTTP", "url": f"{importer.files.url}/contacts.csv"}
    for _ in range(999):
        await importer.cordial.sandbox.imports.create({"source": source, "columns": [ADDRESS]})
    assert (await importer.cordial.call("GET", f"/v2/jobs/{first}")).status == 404
    assert (await importer.cordial.call("GET", f"/v2/jobs/{second}")).status == 200
    assert (await importer.cordial.call("GET", "/sandbox/state")).json["imports"] == 1001


async def test_imports_are_shown_newest_first(importer):
    for name in ("first", "second"):
        await importer.run(addresses(3), columns=[ADDRESS], importName=name, strategy="insertOnly")
    second, first = (await importer.cordial.call("GET", "/sandbox/imports")).json["imports"]
    assert (first["name"], second["name"]) == ("first", "second")
    assert (second["status"], second["total_items"], second["completed_items"]) == ("Done", 3, 3)
    assert (first["outcomes"]["inserted"], second["outcomes"]["ignored"]) == (3, 3)
    assert (second["strategy"], second["suppress_triggers"], second["failure"]) == ("insertOnly", True, "")
