"""The outbox of notices: what each target was told, and what is still to be sent to it."""

import json
import sqlite3
from collections.abc import Callable, Collection
from typing import Any

from service.model.notices import Told, WaitingNotice
from service.store.sqlite import queries
from service.store.sqlite.writer import Writer

_SQL = queries.load("notices")


class Notices:
    """The notices of one store; every method may raise `StoreUnavailableError` and `StoreFaultError`."""

    def __init__(self, writer: Writer, now_ms: Callable[[], int], read: Callable[..., Any]) -> None:
        self._writer = writer
        self._now_ms = now_ms
        self._read = read

    async def told(self, target: str) -> list[Told]:
        """Return what the target was told and not yet that it is over."""
        rows = await self._read(lambda connection: connection.execute(_SQL["told"], {"target": target}).fetchall())
        return [Told(*row) for row in rows]

    async def put(self, target: str, message: bytes, begun: Collection[Told], ended: Collection[Told]) -> None:
        """Keep a message to be sent, and what it tells: both or nothing."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["put"], {"target": target, "message": message, "now_ms": self._now_ms()})
            for each in begun:
                connection.execute(_SQL["note_told"], _values(target, each))
            for each in ended:
                connection.execute(_SQL["forget_told"], _values(target, each))

        await self._writer.run(write)

    async def waiting(self, target: str) -> int:
        """Return how many messages the target is still to get."""
        number: int = await self._read(
            lambda connection: connection.execute(_SQL["count"], {"target": target}).fetchone()[0]
        )
        return number

    async def first(self, target: str) -> WaitingNotice | None:
        """Return the oldest message that the target is still to get."""
        row = await self._read(lambda connection: connection.execute(_SQL["first"], {"target": target}).fetchone())
        return None if row is None else WaitingNotice(*row)

    async def remove(self, notice_id: int) -> None:
        """Forget a message that was sent."""
        await self._writer.run(lambda connection: connection.execute(_SQL["remove"], {"id": notice_id}).rowcount)

    async def take_back(self, target: str, notice_id: int, begun: Collection[Told], ended: Collection[Told]) -> None:
        """Forget a message that was not sent, and that it was told: of what began, and of what is over."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["remove"], {"id": notice_id})
            for each in begun:
                connection.execute(_SQL["forget_told"], _values(target, each))
            for each in ended:
                connection.execute(_SQL["note_told"], _values(target, each))

        await self._writer.run(write)

    async def put_off(self, notice_id: int, next_try_at_ms: int) -> None:
        """Note that a message did not get through."""
        values = {"id": notice_id, "next_try_at_ms": next_try_at_ms}
        await self._writer.run(lambda connection: connection.execute(_SQL["put_off"], values).rowcount)

    async def keep_only(self, targets: Collection[str]) -> None:
        """Forget targets that are not configured any more."""
        values = {"targets": json.dumps(list(targets))}

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["forget_targets"], values)
            connection.execute(_SQL["forget_told_targets"], values)

        await self._writer.run(write)


def _values(target: str, told: Told) -> dict[str, str | int]:
    return {
        "target": target,
        "kind": told.kind,
        "account": told.account,
        "subject": told.subject,
        "list_id": told.list_id or 0,
        "began_at_ms": told.began_at_ms,
    }
