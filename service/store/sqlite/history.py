"""Minutes of the past week, for the picture on the dashboard: how much was owed, called, settled, failed."""

import sqlite3
from datetime import timedelta

from service.model.views import Minute
from service.store.sqlite import queries
from service.store.sqlite.writer import Writer

_SQL = queries.load("history")
_KEPT = timedelta(days=7)


class History:
    """Keeps one row a minute, and forgets each after a week."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def add(self, minute: Minute) -> None:
        """Keep a minute, and forget what is older than a week."""
        at_ms = round(minute.at.timestamp() * 1000)
        row = {
            "at_ms": at_ms,
            "backlog": minute.backlog,
            "calls": minute.calls,
            "settled": minute.settled,
            "failed": minute.failed,
        }
        old = {"since_ms": at_ms - _KEPT // timedelta(milliseconds=1)}

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["add"], row)
            connection.execute(_SQL["forget"], old)

        await self._writer.run(work)
