"""Every kind of condition that no other test raises, in a running service; and every reader says the same of it (R16)."""

import sqlite3

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from service.model.conditions import CATALOGUE, Severity
from service.model.guard import RemovalGuard
from service.sandbox.faults import Fault, FaultKind
from service.store.sqlite.reading import Reader
from tests.api_fixtures import API_KEY, ApiWorld, asking, authorization
from tests.service_fixtures import ACCOUNT, users

LIMIT_OF_WAL = 300_000


def facts(world: ApiWorld) -> set[str]:
    return {fact.id for fact in world.service.facts()}


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


async def test_files_that_wait_for_a_trial(tmp_path):
    async with asking(tmp_path, public_url="http://127.0.0.1:1") as world:
        assert "account_awaits_trial" in facts(world)
        await world.restart(bulk_untested=True)
        assert "account_awaits_trial" not in facts(world)


async def test_ids_that_cannot_be_used_until_a_sync_without_any(tmp_path):
    async with asking(tmp_path) as world:
        await world.deliver("Readers", [*users(3), "undefined"])
        await world.until(lambda: "users_unusable" in lasting(world))
        await world.deliver("Readers", users(4))
        await world.until(lambda: "users_unusable" not in lasting(world))


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
