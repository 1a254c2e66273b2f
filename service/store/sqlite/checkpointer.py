"""Bringing the WAL back into the database beside the writer, so that no answer waits for it.

The writer's own automatic checkpoint, at a WAL of 32 MiB, holds up every commit for as long as it takes to write thousands
of pages. Done here once a second, on a connection of its own and locking nobody out, it leaves that one little to do.
"""

import asyncio
import sqlite3

import structlog

from service import supervision
from service.store.sqlite.opening import Connection
from service.store.sqlite.writer import Writer
from service.supervision import Supervisor

log = structlog.get_logger()
_INTERVAL_SECONDS = 1.0


class Checkpointer:
    """Checkpoints once a second while the writer writes."""

    def __init__(self, writer: Writer, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to checkpoint."""
        self._task = supervisor.start("checkpointer", self._run())

    async def close(self) -> None:
        """End after the checkpoint under way."""
        await supervision.stop(self._task)
        await self._connection.close()

    async def _run(self) -> None:
        seen_commits = 0
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            if self._writer.commits == seen_commits:
                continue
            seen_commits = self._writer.commits
            try:
                await self._connection.run(
                    lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                )
            except sqlite3.Error as error:
                # The writer's own checkpoint comes all the same, and its trouble is the store's.
                log.warning("checkpoint.failed", reason=str(error))
