import asyncio
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from service.errors import ErrorCode, ServiceError
from service.model.views import Minute
from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite.reading import Reader
from service.store.sqlite.store import SqliteStore
from tests.api_fixtures import ApiWorld, asking
from tests.service_fixtures import users

RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def refuse(world: ApiWorld, user: str) -> None:
    world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{user}", status=422, times=None))


async def test_a_list_shows_what_is_wanted_and_what_cordial_has(world):
    refuse(world, "bad@example.com")
    await world.deliver("Heap Test", [*users(3), "bad@example.com"], segment_id=77)
    await world.settled()
    [found] = (await world.get("lists"))["items"]
    assert found["list_name"] == "HeapTest"
    assert (found["segment_id"], found["segment_name"], found["state"]) == ("77", "Heap Test", "ready")
    assert (found["wanted"], found["on_list"], found["pending"], found["waiting"], found["failed"]) == (4, 3, 0, 0, 1)
    assert "retry" in found["what_to_do"]
    assert await world.get(f"lists/{found['id']}") == found


async def test_times_are_rfc_3339_in_utc(world):
    before = datetime.now(UTC)
    await world.deliver("Heap Test", users(1))
    await world.settled()
    [sync] = (await world.get("syncs"))["items"]
    for name in ("first_received_at", "last_received_at", "drained_at"):
        assert RFC_3339_UTC.fullmatch(sync[name])
    age = datetime.fromisoformat(sync["first_received_at"]) - before
    assert -1 < age.total_seconds() < 60


async def test_a_sync_tells_how_far_it_has_come(world):
    await world.deliver("Heap Test", users(4), task="one")
    await world.settled()
    refuse(world, "bad@example.com")
    await world.deliver("Heap Test", ["bad@example.com"], task="two")
    await world.settled()
    newest, oldest = (await world.get("syncs"))["items"]
    assert (newest["task_id"], newest["state"], newest["failed"]) == ("two", "failed", 1)
    assert (oldest["task_id"], oldest["state"], oldest["settled"]) == ("one", "done", 4)
    assert (await world.get("syncs?state=failed"))["items"] == [newest]
    assert (await world.get("syncs?state=receiving"))["items"] == []
    assert await world.get(f"syncs/{oldest['id']}") == oldest


async def test_failures_carry_cordials_words_and_are_grouped_by_reason(world):
    for number in range(3):
        refuse(world, f"bad{number}@example.com")
    await world.deliver("One", [*users(1), *(f"bad{number}@example.com" for number in range(3))], segment_id=1)
    await world.deliver("Two", ["bad0@example.com", "good@example.com"], segment_id=2)
    await world.settled()
    failures = (await world.get("failures"))["items"]
    assert {(each["list_name"], each["contact"]) for each in failures} == {
        ("One", "email:bad0@example.com"),
        ("One", "email:bad1@example.com"),
        ("One", "email:bad2@example.com"),
        ("Two", "email:bad0@example.com"),
    }
    assert {(each["status"], each["dead"], each["wanted"]) for each in failures} == {(422, True, True)}
    assert all("cannot be written" in each["message"] for each in failures)
    groups = (await world.get("failures/groups"))["items"]
    assert [(each["list_name"], each["changes"]) for each in groups] == [("One", 3), ("Two", 1)]
    reason, list_id = groups[1]["reason"], groups[1]["list_id"]
    assert len((await world.get(f"failures?reason={reason}&list={list_id}"))["items"]) == 1
    assert (await world.get("failures?dead=false"))["items"] == []
    assert (await world.get("failures?account=nobody"))["items"] == []


async def test_pages_go_on_where_the_last_one_ended_whatever_comes_between(world):
    for number in range(5):
        await world.deliver("Heap Test", users(1), task=f"task {number}")
    first = await world.get("syncs?limit=2")
    await world.deliver("Heap Test", users(1), task="newer")
    second = await world.get(f"syncs?limit=2&after={first['next']}")
    third = await world.get(f"syncs?limit=2&after={second['next']}")
    tasks = [sync["task_id"] for page in (first, second, third) for sync in page["items"]]
    assert tasks == ["task 4", "task 3", "task 2", "task 1", "task 0"]
    assert third["next"] is None


async def test_lists_page_from_the_oldest_and_are_found_by_name(world):
    for number in range(3):
        await world.deliver(f"Segment {number}", users(1), segment_id=100 + number)
    await world.settled()
    first = await world.get("lists?limit=2")
    second = await world.get(f"lists?limit=2&after={first['next']}")
    assert [each["segment_id"] for each in first["items"] + second["items"]] == ["100", "101", "102"]
    for search in ("ment 1", "SEGMENT1", "101"):
        assert [each["segment_id"] for each in (await world.get(f"lists?search={quote(search)}"))["items"]] == ["101"]
    assert (await world.get("lists?search=%25"))["items"] == []
    assert len((await world.get("lists?state=ready"))["items"]) == 3
    assert (await world.get("lists?state=held"))["items"] == []


async def test_deliveries_of_a_sync_name_the_users_that_cannot_be_synced(world):
    await world.deliver("Heap Test", ["a@example.com", "undefined", ""], task="one")
    await world.deliver("Heap Test", users(3), task="two", page_size=1)
    two, one = (await world.get("syncs"))["items"]
    [delivery] = (await world.get(f"deliveries?sync={one['id']}"))["items"]
    assert (delivery["added"], delivery["rejected"], delivery["task_id"]) == (1, 2, "one")
    assert {user["reason"] for user in delivery["rejected_users"]} == {"placeholder", "empty"}
    assert all(user["path"].startswith("$.data.add[") for user in delivery["rejected_users"])
    pages = (await world.get(f"deliveries?sync={two['id']}"))["items"]
    assert [page["page_number"] for page in pages] == [3, 2, 1]
    first = await world.get(f"deliveries?sync={two['id']}&limit=2")
    rest = await world.get(f"deliveries?sync={two['id']}&limit=2&after={first['next']}")
    assert [page["page_number"] for page in rest["items"]] == [1]
    assert (await world.get("deliveries?sync=999"))["items"] == []


@pytest.mark.usefixtures("quick_retries")
async def test_an_account_tells_why_it_is_paused_and_what_to_do(world):
    world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
    await world.deliver("Heap Test", users(1))
    await world.until(lambda: world.service.deliverer.statuses()["acme"].state == "paused")
    [account] = (await world.get("accounts"))["items"]
    assert (account["name"], account["state"]) == ("acme", "paused")
    assert "unauthorized" in account["reason"]
    assert "API key" in account["hint"]
    assert account["next_call_at"] is not None


async def test_an_account_is_not_waiting_while_it_makes_its_lists_one_by_one(tmp_path):
    async with asking(tmp_path, requests_per_second=8) as world:
        for number in range(12):
            await world.deliver(f"Segment {number}", users(1), segment_id=number)
        seen = set()
        while world.service.store.backlog.total:
            [account] = (await world.get("accounts"))["items"]
            if account["settled_per_second"]:
                seen.add(account["standing"])
        assert seen <= {"sending", "ready"}
        assert "sending" in seen


class TestMember:
    async def ask(self, world: ApiWorld, user: str, list_id: int = 1) -> Any:
        return (await world.post(f"lists/{list_id}/members/find", {"user": user})).document

    async def test_one_on_the_list(self, world):
        await world.deliver("Heap Test", users(2), task="one")
        await world.settled()
        # As people write it, not as the ledger has it.
        found = await self.ask(world, " User1@Example.com ")
        assert (found["state"], found["on_list"]) == ("settled", True)
        assert found["heap"]["wanted"] is True
        assert (found["heap"]["task_id"], found["heap"]["page_number"]) == ("one", 1)
        assert RFC_3339_UTC.fullmatch(found["heap"]["said_at"])

    async def test_one_that_was_removed(self, world):
        await world.deliver("Heap Test", users(2))
        # A removal of somebody whom Cordial never had waits for a second look.
        await world.settled()
        await world.deliver("Heap Test", remove=users(1))
        await world.settled()
        found = await self.ask(world, "user0@example.com")
        assert (found["state"], found["on_list"], found["heap"]["wanted"]) == ("settled", False, False)

    async def test_one_that_cordial_refused(self, world):
        refuse(world, "bad@example.com")
        await world.deliver("Heap Test", ["bad@example.com"])
        await world.settled()
        found = await self.ask(world, "bad@example.com")
        assert (found["state"], found["on_list"]) == ("dead", None)
        assert found["failure"]["status"] == 422
        assert "cannot be written" in found["explanation"]
        assert "retries" in found["next"]["what"]
        # The first call did not count: it was not known yet that others pass.
        assert (found["failure"]["failures"], found["failure"]["attempts"]) == (2, 1)
        assert "after 2 calls (1 of them counts for max_attempts), and" in found["explanation"]
        assert ".." not in found["explanation"]

    async def test_one_that_nobody_named(self, world):
        await world.deliver("Heap Test", users(2))
        await world.settled()
        found = await self.ask(world, "nobody/../?@example.com")
        assert (found["state"], found["heap"], found["contact"]) == ("never_named", None, None)

    async def test_one_who_may_be_in_a_page_that_has_not_arrived(self, world):
        await world.deliver("Heap Test", users(4), page_size=2, first_pages=1)
        await world.settled()
        found = await self.ask(world, "user3@example.com")
        assert "Pages of a sync have not arrived" in found["next"]["what"]
        # Why it is not known comes before that it is not.
        assert found["explanation"].startswith("Pages of a sync have not arrived")

    async def test_one_behind_many(self, world):
        limit = Fault(
            FaultKind.ANSWER, status=429, headers={"Retry-After": "3600"}, endpoint="/v2/contacts", times=None
        )
        world.cordial.faults.add(limit)
        for number, words in (
            (1, "1 change of this list is to be sent."),
            (1_000, "1,000 changes of this list are to be sent."),
        ):
            await world.deliver("Heap Test", users(number))
            await world.until(lambda number=number: world.service.store.backlog.pending_total == number)
            assert words in (await self.ask(world, "user0@example.com"))["next"]["what"]

    async def test_one_whose_account_is_paused(self, world):
        await world.post("accounts/acme/pause")
        await world.deliver("Heap Test", users(2))
        await world.until(lambda: world.service.store.backlog.pending_total == 2)
        found = await self.ask(world, "user0@example.com")
        assert (found["state"], found["on_list"]) == ("pending", None)
        assert (
            found["next"]["what"] == "Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`."
        )

    async def test_one_whose_account_cordial_does_not_serve(self, world):
        await world.deliver("Heap Test", users(1))
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=503, times=None))
        await world.deliver("Heap Test", users(2))
        await world.until(lambda: world.service.deliverer.statuses()["acme"].state == "paused")
        stopped = (await self.ask(world, "user1@example.com"))["next"]
        assert stopped["what"].startswith("Nothing is sent for acme until Cordial serves it again")
        assert stopped["at"] is not None
        world.cordial.faults.clear()
        await world.settled()

    async def test_one_under_a_secondary_key(self, tmp_path):
        async with asking(tmp_path, identify_by="auto", identities={"Customer": "custID"}) as world:
            await world.deliver("Heap Test", ["a@example.com"])
            await world.settled()
            assert (await self.ask(world, "a@example.com"))["contact"] == "email:a@example.com"

    async def test_a_list_that_does_not_exist(self, world):
        assert (await world.post("lists/9/members/find", {"user": "a"})).status == 404

    async def test_text_that_is_not_unicode_is_refused_not_failed_at(self, world):
        await world.deliver("Heap Test", users(1))
        answer = await world.ask(
            "lists/1/members/find",
            method="POST",
            data=b'{"user": "\\ud800"}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status in {400, 422}


async def test_a_query_that_is_not_understood_is_refused_and_named(world):
    for path, names in (
        ("lists?limit=0", "limit"),
        ("lists?limit=201", "limit"),
        ("lists?limit=1&limit=2", "limit"),
        ("lists?after=xyz", "after"),
        ("syncs?state=lost", "state"),
        ("failures?dead=perhaps", "dead"),
        ("failures?list=-1", "list"),
        ("accounts?acount=acme", "acount"),
    ):
        answer = await world.ask(path)
        assert (answer.status, answer.document["error"]["code"]) == (422, "invalid_request"), path
        assert names in answer.document["error"]["message"]


async def test_what_does_not_exist_is_not_found(world):
    for path in ("lists/9", "lists/x", f"syncs/{10**30}", "syncs/0", "nothing"):
        answer = await world.ask(path)
        assert (answer.status, answer.document["error"]["code"]) == (404, "not_found"), path


async def test_history_begins_with_the_service(world):
    history = await world.get("history")
    assert history["samples"][0]["backlog"] == 0
    assert history["samples"][0]["calls_per_second"] == 0
    assert (await world.get("history?span=week"))["samples"] == []


async def test_the_picture_of_the_week_outlives_a_restart(world):
    # In the middle of the five minutes that a day's picture puts together.
    at = datetime.fromtimestamp((time.time() - 3 * 3600) // 300 * 300 + 60, UTC)
    await world.service.store.history.add(Minute(at, backlog=7, calls=600, settled=540, failed=60))
    await world.service.store.history.add(Minute(at + timedelta(minutes=1), backlog=5, calls=0, settled=0, failed=0))
    # What has begun is kept as well.
    world.service.api._meter._minute_began = world.service.api._meter._minute_began._replace(at=time.monotonic() - 30)
    await world.stop()
    await world.start()
    sample, rest = (await world.get("history?span=day"))["samples"]
    assert rest["at"] > sample["at"]
    # Two of the five minutes are known, and nothing is said of the others.
    assert (sample["backlog"], sample["calls_per_second"]) == (7, 5.0)
    assert (sample["settled_per_second"], sample["failed_per_second"]) == (4.5, 0.5)
    await world.service.store.history.add(Minute(at + timedelta(days=8), backlog=0, calls=0, settled=0, failed=0))
    # A week after, nothing before it is kept.
    assert world.rows("SELECT count(*) FROM minute") == [(1,)]


async def test_lists_come_worst_first_and_by_what_they_stand_for(world):
    refuse(world, "bad@example.com")
    await world.deliver("Good", users(3), segment_id=1)
    await world.deliver("Bad", ["bad@example.com"], segment_id=2)
    await world.deliver("All good", users(5), segment_id=3)
    await world.settled()
    await world.until(lambda: world.rows("SELECT count(*) FROM segment WHERE list_count = settled") == [(3,)])
    page = await world.get("lists?sort=trouble&limit=2")
    assert [each["segment_name"] for each in page["items"]] == ["Bad", "All good"]
    assert page["total"] == 3
    following = await world.get(f"lists?sort=trouble&limit=2&after={page['next']}")
    assert [each["segment_name"] for each in following["items"]] == ["Good"]
    assert following["next"] is None
    assert [each["segment_name"] for each in (await world.get("lists?sort=wanted"))["items"]] == [
        "All good",
        "Good",
        "Bad",
    ]
    assert [each["segment_name"] for each in (await world.get("lists?sort=on_list&reverse=true"))["items"]] == [
        "Bad",
        "Good",
        "All good",
    ]
    for order in ("trouble", "name", "wanted", "on_list", "to_send", "failed", "counted", "updated"):
        sorted_lists = (await world.get(f"lists?sort={order}"))["items"]
        assert sorted_lists == (await world.get(f"lists?sort={order}&reverse=true"))["items"][::-1]
    exact = await world.get("lists?standing=exact")
    assert (exact["total"], {each["standing"] for each in exact["items"]}) == (2, {"exact"})
    # How many there are of the others as well, as far as the other filters let them through.
    assert exact["standings"] == {"exact": 2, "incomplete": 1}
    assert (await world.get("lists?standing=exact&search=bad"))["standings"] == {"incomplete": 1}
    overview = await world.get("overview")
    assert (overview["lists"]["exact"], overview["lists"]["incomplete"]) == (2, 1)
    assert overview["headline"] == "1 person could not be added or removed"


async def test_a_sync_without_a_page_for_an_hour_is_overdue(world):
    await world.deliver("Parted", users(4), task="parted", page_size=2, first_pages=1)
    await world.settled()
    assert not (await world.get("syncs/1"))["pages_overdue"]
    world.execute("UPDATE sync SET last_received_at_ms = last_received_at_ms - 3600001")
    assert (await world.get("syncs/1"))["pages_overdue"]
    await world.deliver("Parted", users(4), task="parted", page_size=2)
    assert not (await world.get("syncs/1"))["pages_overdue"]


async def test_syncs_come_worst_first_page_by_page(world):
    refuse(world, "bad@example.com")
    await world.deliver("First", users(3), segment_id=1, task="done")
    await world.deliver("Second", ["bad@example.com"], segment_id=2, task="failed")
    await world.deliver("Third", users(4), segment_id=3, task="old part", page_size=2, first_pages=1)
    await world.deliver("Third", users(4), segment_id=3, task="new part", page_size=2, first_pages=1)
    await world.deliver("Fourth", users(1), segment_id=4, task="done last")
    await world.settled()
    found, after = [], ""
    while after is not None:
        page = await world.get(f"syncs?sort=trouble&limit=2{after and f'&after={after}'}")
        found += [each["task_id"] for each in page["items"]]
        after = page["next"]
    # That an older sync of a segment misses pages is no trouble of today.
    assert found == ["failed", "new part", "done last", "old part", "done"]
    by_failures = (await world.get("syncs?sort=failed"))["items"]
    assert [each["task_id"] for each in by_failures] == ["failed", "done last", "new part", "old part", "done"]
    assert (await world.get("syncs?sort=latest"))["items"] == (await world.get("syncs"))["items"]
    [failed] = (await world.get("syncs?sort=trouble&state=failed"))["items"]
    assert failed["task_id"] == "failed"
    assert [each["task_id"] for each in (await world.get("syncs?sort=trouble&list=3"))["items"]] == [
        "new part",
        "old part",
    ]


async def test_a_sync_with_the_most_to_send_comes_first(world):
    await world.post("accounts/acme/pause")
    await world.deliver("Some", users(2), segment_id=1)
    await world.deliver("Most", users(5), segment_id=2)
    await world.deliver("Least", users(1), segment_id=3)
    await world.until(lambda: world.rows("SELECT sum(pending) FROM sync") == [(8,)])
    found = (await world.get("syncs?sort=to_send"))["items"]
    assert [each["segment_name"] for each in found] == ["Most", "Some", "Least"]


async def test_failures_are_sorted_by_who_waits_and_by_name(world):
    refuse(world, "b@example.com")
    refuse(world, "a@example.com")
    await world.deliver("One", users(3))
    await world.settled()
    await world.deliver("One", ["b@example.com"], task="b")
    await world.until(lambda: world.rows("SELECT count(*) FROM failure") == [(1,)])
    await world.deliver("One", ["a@example.com"], task="a")
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(2,)])
    world.execute("UPDATE failure SET dead = 0 WHERE contact = 'email:a@example.com'")
    by_name = await world.get("failures?sort=name&limit=1")
    assert [each["contact"] for each in by_name["items"]] == ["email:a@example.com"]
    following = await world.get(f"failures?sort=name&limit=1&after={by_name['next']}")
    assert ([each["contact"] for each in following["items"]], following["next"]) == (["email:b@example.com"], None)
    answer = await world.post("failures/find", {"sort": "trouble"})
    assert [each["contact"] for each in answer.document["items"]] == ["email:b@example.com", "email:a@example.com"]


async def test_who_failed_on_two_lists_is_one_person(world):
    refuse(world, "bad@example.com")
    refuse(world, "worse@example.com")
    await world.deliver("One", [*users(3), "bad@example.com"], segment_id=1)
    await world.deliver("Two", [*users(3), "bad@example.com", "worse@example.com"], segment_id=2)
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(3,)])
    [account] = (await world.get("accounts"))["items"]
    assert (account["failed"], account["failed_people"]) == (3, 2)
    overview = await world.get("overview")
    while overview["headline"] != "2 people could not be added or removed":
        await asyncio.sleep(0.1)
        overview = await world.get("overview")
    assert (overview["failed"], overview["failed_people"]) == (3, 2)


async def test_a_sync_with_only_retries_left_does_not_send(tmp_path):
    async with asking(tmp_path, max_attempts=20) as world:
        refuse(world, "bad@example.com")
        await world.deliver("One", [*users(3), "bad@example.com"])
        while (sync := (await world.get("syncs"))["items"][0])["state"] != "waiting":
            assert sync["state"] == "sending"
            await asyncio.sleep(0.05)
        assert (sync["settled"], sync["pending"]) == (3, 1)
        [failure] = (await world.get("failures"))["items"]
        # It may have been tried once more in between.
        assert sync["next_attempt_at"] <= failure["next_attempt_at"]
        assert [each["id"] for each in (await world.get("syncs?state=waiting&sort=trouble"))["items"]] == [sync["id"]]
        assert (await world.get("overview"))["syncs"][0]["state"] in {"waiting", "sending"}


async def test_the_sum_tells_nine_from_ten(world):
    refuse(world, "bad@example.com")
    await world.deliver("Heap Test", [*users(8), "bad@example.com", "undefined"])
    await world.settled()
    assert await world.get("lists/1/sum") == {
        "wanted": 9,
        "on_list": 8,
        "unnamed": 0,
        "to_add": 0,
        "add_later": 0,
        "failed": 1,
        "same_person": 0,
        "unusable": 1,
        "overtaken": 0,
        "to_remove": 0,
        "remove_failed": 0,
        "additions_set_aside": 0,
        "removals_set_aside": 0,
        "is_held": False,
        "discarded": 0,
        "unread_pages": False,
        "missing_pages": [],
    }
    await world.post("accounts/acme/pause")
    await world.deliver("Heap Test", users(4, "more"), users(2), task="parted", page_size=2, first_pages=2)
    await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
    found = await world.get("lists/1/sum")
    assert (found["on_list"], found["to_add"]) == (8, 4)
    [missing] = found["missing_pages"]
    assert (missing["task_id"], missing["pages_received"], missing["total_pages"]) == ("parted", 2, 3)


async def test_failures_are_found_by_a_part_of_the_id(world):
    for user in ("bad.one@example.com", "bad.two@example.com"):
        refuse(world, user)
    await world.deliver("Heap Test", ["bad.one@example.com", "bad.two@example.com", *users(1)])
    await world.settled()
    found = (await world.post("failures/find", {"user": "two@"})).document
    assert [each["contact"] for each in found["items"]] == ["email:bad.two@example.com"]
    page = (await world.post("failures/find", {"limit": 1})).document
    following = (await world.post("failures/find", {"limit": 1, "after": page["next"]})).document
    assert {page["items"][0]["contact"], following["items"][0]["contact"]} == {
        "email:bad.one@example.com",
        "email:bad.two@example.com",
    }


async def test_a_question_that_takes_too_long_is_given_up_and_the_next_is_answered(tmp_path):
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path, ["acme"], max_backlog=10)
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
            "INSERT INTO audit (at_ms, actor, action, target, changes) SELECT 0, '', '', '', 0 FROM n"
        )
        connection.execute("CREATE VIEW slow AS SELECT count(*) AS n FROM audit a, audit b WHERE a.id + b.id < 0")
    reader = await Reader.open(path, time_limit_seconds=0.05)
    started = time.monotonic()
    try:
        with pytest.raises(ServiceError) as refused:
            await reader._run(lambda connection: connection.execute("SELECT n FROM slow").fetchone())
        assert refused.value.code is ErrorCode.STORE_UNAVAILABLE
        assert "0.05 s" in refused.value.message
        assert len(await reader.audit(limit=3)) == 3
    finally:
        await reader.close()
    # Nine thousand million pairs would take hours.
    assert time.monotonic() - started < 60


async def test_headline_conditions_and_figures_are_one_evaluation(tmp_path, monkeypatch):
    """Whoever is shown one of them is shown the others, and not seconds later."""
    monkeypatch.setattr("service.observe.conditions._ASK_SECONDS", 3_600.0)
    async with asking(tmp_path, hold_new_segments=True, max_attempts=1) as world:
        refuse(world, "bad@example.com")
        await world.deliver("One", users(2))
        await world.deliver("Two", [*users(2), "bad@example.com"], segment_id=2)
        overview = await world.get("overview")
        while overview["lists"]["to_approve"] < 2:
            overview = await world.get("overview")
        assert (overview["headline"], overview["is_well"]) == ("2 segments to approve", False)
        told = [(each["id"], each["subject"]) for each in overview["conditions"] if each["severity"] != "info"]
        assert told == [("list_awaits_approval", "One"), ("list_awaits_approval", "Two")]
        assert (await world.get("conditions"))["items"] == overview["conditions"]


async def test_the_headline_counts_what_there_is_no_room_to_list(tmp_path, monkeypatch):
    monkeypatch.setattr("service.observe.conditions._MAX_TOLD", 3)
    async with asking(tmp_path, hold_new_segments=True) as world:
        for number in range(1, 6):
            await world.deliver(f"Segment {number}", users(2), segment_id=number)
        overview = await world.get("overview")
        while overview["lists"]["to_approve"] < 5:
            overview = await world.get("overview")
        assert (overview["headline"], len(overview["conditions"])) == ("5 segments to approve", 3)
        page = await world.get("conditions")
        assert (len(page["items"]), page["numbers"]["list_awaits_approval"]) == (3, 5)
        assert page["numbers_by_account"] == overview["numbers_by_account"]
        assert page["numbers_by_account"]["list_awaits_approval"] == {"acme": 5}


async def test_states_and_reasons_are_counted_over_all(world):
    await world.deliver("Heap Test", users(3))
    await world.settled()
    refuse(world, "bad@example.com")
    await world.deliver("Heap Test", ["bad@example.com"])
    await world.deliver("Heap Test", users(6), segment_id=2, page_size=2, first_pages=2)
    await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(1,)])
    await world.settled()
    assert (await world.get("syncs?limit=1"))["states"] == {"failed": 1, "receiving": 1}
    assert (await world.get("syncs?list=1&state=done&sort=trouble"))["states"] == {"failed": 1}
    assert (await world.get("failures/groups"))["reasons"] == {"refused": 1}
    assert (await world.get("failures/groups?list=2"))["reasons"] == {}
    [failure] = (await world.get("failures"))["items"]
    assert failure["segment_name"] == "Heap Test"


async def test_a_time_is_told_only_for_what_is_sent_and_refusals_are_no_progress(tmp_path, monkeypatch, quick_retries):  # noqa: ARG001
    monkeypatch.setattr("service.observe.api.meter._MIN_PACE_SECONDS", 0.5)

    async def until(condition: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(30):
            while not condition(found := await world.get("overview")):  # noqa: ASYNC110  looked at from outside
                await asyncio.sleep(0.05)
        return found

    async with asking(tmp_path, requests_per_second=20, max_attempts=1) as world:
        await world.deliver("One", users(600))
        found = await until(lambda found: found["seconds_left"] is not None and found["settled_per_second"] > 0)
        # At twenty a second at most: no promise that cannot be kept.
        assert found["seconds_left"] > found["to_send"] / 25
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
        found = await until(lambda found: found["accounts"][0]["state"] == "paused")
        assert (found["seconds_left"], found["to_send"] > 0) == (None, True)
        world.cordial.faults.clear()
        await until(lambda found: found["seconds_left"] is not None)
        await world.post("accounts/acme/pause")
        assert (await world.get("overview"))["seconds_left"] is None
        await world.post("accounts/acme/resume")
        await world.restart(requests_per_second=5_000, hold_new_segments=True)
        await world.settled()
        # Some of many are refused: that is told apart from what is confirmed.
        for number in range(20):
            refuse(world, f"bad{number}@example.com")
        await world.deliver("One", users(20, "bad"))
        await until(lambda found: found["failed_per_second"] > 0)
        await world.settled()
        await world.deliver("Two", users(50), segment_id=2)
        found = await until(lambda found: found["accounts"][0]["pending"] == 50)
        assert (found["seconds_left"], found["accounts"][0]["sendable"]) == (None, 0)
