"""The loop that brings open erasures to their end; the rule is in `erasure.py`.

Then it empties the WAL, which may still hold what was erased.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from service import supervision
from service.errors import StoreFaultError, StoreUnavailableError
from service.store.sqlite.erasure import Erasures
from service.supervision import Supervisor

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 10.0


class Eraser:
    """Looks after the erasures that are open; `empty_wal` tells whether it could be done now."""

    def __init__(self, erasures: Erasures, empty_wal: Callable[[], Awaitable[bool]]) -> None:
        self._erasures = erasures
        self._empty_wal = empty_wal
        # A crash may have left in the WAL what was erased.
        self._has_remains = True
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to erase."""
        self._task = supervisor.start("eraser", self._run(supervisor), beats=True)

    async def stop(self) -> None:
        """End after the transaction under way; the rest goes on at the next start."""
        await supervision.stop(self._task)

    async def _run(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.beat()
            self._erasures.asked.clear()
            is_idle = False
            try:
                if await self._erasures.advance():
                    self._has_remains = True
                is_idle = not await self._erasures.open()
                if self._has_remains:
                    self._has_remains = not await self._empty_wal()
            except (StoreUnavailableError, StoreFaultError) as error:
                log.warning("erasure.delayed", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS if is_idle else _LOOK_SECONDS):
                    await self._erasures.asked.wait()
