"""Random lives of a store, compared with the plain model after folds and at the end.

A failing life is told by its seed, its length and its steps. `HYPOTHESIS_PROFILE=long` runs far more.
"""

import asyncio
import os
import random
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from service.model.changes import ClaimCursor, ContactWork, MemberState, Outcome, OutcomeKind
from service.model.deliveries import Delivery
from tests.store_harness import (
    ACCOUNTS,
    START_MS,
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

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SEGMENTS = ("7", "8")
# Two people have several user ids.
USER_IDS = ("a", "A", " a", "b", "B", "c", "d", "e", "f")


class Call(NamedTuple):
    """A call that is under way."""

    account: str
    work: ContactWork


class Life:
    """A store, those who send to it and from it, and Cordial's lists as the calls left them."""

    def __init__(self, maker: StoreMaker, store: Store, chance: random.Random, directory: Path) -> None:
        self.maker = maker
        self.store = store
        self.chance = chance
        self.directory = directory
        self.model = OrderingModel()
        self.lists: dict[tuple[int, str], bool] = {}
        self.calls: list[Call] = []
        self.crashes = 0

    async def live(self, steps: int) -> None:
        """Take steps at random, the frequent ones more often, and check after each that everything adds up."""
        kinds = (self.accept, self.fold, self.claim, self.answer, self.let_time_pass, self.drain, self.end)
        for kind in self.chance.choices(kinds, weights=(8, 8, 8, 8, 4, 1, 1), k=steps):
            note(kind.__name__)
            await kind()
            check_invariants(self.maker.facts(), self.store)
        await self.finish()

    def _account(self) -> str:
        # One of them has most of the life, so that what happens to it comes together.
        return self.chance.choices(ACCOUNTS, weights=(5, 1))[0]

    def _users(self) -> list[str]:
        return self.chance.sample(USER_IDS, self.chance.randint(0, 5))

    async def accept(self) -> None:
        """Take a page of one of four syncs of each segment; being so few they overlap, and pages repeat or come late."""
        await self._take(
            page(
                f"t{self.chance.randint(1, 4)}",
                add=self._users(),
                remove=self._users(),
                number=self.chance.randint(1, 3),
                of=3,
                segment=self.chance.choice(SEGMENTS),
                account=self._account(),
                received_at_ms=START_MS + self.chance.randint(2, 4),
                signed_at_ms=START_MS + self.chance.randint(0, 5),
            )
        )

    async def drain(self) -> None:
        timestamp = str(self.chance.randint(1, 3))
        signed_at_ms = START_MS + self.chance.randint(0, 5)
        segment = self.chance.choice(SEGMENTS)
        await self._take(drain(timestamp, segment=segment, account=self._account(), signed_at_ms=signed_at_ms))

    async def _take(self, delivery: Delivery) -> None:
        receipt = await self.store.accept(delivery)
        assert receipt.is_duplicate != self.model.accept(delivery)

    async def fold(self) -> None:
        """Fold one piece or everything."""
        if self.chance.random() < 0.5:
            await self.store.fold_next()
        else:
            await fold_all(self.store)
            self.compare_with_model()

    async def claim(self) -> None:
        await self._claim(self._account(), limit=self.chance.randint(1, 3))

    async def _claim(self, account: str, *, limit: int) -> None:
        """Call for everything found, but never twice at a time for a contact (R5)."""
        for segment_id in self.store.pending_segments(account):
            cursor = ClaimCursor()
            while not (claimed := await self.store.claim(account, segment_id, cursor, limit)).exhausted:
                cursor = claimed.cursor
                for work in (work for stretch in claimed.stretches for work in stretch.works):
                    assert len({change.segment_id for change in work.changes}) == len(work.changes)
                    if (account, work.contact) not in [(call.account, call.work.contact) for call in self.calls]:
                        self.calls.append(Call(account, work))

    async def answer(self) -> None:
        """Have calls answered, some only later; what is folded until then makes their answers stale."""
        self.chance.shuffle(self.calls)
        number = self.chance.randint(0, len(self.calls))
        answered, self.calls = self.calls[:number], self.calls[number:]
        kinds = self.chance.choices((*OutcomeKind, OutcomeKind.SETTLED), k=number)
        outcomes = [self._outcomes(call, kind) for call, kind in zip(answered, kinds, strict=True)]
        await self.store.settle([outcome for some in outcomes for outcome in some])

    def _outcomes(self, call: Call, kind: OutcomeKind) -> list[Outcome]:
        if kind is OutcomeKind.SETTLED:
            self._reach_cordial(call)
            return [accepted_by_cordial(call.work, change, call.account) for change in call.work.changes]
        retry_at_ms = self.maker.clock.ms + 1_000 if kind is OutcomeKind.RETRY else None
        attempts = self.chance.randint(0, 1)
        return [
            failed(call.work, change, call.account, retry_at_ms=retry_at_ms, attempts=attempts)
            for change in call.work.changes
        ]

    def _reach_cordial(self, call: Call) -> None:
        self.lists.update(((change.segment_id, call.work.contact), change.wanted) for change in call.work.changes)

    async def let_time_pass(self) -> None:
        self.maker.clock.ms += self.chance.choice([0, 500, 5_000])
        if self.chance.random() < 0.3:
            await self.store.hasten(self._account())
        await self.store.make_due_pending()

    async def end(self) -> None:
        """Stop or crash, and begin again; calls under way may have reached Cordial, and their answers are lost."""
        if self.chance.random() < 0.5:
            for call in self.calls:
                self._reach_cordial(call)
        self.calls = []
        self.crashes += 1
        copy = self.maker.crashed(self.directory / f"crash {self.crashes}")
        await self.store.close()
        if self.chance.random() < 0.7:
            self.maker = copy
        self.store = await self.maker.open()

    def compare_with_model(self) -> None:
        """Compare a store whose inbox is empty."""
        facts = self.maker.facts()
        assert facts.unfolded_users == 0
        assert facts.deliveries == len(self.model.seen)
        assert len(facts.members) == len(self.model.members)
        for account in ACCOUNTS:
            for heap_id in SEGMENTS:
                assert facts.wanted(heap_id, account) == self.model.on_list(account, heap_id)
        place_of = {segment.id: (segment.account, segment.heap_id) for segment in facts.segments}
        for sync in facts.syncs:
            number = self.model.syncs[*place_of[sync.segment_id], sync.task_id]
            assert sync.changes == self.model.changes[number]
            assert sync.overtaken_users == self.model.overtaken[number]
            assert sync.unfolded == 0

    async def finish(self) -> None:
        """Send until nothing is owed: Cordial's lists hold whom the model wants there, but for those given up."""
        await fold_all(self.store)
        self.compare_with_model()
        while self.store.backlog.total:
            self.calls = []
            for account in ACCOUNTS:
                await self._claim(account, limit=100)
            outcomes = [self._outcomes(call, OutcomeKind.SETTLED) for call in self.calls]
            await self.store.settle([outcome for some in outcomes for outcome in some])
            self.maker.clock.ms += 10**6
            await self.store.make_due_pending()
            await fold_all(self.store)
        facts = self.maker.facts()
        check_invariants(facts, self.store)
        assert not facts.to_send
        dead = {(row.segment_id, row.contact) for row in facts.members if row.state is MemberState.DEAD}
        for segment in facts.segments:
            on_list = {
                contact for (segment_id, contact), there in self.lists.items() if there and segment_id == segment.id
            }
            wanted = self.model.on_list(segment.account, segment.heap_id)
            given_up = {value(contact) for segment_id, contact in dead if segment_id == segment.id}
            assert {value(contact) for contact in on_list} - given_up == wanted - given_up


async def live(seed: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        maker = SqliteStoreMaker(Path(directory))
        maker.put_new()
        life = Life(maker, await maker.open(), random.Random(seed), Path(directory))  # noqa: S311  no secret
        try:
            await life.live(steps)
        finally:
            await life.store.close()


@pytest.mark.usefixtures("small_pieces")
@settings(
    max_examples=3_000 if LONG else 12,
    suppress_health_check=list(HealthCheck),
    # Another seed is another life, so there is nothing to be learnt from smaller ones.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(seed=st.integers(0, 2**32), steps=st.integers(60, 120))
def test_random_lives(seed, steps):
    note(f"seed {seed}, {steps} steps")
    asyncio.run(live(seed, steps))
