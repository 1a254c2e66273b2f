"""A person's data: off the lists, then out of every table, and out of the file's bytes."""

import random

import msgspec
import pytest

from service.model.changes import ClaimCursor
from service.model.deliveries import Receipt, Rejected
from service.model.lists import ListState
from service.store.sqlite.store import SqliteStore
from tests.store_harness import SEGMENT, accepted_by_cordial, check_invariants, failed, fold_all, page, send_all, value
from tests.store_sqlite import SqliteStoreMaker

JANE = "jane.roe@example.com"


@pytest.fixture
def maker(tmp_path):
    return SqliteStoreMaker(tmp_path)


async def make_lists_ready(store: SqliteStore) -> None:
    for segment in await store.segments():
        ready = msgspec.structs.replace(
            segment, list_state=ListState.READY, list_name=segment.name, list_id=str(segment.id)
        )
        await store.set_list(ready)


async def put_on_list(store: SqliteStore, *users: str, task: str = "t1", segment: str = SEGMENT) -> None:
    await store.accept(page(task, add=users, segment=segment, name=f"Segment {segment}"))
    await fold_all(store)
    await make_lists_ready(store)
    await send_all(store)


async def forget(store: SqliteStore, user: str = JANE, *, keep_on_lists: bool = False, account: str = "acme") -> int:
    asked = await store.erasures.request(account, [f"email:{user}"], keep_on_lists=keep_on_lists, actor="key 1")
    await store.erasures.advance()
    return asked.memberships


async def send_and_finish(store: SqliteStore) -> list[str]:
    """Send what is owed and let the erasures come to their end; return whom was written to."""
    await fold_all(store)
    works = await send_all(store)
    await store.erasures.advance()
    return [work.contact for work in works]


async def bytes_of(store: SqliteStore, maker: SqliteStoreMaker) -> bytes:
    assert await store.empty_wal()
    return b"".join(path.read_bytes() for path in sorted(maker.database.parent.iterdir()) if path.is_file())


async def test_a_member_is_taken_off_the_lists_before_it_is_erased(store, maker):
    await put_on_list(store, JANE, "john")
    await put_on_list(store, JANE, "june", task="t2", segment="8")
    assert await forget(store) == 2
    assert [erasure.left for erasure in await store.erasures.open()] == [2]
    check_invariants(maker.facts(), store)
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert await store.erasures.open() == []
    facts = maker.facts()
    assert {value(row.contact) for row in facts.members} == {"john", "june"}
    assert [segment.members for segment in facts.segments] == [1, 1]
    check_invariants(facts, store)


async def test_every_key_that_people_were_ever_known_by_is_found(store):
    assert await store.erasures.keys("acme") == []
    await store.accept(page("t1", add=[JANE, "john"]))
    await store.accept(msgspec.structs.replace(page("t2", add=["7", "8"]), identity="customerId"))
    await fold_all(store)
    await store.accept(msgspec.structs.replace(page("t3", add=["9"]), identity="loginName"))
    await store.accept(msgspec.structs.replace(page("t4", add=["9"], account="globex"), identity="other"))
    assert await store.erasures.keys("acme") == ["customerId", "email", "loginName"]


async def test_nothing_is_erased_before_cordial_has_confirmed_it(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    await fold_all(store)
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=maker.clock.ms + 1_000))
    await store.erasures.advance()
    assert [erasure.left for erasure in await store.erasures.open()] == [1]
    maker.clock.ms += 1_000
    await store.make_due_pending()
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert await store.erasures.open() == []


async def test_kept_on_the_lists_nothing_is_sent_and_all_is_erased_at_once(store, maker):
    await put_on_list(store, JANE, "john")
    assert await forget(store, keep_on_lists=True) == 1
    assert await store.erasures.open() == []
    assert await send_and_finish(store) == []
    check_invariants(maker.facts(), store)
    assert JANE.encode() not in await bytes_of(store, maker)


async def test_a_removal_that_was_given_up_is_tried_again_when_it_is_asked_for_again(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    await fold_all(store)
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=None))
    await store.erasures.advance()
    assert [erasure.left for erasure in await store.erasures.open()] == [1]
    await forget(store)
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert await store.erasures.open() == []
    check_invariants(maker.facts(), store)


async def test_the_failures_of_who_is_erased_do_not_count_against_the_removal_and_go_too(store, maker):
    await put_on_list(store, "john")
    await store.accept(page("t2", add=[JANE, "june"]))
    await fold_all(store)
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=None, attempts=5))
    await forget(store)
    assert [failure.contact for failure in maker.facts().failures] == ["email:june"]
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert await forget(store, "june", keep_on_lists=True) == 1
    facts = maker.facts()
    assert (facts.failures, {value(row.contact) for row in facts.members}) == ([], {"john"})
    check_invariants(facts, store)


async def test_whoever_was_never_sent_is_erased_without_a_call(store, maker):
    await store.accept(page("t1", add=[JANE, "john"]))
    await fold_all(store)
    assert await forget(store) == 1
    assert await store.erasures.open() == []
    assert await send_and_finish(store) == ["email:john"]
    check_invariants(maker.facts(), store)


async def test_pages_that_are_not_in_the_ledger_yet_are_cleaned(store, maker):
    await put_on_list(store, "john")
    await store.accept(page("t2", add=[JANE, "june"]))
    await store.accept(page("t3", remove=[JANE]))
    assert await forget(store) == 0
    check_invariants(maker.facts(), store)
    assert await send_and_finish(store) == ["email:june"]
    check_invariants(maker.facts(), store)
    assert JANE.encode() not in await bytes_of(store, maker)


async def test_what_heap_says_meanwhile_is_taken_back_and_afterwards_counts(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    await store.accept(page("t2", add=[JANE]))
    await fold_all(store)
    await store.erasures.advance()
    await send_and_finish(store)
    assert await store.erasures.open() == []
    await put_on_list(store, JANE, task="t3")
    assert maker.facts().wanted() == {JANE}


async def test_who_is_named_again_while_the_last_traces_go_is_still_sent(store, maker, monkeypatch):
    """Whom to send is found by the pieces of the inbox: these keep a name for as long as anything is owed for it."""
    await put_on_list(store, "john")
    read = store.erasures._read
    came: list[Receipt] = []

    async def read_and_take_a_page(look):
        found = await read(look)
        if found is True and not came:
            came.append(await store.accept(page("t2", remove=[JANE])))
            await fold_all(store)
        return found

    monkeypatch.setattr(store.erasures, "_read", read_and_take_a_page)
    await forget(store)
    assert came
    assert await send_and_finish(store) == [f"email:{JANE}"]
    await store.erasures.advance()
    assert await store.erasures.open() == []
    assert JANE.encode() not in await bytes_of(store, maker)


async def test_the_same_user_of_another_account_stays(store, maker):
    await put_on_list(store, JANE)
    await store.accept(page("t1", add=[JANE, "june"], account="globex"))
    await forget(store)
    await send_and_finish(store)
    assert [row.account for row in maker.facts().members if value(row.contact) == JANE] == ["globex"]
    assert maker.facts().unfolded_users == 0
    check_invariants(maker.facts(), store)


async def test_an_erasure_is_gone_on_with_after_a_restart(maker):
    store = await maker.open()
    await put_on_list(store, JANE, "john")
    await store.erasures.request("acme", [f"email:{JANE}"], keep_on_lists=False, actor="key 1")
    await store.close()
    store = await maker.open()
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert JANE.encode() not in await bytes_of(store, maker)
    await store.close()


async def test_whoever_works_through_a_piece_misses_nobody(store, maker):
    others = [f"user{number}" for number in range(20)]
    await store.accept(page("t1", add=[JANE, *others]))
    await fold_all(store)
    await make_lists_ready(store)
    claimed = await store.claim("acme", 1, ClaimCursor(), 5)
    works = [work for stretch in claimed.stretches for work in stretch.works]
    await store.settle([accepted_by_cordial(work, change) for work in works for change in work.changes])
    await forget(store, keep_on_lists=True)
    await send_all(store)
    assert maker.facts().segments[0].settled == 20
    check_invariants(maker.facts(), store)


async def test_every_trace_in_every_table_goes_and_so_do_the_bytes(store, maker):
    """Among thousands, with failures, remarks, rejected users and a retried audit that name the user."""
    chance = random.Random(7)  # noqa: S311  made-up users
    crowd = [f"{chance.getrandbits(64):016x}@example.com" for _ in range(3_000)]
    forgotten = [f"{chance.getrandbits(64):016x}@forgotten.example" for _ in range(20)]
    everybody = [*crowd, *forgotten]
    for number in range(6):
        chance.shuffle(everybody)
        named = page(f"t{number}", add=everybody, segment=str(7 + number % 2), name=f"Buyers {number % 2}")
        rejected = [Rejected("$.data.add[0].id", "too_long", forgotten[number].upper() + "x" * 99)]
        await store.accept(msgspec.structs.replace(named, rejected=rejected, rejected_count=1))
        await fold_all(store)
        await make_lists_ready(store)
        await send_all(
            store,
            lambda work, change: (
                failed(work, change, retry_at_ms=None) if chance.random() < 0.1 else accepted_by_cordial(work, change)
            ),
        )
    await store.steering.record("key 1", "failures.retry", f'{{"reason":"{forgotten[0]}"}}', 0)
    await store.accept(page("unfolded", add=forgotten))
    for user in forgotten:
        await forget(store, user)
    while await store.erasures.open():
        await fold_all(store)
        await send_all(store)
        await store.erasures.advance()
    check_invariants(maker.facts(), store)
    left = (await bytes_of(store, maker)).lower()
    assert [user for user in forgotten if user.split("@")[0].encode() in left] == []
    assert b"@forgotten.example" not in left
    assert crowd[0].encode() in left


async def test_the_audit_names_nobody(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    await send_and_finish(store)
    with maker.connection() as connection:
        lines = connection.execute("SELECT actor, action, target, changes FROM audit ORDER BY id").fetchall()
    assert lines == [
        ("key 1", "user.forget", "acme j***@e***.com", 1),
        ("key 1", "user.erased", "acme j***@e***.com", 1),
    ]


async def test_a_short_id_is_not_looked_for_within_words(store, maker):
    await put_on_list(store, "12", "john")
    rejected = [Rejected("$.data.add[0].id", "object", value) for value in ("12", "112", "customer 12")]
    named = msgspec.structs.replace(page("t2", add=["june"]), rejected=rejected, rejected_count=3)
    await store.accept(named)
    await fold_all(store)
    await send_all(store, lambda work, change: failed(work, change, retry_at_ms=None))
    await forget(store, "12")
    await send_and_finish(store)
    assert await store.erasures.open() == []
    with maker.connection() as connection:
        (text,) = connection.execute("SELECT rejected_users FROM delivery WHERE rejected = 3").fetchone()
        assert connection.execute("SELECT message FROM failure").fetchall() == [("Cordial's own words",)]
    assert [entry["value"] for entry in msgspec.json.decode(text)] == ["(erased)", "112", "customer 12"]


async def test_an_import_under_way_is_waited_for(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    with maker.connection() as connection:
        connection.execute("INSERT INTO import_change VALUES (1, ?, 1, 1)", [f"email:{JANE}"])
        connection.execute(
            "INSERT INTO bulk_import (id, account_id, state, segments, gathered_to, started_at_ms)"
            " VALUES (1, 1, 'ended', '[1]', ?, 1)",
            [f"email:{JANE}"],
        )
        await fold_all(store)
        await store.erasures.advance()
        assert len(await store.erasures.open()) == 1
        connection.execute("DELETE FROM import_change")
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert await store.erasures.open() == []
    assert JANE.encode() not in await bytes_of(store, maker)


async def test_what_is_older_than_the_retention_is_out_of_the_bytes_too(store, maker):
    await put_on_list(store, "john")
    rejected = [Rejected("$.data.add[0].id", "too_long", JANE)]
    await store.accept(msgspec.structs.replace(page("t2", add=["june"]), rejected=rejected, rejected_count=1))
    await fold_all(store)
    await send_all(store)
    assert JANE.encode() in await bytes_of(store, maker)
    assert store._retention is not None
    assert await store._retention.forget_old() == 0
    maker.clock.ms += 91 * 86_400_000
    assert await store._retention.forget_old() > 0
    assert JANE.encode() not in await bytes_of(store, maker)


async def test_an_erasure_that_waits_writes_nothing_and_reads_each_piece_once(store, maker):
    await put_on_list(store, JANE)
    await forget(store)
    await store.accept(page("t2", add=["john"]))
    await store.erasures.advance()
    before = store._writer.commits
    for _ in range(5):
        await store.erasures.advance()
    assert store._writer.commits == before
    await store.accept(page("t3", add=[JANE, "june"]))
    await store.erasures.advance()
    assert store.backlog.unfolded_users == maker.facts().unfolded_users == 2
    assert set(await send_and_finish(store)) == {f"email:{JANE}", "email:john", "email:june"}
    assert await store.erasures.open() == []


async def test_of_who_is_being_erased_no_other_user_id_counts_once_heap_has_taken_back_what_it_said(store, maker):
    """Heap names her by two; the erasure has taken her off as both, and Heap adds and removes her as one of them."""
    await put_on_list(store, JANE, JANE.upper())
    await forget(store)
    await store.accept(page("t2", add=[JANE.upper()]))
    await store.accept(page("t3", remove=[JANE.upper()]))
    await fold_all(store)
    assert maker.facts().wanted() == set()
    check_invariants(maker.facts(), store)


async def test_who_is_being_erased_is_not_wanted_again_when_one_of_his_user_ids_leaves(store, maker):
    """Heap names him by two, and says meanwhile that one of them has left; of the other it said nothing new."""
    await put_on_list(store, JANE, JANE.upper(), "john", "JOHN")
    assert await forget(store) == 1
    await store.accept(page("t2", remove=[JANE.upper(), "JOHN"]))
    await fold_all(store)
    assert maker.facts().wanted() == {"john"}
    assert await send_and_finish(store) == [f"email:{JANE}"]
    assert {value(row.contact) for row in maker.facts().members} == {"john"}
    check_invariants(maker.facts(), store)
