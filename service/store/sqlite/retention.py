"""Forgetting what is old: deliveries, syncs, imports and audit rows; never the ledger, never what is still worked on.

Age is time that the service has run, not time on the clock: a start with a clock that is 400 days ahead must not empty the
history, for what was said before would then count as new if it came again (R4). Whatever the clock and the settings say by
then: a page signed no later than one that is forgotten is not taken any more.
"""

import asyncio
import contextlib
import sqlite3

import structlog

from service import supervision
from service.clock import SteadyClock
from service.errors import StoreFaultError, StoreUnavailableError
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
        # The lived time as last noted, and when that was by the steady clock; None before the first note.
        self._noted: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Note the time at a start, after `rescheduling` and before anything is planned by this life's clock."""
        with contextlib.suppress(StoreUnavailableError, StoreFaultError):
            await self._note_lived()

    def start(self, supervisor: Supervisor) -> None:
        """Begin to forget."""
        self._task = supervisor.start("retention", self._run())

    async def stop(self) -> None:
        """End after the transaction under way, and note how long the service has run."""
        await supervision.stop(self._task)
        if self._noted is not None:
            with contextlib.suppress(StoreUnavailableError, StoreFaultError):
                await self._note_lived()

    async def forget_old(self) -> int:
        """Forget all that is older than the retention; return how many rows."""
        old_ms = await self._note_lived() - self.retention_days * _DAY_MS
        last = await self._writer.run(lambda connection: connection.execute(_SQL["old"], {"old_ms": old_ms}).fetchone())
        if last is None:
            return 0
        delivery_id, sync_id, import_id, audit_id, condition_id = last
        await self._walk("next_deliveries", "blank_rejected_users", delivery_id)
        return (
            await self._walk("next_deliveries", "forget_deliveries", delivery_id)
            + await self._walk("next_syncs", "forget_syncs", sync_id)
            + await self._walk("next_imports", "forget_imports", import_id)
            + await self._walk("next_audit", "forget_audit", audit_id)
            + await self._walk("next_conditions", "forget_conditions", condition_id)
        )

    async def _walk(self, next_rows: str, statement: str, last: int) -> int:
        """Run a statement over all rows up to the last, some at a time; return how many it changed.

        Over all: rows that have to stay, or that the database does not let go, must not keep those behind them.
        """
        changed, after = 0, 0
        while after < last:
            start = after

            def find_end(connection: sqlite3.Connection) -> int | None:
                window = {"after": start, "last": last, "limit": _ROWS_AT_ONCE}  # noqa: B023
                end: int | None = connection.execute(_SQL[next_rows], window).fetchone()[0]
                return end

            end = await self._writer.run(find_end)
            if end is None:
                break
            window = {"after": start, "end": end, "now_ms": self._clock.now_ms()}
            try:
                changed += await self._writer.run(lambda connection: _forget(connection, statement, window))  # noqa: B023
            except StoreFaultError as error:
                log.warning("retention.failed", reason=error.message)
            after = end
        return changed

    async def _note_lived(self) -> int:
        """Note how long the service has run, and which rows it has by now; return that time in milliseconds."""
        now_ms, boot = self._clock.now_ms(), self._clock.boot()

        def note(connection: sqlite3.Connection) -> int:
            if self._noted is not None:
                lived_ms = self._noted[0] + max(0, now_ms - self._noted[1])
            else:
                before, at_ms = connection.execute(_SQL["last_lived"]).fetchone() or (0, now_ms)
                lived_ms = before + max(0, now_ms - at_ms)
            values = {
                "lived_ms": lived_ms,
                "now_ms": now_ms,
                "boot_id": boot.id if boot else None,
                "boot_ago_ms": boot.ago_ms if boot else None,
                "old_ms": lived_ms - self.retention_days * _DAY_MS,
            }
            connection.execute(_SQL["note_lived"], values)
            connection.execute(_SQL["thin_lived"], values)
            return lived_ms

        lived_ms = await self._writer.run(note)
        self._noted = (lived_ms, now_ms)
        return lived_ms

    async def _run(self) -> None:
        while True:
            try:
                forgotten = await self.forget_old()
            except (StoreUnavailableError, StoreFaultError) as error:
                log.warning("retention.failed", reason=error.message)
            else:
                if forgotten:
                    log.info("retention.forgot", rows=forgotten)
            await asyncio.sleep(_INTERVAL_SECONDS)


def _forget(connection: sqlite3.Connection, statement: str, window: dict[str, int]) -> int:
    """Run a statement over some rows; return how many it changed."""
    cursor = connection.execute(_SQL[statement], window)
    if statement != "forget_deliveries":
        return cursor.rowcount
    signed = [row[0] for row in cursor]
    if signed:
        connection.execute(_SQL["note_forgotten"], {"signed_at_ms": max(signed)})
    return len(signed)
