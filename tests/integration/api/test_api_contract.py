"""The service holds to its own OpenAPI document, whatever it is asked, and the document to the service."""

import asyncio
import re
import sys

import msgspec
import pytest

from service.model.imports import ImportView
from service.model.views import AuditView, DeliveryView, FailureGroupView, FailureView, ListSum, UnusableView
from service.observe.api import authentication, documents, events, examples, identity, meter, overview, preview
from service.sandbox.faults import Fault, FaultKind
from tests.api_fixtures import API_KEY
from tests.service_fixtures import World, users


async def test_schemathesis_finds_no_deviation(world, tmp_path, monkeypatch):
    # It tries wrong keys too; that these are held back is tested elsewhere.
    monkeypatch.setattr(World, "wrong_key_timings", authentication.Timings(longest_delay=0.001))
    await world.restart()
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:bad@example.com", status=422, times=None))
    await world.deliver("Heap Test", [*users(3), "bad@example.com", "undefined"])
    await world.settled()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{world.service.url}/openapi.json",
        # The events never end, and no document can say which signature is right.
        "--exclude-path-regex", "^/(api/v1/events|webhooks/.*)$",
        "--auth", f"{API_KEY}:",
        "--phases", "examples,coverage,fuzzing", "--mode", "all",
        "--max-examples", "5", "--generation-deterministic", "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    report = output.decode(errors="replace")
    assert process.returncode == 0, report
    selected = re.search(r"(\d+) selected", report)
    assert selected, report
    assert int(selected[1]) > 15


DEEP = (b"[" * 60_000, b'{"user":' * 7_000, b'{"user":' + b"[" * 500 + b"]" * 500 + b"}", b'{"limit":1e9999}', b"\xff")


async def test_no_body_makes_an_operation_fail(world):
    async with world._session.get(f"{world.service.url}/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    asked = 0
    for path, operations in paths.items():
        for method in operations.keys() & {"post", "put", "patch", "delete"} if path.startswith("/api/v1/") else ():
            for body in DEEP:
                answer = await world.ask(
                    re.sub(r"\{[^}]*\}", "1", path.removeprefix("/api/v1/")), method=method.upper(), data=body
                )
                assert answer.status < 500, (method, path, body[:20])
                asked += 1
    assert asked > 50


@pytest.mark.parametrize(
    ("example", "described"),
    [
        (examples.SERVICE, identity.ServiceDocument),
        (examples.ACCOUNT, documents.AccountDocument),
        (examples.LIST, documents.ListDocument),
        (examples.PREVIEW, preview.PreviewDocument),
        (examples.SYNC, documents.SyncDocument),
        (examples.IMPORT, ImportView),
        (examples.DELIVERY, DeliveryView),
        (examples.FAILURE, FailureView),
        (examples.FAILURE_GROUP, FailureGroupView),
        (examples.MEMBER, documents.MemberDocument),
        (examples.AUDIT, AuditView),
        (examples.HISTORY, meter.History),
        (examples.UNUSABLE, UnusableView),
        (examples.LIST_SUM, ListSum),
        (examples.OVERVIEW, overview.Overview),
    ],
)
def test_examples_are_of_the_shape_they_stand_for(example, described):
    shown = msgspec.convert(example, described)
    assert msgspec.to_builtins(shown) == example


def test_the_example_of_events_has_deliveries_of_their_shape():
    line = next(line for line in examples.EVENTS.splitlines() if line.startswith('data: {"deliveries'))
    assert msgspec.json.decode(line.removeprefix("data: "), type=events.AnsweredDeliveries).left_out == 0
