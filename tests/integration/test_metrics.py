"""What Prometheus is told, seen by scraping the running service."""

from pathlib import Path

import aiohttp
import pytest

from service.app import running_service
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from service.store.sqlite.figures import FiguresReader
from service.store.sqlite.store import SqliteStore
from tests.metrics_fixtures import scrape, scraped_in_time
from tests.service_fixtures import ACCOUNT, HEAP_SECRET, delivering, users
from tests.store_harness import page as delivery


async def test_deliveries_are_counted_by_their_answer_and_users_once(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", [*users(3), ""], ["gone@example.com"], task="one")
        await world.deliver("Readers", [*users(3), ""], ["gone@example.com"], task="one")
        async with aiohttp.ClientSession() as session:
            [page] = build_pages(1, "Readers", users(1), [], task_id="two")
            for account in (ACCOUNT, "nobody"):
                refused = await post_page(session, f"{world.service.url}/webhooks/heap/{account}", "wrong", page)
                assert refused.status == 403
        scraped = await scrape(world.service.url)

    deliveries = "heap_cordial_deliveries_total"
    assert scraped.value(deliveries, account=ACCOUNT, answer="accepted") == 1
    assert scraped.value(deliveries, account=ACCOUNT, answer="duplicate") == 1
    assert scraped.value(deliveries, account=ACCOUNT, answer="forbidden") == 1
    assert scraped.value(deliveries, account="", answer="forbidden") == 1
    assert scraped.value("heap_cordial_delivery_ack_seconds_count", account=ACCOUNT) == 2
    assert scraped.value("heap_cordial_delivered_users_total", account=ACCOUNT, change="add") == 3
    assert scraped.value("heap_cordial_delivered_users_total", account=ACCOUNT, change="remove") == 1
    assert scraped.value("heap_cordial_delivered_users_total", account=ACCOUNT, change="rejected") == 1


async def test_calls_results_and_dead_letters_are_those_that_cordial_saw(tmp_path):
    async with delivering(tmp_path, create_contacts=False) as world:
        world.cordial.state.create_contact("email:known@example.com", "known@example.com")
        await world.deliver("Readers", ["known@example.com", *users(2, "unknown")])
        await world.settled()
        # The list is counted when all is settled, and each call is seen here and there at its own moment.
        put = {"account": ACCOUNT, "operation": "PUT contacts"}
        scraped = await scraped_in_time(
            world.service.url,
            lambda found: (
                found.value("heap_cordial_call_seconds_count", **put) == len(world.contact_calls())
                and found.value("heap_cordial_limiter_wait_seconds_count", account=ACCOUNT) == len(world.calls())
            ),
        )

    assert scraped.value("heap_cordial_calls_total", **put, answer="done", status="200") >= 1
    assert scraped.value("heap_cordial_calls_total", **put, answer="not_found", status="404") == 4
    results = "heap_cordial_results_total"
    assert [scraped.value(results, account=ACCOUNT, result=kind) for kind in ("settled", "retry", "dead")] == [1, 2, 2]
    assert scraped.value("heap_cordial_dead_letters", account=ACCOUNT) == 2
    assert scraped.value("heap_cordial_lists", account=ACCOUNT, state="ready") == 1
    assert scraped.value("heap_cordial_oldest_change_age_seconds", account=ACCOUNT) == 0
    assert [scraped.value("heap_cordial_backlog", state=state) for state in ("inbox", "pending", "waiting")] == [
        0,
        0,
        0,
    ]


async def test_an_account_that_cannot_be_served_shows_as_paused_with_its_backlog_and_age(tmp_path):
    async with delivering(tmp_path) as world:
        world.cordial.faults.add(Fault(FaultKind.ANSWER, status=401, times=None))
        await world.deliver("Readers", users(5))
        await world.until(lambda: world.service.deliverer.pauses()[ACCOUNT])
        await world.until(lambda: world.service.store.backlog.pending_total == 5)
        scraped = await scrape(world.service.url)

    states = ("sending", "slowed", "paused")
    assert [scraped.value("heap_cordial_account_state", account=ACCOUNT, state=each) for each in states] == [0, 0, 1]
    assert scraped.value("heap_cordial_pauses_total", account=ACCOUNT) == 1
    assert scraped.value("heap_cordial_condition", id="account_stopped", account=ACCOUNT, severity="critical") == 1
    assert scraped.value("heap_cordial_condition", id="store_trouble", account="", severity="critical") == 0
    assert scraped.value("heap_cordial_backlog", state="pending") == 5
    assert scraped.value("heap_cordial_oldest_change_age_seconds", account=ACCOUNT) > 0
    assert scraped.value("heap_cordial_store_write_fault") == 0


async def test_the_store_and_the_loop_are_measured(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", users(5))
        await world.settled()
        async with aiohttp.ClientSession() as session, session.get(f"{world.service.url}/metrics") as answer:
            text = await answer.text()
        scraped = await scrape(world.service.url)

    assert scraped.value("heap_cordial_store_database_bytes") > 0
    assert scraped.value("heap_cordial_store_wal_bytes") > 0
    assert scraped.value("heap_cordial_store_disk_free_bytes") > 0
    assert "heap_cordial_event_loop_lag_seconds_count" in scraped.names
    assert all(family.name.startswith("heap_cordial_") for family in scraped.families)
    assert all(family.documentation for family in scraped.families)
    # Nothing of users, of segments, of keys.
    for private in ("example.com", "Readers", HEAP_SECRET):
        assert private not in text


@pytest.mark.parametrize("is_open", [False, True])
async def test_who_may_scrape(tmp_path, is_open):
    key_file = tmp_path / "api-key"
    key_file.write_text("the key")
    server = ServerSettings(
        host="127.0.0.1", port=0, api_keys=(SecretReference(file=str(key_file)),), metrics_open=is_open
    )
    async with running_service(settings(tmp_path, server)) as service, aiohttp.ClientSession() as session:
        async with session.get(f"{service.url}/metrics") as answer:
            assert answer.status == (200 if is_open else 401)
        authorization = {"Authorization": aiohttp.encode_basic_auth("the key", "")}
        async with session.get(f"{service.url}/metrics", headers=authorization) as answer:
            assert answer.status == 200


async def test_two_services_in_one_process_count_apart(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    async with delivering(folders[0]) as first, delivering(folders[1]) as second:
        await first.deliver("Readers", users(5))
        counted = {"account": ACCOUNT, "answer": "accepted"}
        assert (await scrape(first.service.url)).value("heap_cordial_deliveries_total", **counted) == 1
        assert (await scrape(second.service.url)).value("heap_cordial_deliveries_total", **counted) == 0


async def test_the_store_is_asked_at_most_once_in_five_seconds(tmp_path):
    now = 100.0
    database = tmp_path / "store.db"
    store = await SqliteStore.open(database, [ACCOUNT, "former"], max_backlog=1_000)
    figures = await FiguresReader.open(database, [ACCOUNT], clock=lambda: now)
    try:
        [before] = await figures.read() or []
        assert (before.account, before.oldest_open_ms) == (ACCOUNT, None)
        page = delivery("task", add=users(2))
        await store.accept(page)
        now += 4.9
        assert await figures.read() == [before]
        now += 0.1
        [after] = await figures.read() or []
        assert after.oldest_open_ms == page.received_at_ms
    finally:
        await figures.close()
        await store.close()


def settings(folder: Path, server: ServerSettings) -> Settings:
    account = AccountSettings(
        name=ACCOUNT,
        heap_secrets=(SecretReference(environment="UNUSED"),),
        cordial_api_key=SecretReference(environment="UNUSED"),
    )
    store = StoreSettings(path=str(folder / "store.db"))
    return Settings(server=server, store=store, log=LogSettings(), accounts={ACCOUNT: account})
