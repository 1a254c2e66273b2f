"""The program with one fault planted: `python -m tests.powercut.planted FAULT serve …`.

A test of power cuts that does not find these finds nothing.
"""

import asyncio
import sys
from enum import StrEnum
from typing import Any

from service.__main__ import main
from service.model.deliveries import Receipt, ReceiptStatus
from service.store.sqlite import opening
from service.store.sqlite.store import SqliteStore


class Fault(StrEnum):
    """What is wrong with the program."""

    NORMAL = "synchronous_normal"
    EARLY = "answer_before_commit"


def plant(fault: Fault) -> None:
    """Put the fault into this process."""
    {
        Fault.NORMAL: _write_without_syncs,
        Fault.EARLY: _answer_before_the_commit,
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


if __name__ == "__main__":
    plant(Fault(sys.argv.pop(1)))
    sys.exit(main())
