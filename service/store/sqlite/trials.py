"""What trials of accounts showed."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.clock import SteadyClock
from service.model.trial import TrialPoint, TrialResult
from service.store.sqlite import auditing, queries
from service.store.sqlite.rows import as_views, named_rows
from service.store.sqlite.writer import Writer

_SQL = queries.load("trials")
_POINTS = frozenset(point.value for point in TrialPoint)


class Trials:
    """The trials of one store; `read` runs a function on a connection that only reads."""

    def __init__(
        self, writer: Writer, clock: SteadyClock, account_ids: Mapping[str, int], *, read: Callable[..., Any]
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._account_ids = account_ids
        self._read = read

    async def results(self, account: str, cordial_base_url: str) -> dict[TrialPoint, TrialResult]:
        """Return what is known of the account at that Cordial, by point."""
        values = {"account_id": self._account_ids[account], "cordial_base_url": cordial_base_url}

        def read(connection: sqlite3.Connection) -> list[TrialResult]:
            rows = named_rows(connection.execute(_SQL["read"], values))
            # Another version of the program may have tried points that this one does not know.
            return as_views([row for row in rows if row["point"] in _POINTS], TrialResult)

        found: list[TrialResult] = await self._read(read)
        return {result.point: result for result in found}

    async def begin(self, account: str, contacts: Sequence[str], actor: str) -> int:
        """Write into the audit that a trial begins, unless the ledger has any of these contacts (`key:value`); return how many."""
        values = {"account_id": self._account_ids[account], "contacts": json.dumps(contacts)}
        at_ms = self._clock.wall_ms()

        def work(connection: sqlite3.Connection) -> int:
            found: int = connection.execute(_SQL["members_among"], values).fetchone()[0]
            if not found:
                auditing.write(connection, at_ms=at_ms, actor=actor, action="account.trial", target=account, changes=0)
            return found

        return await self._writer.run(work)

    async def record(self, account: str, cordial_base_url: str, results: Sequence[TrialResult]) -> None:
        """Keep what a trial showed, instead of what was known; what could not be tried leaves that as it is."""
        rows = [
            {
                "account_id": self._account_ids[account],
                "cordial_base_url": cordial_base_url,
                "point": result.point.value,
                "outcome": result.outcome.value,
                "detail": result.detail,
                "at_ms": int(result.at.timestamp() * 1000),
            }
            for result in results
        ]
        await self._writer.run(lambda connection: connection.executemany(_SQL["record"], rows).rowcount)
