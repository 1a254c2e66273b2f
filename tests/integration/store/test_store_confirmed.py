"""Somebody whom Cordial has confirmed is found if there is one, however many others the ledger has (R7)."""

from collections.abc import Sequence

import pytest

from service.store.sqlite import confirmed
from tests.store_harness import Store, fold_all, page, send_all


async def hold(store: Store, segment: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
    """Have people confirmed on a segment's list or off it; return the segment's id."""
    receipt = await store.accept(page(f"{segment} {len(add)} {len(remove)}", add=add, remove=remove, segment=segment))
    await fold_all(store)
    while await send_all(store):
        pass
    return receipt.segment_id


async def found(
    store: Store, segment_id: int, *, wanted: bool = True, apart_from: str = "", near: str = ""
) -> set[str]:
    return {
        contact.removeprefix("email:")
        for contact in await store.settled_contacts(
            "acme",
            segment_id,
            wanted=wanted,
            near=near and f"email:{near}",
            apart_from=apart_from and f"email:{apart_from}",
        )
    }


@pytest.fixture
def looks(monkeypatch):
    """Small steps through the ledger, counted."""
    made = []
    look = confirmed._look

    def look_counted(connection, position):
        made.append(position["after"])
        return look(connection, position)

    monkeypatch.setattr(confirmed, "_MEMBERS_PER_STEP", 10)
    monkeypatch.setattr(confirmed, "_look", look_counted)
    return made


async def test_a_small_list_is_found_in_a_large_ledger_after_a_start(maker, looks):
    store = await maker.open()
    await hold(store, "1", [f"a{number:03}" for number in range(200)])
    small = await hold(store, "2", ["z1", "z2", "z3"], ["z4"])
    await store.close()
    store = await maker.open()
    try:
        assert await found(store, small) == {"z1", "z2", "z3"}
        first = len(looks)
        assert first > 20
        assert await found(store, small, apart_from="z2") == {"z1", "z3"}
        assert await found(store, small, wanted=False) == {"z4"}
        again = len(looks)
        assert await found(store, small, wanted=False, apart_from="z4") == set()
        assert await found(store, small, wanted=False, apart_from="z4") == set()
        assert await found(store, small) == {"z1", "z2", "z3"}
        assert len(looks) == again, "the ledger is looked through once for each way"
    finally:
        await store.close()


async def test_where_nobody_is_confirmed_the_ledger_is_looked_through_once_until_somebody_is(store, looks):
    await hold(store, "1", [f"a{number:03}" for number in range(200)])
    receipt = await store.accept(page("new", add=["z1"], segment="2"))
    await fold_all(store)
    assert await found(store, receipt.segment_id) == set()
    before = len(looks)
    assert await found(store, receipt.segment_id) == set()
    assert len(looks) == before
    await send_all(store)
    assert await found(store, receipt.segment_id) == {"z1"}
    assert await found(store, receipt.segment_id, apart_from="z1") == set()
    assert len(looks) == before


async def test_who_is_not_confirmed_any_more_is_not_given(store):
    segment_id = await hold(store, "1", [f"a{number:03}" for number in range(100)])
    assert await found(store, segment_id, near="a050") >= {"a050"}
    await store.accept(page("off", remove=[f"a{number:03}" for number in range(99)], segment="1"))
    await fold_all(store)
    assert await found(store, segment_id, near="a050") == {"a099"}
    assert await found(store, segment_id, apart_from="a099") == set()


async def test_who_travels_in_an_import_is_confirmed_but_not_given(maker):
    """Otherwise Cordial's "no such contact" would be believed as if nobody had ever been confirmed."""
    store = await maker.open()
    try:
        segment_id = await hold(store, "1", ["a", "b"])
        await store._writer.run(
            lambda connection: connection.execute(
                "INSERT INTO import_change SELECT account_id, contact, segment_id, wanted FROM member"
            )
        )
        assert await found(store, segment_id) == set()
        named = await store.settled_contacts("acme", segment_id, wanted=True, near="", apart_from="", or_in_import=True)
        assert set(named) == {"email:a", "email:b"}
    finally:
        await store.close()
