"""Numbers for those who watch, on a connection of their own, so that watching holds nobody up."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import structlog

from service.model.lists import ListState
from service.model.views import AccountFigures
from service.store.sqlite import opening, queries
from service.store.sqlite.opening import Connection

log = structlog.get_logger()

_SQL = queries.load("figures")


class FiguresReader:
    """Reads the figures of all accounts, at most once in `max_age_seconds` however often they are asked for."""

    def __init__(
        self, connection: Connection, accounts: Collection[str], clock: Callable[[], float], max_age_seconds: float
    ) -> None:
        self._connection = connection
        self._accounts = accounts
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._read_at = float("-inf")
        self._figures: Sequence[AccountFigures] | None = None

    @classmethod
    async def open(
        cls,
        database: Path,
        accounts: Collection[str],
        clock: Callable[[], float] = time.monotonic,
        max_age_seconds: float = 5.0,
    ) -> "FiguresReader":
        """Open the store at `database`, to read of the accounts named: those no longer configured owe nothing any more.

        Which accounts those are may change; it shows at the next reading.

        Raises `StoreOpenError` when there is no store, or it is not ours.
        """
        return cls(await opening.open_reader(database), accounts, clock, max_age_seconds)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def read(self) -> Sequence[AccountFigures] | None:
        """Return the figures by account, None while the store cannot be read."""
        now = self._clock()
        if now - self._read_at >= self._max_age_seconds:
            self._read_at = now
            try:
                figures = await self._connection.run(_read)
                self._figures = [each for each in figures if each.account in self._accounts]
            except sqlite3.Error as error:
                log.warning("figures.unreadable", reason=str(error))
                self._figures = None
        return self._figures


def _read(connection: sqlite3.Connection) -> list[AccountFigures]:
    oldest = dict(connection.execute(_SQL["oldest_open"]).fetchall())
    dead: dict[int, int] = defaultdict(int)
    lists: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(ListState, 0))
    for account_id, state, number, dead_letters in connection.execute(_SQL["lists"]):
        dead[account_id] += dead_letters
        lists[account_id][state] = number
    travelling = dict(connection.execute(_SQL["travelling"]).fetchall())
    in_doubt = dict(connection.execute(_SQL["in_doubt"]).fetchall())
    read_back = {account_id: counts for account_id, *counts in connection.execute(_SQL["read_back"])}
    return [
        AccountFigures(
            name,
            oldest.get(account_id),
            dead[account_id],
            lists[account_id],
            travelling.get(account_id, 0),
            in_doubt.get(account_id, 0),
            *read_back.get(account_id, (0, 0)),
        )
        for account_id, name in connection.execute(_SQL["accounts"])
    ]
