"""The loop that folds: whatever is accepted goes into the ledger right after, in order."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from service import supervision
from service.errors import StoreUnavailableError
from service.store.sqlite.store import SqliteStore
from service.supervision import Supervisor

log = structlog.get_logger()
_IDLE_SECONDS = 1.0
_STORE_RETRY_SECONDS = 0.5

# While deliveries keep arriving, folding takes small steps and rests between them, so that no answer waits long behind
# one; what gathers meanwhile is durable in the inbox and folded at full speed as soon as it is quiet.
_QUIET_SECONDS = 0.25
_REST_PER_STEP = 4.0
_SMALL_INBOX_USERS = 500


class Folder:
    """Folds the inbox into the ledger as long as it runs; can be stopped at any point and go on later (R6)."""

    def __init__(self, store: SqliteStore, on_folded: Callable[[], None]) -> None:
        self._store = store
        self._on_folded = on_folded
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
            self._store.inbox_grew.clear()
            is_busy = (
                self._store.seconds_since_accept < _QUIET_SECONDS
                and self._store.backlog.unfolded_users > _SMALL_INBOX_USERS
            )
            try:
                progress = await self._store.fold_next(small=is_busy)
            except StoreUnavailableError as error:
                log.warning("fold.failed", reason=error.message)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            if progress.users:
                self._on_folded()
            if not progress.more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self._store.inbox_grew.wait()
            elif is_busy:
                await asyncio.sleep(_REST_PER_STEP * (time.monotonic() - began_at))
