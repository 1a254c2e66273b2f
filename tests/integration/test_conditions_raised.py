"""Every kind of condition that no other test raises, in a running service; and every reader says the same of it (R16)."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Collection
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from service.clock import wall_ms
from service.deliver.deliverer import Deliverer
from service.model.conditions import CATALOGUE, Severity
from service.model.guard import RemovalGuard
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from service.store.sqlite.guarding import Guard
from service.store.sqlite.reading import Reader
from tests.api_fixtures import API_KEY, ApiWorld, asking, authorization
from tests.hostile_fixtures import log_lines
from tests.import_fixtures import add_contacts, set_timings
from tests.ports import free_port
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, drain, users

LIMIT_OF_WAL = 300_000


def facts(world: ApiWorld) -> set[str]:
    return {fact.id for fact in world.service.facts()}


def subjects_of(world: ApiWorld, name: str) -> set[str]:
    return {each.subject for each in world.service.conditions.current() if each.id == name}


def lasting(world: ApiWorld) -> set[str]:
    return {each.id for each in world.service.conditions.current()}


async def test_a_backlog_near_its_limit(tmp_path):
    async with asking(tmp_path, max_backlog=10) as world:
        await world.post(f"accounts/{ACCOUNT}/pause")
        await world.deliver("Readers", users(9))
        [told] = [each for each in (await world.get("conditions"))["items"] if each["id"] == "backlog_high"]
        assert (told["account"], told["detail"]) == (ACCOUNT, "9 of 10")
        await world.post(f"accounts/{ACCOUNT}/resume")
        await world.settled()
        assert "backlog_high" not in facts(world)


async def test_who_could_not_be_removed_is_no_stranger(tmp_path):
    async with asking(tmp_path, max_attempts=1) as world:

        async def told() -> dict[str, int]:
            found = await world.service.store.conditions.facts({ACCOUNT: world.account})
            return {fact.id: fact.people for fact in found if fact.list_id == 1}

        await world.deliver("Readers", users(10))
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user1@example.com", status=422, times=None))
        await world.deliver("Readers", (), ["user1@example.com"])
        await world.until(lambda: world.rows("SELECT count(*) FROM failure WHERE dead = 1") == [(1,)])
        await world.post("lists/1/verify")
        assert world.rows("SELECT list_count, settled FROM segment") == [(10, 9)]
        assert await told() == {"people_failed": 1}
        for name in ("anna@example.com", "bert@example.com"):
            stranger = world.cordial.state.create_contact(f"email:{name}", name)
            world.cordial.state.lists_by_name["Readers"].members[stranger.cid] = 0
        await world.post("lists/1/verify")
        assert await told() == {"people_failed": 1, "list_strangers": 2}


async def test_an_account_that_cordial_slows(tmp_path):
    async with asking(tmp_path) as world:
        headers = {"Retry-After": "2"}
        limit = Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers=headers, times=None)
        world.cordial.faults.add(limit)
        await world.deliver("Readers", users(3))
        await world.until(lambda: "account_slowed" in facts(world))
        world.cordial.faults.clear()
        await world.settled()
        await world.until(lambda: "account_slowed" not in facts(world))


async def test_nobody_is_told_that_it_is_sending_while_cordial_asks_to_wait_for_an_hour(tmp_path):
    async with asking(tmp_path) as world:
        headers = {"Retry-After": "3600"}
        limit = Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers=headers, times=None)
        world.cordial.faults.add(limit)
        await world.deliver("Readers", users(3))
        await world.until(lambda: "account_slowed" in facts(world))
        told = (
            (await world.get("overview"))["headline"],
            (await world.post("lists/1/members/find", {"user": "user1@example.com"})).document["explanation"],
            next(fact.detail for fact in world.service.facts() if fact.id == "account_slowed"),
        )
        wait = r"Cordial's rate limit is reached: some calls wait until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        assert [len(re.findall(wait, words)) for words in told] == [1, 1, 1], told
        with contextlib.closing(sqlite3.connect(world._store_file, isolation_level=None)) as other_program:
            other_program.execute("BEGIN IMMEDIATE")
            await world.post(f"accounts/{ACCOUNT}/pause")
            found = (await world.post("lists/1/members/find", {"user": "user1@example.com"})).document
            other_program.execute("ROLLBACK")
        words = "Nothing is sent for acme until the store can write again: database is locked."
        assert found["next"]["what"] == words


async def test_a_stopped_account_is_stopped_over_a_restart_until_cordial_answers(
    tmp_path,
    monkeypatch,
    quick_retries,  # noqa: ARG001  probes are not waited for
):
    begin = Deliverer.start

    async def slowly(deliverer: Deliverer, paused: Collection[str]) -> None:
        # As with many accounts: the conditions are looked at meanwhile.
        await asyncio.sleep(0.3)
        await begin(deliverer, paused)

    async with asking(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
        await world.deliver("Readers", users(3))
        await world.until(lambda: world.rows("SELECT 1 FROM condition WHERE kind = 'account_stopped'"))
        [before] = (await world.get("accounts"))["items"]
        # From now on nobody knows for a while whether the account can be served.
        world.cordial.faults.clear()
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, seconds=0.5, times=None))
        monkeypatch.setattr(Deliverer, "start", slowly)
        await world.restart()
        world.cordial.journal.reset()
        [account] = (await world.get("accounts"))["items"]
        assert [account[name] for name in ("state", "reason", "since")] == ["paused", before["reason"], before["since"]]
        await world.until(lambda: len(world.calls()) > 1)
        assert world.rows("SELECT ended_at_ms FROM condition WHERE kind = 'account_stopped'") == [(None,)]
        world.cordial.faults.clear()
        await world.settled()
        await world.until(lambda: "account_stopped" not in facts(world))


async def test_files_that_wait_for_a_trial(tmp_path):
    async with asking(tmp_path, public_url="http://127.0.0.1:1") as world:
        assert "account_awaits_trial" in facts(world)
        await world.restart(bulk_untested=True)
        assert "account_awaits_trial" not in facts(world)


async def test_a_dry_run_until_the_configuration_ends_it(tmp_path):
    async with asking(tmp_path, dry_run=True) as world:
        await world.deliver("Readers", users(3))
        await until_told(world, "account_dry_run", [""])
        await world.restart(dry_run=False)
        await until_told(world, "account_dry_run", [])
        await world.settled()


async def test_a_disk_that_is_nearly_full_until_there_is_room(tmp_path, monkeypatch):
    async with asking(tmp_path) as world:
        with monkeypatch.context() as patch:
            patch.setattr("service.observe.facts._LOW_DISK_BYTES", 1 << 60)
            await until_told(world, "disk_low", [""])
            [condition] = (await world.get("conditions?id=disk_low"))["items"]
            assert condition["detail"].endswith(" MB are free")
        await until_told(world, "disk_low", [])


async def test_an_affected_sqlite(tmp_path):
    async with asking(tmp_path) as world:
        is_affected = world.service.store.has_wal_reset_fault
        await until_told(world, "sqlite_affected", [""] if is_affected else [])


async def test_a_clock_that_is_wrong_until_a_page_shows_it_right(tmp_path):
    async with asking(tmp_path) as world:
        url = f"{world.service.url}/webhooks/heap/{ACCOUNT}"
        for number in range(3):
            [body] = build_pages(1, "Readers", users(1), [], task_id=f"task-{number}", page_size=10)
            an_hour_later = wall_ms() + 3_600_000 + number
            assert (await post_page(world._session, url, HEAP_SECRET, body, an_hour_later)).status == 403
        await until_told(world, "clock_suspect", [""])
        await world.deliver("Readers", users(1))
        await until_told(world, "clock_suspect", [])
        await world.settled()


def test_every_kind_is_raised_by_a_test_of_something_that_runs():
    """A kind that nothing raises is told to nobody. The name stands in the test that raises it."""
    texts = [file.read_text() for file in Path(__file__).parent.rglob("test_*.py")]
    assert [name for name in CATALOGUE if not any(re.search(rf'"{name}\b', text) for text in texts)] == []


async def test_ids_that_cannot_be_used_for_as_long_as_they_are_missing_from_the_sum(tmp_path):
    async with asking(tmp_path, allow_drain=True) as world:
        await world.deliver("Readers", [*users(3), "undefined"])
        await world.until(lambda: "users_unusable" in lasting(world))
        # A sync carries what has changed, and says nothing of those who could not be added before.
        await world.deliver("Readers", users(4))
        await world.settled()
        await world.service.conditions.look()
        [told] = [each for each in world.service.conditions.current() if each.id == "users_unusable"]
        assert told.people == (await world.get("lists/1/sum"))["unusable"] == 1
        assert told.title == "1 person is not on the list, because the id cannot be used (acme Readers)"
        await drain(world, "Readers")
        await world.until(lambda: "users_unusable" not in lasting(world))
        assert (await world.get("lists/1/sum"))["unusable"] == 0


async def test_a_log_of_the_store_that_another_program_keeps_large(tmp_path, monkeypatch):
    monkeypatch.setattr("service.observe.facts._LARGE_WAL_BYTES", LIMIT_OF_WAL)
    async with asking(tmp_path) as world:
        world.store_timings = msgspec.structs.replace(world.store_timings, max_wal_bytes=LIMIT_OF_WAL)
        await world.restart()
        await world.deliver("Readers", users(3))
        await world.settled()
        with sqlite3.connect(world._store_file) as other_program:
            other_program.execute("BEGIN")
            other_program.execute("SELECT count(*) FROM member").fetchone()
            for number in range(20):
                await world.deliver("Readers", users(200, f"more{number}-"))
                await world.settled()
                if "wal_large" in facts(world):
                    break
            assert "wal_large" in facts(world)
            other_program.execute("ROLLBACK")
        other_program.close()
        # As it grew, it is cut off again once nobody reads it any more.
        await world.deliver("Readers", ["last@example.com"])
        await world.until(lambda: "wal_large" not in facts(world))


async def told(world: ApiWorld, name: str) -> list[str]:
    """Return what each condition of this kind is about, by the API; the metric and the API must agree."""
    items = [each for each in (await world.get("conditions"))["items"] if each["id"] == name]
    async with world._session.get(f"{world.service.url}/metrics", headers=authorization(API_KEY)) as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    [metric] = [each for each in families if each.name == "heap_cordial_condition"]
    assert bool(items) == any(each.labels["id"] == name and each.value for each in metric.samples)
    return [each["subject"] for each in items]


async def until_told(world: ApiWorld, name: str, subjects: list[str]) -> None:
    """Wait until these, and no others, are told; the metric may be read a moment before or after the API."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(AssertionError):
                if await told(world, name) == subjects:
                    return
            await asyncio.sleep(0.05)


async def test_a_task_that_hangs_until_it_goes_on(tmp_path, monkeypatch):
    advance, may_go_on = Guard.advance, asyncio.Event()
    may_go_on.set()

    async def hanging(guard: Guard) -> bool:
        await may_go_on.wait()
        return await advance(guard)

    monkeypatch.setattr(Guard, "advance", hanging)
    # It beats at least every five seconds. Others that are idle may be silent for longer, but not for a minute.
    monkeypatch.setattr(ApiWorld, "max_silence_seconds", 7.0)
    async with asking(tmp_path) as world:
        may_go_on.clear()
        await world.until(lambda: "judge" in subjects_of(world, "task_silent"))
        assert "judge" in await told(world, "task_silent")
        may_go_on.set()
        await world.until(lambda: "judge" not in subjects_of(world, "task_silent"))
        assert "judge" not in await told(world, "task_silent")


async def test_a_task_that_ends_until_the_next_start(tmp_path, monkeypatch):
    async def failing(_guard: Guard) -> bool:
        raise RuntimeError("made to fail")

    async with asking(tmp_path) as world:
        assert await told(world, "task_ended") == []
        with monkeypatch.context() as patch:
            patch.setattr(Guard, "advance", failing)
            await until_told(world, "task_ended", ["judge"])
            async with world._session.get(f"{world.service.url}/readyz") as answer:
                assert answer.status == 503
            # It is told at once, and written down at the next look.
            await world.until(lambda: world.rows("SELECT 1 FROM condition WHERE kind = 'task_ended'"))
        await world.restart()
        assert await told(world, "task_ended") == []
        await world.until(lambda: world.rows("SELECT 1 FROM condition WHERE kind = 'task_ended' AND ended_at_ms > 0"))
        [over] = (await world.get("conditions?id=task_ended"))["history"]
        assert over["subject"] == "judge"


async def test_an_import_whose_end_nobody_knows_until_a_person_tells_it(tmp_path, monkeypatch):
    patient = CATALOGUE["import_in_doubt"]
    monkeypatch.setitem(CATALOGUE, "import_in_doubt", msgspec.structs.replace(patient, patience_seconds=0.5))
    set_timings(monkeypatch, first_look=0.1, max_look=0.2, max_doubt_look=0.2, store_retry=0.05)
    port = free_port()
    async with asking(tmp_path, cordial=SandboxOptions(imports=ImportOptions())) as world:
        await world.stop()
        world.port = port
        await world.start(public_url=f"http://127.0.0.1:{port}", bulk_threshold=50, bulk_untested=True)
        add_contacts(world, users(100))
        world.cordial.imports.faults.add(ImportFault(held_seconds=600))
        world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", seconds=0.5))
        with log_lines() as lines:
            await world.deliver("Active Users", users(100))
            await until_told(world, "import_in_doubt", [""])
        [condition] = (await world.get("conditions?id=import_in_doubt"))["items"]
        assert (condition["account"], condition["people"]) == (ACCOUNT, 100)
        # Nobody knows whether the import failed, and nothing is sent for its people.
        [rest] = (await world.get("conditions?id=imports_rest"))["items"]
        assert rest["title"] == f"No new file is sent for up to an hour ({ACCOUNT})"
        assert (len(lines("import.in_doubt")), lines("import.fell_back")) == (1, [])
        assert "No new file is sent for up to an hour" in (await world.get("overview"))["headline"].split(" · ")
        await world.post("imports/1/end-doubt", {"job": "over"})
        await until_told(world, "import_in_doubt", [])
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))


async def test_every_reader_says_the_same(tmp_path):
    """The API, the page's headline, the metric, /readyz, and the store, from which `status` reads."""
    async with asking(tmp_path, max_attempts=1, hold_removals=RemovalGuard(share=0.5, least=1)) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user3@example.com", status=422, times=None))
        await world.deliver("Readers", users(4))
        await world.settled()
        await world.deliver("Readers", ["undefined"], users(3))
        await world.until(lambda: {"people_failed", "users_unusable", "removals_held"} <= lasting(world))
        await world.post(f"accounts/{ACCOUNT}/pause")

        told = {(each["id"], each["severity"]) for each in (await world.get("conditions"))["items"]}
        assert {"people_failed", "users_unusable", "removals_held", "account_paused"} <= {name for name, _ in told}

        async with world._session.get(f"{world.service.url}/metrics", headers=authorization(API_KEY)) as answer:
            families = list(text_string_to_metric_families(await answer.text()))
        [family] = [each for each in families if each.name == "heap_cordial_condition"]
        assert {(each.labels["id"], each.labels["severity"]) for each in family.samples if each.value} == told

        async with world._session.get(f"{world.service.url}/readyz") as answer:
            degraded = (await answer.json())["degraded"]
        matters = {name for name, severity in told if severity != Severity.INFO}
        assert set(degraded) == {name for name in matters if not CATALOGUE[name].anybody_can_cause}

        reader = await Reader.open(world._store_file, connections=1)
        try:
            assert {each.id for each in await reader.conditions()} == {name for name, _ in told}
        finally:
            await reader.close()

        headline = (await world.get("overview"))["headline"]
        parts = {"1 account paused", "1 sync held", "1 person could not be added or removed"}
        assert set(headline.split(" · ")) == parts


async def test_what_comes_late_from_heap_and_what_waits_for_long(tmp_path, monkeypatch):
    """Pages, a segment and a change that are late, in fractions of a second instead of hours."""
    for name in ("INCOMPLETE_AFTER_MS", "_LATE_MS", "_OLD_AFTER_MS"):
        monkeypatch.setattr(f"service.store.sqlite.conditions.{name}", 200)
    soon = msgspec.structs.replace(CATALOGUE["changes_old"], patience_seconds=0.0)
    monkeypatch.setitem(CATALOGUE, "changes_old", soon)
    monkeypatch.setattr("service.observe.conditions._ASK_SECONDS", 1.0)
    async with asking(tmp_path, expect_sync_hours=0.2 / 3600) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:user3@example.com", status=500, times=None))
        await world.deliver("Readers", users(4), task="one", page_size=2, first_pages=1)
        await until_told(world, "sync_incomplete", ["Readers"])
        # How long the service has run is noted each hour, and only that counts.
        retention = world.service.store._retention
        assert retention is not None
        await retention.forget_old()
        world.service.store._clock._offset_ms += 2 * 3_600_000
        await retention.forget_old()
        await until_told(world, "heap_silent", ["Readers"])
        await world.deliver("Readers", users(4), task="one", page_size=2)
        await world.deliver("Readers", ["last@example.com"])
        await until_told(world, "sync_incomplete", [])
        await until_told(world, "heap_silent", [])
        await until_told(world, "changes_old", [""])
        world.cordial.faults.clear()
        await world.post("failures/retry", {})
        await world.settled()
        await until_told(world, "changes_old", [])
        assert world.members("Readers") == sorted([*users(4), "last@example.com"])


async def test_pages_that_are_gone_with_an_older_file_until_a_week_is_over(tmp_path, monkeypatch):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", users(2))
        await world.settled()
        await world.stop()
        older = world._store_file.read_bytes()
        await world.start()
        await world.deliver("Readers", users(3))
        await world.stop()
        world._store_file.write_bytes(older)
        await world.start()
        await until_told(world, "pages_missing", [""])
        monkeypatch.setattr("service.store.sqlite.conditions._MISSING_UNTIL_MS", 0)
        await until_told(world, "pages_missing", [])
