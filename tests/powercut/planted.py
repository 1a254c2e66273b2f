"""The program with one fault planted: `python -m tests.powercut.planted FAULT serve …`.

A test of power cuts that does not find these finds nothing.
"""

import asyncio
import struct
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.__main__ import main
from service.model.deliveries import Receipt
from service.store.sqlite import backup, copying, opening, writer
from service.store.sqlite.store import SqliteStore

# Where the WAL's index keeps the number of valid frames, and how many of them a checkpoint has brought back.
_MAX_FRAME = struct.Struct("=16xI")
_BACKFILLED_AT_BYTES = 96
_BACKFILLED = struct.Struct("=I")


class Fault(StrEnum):
    """What is wrong with the program."""

    NORMAL = "synchronous_normal"
    EARLY = "answer_before_commit"
    NO_DIRECTORY_SYNC = "no_directory_sync"
    WAL_RESET = "wal_reset"


def plant(fault: Fault) -> None:
    """Put the fault into this process."""
    {
        Fault.NORMAL: _write_without_syncs,
        Fault.EARLY: _answer_before_the_commit,
        Fault.NO_DIRECTORY_SYNC: _sync_no_directory,
        Fault.WAL_RESET: _lose_frames_at_a_reset,
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
        return Receipt(duplicate=False, delivery_id=1, segment_id=1)

    SqliteStore.accept = accept_later  # type: ignore[method-assign]


def _sync_no_directory() -> None:
    sync_to_disk = copying.sync_to_disk

    def sync_files(path: Path) -> None:
        if not path.is_dir():
            sync_to_disk(path)

    for module in (copying, backup):
        module.sync_to_disk = sync_files  # type: ignore[attr-defined]


def _lose_frames_at_a_reset() -> None:
    """Leave the WAL's index as the race of https://sqlite.org/wal.html#walresetbug does.

    A checkpoint that had read the index before a commit began the WAL anew notes, after it, that as many frames are back
    in the database as there were before. Threads cannot be stopped between these two steps from outside; what they leave
    behind can be written.
    """
    commit = writer._commit
    most_frames = 0

    def commit_beside_a_checkpoint(connection: Any, *others: Any) -> Any:
        nonlocal most_frames
        committed = commit(connection, *others)
        index = Path(connection.execute("PRAGMA database_list").fetchone()[2] + "-shm")
        with index.open("r+b", buffering=0) as file:
            (frames,) = _MAX_FRAME.unpack(file.read(_MAX_FRAME.size))
            if frames < most_frames:
                file.seek(_BACKFILLED_AT_BYTES)
                file.write(_BACKFILLED.pack(most_frames))
            most_frames = max(most_frames, frames)
        return committed

    writer._commit = commit_beside_a_checkpoint


if __name__ == "__main__":
    plant(Fault(sys.argv.pop(1)))
    sys.exit(main())
