"""Whole tables as files: every row, in CSV and NDJSON, streamed, and never a part that looks whole."""

import csv
import io
import json
from typing import Any

import aiohttp
import pytest

from service.config.secrets import Timings as SecretTimings
from service.errors import ErrorCode, ServiceError
from service.model.views import FailureView
from service.observe.api import exports
from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite.reading import Reader
from tests.api_fixtures import API_KEY, ApiWorld, authorization
from tests.service_fixtures import World, users


def refuse(world: ApiWorld, user: str) -> None:
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None))


async def fetch(world: ApiWorld, path: str) -> tuple[int, str, dict[str, str]]:
    async with world._session.get(world.url(path), headers=authorization(API_KEY)) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def csv_rows(world: ApiWorld, path: str) -> list[dict[str, str]]:
    status, text, headers = await fetch(world, path)
    assert status == 200, text
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(text)))


async def ndjson_rows(world: ApiWorld, path: str) -> list[dict[str, Any]]:
    status, text, headers = await fetch(world, path)
    assert status == 200, text
    assert headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    return [json.loads(line) for line in text.splitlines()]


async def test_every_failure_comes_in_both_forms_and_says_what_the_pages_say(world, monkeypatch):
    monkeypatch.setattr(exports, "_BATCH_ROWS", 2)
    bad = [f"bad{number}@example.com" for number in range(5)]
    for user in bad:
        refuse(world, user)
    await world.deliver("Heap Test", [*bad, *users(2)])
    await world.settled()
    shown = (await world.get("failures"))["items"]
    assert len(shown) == 5
    by_name = sorted(shown, key=lambda each: each["contact"])
    assert await ndjson_rows(world, "failures?format=ndjson") == by_name
    rows = await csv_rows(world, "failures?format=csv&dead=true")
    assert [row["contact"] for row in rows] == [each["contact"] for each in by_name]
    assert {row["dead"] for row in rows} == {"true"}
    assert await csv_rows(world, "failures?format=csv&dead=false") == []


async def test_the_members_of_a_list_are_all_there_and_only_they(world, monkeypatch):
    monkeypatch.setattr("service.store.sqlite.reading._SLICE_ROWS", 3)
    await world.deliver("Heap Test", users(10))
    await world.deliver("Other", [*users(2), *(f"other{number}@example.com" for number in range(7))], segment_id=2)
    # A removal of somebody whom Cordial never had waits for a second look.
    await world.settled()
    await world.deliver("Heap Test", remove=users(1))
    await world.settled()
    rows = await csv_rows(world, "lists/1/members?format=csv")
    assert [row["contact"] for row in rows] == sorted(f"email:{user}" for user in users(10))
    assert {row["state"] for row in rows} == {"settled"}
    assert [row["contact"] for row in rows if row["wanted"] == "false"] == ["email:user0@example.com"]
    assert len(await ndjson_rows(world, "lists/1/members?format=ndjson&wanted=true")) == 9
    assert len(await ndjson_rows(world, "lists/2/members?format=ndjson&state=settled")) == 9
    assert (await world.ask("lists/9/members?format=csv")).status == 404
    assert (await world.ask("lists/1/members")).status == 422


async def test_users_that_cannot_be_synced_are_named_one_by_one(world):
    await world.deliver("Heap Test", [*users(1), "", "undefined", "null"])
    await world.deliver("Heap Test", ["undefined"], task="two")
    await world.settled()
    page = await world.get("unusable?limit=2")
    assert page["items"][0]["task_id"] == "two"
    following = await world.get(f"unusable?limit=10&after={page['next']}")
    every = [*page["items"], *following["items"]]
    assert len(every) == 4
    assert await ndjson_rows(world, "unusable?format=ndjson") == every
    assert len(await csv_rows(world, "unusable?format=csv&list=1")) == 4
    found = (await world.post("unusable/find", {"user": "UNDEF", "list": 1, "limit": 1})).document
    more = (await world.post("unusable/find", {"user": "UNDEF", "after": found["next"]})).document
    assert found["items"] + more["items"] == [each for each in every if each["value"] == "undefined"]
    assert await csv_rows(world, "unusable?format=csv&account=nobody") == []


async def test_syncs_and_the_audit_come_as_files(world):
    await world.deliver("Heap Test", users(1))
    await world.settled()
    await world.post("lists/1/rebuild")
    [sync] = await csv_rows(world, "syncs?format=csv")
    assert sync["segment_name"] == "Heap Test"
    assert [row["action"] for row in await csv_rows(world, "audit?format=csv")] == ["list.rebuild"]


async def test_the_audit_of_one_list_and_of_one_person(world):
    await world.deliver("Heap Test", users(1))
    await world.deliver("Other", users(1), segment_id=2)
    await world.settled()
    for path, body in (
        ("lists/1/rebuild", {}),
        ("lists/2/verify", {}),
        ("failures/retry", {"list": 1}),
        ("failures/retry", {"list": 2}),
        ("accounts/acme/pause", {}),
    ):
        await world.post(path, body)
    await world.service.store.steering.record("somebody", "sync.discard", "1", 0)
    actions = [[each["action"], each["target"]] for each in (await world.get("audit?list=1"))["items"]]
    assert [action for action, _ in actions] == ["sync.discard", "failures.retry", "list.rebuild"]
    assert len(await csv_rows(world, "audit?format=csv&list=2")) == 2
    assert [each["action"] for each in (await world.get("audit?actor=somebody"))["items"]] == ["sync.discard"]
    assert len((await world.get("audit"))["items"]) == 6


async def test_no_text_of_a_visitor_is_a_formula_in_a_spreadsheet(world):
    await world.deliver("=HYPERLINK(1)", ["x@example.com"], segment_id=3)
    await world.settled()
    [row] = [row for row in await csv_rows(world, "syncs?format=csv") if "HYPER" in row["segment_name"]]
    assert row["segment_name"] == "'=HYPERLINK(1)"


async def test_rows_that_move_while_a_file_is_read_are_neither_lost_nor_doubled(world, monkeypatch):
    monkeypatch.setattr(exports, "_BATCH_ROWS", 2)
    bad = [f"bad{number}@example.com" for number in range(6)]
    for user in bad:
        refuse(world, user)
    await world.deliver("Heap Test", [*users(3), *bad])
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(6,)])
    read = Reader.failures_after
    moved: list[str] = []

    async def moving(self: Reader, last: FailureView | None, **asked: Any) -> list[FailureView]:
        found = await read(self, last, **asked)
        if not moved:
            # Their failures are made anew behind the reader's back: one that was read, one that was not.
            moved.extend([bad[0], bad[5]])
            before = world.rows("SELECT max(id) FROM failure")
            world.cordial.faults.clear()
            await world.deliver("Heap Test", [], moved)
            await world.until(lambda: world.rows("SELECT count(*) FROM failure") == [(4,)])
            await world.settled()
            for user in bad:
                refuse(world, user)
            await world.deliver("Heap Test", moved)
            await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(6,)])
            assert world.rows("SELECT max(id) FROM failure") > before
        return found

    monkeypatch.setattr(Reader, "failures_after", moving)
    rows = await ndjson_rows(world, "failures?format=ndjson")
    assert [row["contact"] for row in rows] == [f"email:{user}" for user in bad]


async def test_a_part_is_never_taken_for_the_whole(world, monkeypatch):
    await world.deliver("Heap Test", users(10))
    await world.settled()
    monkeypatch.setattr("service.store.sqlite.reading._SLICE_ROWS", 3)
    read, looks = world.service.reader.members, 0

    async def fail_later(*arguments, **names):
        nonlocal looks
        looks += 1
        if looks > 2:
            raise ServiceError(ErrorCode.STORE_UNAVAILABLE, "the answer takes too long")
        return await read(*arguments, **names)

    monkeypatch.setattr(world.service.reader, "members", fail_later)
    with pytest.raises(aiohttp.ClientError):
        await fetch(world, "lists/1/members?format=csv")
    looks = 2
    assert (await world.ask("lists/1/members?format=csv")).status == 503


async def test_a_key_that_is_replaced_gets_no_more_of_a_file(world, monkeypatch):
    monkeypatch.setattr(World, "secret_timings", SecretTimings(max_age=0.0))
    await world.restart()
    await world.deliver("Heap Test", users(10))
    await world.settled()
    monkeypatch.setattr("service.store.sqlite.reading._SLICE_ROWS", 3)
    read = world.service.reader.members
    looks = 0

    async def replace_the_key(*arguments, **names):
        nonlocal looks
        looks += 1
        if looks == 2:
            world.api_key_file.write_text("another key")
        return await read(*arguments, **names)

    monkeypatch.setattr(world.service.reader, "members", replace_the_key)
    with pytest.raises(aiohttp.ClientError):
        await fetch(world, "lists/1/members?format=csv")
    assert looks == 2
