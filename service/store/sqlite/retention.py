"""Forgetting what is old: deliveries, syncs, imports and audit rows; never the ledger, never what is still worked on.

A sync's precedence is forgotten with it. That is safe because a page of it cannot come again: its signature has long
been stale (`timestamp_tolerance_seconds` against `retention_days`).
"""

import asyncio
import sqlite3

import structlog

from service import supervision
from service.clock import SteadyClock
from service.errors import StoreUnavailableError
from service.store.sqlite import queries
from service.store.sqlite.writer import Writer
from service.supervision import Supervisor

log = structlog.get_logger()

_SQL = queries.load("retain")
_ROWS_AT_ONCE = 500
_DAY_MS = 86_400_000
_INTERVAL_SECONDS = 3_600.0


class Retention:
    """Forgets once an hour, a little at a time."""

    def __init__(self, writer: Writer, clock: SteadyClock, retention_days: int) -> None:
        self._writer = writer
        self._clock = clock
        self.retention_days = retention_days
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to forget."""
        self._task = supervisor.start("retention", self._run())

    async def stop(self) -> None:
        """End after the transaction under way."""
        await supervision.stop(self._task)

    async def forget_old(self) -> int:
        """Forget all that is older than the retention; return how many rows."""
        values = {"before_ms": self._clock.now_ms() - self.retention_days * _DAY_MS, "limit": _ROWS_AT_ONCE}
        total = 0
        for name in ("forget_deliveries", "forget_syncs", "forget_imports", "forget_audit"):

            def forget(connection: sqlite3.Connection, statement: str = _SQL[name]) -> int:
                return connection.execute(statement, values).rowcount

            while forgotten := await self._writer.run(forget):
                total += forgotten
        return total

    async def _run(self) -> None:
        while True:
            try:
                forgotten = await self.forget_old()
            except StoreUnavailableError as error:
                log.warning("retention.failed", reason=error.message)
            else:
                if forgotten:
                    log.info("retention.forgot", rows=forgotten)
            await asyncio.sleep(_INTERVAL_SECONDS)
