"""Random lives of a store, compared with the plain model after each fold and at the end.

`HYPOTHESIS_PROFILE=long` runs a hundred times as many.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.model import Change, ClaimCursor, ContactWork, MemberState, Outcome, OutcomeKind
from tests.store_harness import (
    ACCOUNTS,
    Store,
    StoreMaker,
    accepted_by_cordial,
    check_invariants,
    drain,
    failed,
    fold_all,
    page,
    value,
)
from tests.store_model import OrderingModel
from tests.store_sqlite import SqliteStoreMaker

Result = TypeVar("Result")
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SEGMENTS = ("7", "8")
USERS = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=7)
ACCOUNT = st.sampled_from(ACCOUNTS)
SEGMENT = st.sampled_from(SEGMENTS)


class Call(NamedTuple):
    """A call that is under way."""

    account: str
    piece_id: int
    work: ContactWork


class Life(RuleBasedStateMachine):
    """A store, those who send to it and from it, and Cordial's lists as the calls left them."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="store-"))
        self.maker: StoreMaker = SqliteStoreMaker(self.directory)
        self.store: Store = self.run(self.maker.open())
        self.model = OrderingModel()
        self.lists: dict[tuple[int, str], bool] = {}
        self.calls: list[Call] = []
        self.crashes = 0

    def run(self, step: Awaitable[Result]) -> Result:
        async def as_coroutine() -> Result:
            return await step

        return self.runner.run(as_coroutine())

    def teardown(self) -> None:
        try:
            self.send_everything()
        finally:
            self.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.directory)

    @rule(
        account=ACCOUNT,
        segment=SEGMENT,
        task=st.sampled_from(["t1", "t2", "t3", "t4"]),
        number=st.integers(1, 2),
        users=st.tuples(USERS, USERS),
    )
    def accept(self, account: str, segment: str, task: str, number: int, users: tuple[list[str], list[str]]) -> None:
        add, remove = users
        delivery = page(task, add=add, remove=remove, number=number, of=2, segment=segment, account=account)
        receipt = self.run(self.store.accept(delivery))
        assert receipt.duplicate != self.model.accept(delivery)

    @rule(account=ACCOUNT, segment=SEGMENT, timestamp=st.sampled_from(["1", "2"]))
    def drain(self, account: str, segment: str, timestamp: str) -> None:
        delivery = drain(timestamp, segment=segment, account=account)
        receipt = self.run(self.store.accept(delivery))
        assert receipt.duplicate != self.model.accept(delivery)

    @rule()
    def fold_a_little(self) -> None:
        self.run(self.store.fold_next())

    @rule()
    def fold_everything(self) -> None:
        self.run(fold_all(self.store))
        self.compare_with_model()

    @rule(account=ACCOUNT, limit=st.integers(1, 3))
    def claim(self, account: str, limit: int) -> None:
        """Call for everything found, as many pieces as there are, but never twice at a time for a contact (R5)."""
        for segment_id in self.run(self._pending(account)):
            cursor = ClaimCursor()
            while not (claimed := self.run(self.store.claim(account, segment_id, cursor, limit))).exhausted:
                cursor = claimed.cursor
                for stretch in claimed.stretches:
                    for work in stretch.works:
                        self._call(account, stretch.piece_id, work)

    async def _pending(self, account: str) -> list[int]:
        return list(self.store.pending_segments(account))

    def _call(self, account: str, piece_id: int, work: ContactWork) -> None:
        if (account, work.contact) not in [(call.account, call.work.contact) for call in self.calls]:
            self.calls.append(Call(account, piece_id, work))
            assert len({change.segment_id for change in work.changes}) == len(work.changes)

    @rule(which=st.randoms(use_true_random=False), kind=st.sampled_from(OutcomeKind), every=st.booleans())
    def settle(self, which: random.Random, kind: OutcomeKind, every: bool) -> None:
        """Have some of the calls answered, in any order; whoever was folded meanwhile makes answers stale."""
        which.shuffle(self.calls)
        number = len(self.calls) if every else (len(self.calls) + 1) // 2
        answered, self.calls = self.calls[:number], self.calls[number:]
        self.run(self.store.settle([outcome for call in answered for outcome in self._answer(call, kind)]))

    def _answer(self, call: Call, kind: OutcomeKind) -> list[Outcome]:
        outcomes = []
        for change in call.work.changes:
            if kind is OutcomeKind.SETTLED:
                outcomes.append(self._accepted(call, change))
            else:
                retry_at_ms = self.maker.clock.ms + 1_000 if kind is OutcomeKind.RETRY else None
                outcomes.append(failed(call.work, change, retry_at_ms=retry_at_ms, attempts=1))
        return [self._of_account(outcome, call.account) for outcome in outcomes]

    @staticmethod
    def _of_account(outcome: Outcome, account: str) -> Outcome:
        return Outcome(account, *(getattr(outcome, name) for name in Outcome.__struct_fields__[1:]))

    def _accepted(self, call: Call, change: Change) -> Outcome:
        self.lists[change.segment_id, call.work.contact] = change.wanted
        return accepted_by_cordial(call.work, change)

    @rule(milliseconds=st.sampled_from([0, 500, 5_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.maker.clock.ms += milliseconds
        self.run(self.store.release_due())

    @rule(account=ACCOUNT)
    def hasten(self, account: str) -> None:
        self.run(self.store.hasten(account))

    @rule(reached=st.booleans())
    def crash(self, reached: bool) -> None:
        """End at once; the calls under way may have reached Cordial, and their answers are lost."""
        if reached:
            for call in self.calls:
                for change in call.work.changes:
                    self._accepted(call, change)
        self.calls = []
        self.crashes += 1
        copy = self.maker.crashed(self.directory / f"crash {self.crashes}")
        self.run(self.store.close())
        self.maker = copy
        self.store = self.run(self.maker.open())

    @rule()
    def restart(self) -> None:
        self.calls = []
        self.run(self.store.close())
        self.store = self.run(self.maker.open())

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "store"):
            check_invariants(self.maker.facts(), self.store)

    def compare_with_model(self) -> None:
        facts = self.maker.facts()
        for account in ACCOUNTS:
            for heap_id in SEGMENTS:
                assert facts.wanted(heap_id, account) == self.model.on_list(account, heap_id)
        assert facts.unfolded_users == 0
        assert len(facts.members) == len(self.model.wishes)
        assert facts.deliveries == len(self.model.seen)
        place_of = {segment.id: (segment.account, segment.heap_id) for segment in facts.segments}
        for sync in facts.syncs:
            precedence = self.model.syncs[*place_of[sync.segment_id], sync.task_id]
            assert sync.changes == len(self.model.decided_by[precedence])
            assert sync.unfolded == 0

    def send_everything(self) -> None:
        """Answer what is under way, then send until nothing is owed: Cordial's lists are what the model wants."""
        self.run(
            self.store.settle([outcome for call in self.calls for outcome in self._answer(call, OutcomeKind.RETRY)])
        )
        self.calls = []
        self.fold_everything()
        for _ in range(2):
            self.maker.clock.ms += 10**6
            self.run(self.store.release_due())
            self.fold_everything()
            for account in ACCOUNTS:
                self.claim(account, 3)
            self.run(
                self.store.settle(
                    [outcome for call in self.calls for outcome in self._answer(call, OutcomeKind.SETTLED)]
                )
            )
            self.calls = []
        facts = self.maker.facts()
        check_invariants(facts, self.store)
        assert self.store.backlog.total == 0
        assert not facts.to_send
        dead = {(row.segment_id, row.contact) for row in facts.members if row.state is MemberState.DEAD}
        assert {row.state for row in facts.members} <= {MemberState.SETTLED, MemberState.DEAD}
        for segment in facts.segments:
            on_list = {
                value(contact)
                for (segment_id, contact), there in self.lists.items()
                if there and segment_id == segment.id
            }
            given_up = {value(contact) for segment_id, contact in dead if segment_id == segment.id}
            assert on_list - given_up == self.model.on_list(segment.account, segment.heap_id) - given_up


@pytest.mark.usefixtures("small_pieces")
class TestLife(Life.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(
        max_examples=2_500 if LONG else 25,
        stateful_step_count=60 if LONG else 40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
