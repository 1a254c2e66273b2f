"""What the store and the machine say of the service from outside: counters, integrity, memory, files."""

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil

from service.store.sqlite import opening, queries
from service.store.sqlite.loading import read_segments


class StoreFigures(NamedTuple):
    """What the store has counted, over all segments; `unfolded` are users accepted and not in the ledger yet."""

    unfolded: int
    pending: int
    waiting: int
    dead: int
    members: dict[str, int]
    settled: dict[str, int]

    @property
    def owed(self) -> int:
        """Everything accepted that is not settled and not given up."""
        return self.unfolded + self.pending + self.waiting


async def read_figures(store_path: Path) -> StoreFigures:
    """Read the counters, by a connection that is closed at once so that a killed service finds the file alone."""
    connection = await opening.open_reader(store_path)
    try:
        return await connection.run(_figures_of)
    finally:
        await connection.close()


class CrashedStore(NamedTuple):
    """What a crash left: everything owed, and what `PRAGMA integrity_check` finds, empty if nothing."""

    owed: int
    integrity_fault: str


def inspect_crashed(store_path: Path) -> CrashedStore:
    """Look at a copy, so that the service finds the file, its WAL and no index to it just as the crash left them."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / store_path.name
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{store_path}{suffix}", f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            findings = "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
            return CrashedStore(_figures_of(connection).owed, "" if findings == "ok" else findings)


def _figures_of(connection: sqlite3.Connection) -> StoreFigures:
    segments = read_segments(connection)
    return StoreFigures(
        unfolded=connection.execute(queries.load("lists")["unfolded_users"]).fetchone()[0],
        pending=sum(segment.pending for segment in segments),
        waiting=sum(segment.waiting for segment in segments),
        dead=sum(segment.dead for segment in segments),
        members={segment.list_name: segment.members for segment in segments},
        settled={segment.list_name: segment.settled for segment in segments},
    )


class Peaks:
    """The most memory and WAL seen, in bytes."""

    def __init__(self, store_path: Path) -> None:
        self._wal = Path(f"{store_path}-wal")
        self.rss_bytes = 0
        self.wal_bytes = 0

    def sample(self, process_id: int) -> None:
        """Look once; a process or file that is just gone is not looked at."""
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            self.rss_bytes = max(self.rss_bytes, psutil.Process(process_id).memory_info().rss)
            self.wal_bytes = max(self.wal_bytes, self._wal.stat().st_size)
