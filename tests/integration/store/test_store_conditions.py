"""What the store tells of lists and syncs that a person should know (R16)."""

import contextlib
from pathlib import Path

import msgspec
import pytest

from service.config.settings import AccountSettings, SecretReference
from service.model import lists as words
from service.model.conditions import Fact, RecordedCondition
from service.model.lists import ListState
from service.store.sqlite.reading import Reader
from tests.store_harness import START_MS, Store, drain, fold_all, page, send_all
from tests.store_sqlite import SqliteStoreMaker

HOUR_MS = 3_600_000
SECRET = SecretReference(file="secret")
ACCOUNT = AccountSettings("acme", (SECRET,), SECRET)


@pytest.fixture
def maker(tmp_path: Path) -> SqliteStoreMaker:
    return SqliteStoreMaker(tmp_path)


async def facts(store: Store, account: AccountSettings = ACCOUNT) -> dict[str, Fact]:
    return {fact.id: fact for fact in await store.conditions.facts({account.name: account})}


async def make_ready(store: Store) -> None:
    [segment] = await store.segments()
    await store.set_list(
        msgspec.structs.replace(segment, list_state=ListState.READY, list_name="Buyers", list_id="1", list_reason="")
    )


async def test_missing_pages_are_named_an_hour_after_the_last_though_all_that_came_is_settled(store, maker):
    await store.accept(page("first", add=["anna"], number=1, of=3))
    await store.accept(page("first", add=["bert"], number=3, of=3))
    await fold_all(store)
    await send_all(store)
    await make_ready(store)
    assert "sync_incomplete" not in await facts(store)
    maker.clock.ms += HOUR_MS + 1
    fact = (await facts(store))["sync_incomplete"]
    assert (fact.account, fact.subject, fact.detail) == ("acme", "Buyers", "page 2 of 3 is missing")
    await store.accept(page("first", add=["carl"], number=2, of=3))
    assert "sync_incomplete" not in await facts(store)
    # Where the machine's clock was set back meanwhile, what has just come is not an hour old.
    maker.clock.stepped_ms = -5 * HOUR_MS
    await store.accept(page("second", add=["dora"], number=1, of=2, received_at_ms=maker.clock.wall_ms()))
    assert "sync_incomplete" not in await facts(store)


@pytest.mark.parametrize("again", ["as many pages", "a drain"])
async def test_pages_that_are_missing_stay_so_until_a_newer_sync_can_have_their_users(store, maker, again):
    """A sync has who entered and who left since the last one: a small one says nothing of who was in a page before."""
    await store.accept(page("first", add=["anna"], number=1, of=3))
    await store.accept(page("first", add=["bert"], number=3, of=3))
    maker.clock.ms += HOUR_MS + 1
    await store.accept(page("second", add=["dora"], received_at_ms=maker.clock.ms))
    await fold_all(store)
    await make_ready(store)
    await send_all(store)
    reader = await Reader.open(maker.database, maker.clock)
    try:

        async def told() -> tuple[str, bool, bool, int]:
            fact = (await facts(store)).get("sync_incomplete")
            segment, found = await reader.segment(1), await reader.list_sum(1)
            assert segment is not None
            assert found is not None
            return (
                fact.detail if fact else "",
                segment.standing == "receiving",
                segment.pages_overdue,
                len(found.missing_pages),
            )

        assert await told() == ("page 2 of 3 is missing", True, True, 1)
        if again == "a drain":
            await store.accept(drain("1", signed_at_ms=maker.clock.ms))
        for number in () if again == "a drain" else (1, 2, 3):
            assert (await told())[0] == "page 2 of 3 is missing"
            await store.accept(page("again", add=[f"a{number}"], number=number, of=3, received_at_ms=maker.clock.ms))
        await fold_all(store)
        await send_all(store)
        assert await told() == ("", False, False, 0)
    finally:
        await reader.close()


async def come_every_four_hours(store: Store, maker: SqliteStoreMaker, times: int) -> None:
    assert store._retention is not None
    for number in range(times):
        await store.accept(page(f"task-{number}", add=["anna"], received_at_ms=maker.clock.ms))
        await store._retention.forget_old()
        maker.clock.ms += 4 * HOUR_MS


async def live(store: Store, maker: SqliteStoreMaker, hours: int) -> None:
    assert store._retention is not None
    for _ in range(hours):
        maker.clock.ms += HOUR_MS
        await store._retention.forget_old()


async def test_a_segment_that_came_regularly_and_does_not_any_more_is_told(store, maker):
    await come_every_four_hours(store, maker, 5)
    await live(store, maker, 4)
    assert "heap_silent" not in await facts(store)
    await live(store, maker, 3)
    fact = (await facts(store))["heap_silent"]
    assert (fact.subject, fact.detail) == ("Buyers", "nothing for 11.0 h, expected every 4.0 h")
    await store.accept(page("again", add=["anna"], received_at_ms=maker.clock.ms))
    assert "heap_silent" not in await facts(store)


async def test_a_few_syncs_by_hand_are_no_rhythm(store, maker):
    for number in range(5):
        await store.accept(page(f"task-{number}", add=["anna"], received_at_ms=maker.clock.ms))
        maker.clock.ms += 60_000
    await live(store, maker, 48)
    assert "heap_silent" not in await facts(store)


async def test_the_hours_that_are_configured_go_before_what_was_learned(store, maker):
    account = msgspec.structs.replace(ACCOUNT, expect_sync_hours=6)
    await come_every_four_hours(store, maker, 1)
    await live(store, maker, 2)
    assert "heap_silent" not in await facts(store, account)
    await live(store, maker, 2)
    assert (await facts(store, account))["heap_silent"].detail == "nothing for 8.0 h, expected every 6.0 h"


async def test_a_service_that_did_not_run_blames_nobody(maker):
    store = await maker.open()
    await come_every_four_hours(store, maker, 5)
    await store.close()
    maker.clock.ms += 100 * HOUR_MS
    again = await maker.open()
    try:
        assert "heap_silent" not in await facts(again)
    finally:
        await again.close()


async def test_a_list_that_no_count_has_followed_is_told_after_an_hour(store, maker):
    await store.accept(page("first", add=["anna"]))
    await fold_all(store)
    await make_ready(store)
    await send_all(store)
    maker.clock.ms += HOUR_MS + 1
    assert (await facts(store))["list_not_counted"].subject == "Buyers"
    [segment] = await store.segments()
    await store.set_list_count(segment.id, 2, 1)
    found = await facts(store)
    assert "list_not_counted" not in found
    assert (found["list_strangers"].detail, found["list_strangers"].people) == ("Cordial counts 2, 1 are confirmed", 1)
    await store.set_list_count(segment.id, 0, 1)
    assert "list_differs" in await facts(store)
    await store.set_list_count(segment.id, 1, 1)
    assert not {"list_strangers", "list_differs"} & (await facts(store)).keys()
    # A count says nothing of what was confirmed after it.
    await store.accept(page("second", add=["ben"]))
    await fold_all(store)
    await send_all(store)
    assert not {"list_strangers", "list_differs"} & (await facts(store)).keys()


async def test_contacts_in_doubt_and_what_reading_back_found_are_told(store, maker):
    await store.accept(page("first", add=["anna"]))
    await fold_all(store)
    await send_all(store)
    [segment] = await store.segments()
    with maker.connection() as connection, connection:
        connection.execute(
            "INSERT INTO read_back (account_id, contact, reason, due_at_ms) VALUES (1, 'email:anna', 'crash', 0)"
        )
        connection.execute(
            "INSERT INTO member_read (account_id, contact, segment_id, wanted, differed, at_ms) "
            "VALUES (1, 'email:anna', ?, 1, 1, unixepoch() * 1000)",
            (segment.id,),
        )
    found = await facts(store)
    assert (found["contacts_in_doubt"].account, found["contacts_in_doubt"].people) == ("acme", 1)
    assert (found["members_differed"].subject, found["members_differed"].people) == ("Buyers", 1)


async def test_pages_that_nobody_looks_at_and_changes_that_are_old_are_told(store, maker):
    await store.accept(page("first", add=["anna"]))
    assert "pages_stuck" not in await facts(store)
    maker.clock.ms += 600_001
    assert (await facts(store))["pages_stuck"].subject == "Buyers"
    await fold_all(store)
    maker.clock.ms += 4 * HOUR_MS
    found = await facts(store)
    assert "pages_stuck" not in found
    assert found["changes_old"].account == "acme"


async def test_a_list_that_is_not_there_yet_is_told_only_with_what_keeps_it_back(store):
    """At a low rate its turn comes after minutes, and nothing is wrong with it."""
    await store.accept(page("first", add=["anna"]))
    await fold_all(store)
    [segment] = await store.segments()
    for reason in ("", words.is_looked_for(), words.would_create("")):
        await store.set_list(msgspec.structs.replace(segment, list_reason=reason))
        assert "list_not_ready" not in await facts(store)
    for reason in (words.no_answer("HTTP 500"), words.waits_for_account("Readers")):
        await store.set_list(msgspec.structs.replace(segment, list_reason=reason))
        fact = (await facts(store))["list_not_ready"]
        assert (fact.people, fact.detail) == (1, reason)


async def test_only_accounts_that_are_served_are_told_of(store):
    await store.accept(page("first", add=["anna"], account="globex"))
    await fold_all(store)
    assert set(await facts(store)) == {"account_not_configured"}


async def test_what_lasts_is_kept_over_a_restart_and_what_is_over_is_history(store):
    begun = RecordedCondition("people_failed", "acme", "Buyers", "", 3, 1, START_MS, None)
    await store.conditions.record([begun], [], [])
    await store.conditions.record([begun], [], [])
    assert await store.conditions.lasting() == [begun]
    # As it is now, for those who read it without the service.
    begun = msgspec.structs.replace(begun, subject="Big buyers", people=5, detail="5 people")
    await store.conditions.record([], [], [begun])
    assert await store.conditions.lasting() == [begun]
    await store.conditions.record([], [msgspec.structs.replace(begun, ended_at_ms=START_MS + 5)], [])
    assert await store.conditions.lasting() == []
    assert await store.conditions.history(10) == [msgspec.structs.replace(begun, ended_at_ms=START_MS + 5)]


async def test_changes_of_an_account_that_is_configured_no_more_are_told_and_nothing_else_of_it(store):
    await store.accept(page("first", add=["anna", "bert"]))
    await fold_all(store)
    assert "account_not_configured" not in await facts(store)
    found = await facts(store, msgspec.structs.replace(ACCOUNT, name="other"))
    assert {name: (fact.account, fact.people) for name, fact in found.items()} == {
        "account_not_configured": ("acme", 2)
    }


async def test_lists_of_removed_accounts_hide_no_list_of_those_that_are_configured(maker, monkeypatch):
    monkeypatch.setattr("service.store.sqlite.conditions._MAX_ROWS", 2)
    async with contextlib.AsyncExitStack() as stack:
        store = await maker.open()
        stack.push_async_callback(store.close)
        for number in range(3):
            await store.accept(page(f"old {number}", account="globex", segment=f"old {number}", add=["anna"]))
        await store.accept(page("new", add=["anna"]))
        await fold_all(store)
        [segment] = [each for each in await store.segments() if each.account == "acme"]
        await store.set_list(msgspec.structs.replace(segment, list_reason=words.no_answer("HTTP 500")))
        assert (await facts(store))["list_not_ready"].account == "acme"


async def test_pages_that_are_missing_from_the_store_are_told_for_a_week(store, maker):
    await store.steering.record("the service", "store.pages_missing", "", 7)
    assert (await facts(store))["pages_missing"].detail == "7 in the last week"
    maker.clock.ms += 7 * 24 * HOUR_MS
    assert "pages_missing" not in await facts(store)
