"""The program with one fault planted: `python -m tests.powercut.planted FAULT serve …`.

A test of power cuts that does not find these finds nothing.
"""

import asyncio
import sqlite3
import sys
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from service.__main__ import main
from service.model.deliveries import Receipt, ReceiptStatus
from service.store.sqlite import backup, copying, files, opening, writer
from service.store.sqlite.store import SqliteStore

# In the index of the WAL (https://sqlite.org/walformat.html): how many frames there are, and how many were brought back.
_FRAMES_AT = 16
_BROUGHT_BACK_AT = 96


class Fault(StrEnum):
    """What is wrong with the program."""

    NORMAL = "synchronous_normal"
    EARLY = "answer_before_commit"
    RESTORE = "restore_without_directory_sync"
    RESET = "wal_reset"


def plant(fault: Fault) -> None:
    """Put the fault into this process."""
    {
        Fault.NORMAL: _write_without_syncs,
        Fault.EARLY: _answer_before_the_commit,
        Fault.RESTORE: _restore_without_directory_sync,
        Fault.RESET: _let_a_late_checkpoint_end_in_the_next_wal,
    }[fault]()


def _write_without_syncs() -> None:
    set_pragma = opening._set_pragma

    def set_other(connection: Any, name: str, value: Any) -> None:
        set_pragma(connection, name, 1 if name == "synchronous" else value)

    opening._set_pragma = set_other


def _answer_before_the_commit() -> None:
    accept = SqliteStore.accept
    tasks = set()

    async def accept_later(self: SqliteStore, delivery: Any) -> Receipt:
        tasks.add(asyncio.create_task(accept(self, delivery)))
        return Receipt(ReceiptStatus.ACCEPTED, delivery_id=1, segment_id=1)

    SqliteStore.accept = accept_later  # type: ignore[method-assign]


def _restore_without_directory_sync() -> None:
    sync_to_disk = files.sync_to_disk

    def sync_files(path: Path) -> None:
        if not path.is_dir():
            sync_to_disk(path)

    vars(copying)["sync_to_disk"] = vars(backup)["sync_to_disk"] = sync_files


def _let_a_late_checkpoint_end_in_the_next_wal() -> None:
    """Do once what SQLite up to 3.51.2 does when a commit resets the WAL between two steps of a checkpoint.

    The checkpoint still notes as many frames as brought back as there were before, though those that are there now are
    others. The instant between its steps has no system call, so that nothing could force the interleaving itself.
    """
    commit = writer._commit
    index: IO[bytes] | None = None
    max_frames = 0

    def commit_and_lose(connection: sqlite3.Connection, *others: Any) -> Any:
        nonlocal index, max_frames
        database = connection.execute("PRAGMA database_list").fetchone()[2]
        # Never closed: that would end the locks that SQLite has on it.
        index = index or Path(f"{database}-shm").open("r+b", buffering=0)  # noqa: SIM115  see above
        committed = commit(connection, *others)
        frames = _number_in(index, _FRAMES_AT)
        # Only in the last sync of its life, whose changes nobody waits for.
        if frames < max_frames and connection.execute("SELECT 1 FROM sync WHERE task_id = 'b3'").fetchone():
            index.seek(_BROUGHT_BACK_AT)
            index.write(max_frames.to_bytes(4, sys.byteorder))
            max_frames = 0
        max_frames = max(frames, max_frames)
        return committed

    vars(writer)["_commit"] = commit_and_lose


def _number_in(index: IO[bytes], offset: int) -> int:
    index.seek(offset)
    return int.from_bytes(index.read(4), sys.byteorder)


if __name__ == "__main__":
    plant(Fault(sys.argv.pop(1)))
    sys.exit(main())
