"""A fault of the program fails the one thing that caused it, loudly; all else goes on (R15)."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from service.errors import StoreFaultError
from service.model.changes import FailureSelection
from service.store.sqlite import writer
from tests.api_fixtures import asking
from tests.service_fixtures import ACCOUNT, World, delivering, users

FAULTY = "user7@example.com"


def write(directory: Path, *statements: str) -> None:
    """Change the store's file behind the service's back."""
    with contextlib.closing(sqlite3.connect(directory / "store" / "heap-cordial.db", timeout=10)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refuse(statement: str, when: str) -> str:
    """Return a rule of the database that refuses what is meant, as a CHECK would."""
    return (
        f"CREATE TRIGGER told_to_fail BEFORE {statement} WHEN {when} "
        "BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: told to fail'); END"
    )


def expect_fault(world: World) -> None:
    world.expected_exceptions.add("store.fault")


def on_list(world: World, name: str) -> list[str]:
    return world.members(name) if name in world.cordial.state.lists_by_name else []


async def folded(world: World, pending: int) -> None:
    await world.until(lambda: world.service.store.backlog.pending_total == pending)


async def test_a_result_that_the_store_refuses_becomes_a_dead_letter_and_all_others_are_settled(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Active Users", users(60))
        await folded(world, 60)
        write(tmp_path, refuse("UPDATE ON member", f"new.contact = 'email:{FAULTY}' AND new.state = 0"))
        world.service.deliverer.account(ACCOUNT).resume()
        await world.settled()
        assert [(dead.contact, dead.reason) for dead in world.dead_letters()] == [(f"email:{FAULTY}", "store_fault")]
        assert (await world.segment()).settled == 59
        assert world.service.supervisor.ended == []
        write(tmp_path, "DROP TRIGGER told_to_fail")
        assert (await world.service.store.steering.retry_failures(FailureSelection(), "test")).changes == 1
        await world.settled()
        assert world.dead_letters() == []
        assert (await world.segment()).settled == 60


async def test_where_a_counter_is_wrong_its_segment_stays_owed_and_the_others_are_settled(tmp_path):
    """The CHECK on the counter trips for every contact of the one segment: each is sent once and then kept back."""
    async with delivering(tmp_path) as world:
        expect_fault(world)
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Ill", users(20, "ill"), segment_id=1)
        await world.deliver("Well", users(20, "well"), segment_id=2)
        await folded(world, 40)
        write(tmp_path, "UPDATE segment SET pending = 0 WHERE heap_id = '1'")
        world.service.deliverer.account(ACCOUNT).resume()
        await world.until(lambda: world.service.store.backlog.pending_total == 20)
        await world.until(lambda: len(world.contact_calls()) >= 40)
        assert (await world.segment(2)).settled == 20
        assert len(world.contact_calls()) == 40
        assert world.service.supervisor.ended == []
        await world.stop()
        write(tmp_path, "UPDATE segment SET pending = 20 WHERE heap_id = '1'")
        await world.start()
        await world.settled()
        assert world.members("Ill") == sorted(users(20, "ill"))
        assert (await world.segment(1)).settled == 20


async def test_a_list_is_not_exact_while_an_accepted_page_is_not_folded(tmp_path):
    async with asking(tmp_path) as world:
        expect_fault(world)
        await world.deliver("Readers", users(3))
        await world.settled()
        assert (await world.post("lists/1/verify")).document["counted"] == 3
        assert (await world.get("lists/1"))["standing"] == "exact"
        write(tmp_path, refuse("UPDATE ON fold_position", "1"))
        await world.deliver("Readers", users(1, "later"))
        assert (await world.get("lists/1"))["standing"] == "sending"
        assert (await world.get("lists?standing=exact"))["items"] == []
        write(tmp_path, "DROP TRIGGER told_to_fail")
        await world.until(lambda: len(world.members("Readers")) == 4)


async def test_a_page_that_cannot_be_folded_keeps_only_its_segment_waiting(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        await world.deliver("Ill", ["first@example.com"], segment_id=1)
        await world.settled()
        write(tmp_path, refuse("INSERT ON member", "new.contact = 'email:user7@example.com' AND new.segment_id = 1"))
        await world.deliver("Ill", users(20), segment_id=1)
        await world.deliver("Ill", [], ["user3@example.com"], segment_id=1)
        await world.deliver("Well", users(30, "well"), segment_id=2)
        await world.until(lambda: on_list(world, "Well") == sorted(users(30, "well")))
        await world.deliver("Well", users(40, "well"), segment_id=2)
        await world.until(lambda: on_list(world, "Well") == sorted(users(40, "well")))
        assert world.members("Ill") == ["first@example.com"]
        assert world.service.supervisor.ended == []
        write(tmp_path, "DROP TRIGGER told_to_fail")
        await world.deliver("Ill", ["last@example.com"], segment_id=1)
        await world.settled()
        expected = [*users(20), "first@example.com", "last@example.com"]
        expected.remove("user3@example.com")
        assert world.members("Ill") == sorted(expected)


async def test_a_waiting_change_that_cannot_be_made_pending_keeps_no_other_waiting(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Active Users", users(20))
        await folded(world, 20)
        await world.stop()
        write(
            tmp_path,
            "UPDATE member SET state = (SELECT number FROM member_state WHERE name = 'waiting')",
            "UPDATE segment SET pending = 0, waiting = 20",
            "INSERT INTO failure (account_id, contact, segment_id, dead, failures, attempts, reason, message,"
            " next_attempt_at_ms, first_failed_at_ms, last_failed_at_ms)"
            " SELECT account_id, contact, segment_id, 0, 1, 0, 'timeout', '', 1, 1, 1 FROM member",
            refuse("UPDATE ON member", f"new.contact = 'email:{FAULTY}' AND old.state <> new.state"),
        )
        await world.start()
        await world.until(lambda: world.service.store.backlog.total == 1)
        assert world.members("ActiveUsers") == sorted(set(users(20)) - {FAULTY})
        assert world.service.supervisor.ended == []
        write(tmp_path, "DROP TRIGGER told_to_fail")
        assert (await world.service.store.steering.retry_failures(FailureSelection(), "test")).changes == 1
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(20))


async def test_a_state_of_an_account_that_cannot_be_recorded_ends_nothing(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        write(tmp_path, refuse("UPDATE OF state ON account", "new.state = 'paused'"))
        world.service.deliverer.account(ACCOUNT).pause()
        await asyncio.sleep(1.2)
        world.service.deliverer.account(ACCOUNT).resume()
        await world.deliver("Active Users", users(3))
        await world.settled()
        assert world.service.supervisor.ended == []


async def test_an_erasure_that_cannot_be_done_keeps_no_other_from_its_end(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        world.expected_exceptions.add("erasure.failed")
        await world.deliver("Active Users", users(10))
        await world.settled()
        write(tmp_path, refuse("DELETE ON member", f"old.contact = 'email:{FAULTY}'"))
        await world.forget(FAULTY)
        await world.forget("user8@example.com")
        await world.until(lambda: not world.rows("SELECT 1 FROM member WHERE contact = 'email:user8@example.com'"))
        assert ("email:user7@example.com",) in world.rows("SELECT contact FROM member")
        assert world.service.supervisor.ended == []
        write(tmp_path, "DROP TRIGGER told_to_fail")
        await world.until(lambda: len(world.rows("SELECT 1 FROM member")) == 8)


async def test_pausing_and_its_line_in_the_audit_are_one_transaction(tmp_path):
    async with delivering(tmp_path) as world:
        expect_fault(world)
        steering = world.service.store.steering
        write(tmp_path, refuse("INSERT ON audit", "new.action = 'account.pause'"))
        with pytest.raises(StoreFaultError):
            await steering.set_paused(ACCOUNT, paused=True, actor="test")
        assert await steering.paused_accounts() == set()
        write(tmp_path, "DROP TRIGGER told_to_fail")
        assert await steering.set_paused(ACCOUNT, paused=True, actor="test")
        assert await steering.paused_accounts() == {ACCOUNT}


async def test_a_full_queue_of_the_writer_is_waited_out(tmp_path, monkeypatch):
    async with delivering(tmp_path, requests_per_second=20) as world:
        await world.deliver("Active Users", users(1))
        await world.settled()
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Active Users", users(40))
        await folded(world, 40)
        with monkeypatch.context() as full:
            world.service.deliverer.account(ACCOUNT).resume()
            # All are claimed with the first, so what the queue has no room for is what the calls had for a result.
            await world.until(lambda: len(world.contact_calls()) >= 2)
            full.setattr(writer, "_MAX_WAITING", 0)
            made = len(world.contact_calls())
            await world.until(lambda: len(world.contact_calls()) >= made + 9)
            assert (await world.segment()).settled <= made
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(40))
        assert world.service.supervisor.ended == []
