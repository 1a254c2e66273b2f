"""Ranges of contacts of which some were refused in a file, and nobody knows which; narrowed until each has a name."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from service.model.changes import Failure, Outcome, OutcomeKind
from service.model.contacts import EMAIL, contact_of
from service.model.imports import ImportPart, Unnamed
from service.store.sqlite import queries
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.ledger import LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Writer

_SQL = queries.load("unnamed")
_REJECTED = Failure("rejected_row", "Cordial rejected the row of this contact in a file")


class UnnamedRanges:
    """The ranges of one store; `read` runs a function on a connection that only reads."""

    def __init__(
        self,
        writer: Writer,
        ledger: LedgerWriter,
        account_ids: Mapping[str, int],
        backlog: Backlog,
        read: Callable[..., Any],
    ) -> None:
        self._writer = writer
        self._ledger = ledger
        self._account_ids = account_ids
        self._backlog = backlog
        self._read = read

    def is_quiet(self, account: str, segment_ids: Sequence[int]) -> bool:
        """Tell whether nothing of these segments may be sent now."""
        pending = self._backlog.pending_segments(account)
        return not any(pending.get(segment_id) for segment_id in segment_ids)

    async def keep(self, account: str, part: ImportPart, contacts: int, refused: int) -> None:
        """Settle a part of which so many rows were refused, and note that those are to be looked for."""
        account_id = self._account_ids[account]

        def work(connection: sqlite3.Connection) -> None:
            seen = {"part_id": part.id, "seen": part.state.value}
            if connection.execute(_SQL["take_to_settling"], seen).rowcount:
                (segments,) = connection.execute(_SQL["segments_of_import"], {"import_id": part.import_id}).fetchone()
                kept = {
                    "account_id": account_id,
                    "import_id": part.import_id,
                    "segments": segments,
                    "after": part.after_contact,
                    "last": part.last_contact,
                    "contacts": contacts,
                    "refused": refused,
                    "searched": False,
                }
                connection.execute(_SQL["add"], kept)
                connection.execute(_SQL["count_segments"], {"account_id": account_id})

        await self._writer.run(work)

    async def ranges(self, account: str) -> list[Unnamed]:
        """Return the account's ranges, the oldest first, without whoever got a name since."""
        account_id = self._account_ids[account]
        rows = await self._read(lambda connection: _rows(connection, account_id))
        if any(named > 0 for *_, named in rows):
            rows = await self._writer.run(lambda connection: _note_named(connection, account_id))
        return [_range(row) for row in rows]

    async def members(self, account: str, found: Unnamed, after: str, limit: int) -> list[str]:
        """Return the next contacts of a range after a contact that may be among the refused."""
        values = self._values(account, found) | {"after": max(after, found.after_contact), "limit": limit}
        rows: list[tuple[str]] = await self._read(lambda each: each.execute(_SQL["members"], values).fetchall())
        return [row[0] for row in rows]

    async def middle(self, account: str, found: Unnamed) -> str:
        """Return the contact at which a range is best halved; empty if it cannot be."""
        values = self._values(account, found)
        values |= {"segment_id": found.segment_ids[0], "skipped": found.contacts // 2 - 1}
        row = await self._read(lambda connection: connection.execute(_SQL["middle"], values).fetchone())
        return row[0] if row else ""

    async def call_likely(self, account: str, found: Unnamed, contacts: Sequence[str], *, is_last: bool) -> None:
        """Send likely contacts of a range again by calls, which name who is refused."""
        account_id = self._account_ids[account]

        def work(ledger: LedgerTransaction) -> None:
            _repeat(ledger, account_id, found, contacts)
            if is_last:
                ledger.connection.execute(_SQL["note_searched"], {"id": found.id})

        await self._ledger.change(work, alone=True)

    async def call(self, account: str, found: Unnamed, contacts: Sequence[str]) -> None:
        """Send the next contacts of a range again by calls; without any, the range is over."""
        account_id = self._account_ids[account]

        def work(ledger: LedgerTransaction) -> None:
            _repeat(ledger, account_id, found, contacts)
            if contacts:
                ledger.connection.execute(_SQL["note_called"], {"id": found.id, "called_to": contacts[-1]})
            else:
                ledger.connection.execute(_SQL["drop"], {"id": found.id})
                ledger.connection.execute(_SQL["count_segments"], {"account_id": account_id})

        await self._ledger.change(work, alone=True)

    async def drop(self, account: str, found: Unnamed) -> None:
        """Forget the ranges of these lists: by Cordial's count, everybody else is there."""
        account_id = self._account_ids[account]
        values = {"account_id": account_id, "segments": json.dumps(found.segment_ids)}

        def work(connection: sqlite3.Connection) -> None:
            _note_named(connection, account_id)
            connection.execute(_SQL["drop_import"], values)
            connection.execute(_SQL["count_segments"], values)

        await self._writer.run(work)

    async def begin_halving(self, account: str, found: Unnamed, middle: str) -> None:
        """Open the range's import again for a file with the contacts up to a middle one, unless another is open."""
        values = {
            "account_id": self._account_ids[account],
            "id": found.id,
            "import_id": found.import_id,
            "after": found.after_contact,
            "middle": middle,
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["open_again"], values)
            connection.execute(_SQL["count_try"], values)

        await self._writer.run(work)

    async def halve(self, account: str, found: Unnamed, part: ImportPart, refused: int) -> None:
        """Divide a range behind the last contact of a part, of whose rows so many had no effect; the part is over."""
        account_id = self._account_ids[account]

        def work(connection: sqlite3.Connection) -> None:
            seen = {"part_id": part.id, "seen": part.state.value, "id": found.id}
            if not connection.execute(_SQL["take_to_releasing"], seen).rowcount:
                return
            connection.execute(_SQL["drop"], seen)
            half = self._values(account, found) | {"import_id": found.import_id, "searched": True}
            first = {"last": part.last_contact, "contacts": part.contacts, "refused": refused}
            second = {
                "after": part.last_contact,
                "contacts": max(found.contacts - part.contacts, 1),
                "refused": found.refused - refused,
            }
            for values in (half | first, half | second):
                if values["refused"] > 0:
                    connection.execute(_SQL["add"], values)
            connection.execute(_SQL["count_segments"], {"account_id": account_id})

        await self._writer.run(work)

    def _values(self, account: str, found: Unnamed) -> dict[str, Any]:
        return {
            "account_id": self._account_ids[account],
            "after": found.after_contact,
            "last": found.last_contact,
            "segments": json.dumps(found.segment_ids),
        }


def _rows(connection: sqlite3.Connection, account_id: int) -> list[tuple[Any, ...]]:
    return connection.execute(_SQL["groups"], {"account_id": account_id}).fetchall()


def _note_named(connection: sqlite3.Connection, account_id: int) -> list[tuple[Any, ...]]:
    """Take whoever failed since out of the ranges, and out of what their files brought; return the ranges' rows then."""
    for row in _rows(connection, account_id):
        found, named = _range(row), row[-1]
        if named <= 0:
            continue
        values = {"id": found.id, "import_id": found.import_id, "named": named}
        if not connection.execute(_SQL["note_named"], values).rowcount:
            connection.execute(_SQL["drop"], values)
        connection.execute(_SQL["leave_named"], values | {"named": min(named, found.refused)})
    connection.execute(_SQL["count_segments"], {"account_id": account_id})
    return _rows(connection, account_id)


def _range(row: tuple[Any, ...]) -> Unnamed:
    range_id, import_id, segments, *others, _ = row
    values = dict(zip(Unnamed.__struct_fields__, (range_id, import_id, json.loads(segments), *others), strict=True))
    return msgspec.convert(values, Unnamed, strict=False)


def _repeat(ledger: LedgerTransaction, account_id: int, found: Unnamed, contacts: Sequence[str]) -> None:
    for segment_id in found.segment_ids if contacts else ():
        ledger.repeat(account_id, segment_id, contacts)


def name(ledger: LedgerTransaction, import_id: int, addresses: Sequence[str]) -> int | None:
    """Take these addresses for refused rows of an import, each a dead letter at once; return how many are.

    None where no row of the import is unnamed. Addresses that cannot be among them are left alone.
    """
    row = ledger.connection.execute(_SQL["account_of"], {"import_id": import_id}).fetchone()
    if row is None:
        return None
    account_id, account = row
    contacts = [contact_of(address, EMAIL) for address in addresses]
    values = {"account_id": account_id, "import_id": import_id, "contacts": json.dumps(contacts)}
    together: dict[int, list[str]] = defaultdict(list)
    for contact, segment_id in ledger.connection.execute(_SQL["wanted_of"], values).fetchall():
        together[segment_id].append(contact)
    for segment_id, found in together.items():
        ledger.repeat(account_id, segment_id, found)
        for contact in found:
            outcome = Outcome(
                account, contact, segment_id, wanted=True, kind=OutcomeKind.DEAD, failure=_REJECTED, attempts=1
            )
            ledger.set_aside(account_id, outcome)
    return len({contact for found in together.values() for contact in found})
