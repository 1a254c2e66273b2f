"""Erasing a person's data: off the lists first, as any change is sent, then out of every table.

Heap is the source: whom it names again afterwards is a member again. While an erasure is open, what Heap says of the
contact is taken back. `eraser.py` runs this.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from service.clock import SteadyClock
from service.errors import StoreFaultError
from service.log import mask
from service.model.changes import MemberState
from service.model.views import AskedErasure, ErasureView
from service.store.sqlite import auditing, cleaning, queries
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.cleaning import Named, Step
from service.store.sqlite.ledger import Key, LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Writer

log = structlog.get_logger()

_SQL = queries.load("erase")

# Takes a contact out of the next rows, in one transaction.
Clean = Callable[[sqlite3.Connection, Named, int], Step]


class _Open(NamedTuple):
    """A row of `open`; `left` counts the memberships that Cordial has not confirmed to be over.

    `wanted`: those that Heap has named since, or whose list does not exist yet. `last_piece` is the newest of the inbox,
    `last_guarded` of what is set aside.
    """

    id: int
    account_id: int
    account: str
    contact: str
    keep_on_lists: int
    actor: str
    left: int
    wanted: int
    last_piece: int
    last_guarded: int

    @property
    def named(self) -> Named:
        return Named(self.account_id, self.contact)

    @property
    def masked(self) -> str:
        return mask(self.named.user)


class Erasures:
    """The erasures asked for; `read` runs a function on a connection that only reads."""

    def __init__(
        self, writer: Writer, clock: SteadyClock, ledger: LedgerWriter, backlog: Backlog, read: Callable[..., Any]
    ) -> None:
        self._writer = writer
        self._read = read
        # The last pieces of the inbox, and of what is set aside, in which each open erasure has looked since the start: none
        # changes afterwards.
        self._looked_to: dict[int, tuple[int, int]] = {}
        # Those whose fault was told.
        self._told: set[int] = set()
        self._clock = clock
        self._ledger = ledger
        self._backlog = backlog
        # Set when an erasure was asked for.
        self.asked = asyncio.Event()

    async def keys(self, account: str) -> list[str]:
        """Return the Cordial keys by which contacts of an account are known here, also from before it was set otherwise."""
        rows = await self._read(lambda connection: connection.execute(_SQL["keys"], {"account": account}).fetchall())
        return [row[0] for row in rows]

    async def request(
        self,
        account: str,
        contacts: Sequence[str],
        *,
        keep_on_lists: bool,
        actor: str,
        follow: Callable[[], None] = lambda: None,
    ) -> AskedErasure:
        """Have the contacts (`key:value`) of an account erased.

        Durable when this returns; asking again changes nothing, except that `keep_on_lists` ends the wait for Cordial.
        `follow` is called once it is durable, whatever becomes of the caller and of the answer.
        """

        def on_commit(_asked: AskedErasure) -> None:
            self.asked.set()
            follow()

        def work(ledger: LedgerTransaction) -> AskedErasure:
            connection, found, ids = ledger.connection, 0, []
            for contact in contacts:
                values = {
                    "account": account,
                    "contact": contact,
                    "keep_on_lists": keep_on_lists,
                    "actor": actor,
                    "now_ms": self._clock.wall_ms(),
                }
                row = connection.execute(_SQL["request"], values).fetchone()
                if row is None:
                    continue
                ids.append(row[0])
                named = Named(row[1], contact)
                found += len(_memberships(connection, named))
                if not keep_on_lists:
                    _take_off(ledger, named, again=True)
            self._audit(connection, actor, "user.forget", f"{account} {mask(contacts[0].split(':', 1)[1])}", found)
            return AskedErasure(found, ids)

        return await self._ledger.change(work, on_commit=on_commit)

    async def open(self) -> list[ErasureView]:
        """Return the erasures that are not over, without naming anybody."""
        return [
            ErasureView(each.id, each.account, each.masked, bool(each.keep_on_lists), each.left)
            for each in await self._open()
        ]

    async def advance(self) -> int:
        """Do what can be done now for each open erasure; return how many came to their end."""
        finished = 0
        erasures = await self._open()
        self._looked_to = {each.id: self._looked_to.get(each.id, (0, 0)) for each in erasures}
        for erasure in erasures:
            try:
                finished += await self._advance_one(erasure)
            except StoreFaultError:
                # The others go on; this one is tried again.
                if erasure.id not in self._told:
                    self._told.add(erasure.id)
                    log.exception("erasure.failed", account=erasure.account, user=erasure.masked)
        return finished

    async def _advance_one(self, erasure: _Open) -> bool:
        """Do what can be done now for one erasure; return whether it came to its end."""
        last_piece, last_guarded = self._looked_to[erasure.id]
        if last_guarded < erasure.last_guarded:
            await self._in_steps(cleaning.clean_guarded, erasure, after=last_guarded)
        if last_piece < erasure.last_piece:
            await self._in_steps(cleaning.clean_unfolded, erasure, after=last_piece)
        self._looked_to[erasure.id] = erasure.last_piece, erasure.last_guarded
        if erasure.wanted and not erasure.keep_on_lists:
            await self._take_back(erasure.named)
        if not await self._read(lambda connection: _may_finish(connection, erasure)):
            return False
        for clean in (cleaning.clean_folded, cleaning.clean_rejected, cleaning.clean_failures):
            await self._in_steps(_while_it_may_finish(clean, erasure), erasure)
        return await self._finish(erasure)

    async def _open(self) -> list[_Open]:
        rows = await self._read(lambda connection: connection.execute(_SQL["open"]).fetchall())
        return [_Open(*row) for row in rows]

    async def _take_back(self, named: Named) -> None:
        await self._ledger.change(lambda ledger: _take_off(ledger, named, again=False))

    async def _in_steps(self, clean: Clean, erasure: _Open, after: int = 0) -> None:
        while True:
            start = after
            step = await self._writer.run(
                lambda connection: clean(connection, erasure.named, start),  # noqa: B023
                on_commit=lambda step: self._note_taken_out(erasure.account, step),
            )
            after = step.last
            if not after:
                return

    def _note_taken_out(self, account: str, step: Step) -> None:
        self._backlog.add_unfolded(account, -step.taken_out)
        self._backlog.add_guarded(account, -step.taken_from_guarded)

    async def _finish(self, erasure: _Open) -> bool:
        """Remove the last rows, unless the contact has come into use again meanwhile; return whether it is over."""

        def work(ledger: LedgerTransaction) -> bool:
            connection = ledger.connection
            looked_to = self._looked_to[erasure.id]
            if not _may_finish(connection, erasure) or cleaning.has_moved(connection, erasure.named, *looked_to):
                return False
            for membership in _memberships(connection, erasure.named):
                _note_gone(connection, membership)
                ledger.forget(_key(erasure.named, membership))
            cleaning.clean_remarks(connection, erasure.named)
            connection.execute(_SQL["finish"], {"id": erasure.id})
            self._audit(connection, erasure.actor, "user.erased", f"{erasure.account} {erasure.masked}", 1)
            return True

        is_over = await self._ledger.change(work)
        if is_over:
            log.info("user.erased", account=erasure.account, user=erasure.masked)
        return is_over

    def _audit(self, connection: sqlite3.Connection, actor: str, action: str, target: str, changes: int) -> None:
        at_ms = self._clock.wall_ms()
        auditing.write(connection, at_ms=at_ms, actor=actor, action=action, target=target, changes=changes)


class _Membership(NamedTuple):
    """A row of `memberships`."""

    segment_id: int
    wanted: int
    state: MemberState
    has_list: int


def _memberships(connection: sqlite3.Connection, named: Named) -> list[_Membership]:
    rows = connection.execute(_SQL["memberships"], named._asdict()).fetchall()
    return [
        _Membership(segment_id, wanted, MemberState(state), has_list) for segment_id, wanted, state, has_list in rows
    ]


def _take_off(ledger: LedgerTransaction, named: Named, *, again: bool) -> None:
    """Owe Cordial the contact's removal from each list it may be on; `again` also where a removal is dead."""
    for membership in _memberships(ledger.connection, named):
        _note_gone(ledger.connection, membership)
        if not membership.has_list:
            # Nothing was ever sent for this list.
            ledger.forget(_key(named, membership))
        elif membership.wanted or (again and membership.state is MemberState.DEAD):
            ledger.take_off(_key(named, membership))


def _note_gone(connection: sqlite3.Connection, membership: _Membership) -> None:
    """Keep true what is said of a held sync: the list has a member fewer, whom it cannot remove any more (R17)."""
    if membership.wanted:
        connection.execute(_SQL["count_held_anew"], {"segment_id": membership.segment_id})


def _key(named: Named, membership: _Membership) -> Key:
    return Key(named.account_id, named.contact, membership.segment_id)


def _while_it_may_finish(clean: Clean, erasure: _Open) -> Clean:
    """Return a step that does nothing once the contact is in use again: what is owed is found by what names it."""

    def step(connection: sqlite3.Connection, named: Named, after: int) -> Step:
        return clean(connection, named, after) if _may_finish(connection, erasure) else Step(0)

    return step


def _may_finish(connection: sqlite3.Connection, erasure: _Open) -> bool:
    if cleaning.is_in_use(connection, erasure.named):
        return False
    if erasure.keep_on_lists:
        return True
    left = _memberships(connection, erasure.named)
    return not (
        any(each.wanted or each.state is not MemberState.SETTLED for each in left)
        or cleaning.is_in_doubt(connection, erasure.named)
    )
