"""The loop that folds, whenever something was accepted; the rule is in `folding.py`."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from service import supervision
from service.errors import StoreFaultError, StoreUnavailableError
from service.store.sqlite.store import SqliteStore
from service.supervision import Supervisor

log = structlog.get_logger()
_IDLE_SECONDS = 1.0
_STORE_RETRY_SECONDS = 0.5
_FAULT_SECONDS = 5.0

# While deliveries keep arriving, folding takes small steps and pauses between them, so that no answer waits long behind
# one; what gathers meanwhile is durable in the inbox and folded at full speed as soon as it is quiet. A user costs three
# times as much in a small step as in a large one, so the pauses grow with the rate of deliveries. What the shortest share
# of time folds is still more than any account may send.
_QUIET_SECONDS = 0.25
_SMALL_INBOX_USERS = 500
_MIN_PAUSE_PER_STEP = 4.0
_MAX_PAUSE_PER_STEP = 19.0
_PAUSE_PER_STEP_AND_RATE = 0.1


class Folder:
    """Folds the inbox into the ledger as long as it runs; can be stopped at any point and go on later (R6)."""

    def __init__(self, store: SqliteStore, on_folded: Callable[[], None]) -> None:
        self._store = store
        self._on_folded = on_folded
        # Something could not be folded: one piece at a time shows which it was.
        self._is_careful = False
        self._told: set[int] = set()
        self._looked_at = time.monotonic()
        self._deliveries = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to fold."""
        self._task = supervisor.start("folder", self._run(supervisor), beats=True)

    async def stop(self) -> None:
        """End after the transaction under way."""
        await supervision.stop(self._task)

    async def _run(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.beat()
            began_at = time.monotonic()
            deliveries_per_second = self._deliveries_per_second(began_at)
            self._store.inbox_grew.clear()
            is_busy = (
                self._store.seconds_since_accept < _QUIET_SECONDS
                and self._store.backlog.unfolded_users > _SMALL_INBOX_USERS
            )
            try:
                progress = await self._store.fold_next(small=is_busy or self._is_careful)
            except StoreUnavailableError as error:
                log.warning("fold.failed", reason=error.message)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            except StoreFaultError as error:
                await self._put_off(error)
                continue
            if progress.users:
                self._on_folded()
            if not progress.more:
                self._is_careful = False
                await self._wait(_IDLE_SECONDS)
            elif is_busy:
                pause_per_step = _PAUSE_PER_STEP_AND_RATE * deliveries_per_second
                pause_per_step = min(max(pause_per_step, _MIN_PAUSE_PER_STEP), _MAX_PAUSE_PER_STEP)
                await asyncio.sleep(pause_per_step * (time.monotonic() - began_at))

    def _deliveries_per_second(self, now: float) -> float:
        """Return how many deliveries a second have come since the last look."""
        deliveries, seconds = self._store.deliveries - self._deliveries, now - self._looked_at
        self._deliveries, self._looked_at = self._store.deliveries, now
        return deliveries / max(seconds, 0.001)

    async def _put_off(self, error: StoreFaultError) -> None:
        """Find the piece that cannot be folded, then let the other segments' go before its segment's."""
        if not self._is_careful:
            self._is_careful = True
            return
        try:
            found = await self._store.put_off_first()
        except (StoreUnavailableError, StoreFaultError):
            await asyncio.sleep(_STORE_RETRY_SECONDS)
            return
        if found is None:
            return
        segment_id, has_others = found
        if segment_id not in self._told:
            self._told.add(segment_id)
            log.error("fold.put_off", segment=segment_id, reason=error.message)
        if not has_others:
            await self._wait(_FAULT_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Return when something more was accepted, at the latest after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._store.inbox_grew.wait()
