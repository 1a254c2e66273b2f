"""Guarded removals (R17): a sync that removes an unusual share of a list is held whole until a person decides."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from service.model.changes import MemberState
from service.model.deliveries import Delivery, ReceiptStatus
from service.model.guard import RemovalGuard
from service.store.sqlite import opening
from service.store.sqlite.reading import Reader
from service.store.sqlite.retention import Retention
from tests.command_fixtures import eventually
from tests.store_harness import (
    ACCOUNTS,
    START_MS,
    Store,
    StoreMaker,
    check_invariants,
    drain,
    fold_all,
    judge_all,
    page,
    send_all,
)
from tests.store_model import OrderingModel
from tests.store_sqlite import SqliteStoreMaker

USERS = [f"user{number:02}" for number in range(20)]
GUARD = RemovalGuard(share=0.5, least=3)
HOUR_MS = 3_600_000


@pytest.fixture
async def guarded(store: Store) -> Store:
    """Return a store that guards `acme`, with twenty members that are all confirmed."""
    store.guard.serve({"acme": GUARD})
    await store.accept(page("t0", add=USERS))
    await judge_all(store)
    await send_all(store)
    return store


def guard_of(maker: StoreMaker, task_id: str) -> str | None:
    return maker.facts().sync(task_id).guard


async def sync_id(maker: StoreMaker, task_id: str) -> int:
    return maker.facts().sync(task_id).id


async def test_a_sync_above_both_bounds_is_held_before_anything_of_it_is_sent(guarded, maker):
    await guarded.accept(page("t1", add=["new"], remove=USERS[:11]))
    await judge_all(guarded)
    facts = maker.facts()
    sync = facts.sync("t1")
    assert (sync.guard, sync.guard_removals, sync.guard_members) == ("held", 11, 20)
    assert facts.wanted() == set(USERS)
    assert not guarded.pending_segments("acme")
    assert guarded.backlog.total_of("acme") == 12


@pytest.mark.parametrize(("removed", "guard", "is_held"), [
    (10, GUARD, False),  # exactly the share
    (11, GUARD, True),
    (11, RemovalGuard(share=0.5, least=11), False),  # exactly the least
    (12, RemovalGuard(share=0.5, least=11), True),
    (20, RemovalGuard(share=1, least=0), False),
    (1, RemovalGuard(share=0, least=0), True),
])  # fmt: skip
async def test_both_bounds_must_be_exceeded(guarded, maker, removed, guard, is_held):
    guarded.guard.serve({"acme": guard})
    await guarded.accept(page("t1", remove=USERS[:removed]))
    await judge_all(guarded)
    assert guard_of(maker, "t1") == ("held" if is_held else "passed")
    assert maker.facts().wanted() == set(USERS if is_held else USERS[removed:])


async def test_a_first_sync_is_never_held_and_its_pages_do_not_wait_for_each_other(store, maker):
    store.guard.serve({"acme": RemovalGuard(share=0, least=0)})
    await store.accept(page("t1", add=USERS, number=1, of=3))
    await judge_all(store)
    assert maker.facts().wanted() == set(USERS)
    await store.accept(page("t1", remove=USERS[:15], number=2, of=3))
    await judge_all(store)
    assert maker.facts().wanted() == set(USERS[15:])


async def test_other_accounts_and_segments_go_on(guarded, maker):
    await guarded.accept(page("t1", remove=USERS))
    await guarded.accept(page("t2", add=USERS, segment="8"))
    await guarded.accept(page("t3", add=USERS[:2], remove=USERS, account="globex"))
    await judge_all(guarded)
    facts = maker.facts()
    assert facts.wanted("8") == set(USERS)
    assert facts.sync("t3").guard is None
    assert facts.sync("t3").unfolded == 0


async def test_pages_wait_for_each_other_and_are_held_as_soon_as_they_exceed_the_bounds(guarded, maker):
    await guarded.accept(page("t1", add=["new"], remove=USERS[:8], number=1, of=3))
    await judge_all(guarded)
    assert guard_of(maker, "t1") is None
    assert maker.facts().wanted() == set(USERS)
    await guarded.accept(page("t1", remove=USERS[8:12], number=2, of=3))
    await judge_all(guarded)
    assert guard_of(maker, "t1") == "held"
    await guarded.accept(page("t1", remove=USERS[12:14], number=3, of=3))
    await judge_all(guarded)
    sync = maker.facts().sync("t1")
    assert (sync.guard, sync.guard_removals) == ("held", 14)
    assert maker.facts().wanted() == set(USERS)


async def test_a_sync_is_queued_only_behind_another_of_its_segment(guarded, maker):
    """A full disk can keep the first from being judged: then nothing is before it, and nothing is held."""
    await guarded.accept(page("t1", add=["new"]))
    await guarded.accept(page("t2", add=["later"]))
    await fold_all(guarded)
    reader = await Reader.open(maker.database)
    try:
        shown = [await reader.sync(await sync_id(maker, task)) for task in ("t1", "t2")]
        assert [sync.state for sync in shown if sync] == ["sending", "queued"]
        await judge_all(guarded)
        shown = [await reader.sync(await sync_id(maker, task)) for task in ("t1", "t2")]
        assert [sync.state for sync in shown if sync] == ["sending", "sending"]
    finally:
        await reader.close()


async def test_a_whole_sync_within_the_bounds_is_folded_at_once(guarded, maker):
    await guarded.accept(page("t1", add=["new"], remove=USERS[:5], number=1, of=2))
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS)
    await guarded.accept(page("t1", remove=USERS[5:10], number=2, of=2))
    await judge_all(guarded)
    assert maker.facts().wanted() == {*USERS[10:], "new"}


async def test_an_incomplete_sync_waits_an_hour_and_its_late_pages_are_counted_together(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:10], number=1, of=2))
    maker.clock.ms = START_MS + HOUR_MS - 1
    await judge_all(guarded)
    assert guard_of(maker, "t1") is None
    maker.clock.ms = START_MS + HOUR_MS
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS[10:])
    await guarded.accept(page("t1", remove=USERS[10:12], number=2, of=2))
    await judge_all(guarded)
    sync = maker.facts().sync("t1")
    assert (sync.guard, sync.guard_removals, sync.guard_members) == ("held", 12, 20)
    assert maker.facts().wanted() == set(USERS[10:])
    assert await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS[12:])


async def test_what_was_passed_still_counts_when_a_sync_that_is_held_late_grows(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:10], number=1, of=3))
    maker.clock.ms = START_MS + HOUR_MS
    await judge_all(guarded)
    assert guard_of(maker, "t1") == "passed"
    for number, removed in ((2, USERS[10:12]), (3, USERS[12:14])):
        await guarded.accept(page("t1", remove=removed, number=number, of=3))
        await judge_all(guarded)
    sync = maker.facts().sync("t1")
    assert (sync.guard, sync.guard_removals, sync.guard_members) == ("held", 14, 20)


async def test_an_incomplete_sync_waits_no_longer_because_the_clock_was_ahead(guarded, maker):
    year_ms = 365 * 24 * HOUR_MS
    await guarded.accept(page("t1", remove=USERS[:5], number=1, of=2, received_at_ms=START_MS + year_ms))
    await judge_all(guarded)
    maker.clock.ms = START_MS + HOUR_MS
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS[5:])


@pytest.mark.parametrize("hours", [5, -5])
async def test_an_incomplete_sync_waits_its_hour_whatever_the_clock_was_set_to(guarded, maker, hours):
    maker.clock.stepped_ms = hours * HOUR_MS
    await guarded.accept(page("t1", remove=USERS[:5], number=1, of=2, received_at_ms=maker.clock.wall_ms()))
    await judge_all(guarded)
    maker.clock.ms = START_MS + HOUR_MS - 1
    await judge_all(guarded)
    assert guard_of(maker, "t1") is None
    maker.clock.ms = START_MS + HOUR_MS
    await judge_all(guarded)
    assert guard_of(maker, "t1") == "passed"


async def test_several_user_ids_of_a_contact_count_once(guarded, maker):
    await guarded.accept(page("t1", add=[user.upper() for user in USERS[:10]]))
    await judge_all(guarded)
    # Twenty user ids, ten people.
    await guarded.accept(page("t2", remove=[*USERS[:10], *(user.upper() for user in USERS[:10])]))
    await judge_all(guarded)
    assert guard_of(maker, "t2") == "passed"
    assert maker.facts().wanted() == set(USERS[10:])


async def test_who_stays_by_another_user_id_is_not_counted(guarded, maker):
    await guarded.accept(page("t1", add=[user.upper() for user in USERS[:9]]))
    await judge_all(guarded)
    await guarded.accept(page("t2", remove=USERS[:12]))
    await judge_all(guarded)
    assert guard_of(maker, "t2") == "passed"
    # Who gets another user id in the same sync stays as well, in whatever order it is said.
    await guarded.accept(page("t3", add=[f" {user}" for user in USERS[12:]], remove=USERS[12:], number=1, of=2))
    await guarded.accept(page("t3", remove=["nobody"], number=2, of=2))
    await judge_all(guarded)
    assert guard_of(maker, "t3") == "passed"
    assert maker.facts().wanted() == {*USERS[:9], *USERS[12:]}


async def test_who_is_added_again_by_a_later_page_or_was_never_there_is_not_counted(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:6] + [f"stranger{number}" for number in range(20)], number=1, of=2))
    await guarded.accept(page("t1", add=USERS[:5], number=2, of=2))
    await judge_all(guarded)
    assert guard_of(maker, "t1") == "passed"
    assert maker.facts().wanted() == {*USERS} - {USERS[5]}


async def test_who_a_newer_sync_has_named_is_not_counted(guarded, maker):
    await guarded.accept(page("t2", add=USERS, body="newer", received_at_ms=START_MS + 9, signed_at_ms=START_MS + 9))
    await judge_all(guarded)
    await guarded.accept(page("t1", remove=USERS, received_at_ms=START_MS + 10, signed_at_ms=START_MS + 5))
    await judge_all(guarded)
    sync = maker.facts().sync("t1")
    assert (sync.guard, sync.guard_removals) == ("passed", 0)
    assert maker.facts().wanted() == set(USERS)


async def test_later_syncs_queue_behind_a_held_one_in_their_order(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:15]))
    await guarded.accept(page("t2", add=["new"]))
    await guarded.accept(page("t3", remove=USERS[15:17]))
    await judge_all(guarded)
    assert [guard_of(maker, task) for task in ("t1", "t2", "t3")] == ["held", None, None]
    assert maker.facts().wanted() == set(USERS)
    assert await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    assert [guard_of(maker, task) for task in ("t1", "t2", "t3")] == ["approved", "passed", "passed"]
    assert maker.facts().wanted() == {*USERS[17:], "new"}


async def test_the_next_sync_is_judged_anew(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:11]))
    await guarded.accept(page("t2", remove=USERS[11:18]))
    await judge_all(guarded)
    await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    sync = maker.facts().sync("t2")
    assert (sync.guard, sync.guard_removals, sync.guard_members) == ("held", 7, 9)


async def test_a_discarded_sync_changes_nothing_and_later_ones_proceed(guarded, maker):
    delivery = page("t1", add=["new"], remove=USERS[:11])
    await guarded.accept(delivery)
    await guarded.accept(page("t2", add=["other"]))
    await judge_all(guarded)
    assert await guarded.guard.discard(await sync_id(maker, "t1"), "ann")
    assert not await guarded.guard.discard(await sync_id(maker, "t1"), "ann")
    assert not await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    facts = maker.facts()
    sync = facts.sync("t1")
    assert (sync.guard, sync.discarded_users, sync.unfolded, sync.changes) == ("discarded", 12, 0, 0)
    assert facts.wanted() == {*USERS, "other"}
    assert (await guarded.accept(delivery)).status is ReceiptStatus.DUPLICATE
    # A page that comes later is discarded too.
    assert (await guarded.accept(page("t1", remove=USERS[:3], number=2, of=2))).status is ReceiptStatus.ACCEPTED
    await judge_all(guarded)
    assert maker.facts().wanted() == {*USERS, "other"}
    assert maker.facts().guarded_pieces == 0


async def test_a_later_page_of_an_approved_sync_needs_no_second_approval(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:11], number=1, of=2))
    await judge_all(guarded)
    await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    await guarded.accept(page("t1", remove=USERS[11:], number=2, of=2))
    await judge_all(guarded)
    assert maker.facts().wanted() == set()


async def test_decisions_are_audited_with_the_name_of_who_decided(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:11]))
    await judge_all(guarded)
    number = await sync_id(maker, "t1")
    await guarded.guard.discard(number, "ann")
    with maker.connection() as connection:
        assert connection.execute("SELECT actor, action, target, changes FROM audit").fetchall() == [
            ("ann", "sync.discard", str(number), 11)
        ]


async def test_a_drain_is_guarded_too(guarded, maker):
    await guarded.accept(drain("1"))
    await judge_all(guarded)
    sync = maker.facts().sync("drain:1")
    assert (sync.guard, sync.guard_removals, sync.guard_members) == ("held", 20, 20)
    # What it may never do overtakes nothing.
    receipt = await guarded.accept(page("t0", add=["late"], number=2, of=2))
    assert receipt.status is ReceiptStatus.ACCEPTED
    await guarded.guard.approve(sync.id, "ann")
    await judge_all(guarded)
    assert maker.facts().wanted() == set()


async def test_a_discarded_drain_overtakes_nothing(guarded, maker):
    await guarded.accept(drain("1"))
    await judge_all(guarded)
    assert await guarded.guard.discard(await sync_id(maker, "drain:1"), "ann")
    await judge_all(guarded)
    assert (await guarded.accept(page("t0", add=["late"], number=2, of=2))).status is ReceiptStatus.ACCEPTED
    await judge_all(guarded)
    assert maker.facts().wanted() == {*USERS, "late"}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("decision", ["approve", "discard"])
async def test_a_crash_at_any_step_loses_nothing_held_and_no_decision(guarded, maker, monkeypatch, tmp_path, decision):
    monkeypatch.setattr("service.store.sqlite.guarding._PIECES_AT_ONCE", 1)
    await guarded.accept(page("t1", add=["new"], remove=USERS[:11]))
    await guarded.accept(page("t2", add=["other"]))
    await judge_all(guarded)
    number = await sync_id(maker, "t1")
    lives = [maker.crashed(tmp_path / "held")]
    await getattr(guarded.guard, decision)(number, "ann")
    lives.append(maker.crashed(tmp_path / "decided"))
    steps = 0
    while await guarded.guard.advance():
        check_invariants(maker.facts(), guarded)
        steps += 1
        lives.append(maker.crashed(tmp_path / f"step {steps}"))
        await guarded.fold_next()
    assert steps >= 6
    for life in lives:
        store = await life.open()
        try:
            store.guard.serve({"acme": GUARD})
            await judge_all(store)
            check_invariants(life.facts(), store)
            if guard_of(life, "t1") == "held":
                assert life.facts().wanted() == set(USERS)
                await getattr(store.guard, decision)(number, "ann")
                await judge_all(store)
            wanted = {*USERS[11:], "new", "other"} if decision == "approve" else {*USERS, "other"}
            assert life.facts().wanted() == wanted
            check_invariants(life.facts(), store)
        finally:
            await store.close()


async def test_retention_keeps_a_held_sync(guarded, maker):
    delivery = page("t1", remove=USERS[:11])
    await guarded.accept(delivery)
    await judge_all(guarded)
    number = await sync_id(maker, "t1")
    retention = Retention(guarded._writer, maker.clock, 1)
    await retention.forget_old()
    for _ in range(60):
        maker.clock.ms += HOUR_MS
        await retention.forget_old()
    assert maker.facts().sync("t1").guard == "held"
    assert (await guarded.accept(delivery)).status is ReceiptStatus.DUPLICATE
    await guarded.guard.approve(number, "ann")
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS[11:])


async def test_what_is_held_stays_held_without_the_setting_and_what_waits_goes_on(guarded, maker):
    await guarded.accept(page("t1", remove=USERS[:11]))
    await guarded.accept(page("t2", add=["x"], segment="8"))
    await judge_all(guarded)
    await guarded.accept(page("t3", add=["y"], segment="8", number=1, of=2))
    await judge_all(guarded)
    guarded.guard.serve({})
    await judge_all(guarded)
    assert guard_of(maker, "t1") == "held"
    assert maker.facts().wanted("8") == {"x", "y"}


async def test_an_erased_person_is_taken_out_of_what_is_held(guarded, maker):
    await guarded.accept(page("t1", add=["new", "NEW"], remove=USERS[:11]))
    await judge_all(guarded)
    await guarded.erasures.request("acme", ["email:new"], keep_on_lists=True, actor="ann")
    while not await guarded.erasures.advance():
        pass
    check_invariants(maker.facts(), guarded)
    await guarded.guard.approve(await sync_id(maker, "t1"), "ann")
    await judge_all(guarded)
    assert maker.facts().wanted() == set(USERS[11:])


@pytest.mark.parametrize("keep_on_lists", [True, False])
async def test_an_erased_member_is_counted_no_more_in_what_is_held(guarded, maker, keep_on_lists):
    await guarded.accept(page("t1", remove=USERS[:11]))
    await judge_all(guarded)

    def counts() -> tuple[str, int, int]:
        with maker.connection() as connection:
            query = "SELECT guard, guard_removals, guard_members FROM sync WHERE task_id = 't1'"
            guard, removals, members = connection.execute(query).fetchone()
        return guard, removals, members

    assert counts() == ("held", 11, 20)
    await guarded.erasures.request("acme", [f"email:{USERS[0]}"], keep_on_lists=keep_on_lists, actor="ann")
    for _ in range(3):
        await guarded.erasures.advance()
        await judge_all(guarded)
    assert counts() == ("held", 10, 19)


async def test_a_fault_of_one_sync_keeps_the_others_going(guarded, maker):
    await guarded.accept(page("t1", add=USERS, segment="8"))
    await judge_all(guarded)
    await guarded.accept(page("t2", remove=USERS[:11]))
    await fold_all(guarded)
    with maker.connection() as connection:
        connection.execute("UPDATE guarded_piece SET contacts = 'no JSON'")
    await guarded.accept(page("t3", remove=USERS[:11], segment="8"))
    await judge_all(guarded)
    assert [guard_of(maker, task) for task in ("t2", "t3")] == [None, "held"]
    with maker.connection() as connection:
        connection.execute("UPDATE guarded_piece SET contacts = '[\"user01\"]' WHERE contacts = 'no JSON'")
    await judge_all(guarded)
    assert guard_of(maker, "t2") == "passed"


async def test_no_account_waits_for_the_counting_of_another(guarded, maker, monkeypatch):
    guarded.guard.serve({"acme": GUARD, "globex": GUARD})
    await guarded.accept(page("t1", add=USERS, account="globex"))
    await judge_all(guarded)
    reading, may_read = opening.open_reader, asyncio.Event()

    async def open_late(path):
        await may_read.wait()
        return await reading(path)

    monkeypatch.setattr("service.store.sqlite.opening.open_reader", open_late)
    await guarded.accept(page("t2", remove=USERS[:11]))
    await guarded.accept(page("t3", add=["new"], account="globex"))
    await fold_all(guarded)
    judging = asyncio.create_task(guarded.guard.advance())

    async def is_passed() -> bool:
        return guard_of(maker, "t3") == "passed"

    await eventually(is_passed, expected=True)
    assert guard_of(maker, "t2") is None
    may_read.set()
    await judging
    await judge_all(guarded)
    assert guard_of(maker, "t2") == "held"


async def test_removals_are_counted_in_steps(guarded, maker, monkeypatch):
    monkeypatch.setattr("service.store.sqlite.guarding._MEMBERS_AT_ONCE", 3)
    await guarded.accept(page("t1", remove=USERS[:13]))
    await judge_all(guarded)
    assert maker.facts().sync("t1").guard_removals == 13


class Life:
    """A guarded store beside the model, which is told all but what was discarded."""

    def __init__(self, maker: SqliteStoreMaker, store: Store, chance: random.Random, directory: Path) -> None:
        self.maker = maker
        self.store = store
        self.chance = chance
        self.directory = directory
        self.taken: dict[int, Delivery] = {}
        self.discarded: set[int] = set()
        self.discarded_tasks: set[tuple[str, str]] = set()
        self.crashes = 0
        self._serve()

    def _serve(self) -> None:
        self.store.guard.serve({"acme": RemovalGuard(share=0.3, least=1)})

    async def accept(self) -> None:
        users = ("a", "A", " a", "b", "B", "c", "d", "e", "f", "g", "h")
        chance = self.chance
        if chance.random() < 0.1:
            delivery = drain(str(chance.randint(1, 3)), signed_at_ms=START_MS + chance.randint(0, 5))
        else:
            delivery = page(
                f"t{chance.randint(1, 6)}",
                add=chance.sample(users, chance.randint(0, 6)),
                remove=chance.sample(users, chance.randint(0, 6)),
                number=chance.randint(1, 2),
                of=2,
                account=chance.choices(ACCOUNTS, weights=(5, 1))[0],
                received_at_ms=START_MS + chance.randint(2, 4),
                signed_at_ms=START_MS + chance.randint(0, 5),
            )
        receipt = await self.store.accept(delivery)
        if not receipt.is_duplicate:
            self.taken[receipt.delivery_id] = delivery
            if (delivery.account, delivery.task_id) in self.discarded_tasks:
                self.discarded.add(receipt.delivery_id)

    async def judge(self) -> None:
        if self.chance.random() < 0.5:
            await self.store.fold_next()
            await self.store.guard.advance()
        else:
            await judge_all(self.store)

    async def wait(self) -> None:
        self.maker.clock.ms += self.chance.choice([1, HOUR_MS // 2, HOUR_MS])

    async def decide(self) -> None:
        with self.maker.connection() as connection:
            held = connection.execute("SELECT id, task_id FROM sync WHERE guard = 'held'").fetchall()
            for sync, task_id in held:
                if self.chance.random() < 0.5:
                    assert await self.store.guard.approve(sync, "ann")
                    continue
                # What of it was folded before it was held has its effect.
                rows = connection.execute(
                    "SELECT DISTINCT delivery_id FROM guarded_piece WHERE sync_id = ? UNION "
                    "SELECT DISTINCT delivery_id FROM piece, fold_position"
                    " WHERE piece.id > piece_id AND NOT is_judged AND delivery_id IN"
                    " (SELECT id FROM delivery WHERE sync_id = ?)",
                    (sync, sync),
                ).fetchall()
                assert await self.store.guard.discard(sync, "ann")
                self.discarded |= {row[0] for row in rows}
                self.discarded_tasks.add(("acme", task_id))

    async def end(self) -> None:
        self.crashes += 1
        copy = self.maker.crashed(self.directory / f"crash {self.crashes}")
        await self.store.close()
        self.maker = copy
        self.store = await self.maker.open()
        self._serve()

    async def finish(self) -> None:
        for _ in range(100):
            await judge_all(self.store)
            if not self.maker.facts().guarded_pieces:
                break
            await self.decide()
            self.maker.clock.ms += HOUR_MS
        await fold_all(self.store)
        facts = self.maker.facts()
        assert not facts.guarded_pieces
        assert not facts.unfolded_pieces
        model = OrderingModel()
        for number, delivery in sorted(self.taken.items()):
            if number not in self.discarded:
                model.accept(delivery)
        for account in ACCOUNTS:
            assert facts.wanted(account=account) == model.on_list(account, "7")
        assert all(row.state is MemberState.PENDING for row in facts.members)


async def live(seed: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        maker = SqliteStoreMaker(Path(directory))
        maker.put_new()
        life = Life(maker, await maker.open(), random.Random(seed), Path(directory))  # noqa: S311  no secret
        try:
            kinds = (life.accept, life.judge, life.wait, life.decide, life.end)
            for kind in life.chance.choices(kinds, weights=(8, 8, 2, 2, 1), k=steps):
                note(kind.__name__)
                await kind()
                check_invariants(life.maker.facts(), life.store)
            await life.finish()
        finally:
            await life.store.close()


@pytest.mark.usefixtures("small_pieces")
@settings(
    max_examples=25,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(seed=st.integers(0, 2**32), steps=st.integers(30, 80))
def test_random_lives_end_as_the_model_without_what_was_discarded(seed, steps):
    note(f"seed {seed}, {steps} steps")
    asyncio.run(live(seed, steps))
