"""How results are gathered into commits, and what becomes of them when the store cannot write."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from service.deliver.settler import Settler
from service.errors import StoreUnavailableError
from service.model.changes import Outcome, OutcomeKind
from service.supervision import Supervisor
from tests.unit.deliver import virtual_time


def outcome(number: int) -> Outcome:
    return Outcome("acme", f"email:u{number}@x.com", 1, wanted=True, kind=OutcomeKind.SETTLED)


class Ledger:
    """Keeps batches; while `is_broken` it cannot write results, but could drop pieces."""

    def __init__(self) -> None:
        self.batches: list[list[Outcome]] = []
        self.dropped: list[int] = []
        self.is_broken = False

    async def settle(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int] = ()) -> None:
        await asyncio.sleep(0.01)
        if self.is_broken and outcomes:
            raise StoreUnavailableError("disk full")
        self.batches.append(list(outcomes))
        self.dropped += spent_pieces


def run(
    scenario: Callable[[Ledger, Settler], Awaitable[None]], *, batch_results: int = 9, interval_seconds: float = 0.1
) -> Ledger:
    """Run a scenario with a settler whose batches are full at a third of `batch_results`, and stop it."""

    async def main() -> Ledger:
        ledger = Ledger()
        settler = Settler(ledger.settle, batch_results=batch_results, interval_seconds=interval_seconds)
        settler.start(Supervisor())
        try:
            await scenario(ledger, settler)
        finally:
            await settler.stop()
        return ledger

    return virtual_time.run(main())


def test_results_are_committed_together_after_the_interval():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        committed: list[int] = []
        await settler.add([outcome(1)], lambda: committed.append(1))
        await settler.add([outcome(2)], lambda: committed.append(2))
        await asyncio.sleep(0.05)
        assert (ledger.batches, committed) == ([], [])
        await asyncio.sleep(0.1)
        assert committed == [1, 2]

    assert [len(batch) for batch in run(scenario).batches] == [2]


def test_a_full_batch_does_not_wait_for_the_interval():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        await asyncio.gather(*(settler.add([outcome(number)], lambda: None) for number in range(3)))
        await asyncio.sleep(0.02)
        assert [len(batch) for batch in ledger.batches] == [3]

    run(scenario, interval_seconds=60)


def test_a_store_that_cannot_keep_up_holds_back_whoever_adds():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        ledger.is_broken = True
        added: list[Outcome] = []

        async def work() -> None:
            while len(added) < 100:
                added.append(outcome(len(added)))
                await settler.add([added[-1]], lambda: None)

        workers = [asyncio.create_task(work()) for _ in range(4)]
        await asyncio.sleep(60)
        assert len(added) <= 2 * (3 + 4), "a batch on its way, the next one, and one more of each worker"
        ledger.is_broken = False
        await asyncio.gather(*workers)

    ledger = run(scenario)
    assert len({each.contact for batch in ledger.batches for each in batch}) == 100


def test_results_wait_for_a_store_that_cannot_write_and_nobody_is_told_before():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        ledger.is_broken = True
        committed: list[int] = []
        await settler.add([outcome(1)], lambda: committed.append(1))
        await asyncio.sleep(30)
        assert committed == []
        ledger.is_broken = False
        await asyncio.sleep(1)
        assert committed == [1]

    assert [len(batch) for batch in run(scenario).batches] == [1]


def test_a_stop_commits_what_is_gathered():
    async def scenario(_ledger: Ledger, settler: Settler) -> None:
        await settler.add([outcome(1)], lambda: settler.drop_piece(7))

    ledger = run(scenario, interval_seconds=60)
    assert [len(batch) for batch in ledger.batches if batch] == [1]
    assert ledger.dropped == [7]


def test_whoever_gives_up_waiting_for_room_loses_no_result():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        ledger.is_broken = True
        for number in range(10):
            adding = asyncio.create_task(settler.add([outcome(number)], lambda: None))
            await asyncio.sleep(0.3)
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
        ledger.is_broken = False
        await asyncio.sleep(2)

    assert sum(len(batch) for batch in run(scenario, batch_results=3).batches) == 10


def test_at_a_stop_a_piece_whose_results_were_not_committed_is_not_dropped():
    """Its changes are still owed; without the piece nobody would find them again."""

    async def scenario(ledger: Ledger, settler: Settler) -> None:
        ledger.is_broken = True
        await settler.add([outcome(1)], lambda: settler.drop_piece(7))
        await asyncio.sleep(1)

    ledger = run(scenario)
    assert (ledger.batches, ledger.dropped) == ([], [])
