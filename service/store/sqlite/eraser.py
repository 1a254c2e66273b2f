"""Bringing erasures to their end while the service runs, down to the bytes that the WAL still holds."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import structlog

from service import supervision
from service.errors import StoreUnavailableError
from service.store.sqlite import opening
from service.store.sqlite.erasure import Erasures
from service.store.sqlite.opening import Connection
from service.supervision import Supervisor

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 10.0
# Writers wait while the WAL is emptied, and whoever reads the file for long must not make them wait for him too.
_EMPTYING_PATIENCE_MS = 100


class Eraser:
    """Looks after the erasures that are open; made by `Eraser.open`."""

    def __init__(self, erasures: Erasures, connection: Connection) -> None:
        self._erasures = erasures
        self._connection = connection
        # A crash may have left in the WAL what was erased.
        self._has_remains = True
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, database: Path, erasures: Erasures) -> "Eraser":
        """Return what looks after the erasures of an open store; raises `opening.StoreOpenError`."""
        return cls(erasures, await opening.open_checkpointer(database))

    def start(self, supervisor: Supervisor) -> None:
        """Begin to erase."""
        self._task = supervisor.start("eraser", self._run(supervisor), beats=True)

    async def stop(self) -> None:
        """End after the transaction under way; the rest goes on at the next start."""
        await supervision.stop(self._task)
        await self._connection.close()

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
                    self._has_remains = not await self._connection.run(_empty_wal)
            except (StoreUnavailableError, sqlite3.Error) as error:
                log.warning("erasure.delayed", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS if is_idle else _LOOK_SECONDS):
                    await self._erasures.asked.wait()


def _empty_wal(connection: sqlite3.Connection) -> bool:
    """Bring all of the WAL into the database and cut it off; return whether that could be done now."""
    connection.execute(f"PRAGMA busy_timeout = {_EMPTYING_PATIENCE_MS}")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
