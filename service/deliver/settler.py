"""Gathering results of all accounts into few commits; what a crash repeats is at most what is gathered here (R6).

A result that breaks a rule of the store fails alone: the batch is split until it is found, all others are settled, and it
becomes a dead letter. If even that cannot be written, its contact stays claimed, so that nobody sends it again and again: the
change is still owed, and sent at the next start. What a result changes is in `service/store/sqlite/settling.py`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from service import supervision
from service.deliver.observing import NOT_OBSERVED
from service.errors import StoreFaultError, StoreUnavailableError
from service.log import mask
from service.model.changes import Failure, Outcome, OutcomeKind
from service.supervision import Supervisor

log = structlog.get_logger()
_STORE_RETRY_SECONDS = 0.5
_FAULT_REASON = "store_fault"
_FAULT_ADVICE = "this is a fault in the program; please report it with this line"


class _Result(NamedTuple):
    """What came of one contact's calls, and whom to tell once it is durable."""

    outcomes: Sequence[Outcome]
    on_committed: Callable[[], None]


class _StoppedError(Exception):
    """The stop came before the store could write."""


class Settler:
    """Commits results in batches, by number or by age, whichever comes first.

    `settle` makes results and spent pieces durable, or raises `StoreUnavailableError` or `StoreFaultError`.
    `batch_results` bounds what is not durable yet, and so what a crash repeats.
    """

    def __init__(
        self,
        settle: Callable[[Sequence[Outcome], Sequence[int]], Awaitable[None]],
        *,
        batch_results: int,
        interval_seconds: float,
        on_settled: Callable[[Sequence[Outcome]], None] = NOT_OBSERVED.settled,
    ) -> None:
        self._settle = settle
        self.set_batching(batch_results, interval_seconds)
        self._on_settled = on_settled
        self._results: list[_Result] = []
        self._gathered = 0
        self._spent_pieces: list[int] = []
        # Many contacts may meet one fault; it is told once.
        self._told: set[tuple[str, int, str]] = set()
        self._first = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to commit what is added."""
        self._task = supervisor.start("settler", self._run(), may_end=lambda: self._stopping)

    def set_batching(self, batch_results: int, interval_seconds: float) -> None:
        """Gather from now on as many results at most, for as long at most."""
        # One batch gathers while another is on its way to disk, and whoever was calling may still add to either.
        self._batch_results = max(1, batch_results // 3)
        self._interval_seconds = interval_seconds

    async def flush(self) -> None:
        """Return when everything taken so far is durable, however long that takes; not to be called after `stop`."""
        committed = asyncio.Event()
        self._results.append(_Result((), committed.set))
        self._first.set()
        self._full.set()
        await committed.wait()

    async def add(self, outcomes: Sequence[Outcome], on_committed: Callable[[], None]) -> None:
        """Take results; `on_committed` is called when they are durable. Waits while the store cannot keep up.

        They are taken before the wait: cancelling the wait does not lose them.
        """
        self._results.append(_Result(outcomes, on_committed))
        self._gathered += len(outcomes)
        self._first.set()
        if self._gathered >= self._batch_results:
            self._full.set()
            self._room.clear()
            await self._room.wait()

    def drop_piece(self, piece_id: int) -> None:
        """Have a piece removed whose contacts are all dealt with; nothing depends on when."""
        self._spent_pieces.append(piece_id)
        self._first.set()

    async def stop(self) -> None:
        """Commit what is gathered, then end."""
        self._stopping = True
        self._first.set()
        self._full.set()
        await supervision.ended(self._task)

    async def _run(self) -> None:
        while True:
            await self._first.wait()
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_seconds):
                        await self._full.wait()
            results, self._results, self._gathered = self._results, [], 0
            spent_pieces, self._spent_pieces = self._spent_pieces, []
            self._first.clear()
            self._full.clear()
            self._room.set()
            try:
                if results or spent_pieces:
                    await self._commit(results, spent_pieces)
            except _StoppedError:
                # What is left stays pending and is sent again at the next start: harmless (R6). Its pieces stay too.
                return
            if self._stopping and not self._results and not self._spent_pieces:
                return

    async def _commit(self, results: Sequence[_Result], spent_pieces: Sequence[int]) -> None:
        """Make results durable, however long that takes, and tell of each; raises `_StoppedError` if the stop came first."""
        outcomes = [outcome for result in results for outcome in result.outcomes]
        try:
            await self._write(outcomes, spent_pieces)
        except StoreFaultError as error:
            if spent_pieces:
                # Whatever becomes of the results, these may be dropped; that they are not only costs a look at each start.
                with contextlib.suppress(StoreFaultError):
                    await self._write((), spent_pieces)
            if len(results) > 1:
                middle = len(results) // 2
                await self._commit(results[:middle], ())
                await self._commit(results[middle:], ())
            else:
                for result in results:
                    await self._commit_one(result, error)
        else:
            for result in results:
                result.on_committed()

    async def _commit_one(self, result: _Result, error: StoreFaultError) -> None:
        """Settle what can be settled of one contact's results; the others become dead letters."""
        for outcome in result.outcomes:
            if len(result.outcomes) > 1:
                try:
                    await self._write((outcome,), ())
                    continue
                except StoreFaultError as found:
                    error = found
            said = f"{outcome.failure.reason}: {outcome.failure.message}" if outcome.failure else "done"
            failure = Failure(_FAULT_REASON, f"the store refused Cordial's answer ({said}): {error.message}")
            dead = msgspec.structs.replace(outcome, kind=OutcomeKind.DEAD, failure=failure)
            try:
                await self._write((dead,), ())
            except StoreFaultError:
                self._tell("result.kept_back", outcome, error)
                return
            self._tell("result.refused", outcome, error)
        result.on_committed()

    def _tell(self, event: str, outcome: Outcome, error: StoreFaultError) -> None:
        key = (event, outcome.segment_id, error.message)
        if key in self._told:
            return
        self._told.add(key)
        log.error(
            event,
            account=outcome.account,
            segment=outcome.segment_id,
            user=mask(outcome.contact.split(":", 1)[1]),
            reason=error.message,
            what_to_do=_FAULT_ADVICE,
        )

    async def _write(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int]) -> None:
        """Write, waiting for a store that cannot; raises `StoreFaultError`, and `_StoppedError` if the stop came first."""
        if not outcomes and not spent_pieces:
            return
        while True:
            try:
                await self._settle(outcomes, spent_pieces)
            except StoreUnavailableError as error:
                log.warning("batch.not_settled", results=len(outcomes), reason=error.message)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                if self._stopping:
                    raise _StoppedError from error
            else:
                self._on_settled(outcomes)
                kinds = [outcome.kind for outcome in outcomes]
                log.info(
                    "batch.settled", results=len(outcomes), **{kind.value: kinds.count(kind) for kind in set(kinds)}
                )
                return
