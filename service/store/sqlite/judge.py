"""The loop that judges, when the folder has set something aside and every few seconds; the rule is in `guarding.py` (R17)."""

import asyncio
import contextlib

import structlog

from service import supervision
from service.errors import StoreFaultError, StoreUnavailableError
from service.store.sqlite.guarding import Guard
from service.supervision import Supervisor

log = structlog.get_logger()

# An incomplete sync is judged because time has passed, not because something came.
_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class Judge:
    """Judges what the folder has set aside, as long as it runs; can be stopped at any point and go on later (R6)."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to judge."""
        self._task = supervisor.start("judge", self._run(supervisor), beats=True)

    async def stop(self) -> None:
        """End after the step under way."""
        await supervision.stop(self._task)

    async def _run(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.beat()
            self._guard.woken.clear()
            try:
                has_more = await self._guard.advance()
            except (StoreUnavailableError, StoreFaultError) as error:
                log.warning("guard.delayed", reason=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if has_more:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._guard.woken.wait()
