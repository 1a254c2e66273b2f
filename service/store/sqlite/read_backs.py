"""What is to be read back from Cordial, and what the readings came to (R5, R11)."""

import json
import random
import sqlite3
import string
from collections.abc import Callable, Collection, Mapping
from typing import Any

from service.clock import SteadyClock
from service.model.changes import MemberState
from service.model.proof import DueReadBack, Finding, LedgerContact, Membership, ReadBackReason
from service.store.sqlite import queries
from service.store.sqlite.ledger import LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Writer

_SQL = queries.load("read_backs")
_DAY_MS = 86_400_000
_PLACES = string.digits + string.ascii_lowercase


class Proofs:
    """The readings of all accounts; `read` runs a function on a connection that only reads."""

    def __init__(
        self,
        writer: Writer,
        clock: SteadyClock,
        account_ids: Mapping[str, int],
        *,
        read: Callable[..., Any],
        ledger: LedgerWriter,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._account_ids = account_ids
        self._read = read
        self._ledger = ledger

    async def ask(self, account: str, contacts: Collection[str], reason: ReadBackReason, due_at_ms: int) -> None:
        """Have contacts (`key:value`) read back, not before `due_at_ms`; durable when this returns."""
        values = self._values(account, contacts=json.dumps(list(contacts)), reason=reason.value, due_at_ms=due_at_ms)
        await self._writer.run(lambda connection: connection.execute(_SQL["ask"], values).rowcount)

    async def due(self, account: str, limit: int, *, only_doubts: bool) -> list[DueReadBack]:
        """Return the contacts that may be read now, those waiting longest first; those in doubt alone, if so wanted."""
        values = self._values(account, now_ms=self._clock.now_ms(), limit=limit)
        statement = _SQL["due_doubts" if only_doubts else "due"]
        rows = await self._read(lambda connection: connection.execute(statement, values).fetchall())
        return [DueReadBack(contact, ReadBackReason(reason), due, tries) for contact, reason, due, tries in rows]

    async def contact(self, account: str, contact: str) -> LedgerContact:
        """Return what the ledger has of a contact."""
        values = self._values(account, contact=contact)
        found: LedgerContact = await self._read(lambda connection: _ledger_contact(connection, values))
        return found

    async def next_contact(self, account: str) -> str | None:
        """Return the contact of the ledger that the walk comes to next, from the beginning again after the last."""

        def read(connection: sqlite3.Connection) -> str | None:
            values = self._values(account)
            (walked_to,) = connection.execute(_SQL["walked_to"], values).fetchone()
            for after in (walked_to, ""):
                row = connection.execute(_SQL["next_contact"], {**values, "after": after}).fetchone()
                if row is not None:
                    return str(row[0])
            return None

        found: str | None = await self._read(read)
        return found

    async def any_contacts(self, account: str, number: int) -> list[str]:
        """Return up to so many contacts of the ledger, from places chosen by chance."""

        def read(connection: sqlite3.Connection) -> list[str]:
            values = self._values(account)
            first = connection.execute(_SQL["next_contact"], {**values, "after": ""}).fetchone()
            if first is None:
                return []
            key = first[0].partition(":")[0]
            found = {first[0]}
            for _ in range(number - 1):
                after = f"{key}:{''.join(random.choices(_PLACES, k=4))}"  # noqa: S311  a sample, no secret
                row = connection.execute(_SQL["next_contact"], {**values, "after": after}).fetchone()
                found.update(row or ())
            return sorted(found)

        contacts: list[str] = await self._read(read)
        return contacts

    async def set_walked_to(self, account: str, contact: str) -> None:
        """Note that the walk has come to a contact."""
        values = self._values(account, contact=contact)
        await self._writer.run(lambda connection: connection.execute(_SQL["set_walked_to"], values).rowcount)

    async def put_off(self, account: str, due: DueReadBack, due_at_ms: int) -> None:
        """Have a contact read later."""
        values = self._values(account, contact=due.contact, due_at_ms=due_at_ms, tries=due.tries)
        await self._writer.run(lambda connection: connection.execute(_SQL["put_off"], values).rowcount)

    async def conclude(self, account: str, finding: Finding, due_at_ms: int) -> bool:
        """Take what a reading found and have what differs sent again; return False if the ledger has changed since: then it counts for nothing.

        `due_at_ms`: when the reading was due; a later call may have put it off meanwhile.
        """
        return await self._ledger.change(
            lambda ledger: _conclude(ledger, self._account_ids[account], finding, due_at_ms)
        )

    async def in_doubt(self) -> dict[str, int]:
        """Return how many contacts of each account are in doubt; accounts without any are left out."""
        return dict(await self._read(lambda connection: connection.execute(_SQL["in_doubt"]).fetchall()))

    async def note_claimed(self, account: str, contacts: Collection[str], ended: Collection[int]) -> int:
        """Note that contacts may be sent from now on, and that earlier notes are over; return the note's id."""
        values = self._values(account, contacts=json.dumps(list(contacts)))

        def work(connection: sqlite3.Connection) -> int:
            connection.execute(_SQL["end_claims"], {"ids": json.dumps(list(ended))})
            note_id: int = connection.execute(_SQL["note_claimed"], values).fetchone()[0]
            return note_id

        return await self._writer.run(work)

    async def end_claims(self, ended: Collection[int]) -> None:
        """Note that all contacts of these notes are dealt with."""
        values = {"ids": json.dumps(list(ended))}
        await self._writer.run(lambda connection: connection.execute(_SQL["end_claims"], values).rowcount)

    async def take_up_claims(self, account: str, due_at_ms: int) -> int:
        """Have every contact read back that a crash may have left with a call on its way; return how many."""
        values = self._values(account)

        def work(connection: sqlite3.Connection) -> int:
            contacts = sorted({row[0] for row in connection.execute(_SQL["left_claims"], values)})
            if contacts:
                asked = {"contacts": json.dumps(contacts), "reason": "crash", "due_at_ms": due_at_ms}
                connection.execute(_SQL["ask"], {**values, **asked})
            connection.execute(_SQL["forget_claims"], values)
            return len(contacts)

        return await self._writer.run(work)

    def _values(self, account: str, **values: Any) -> dict[str, Any]:
        return {"account_id": self._account_ids[account], **values}


def _ledger_contact(connection: sqlite3.Connection, values: Mapping[str, Any]) -> LedgerContact:
    rows = connection.execute(_SQL["memberships"], values).fetchall()
    memberships = tuple(
        Membership(segment_id, bool(wanted), MemberState(state), sync_id, delivery_id)
        for segment_id, wanted, state, sync_id, delivery_id in rows
    )
    return LedgerContact(memberships, bool(connection.execute(_SQL["travels"], values).fetchone()[0]))


def _conclude(ledger: LedgerTransaction, account_id: int, finding: Finding, due_at_ms: int) -> bool:
    connection = ledger.connection
    values = {"account_id": account_id, "contact": finding.contact}
    now = _ledger_contact(connection, values)
    if now != finding.before or now.travels:
        return False
    if finding.mend:
        for segment_id in finding.differing:
            ledger.mend(account_id, segment_id, [finding.contact])
    if finding.again_at_ms is None:
        connection.execute(_SQL["done"], {**values, "due_at_ms": due_at_ms})
    else:
        again = {"reason": finding.reason.value, "due_at_ms": finding.again_at_ms, "tries": finding.tries}
        connection.execute(_SQL["read_again"], {**values, **again})
    connection.execute(_SQL["forget_reads"], {"before_ms": ledger.told_ms - _DAY_MS})
    for membership in now.memberships:
        if membership.segment_id in finding.compared:
            read = {
                "segment_id": membership.segment_id,
                "wanted": membership.wanted,
                "differed": membership.segment_id in finding.differing,
                "told_ms": ledger.told_ms,
            }
            connection.execute(_SQL["note_read"], {**values, **read})
    return True
