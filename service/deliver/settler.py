"""Gathering results of all accounts into few commits; what a crash repeats is at most what is gathered here (R6)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from service import supervision
from service.deliver.observing import NOT_OBSERVED
from service.errors import StoreUnavailableError
from service.model.changes import Outcome
from service.supervision import Supervisor

log = structlog.get_logger()
_STORE_RETRY_SECONDS = 0.5


class Settler:
    """Commits results in batches, by number or by age, whichever comes first.

    `settle` makes results and spent pieces durable, or raises `StoreUnavailableError`.
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
        self._outcomes: list[Outcome] = []
        self._spent_pieces: list[int] = []
        self._callbacks: list[Callable[[], None]] = []
        self._first = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
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
        self._callbacks.append(committed.set)
        self._first.set()
        self._full.set()
        await committed.wait()

    async def add(self, outcomes: Sequence[Outcome], on_committed: Callable[[], None]) -> None:
        """Take results; `on_committed` is called when they are durable. Waits while the store cannot keep up.

        They are taken before the wait: giving up the wait does not lose them.
        """
        self._outcomes += outcomes
        self._callbacks.append(on_committed)
        self._first.set()
        if len(self._outcomes) >= self._batch_results:
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
            outcomes, self._outcomes = self._outcomes, []
            spent_pieces, self._spent_pieces = self._spent_pieces, []
            callbacks, self._callbacks = self._callbacks, []
            self._first.clear()
            self._full.clear()
            self._room.set()
            # What could not be committed stays owed, so its pieces must stay too.
            if await self._commit(outcomes, spent_pieces):
                for callback in callbacks:
                    callback()
            if self._stopping and not self._outcomes and not self._spent_pieces:
                return

    async def _commit(self, outcomes: list[Outcome], spent_pieces: list[int]) -> bool:
        """Make results durable, however long that takes; return False if the stop came first."""
        if not outcomes and not spent_pieces:
            return True
        while True:
            try:
                await self._settle(outcomes, spent_pieces)
            except StoreUnavailableError as error:
                log.warning("batch.not_settled", results=len(outcomes), reason=error.message)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                if self._stopping:
                    # Their changes stay pending and are sent again at the next start: harmless (R6).
                    return False
            else:
                self._on_settled(outcomes)
                kinds = [outcome.kind for outcome in outcomes]
                log.info(
                    "batch.settled", results=len(outcomes), **{kind.value: kinds.count(kind) for kind in set(kinds)}
                )
                return True
