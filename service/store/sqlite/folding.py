"""Folding the inbox into the ledger, in order of acceptance, a bounded piece at a time.

The rule of ordering itself (R4) is the query `stage_contacts` in `queries/fold.sql`. It runs inside SQLite because
that costs a fifth of doing it in Python and leaves the interpreter to those who wait for an answer. `folder.py` runs this.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from service.model.deliveries import USERS_PER_PIECE, FoldProgress
from service.store.sqlite import guarding, precedence, queries, spellings
from service.store.sqlite.ledger import LedgerTransaction

_SQL = queries.load("fold")


class Folded(NamedTuple):
    """What one fold transaction did.

    So many users of each segment went from the inbox into the ledger, and so many were set aside to be judged (R17).
    `began_at` is on the clock of `time.monotonic`: the wait for others, and for the WAL, was over.
    """

    began_at: float
    progress: FoldProgress
    taken_users: Counter[int]
    guarded_users: Counter[int]


def prepare(connection: sqlite3.Connection) -> None:
    """Make the temporary tables in which a piece is compared with the ledger, and a sync with those newer."""
    connection.execute(_SQL["create_staged"])
    precedence.prepare(connection)
    spellings.prepare(connection)


def fold_next(ledger: LedgerTransaction, max_users: int, guarded_accounts: Collection[int]) -> Folded:
    """Fold the oldest pieces of the inbox, up to about `max_users` of them in this transaction.

    What syncs of these accounts say is set aside to be judged first (R17).
    """
    began_at = time.monotonic()
    connection = ledger.connection
    position, drained_to = connection.execute(_SQL["fold_position"]).fetchone()
    users = 0
    taken_users: Counter[int] = Counter()
    guarded_users: Counter[int] = Counter()
    more = True
    while users < max_users:
        pieces = _next_alike(connection, position, max_users - users)
        if not pieces:
            more = False
            break
        if pieces[0].is_to_judge(guarded_accounts):
            guarding.set_aside(connection, [(piece.id, piece.sync_id) for piece in pieces])
            looked_at = sum(piece.users for piece in pieces)
            guarded_users[pieces[0].segment_id] += looked_at
            position = pieces[-1].id
            users += max(1, looked_at)
            continue
        if pieces[0].is_plain:
            looked_at = _fold_alike(ledger, pieces)
        else:
            looked_at, drained_to = _fold_special(ledger, pieces[0], drained_to)
        users += looked_at
        if not drained_to:
            position = pieces[-1].id
            taken_users[pieces[0].segment_id] += sum(piece.users for piece in pieces)
    connection.execute(_SQL["set_fold_position"], {"piece_id": position, "drained_to": drained_to})
    return Folded(began_at, FoldProgress(users=users, more=more), taken_users, guarded_users)


def put_off_first(connection: sqlite3.Connection) -> tuple[int, bool] | None:
    """Let the other segments' pieces go before those of the first piece's segment: that one cannot be folded.

    Return the segment, and whether there are others; None where nothing is left to fold.
    """
    position, _ = connection.execute(_SQL["fold_position"]).fetchone()
    first = connection.execute(_SQL["first_piece"], {"after": position}).fetchone()
    if first is None:
        return None
    values = {"after": position, "segment_id": first[1]}
    has_others = bool(connection.execute(_SQL["has_others_behind"], values).fetchone()[0])
    if has_others:
        connection.execute(_SQL["move_to_the_end"], values)
        # A drain under way begins anew.
        connection.execute(_SQL["set_fold_position"], {"piece_id": position, "drained_to": ""})
    return first[1], has_others


class _Piece(NamedTuple):
    """A row of `next_pieces`."""

    id: int
    segment_id: int
    delivery_id: int
    identity: str
    wanted: int | None
    users: int
    contacts: str | None
    spellings: str | None
    sync_id: int
    account_id: int
    drained_by: int
    is_judged: int
    is_behind: int

    def is_to_judge(self, guarded_accounts: Collection[int]) -> bool:
        """Whether it must be judged before it is folded; behind what waits for that, it waits too."""
        if self.is_judged or self.wanted is None:
            return False
        return bool(self.is_behind) or self.account_id in guarded_accounts

    @property
    def is_plain(self) -> bool:
        """Whether it names contacts that enter or leave; otherwise it is a drain, or only to be sent (again)."""
        return self.wanted is not None and self.contacts is not None

    def is_like(self, other: "_Piece") -> bool:
        """Whether folding both at once comes to the same as one after the other: they say the same of their contacts."""
        return self.kind == other.kind

    @property
    def kind(self) -> tuple[object, ...]:
        is_spelled = self.spellings is not None
        return self.sync_id, self.identity, self.wanted, self.is_plain, is_spelled, self.is_judged, self.is_behind


def _next_alike(connection: sqlite3.Connection, after: int, max_users: int) -> list[_Piece]:
    """Return the next pieces that can be folded together, up to about so many users; none at the end of the inbox."""
    pieces: list[_Piece] = []
    users = 0
    for row in connection.execute(_SQL["next_pieces"], {"after": after}):
        piece = _Piece(*row)
        if pieces and not piece.is_like(pieces[0]):
            break
        pieces.append(piece)
        users += piece.users
        if users >= max_users or not piece.is_plain:
            break
    return pieces


def _fold_alike(ledger: LedgerTransaction, pieces: Sequence[_Piece]) -> int:
    """Fold pieces that say the same of their contacts; return how many users were looked at.

    Together, because the ledger is then written in the order of its key: most pages are met once, not once a contact.
    """
    connection, first = ledger.connection, pieces[0]
    connection.execute(_SQL["clear_staged"])
    newer = precedence.find_newer(connection, first.sync_id)
    telling = spellings.begin(connection, first._asdict())
    for piece in pieces:
        is_void = piece.drained_by in newer
        if newer:
            _note_overtaken(ledger, piece, is_void=is_void)
        if is_void or not _stage(connection, piece, telling):
            connection.execute(_SQL["remove_piece"], {"id": piece.id})
    if telling:
        spellings.stage(connection, first._asdict())
    ledger.decide_staged(first.account_id, first.segment_id, first.sync_id, wanted=bool(first.wanted), is_queued=True)
    if telling:
        ledger.mark_told(first.account_id, first.segment_id)
    ledger.count_unfolded(first.sync_id, -len(pieces))
    return sum(piece.users for piece in pieces)


def _stage(connection: sqlite3.Connection, piece: _Piece, telling: bool) -> int:
    """Stage whom a piece changes; return how many, those with several user ids included."""
    staged = 0
    if piece.spellings is None:
        staged = connection.execute(_SQL["stage_contacts"], piece._asdict()).rowcount
    return staged + (spellings.tell(connection, piece._asdict()) if telling else 0)


def _note_overtaken(ledger: LedgerTransaction, piece: _Piece, *, is_void: bool) -> None:
    """Count the users of a piece of whom a newer sync has already spoken, or all after a newer drain."""
    users = piece.users if is_void else precedence.count_overtaken(ledger.connection, piece._asdict())
    if users:
        values = {"delivery_id": piece.delivery_id, "users": users, "told_ms": ledger.told_ms}
        ledger.connection.execute(_SQL["note_overtaken"], values)
        ledger.count_overtaken(piece.sync_id, users)


def _fold_special(ledger: LedgerTransaction, piece: _Piece, drained_to: str) -> tuple[int, str]:
    """Fold the next part of a drain, or pass over a piece that is only to be sent.

    Return how many users were looked at, and the contact a drain got to; empty once the piece is done.
    """
    if piece.wanted is None:
        # Its contacts may have been settled before anyone looked at it.
        ledger.look_at(piece.segment_id)
        return 1, ""
    connection = ledger.connection
    connection.execute(_SQL["clear_staged"])
    precedence.find_newer(connection, piece.sync_id)
    users, drained_to = _stage_drain(connection, piece, drained_to)
    ledger.decide_staged(piece.account_id, piece.segment_id, piece.sync_id, wanted=False, is_queued=False)
    if not drained_to:
        ledger.count_unfolded(piece.sync_id, -1)
        connection.execute(_SQL["remove_piece"], {"id": piece.id})
    return users, drained_to


def _stage_drain(connection: sqlite3.Connection, piece: _Piece, drained_to: str) -> tuple[int, str]:
    """Stage the members of the next step of a drain (R12), after the contact the last step got to.

    Return how many members were looked at, and the contact this step got to; empty if it was the last.
    """
    values = {**piece._asdict(), "drained_to": drained_to, "limit": USERS_PER_PIECE}
    end = connection.execute(_SQL["end_of_step"], values).fetchone()
    values["end_of_step"] = end and end[0]
    contacts = [row[0] for row in connection.execute(_SQL["members_to_drain"], values)]
    if contacts:
        values["contacts"] = json.dumps(contacts)
        connection.execute(_SQL["stage_members"], values)
        if spellings.begin(connection, values):
            spellings.tell_drained(connection, values)
            spellings.stage(connection, values)
    if end is None:
        connection.execute(_SQL["set_drained_by"], values)
        return len(contacts), ""
    return USERS_PER_PIECE, end[0]
