"""Comparing who is on a list by a record of Cordial's with the ledger, however many they are.

The record goes into a temporary database of SQLite's on disk, which goes with the process; the ledger is only read.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.store.sqlite import opening, queries
from service.store.sqlite.files import StoreOpenError

_SQL = queries.load("compare")


class Totals(NamedTuple):
    """How many a record names, and how many members the ledger has settled on the list and off it, or not settled yet."""

    seen: int
    on: int
    off: int
    unsettled: int


class Comparison:
    """A record of who is on the list of a segment, to be compared with the ledger."""

    def __init__(self, database: Path, segment_id: int) -> None:
        """Open the store beside an empty record; raises `StoreOpenError` when it is not there or not ours."""
        self._connection = sqlite3.connect("", isolation_level=None, uri=True)
        try:
            self._connection.execute(_SQL["attach"], (opening.read_only_uri(database),))
            row = self._connection.execute(_SQL["account"], {"segment_id": segment_id}).fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreOpenError(f"{database} cannot be read: {error}") from error
        if row is None:
            self._connection.close()
            raise StoreOpenError(f"{database} has no list {segment_id}")
        self._values = {"account_id": row[0], "segment_id": segment_id}
        self._connection.execute(_SQL["make"])
        self._rows = 0

    def close(self) -> None:
        """Close the store and the record beside it."""
        self._connection.close()

    def add(self, rows: Iterable[Sequence[str]]) -> int:
        """Note people who are on the list: for each, the contacts (`key:value`) that they may be in the ledger.

        Return how many of these contacts were not noted before.
        """
        before = self._connection.total_changes
        self._connection.execute("BEGIN")
        for contacts in rows:
            self._rows += 1
            self._connection.executemany(_SQL["add"], [(contact, self._rows) for contact in contacts])
        self._connection.execute("COMMIT")
        return self._connection.total_changes - before

    def totals(self) -> Totals:
        """Return the totals."""
        return Totals(*self._connection.execute(_SQL["totals"], self._values).fetchone())

    def missing(self) -> Iterator[str]:
        """Yield the contacts that Cordial has confirmed on the list and the record does not name."""
        return (row[0] for row in self._connection.execute(_SQL["missing"], self._values))

    def wrongly_on(self) -> Iterator[str]:
        """Yield the contacts that Cordial has confirmed off the list and the record names."""
        return (row[0] for row in self._connection.execute(_SQL["wrongly_on"], self._values))

    def strangers(self) -> Iterator[str]:
        """Yield the contacts that the record names and this service never put on the list."""
        return (row[0] for row in self._connection.execute(_SQL["strangers"], self._values))

    def settled(self, after: str, limit: int) -> list[tuple[str, bool]]:
        """Return the next settled members after a contact, and whether each is wanted on the list."""
        rows = self._connection.execute(_SQL["settled"], {**self._values, "after": after, "limit": limit})
        return [(contact, bool(wanted)) for contact, wanted in rows]
