"""How results are gathered into commits, and what becomes of them when the store cannot write."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from structlog.testing import capture_logs

from service.deliver.settler import Settler
from service.errors import StoreFaultError, StoreUnavailableError
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
        self.tries = 0

    async def settle(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int] = ()) -> None:
        self.tries += 1
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
        for idle_hundredths in range(10):
            # The interval begins with the first result, whenever it comes.
            await asyncio.sleep(idle_hundredths / 100)
            numbers = [2 * idle_hundredths, 2 * idle_hundredths + 1]
            for number in numbers:
                await settler.add([outcome(number)], functools.partial(committed.append, number))
            await asyncio.sleep(0.05)
            assert numbers[0] not in committed
            await asyncio.sleep(0.1)
            assert committed[-2:] == numbers
        assert len(ledger.batches) == 10

    run(scenario)


def test_a_full_batch_does_not_wait_for_the_interval():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        began = virtual_time.now()
        await asyncio.gather(*(settler.add([outcome(number)], lambda: None) for number in range(3)))
        await asyncio.sleep(0.02)
        assert [len(batch) for batch in ledger.batches] == [3]
        assert virtual_time.now() < began + 1
        # What comes after it begins a batch of its own, as large.
        for number in (3, 4):
            await settler.add([outcome(number)], lambda: None)
        await asyncio.sleep(1)
        assert len(ledger.batches) == 1
        await settler.add([outcome(5)], lambda: None)
        await asyncio.sleep(0.02)
        assert [len(batch) for batch in ledger.batches] == [3, 3]
        assert virtual_time.now() < began + 2

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
        assert 30 < ledger.tries < 100, "again and again, but not without a pause"
        ledger.is_broken = False
        await asyncio.sleep(1)
        assert committed == [1]

    assert [len(batch) for batch in run(scenario).batches] == [1]


def test_a_stop_commits_what_is_gathered():
    async def scenario(_ledger: Ledger, settler: Settler) -> None:
        await settler.add([outcome(1)], lambda: settler.drop_piece(7))
        # The settler is gathering by now, and would go on for a minute.
        await asyncio.sleep(1)
        began = virtual_time.now()
        await settler.stop()
        assert virtual_time.now() < began + 1

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


def test_a_flush_waits_for_what_was_taken_before_it_and_not_for_the_interval():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        committed: list[int] = []
        await settler.add([outcome(1)], lambda: committed.append(1))
        await asyncio.wait_for(settler.flush(), 1)
        assert committed == [1]
        assert [len(batch) for batch in ledger.batches] == [1]
        await asyncio.wait_for(settler.flush(), 1)

    assert [len(batch) for batch in run(scenario, interval_seconds=60).batches] == [1]


class FaultyLedger(Ledger):
    """Refuses, with all that came with it, whatever is about a contact in `refused`; if it is told, dead letters too."""

    def __init__(self, refused: set[int], *, refuses_dead_letters: bool = False) -> None:
        super().__init__()
        self._contacts = {outcome(number).contact for number in refused}
        self._refuses_dead_letters = refuses_dead_letters

    async def settle(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int] = ()) -> None:
        for each in outcomes:
            if each.contact in self._contacts and (each.kind is not OutcomeKind.DEAD or self._refuses_dead_letters):
                self.tries += 1
                raise StoreFaultError("a rule is broken")
        await super().settle(outcomes, spent_pieces)


def settle_with(ledger: FaultyLedger, results: Sequence[Sequence[int]]) -> list[int]:
    """Settle results of contacts, each of these outcomes, at once; return which of them were told that it is durable."""
    committed: list[int] = []

    async def main() -> None:
        told: list[Sequence[Outcome]] = []
        settler = Settler(ledger.settle, batch_results=300, interval_seconds=0.1, on_settled=told.append)
        settler.start(Supervisor())
        settler.drop_piece(7)
        for place, numbers in enumerate(results):
            await settler.add([outcome(number) for number in numbers], functools.partial(committed.append, place))
        await settler.stop()
        assert [list(each) for each in told] == ledger.batches

    virtual_time.run(main())
    return committed


def test_a_result_that_the_store_refuses_becomes_a_dead_letter_alone():
    ledger = FaultyLedger({5})
    assert settle_with(ledger, [[number] for number in range(16)]) == list(range(16))
    settled = [each for batch in ledger.batches for each in batch]
    assert sorted(each.contact for each in settled) == sorted(outcome(number).contact for number in range(16))
    [dead] = [each for each in settled if each.kind is OutcomeKind.DEAD]
    assert dead.contact == outcome(5).contact
    assert dead.failure is not None
    assert dead.failure.reason == "store_fault"
    assert "a rule is broken" in dead.failure.message
    assert ledger.dropped == [7]
    # Halved until it is found: the whole batch, its piece, two halves four times, and the dead letter.
    assert ledger.tries == 1 + 1 + 2 * 4 + 1


def test_of_one_contact_only_the_outcome_that_is_refused_becomes_a_dead_letter():
    ledger = FaultyLedger({2})
    assert settle_with(ledger, [[1, 2]]) == [0]
    kinds = {each.contact: each.kind for batch in ledger.batches for each in batch}
    assert kinds == {outcome(1).contact: OutcomeKind.SETTLED, outcome(2).contact: OutcomeKind.DEAD}


def test_a_contact_whose_dead_letter_is_refused_too_is_kept_back_and_nobody_else():
    ledger = FaultyLedger({2}, refuses_dead_letters=True)
    assert settle_with(ledger, [[1], [2], [3]]) == [0, 2]


def test_a_fault_is_told_once_however_many_contacts_meet_it():
    for refuses_dead_letters, event in ((False, "result.refused"), (True, "result.kept_back")):
        with capture_logs() as lines:
            settle_with(FaultyLedger({1, 2, 3}, refuses_dead_letters=refuses_dead_letters), [[1], [2], [3]])
        [told] = [line for line in lines if line["log_level"] == "error"]
        assert (told["event"], told["segment"]) == (event, 1)
        assert "a rule is broken" in told["reason"]
        assert "u1" not in told["user"]


def test_batches_can_be_made_smaller_and_quicker_while_it_runs():
    async def scenario(ledger: Ledger, settler: Settler) -> None:
        settler.set_batching(3, 60)
        for number in range(2):
            await settler.add([outcome(number)], lambda: None)
            await asyncio.sleep(0.05)
        assert [len(batch) for batch in ledger.batches] == [1, 1]
        settler.set_batching(2, 60)
        await settler.add([outcome(2)], lambda: None)
        await asyncio.sleep(0.05)
        assert [len(batch) for batch in ledger.batches] == [1, 1, 1]

    run(scenario, batch_results=300)
