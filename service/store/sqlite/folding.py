"""Folding the inbox into the ledger, in order of acceptance, a bounded piece at a time.

The rule of ordering itself (R4) is the query `stage_contacts` in `queries/fold.sql`. It runs inside SQLite because
that costs a fifth of doing it in Python and leaves the interpreter to those who wait for an answer.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.model.deliveries import FoldProgress
from service.store.sqlite import queries
from service.store.sqlite.accepting import USERS_PER_PIECE

# The numbers of `member.state`.
SETTLED, PENDING, WAITING, DEAD = 0, 1, 2, 3

_SQL = queries.load("fold")


@dataclass
class Delta:
    """What a transaction adds to the counters of one segment or one sync; names are columns."""

    figures: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, name: str, number: int) -> None:
        """Add to one counter."""
        self.figures[name] += number


@dataclass
class Folded:
    """What one fold transaction did, for those who keep figures in memory; `taken_users` left the inbox."""

    progress: FoldProgress
    taken_users: int
    segments: dict[int, Delta]


_SEGMENT_COLUMNS = ("members", "settled", "pending", "waiting", "dead")
_SYNC_COLUMNS = ("unfolded", "changes", "pending", "settled", "dead", "superseded")


class Tally:
    """Gathers what a transaction changes in the counters, and writes it once at its end."""

    def __init__(self) -> None:
        self.segments: dict[int, Delta] = defaultdict(Delta)
        self.syncs: dict[int, Delta] = defaultdict(Delta)

    def write(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Add everything gathered to the counters on disk; drop the pieces of segments that have nothing to send."""
        for segment_id, delta in self.segments.items():
            values = {column: delta.figures.get(column, 0) for column in _SEGMENT_COLUMNS}
            connection.execute(_SQL["count_segment"], {**values, "segment_id": segment_id})
            connection.execute(_SQL["remove_void_pieces"], {"segment_id": segment_id})
        for sync_id, delta in self.syncs.items():
            values = {column: delta.figures.get(column, 0) for column in _SYNC_COLUMNS}
            connection.execute(_SQL["count_sync"], {**values, "sync_id": sync_id, "now_ms": now_ms})


def prepare(connection: sqlite3.Connection) -> None:
    """Make the temporary table in which a piece is compared with the ledger."""
    connection.execute(_SQL["create_staged"])


def fold_next(connection: sqlite3.Connection, most_users: int, now_ms: int) -> Folded:
    """Fold the oldest pieces of the inbox, up to about `most_users` of them in this transaction."""
    tally = Tally()
    position, drained_to = connection.execute(_SQL["fold_position"]).fetchone()
    users = taken_users = 0
    more = True
    while users < most_users:
        pieces = _next_alike(connection, position, most_users - users)
        if not pieces:
            more = False
            break
        if pieces[0].is_plain:
            looked_at = _fold_alike(connection, pieces, tally)
        else:
            looked_at, drained_to = _fold_special(connection, pieces[0], drained_to, tally)
        users += looked_at
        if not drained_to:
            position = pieces[-1].id
            taken_users += sum(piece.users for piece in pieces)
    connection.execute(_SQL["set_fold_position"], {"piece_id": position, "drained_to": drained_to})
    tally.write(connection, now_ms)
    return Folded(FoldProgress(users=users, more=more), taken_users, tally.segments)


class _Piece(NamedTuple):
    """A row of `next_pieces`."""

    id: int
    segment_id: int
    delivery_id: int
    identity: str
    wanted: int | None
    users: int
    contacts: str | None
    sync_id: int
    account_id: int
    drained_by: int

    @property
    def is_plain(self) -> bool:
        """Whether it names contacts that enter or leave; otherwise it is a drain, or only to be sent (again)."""
        return self.wanted is not None and self.contacts is not None

    def is_like(self, other: "_Piece") -> bool:
        """Whether folding both at once comes to the same as one after the other: they say the same of their contacts."""
        mine = (self.sync_id, self.identity, self.wanted, self.is_plain)
        return mine == (other.sync_id, other.identity, other.wanted, other.is_plain)


def _next_alike(connection: sqlite3.Connection, after: int, most_users: int) -> list[_Piece]:
    """Return the next pieces that can be folded together, up to about so many users; none at the end of the inbox."""
    pieces: list[_Piece] = []
    users = 0
    for row in connection.execute(_SQL["next_pieces"], {"after": after}):
        piece = _Piece(*row)
        if pieces and not piece.is_like(pieces[0]):
            break
        pieces.append(piece)
        users += piece.users
        if users >= most_users or not piece.is_plain:
            break
    return pieces


def _fold_alike(connection: sqlite3.Connection, pieces: Sequence[_Piece], tally: Tally) -> int:
    """Fold pieces that say the same of their contacts; return how many users were looked at.

    Together, because the ledger is then written in the order of its key: most pages are met once, not once a contact.
    """
    connection.execute(_SQL["clear_staged"])
    for piece in pieces:
        is_void = piece.sync_id <= piece.drained_by
        if is_void or not connection.execute(_SQL["stage_contacts"], piece._asdict()).rowcount:
            connection.execute(_SQL["remove_piece"], {"id": piece.id})
    _write_staged(connection, pieces[0], tally)
    tally.syncs[pieces[0].sync_id].add("unfolded", -len(pieces))
    return sum(piece.users for piece in pieces)


def _fold_special(connection: sqlite3.Connection, piece: _Piece, drained_to: str, tally: Tally) -> tuple[int, str]:
    """Fold the next part of a drain, or pass over a piece that is only to be sent.

    Return how many users were looked at, and the contact a drain got to; empty once the piece is done.
    """
    if piece.wanted is None:
        # Its contacts may have been settled before anyone looked at it; naming the segment has that seen to.
        tally.segments[piece.segment_id].add("pending", 0)
        return 1, ""
    connection.execute(_SQL["clear_staged"])
    users, drained_to = _stage_drain(connection, piece, drained_to)
    _write_staged(connection, piece, tally)
    if not drained_to:
        tally.syncs[piece.sync_id].add("unfolded", -1)
        connection.execute(_SQL["remove_piece"], {"id": piece.id})
    return users, drained_to


def _write_staged(connection: sqlite3.Connection, piece: _Piece, tally: Tally) -> None:
    """Bring what is staged into the ledger and the tally, in the name of a piece that says the same."""
    if _count_staged(connection, piece, tally):
        if connection.execute(_SQL["any_failure"]).fetchone():
            connection.execute(_SQL["forget_staged_failures"], piece._asdict())
        connection.execute(_SQL["write_staged"], piece._asdict())


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
        connection.execute(_SQL["requeue"], values)
    if end is None:
        connection.execute(_SQL["set_drained_by"], values)
        return len(contacts), ""
    return USERS_PER_PIECE, end[0]


def _count_staged(connection: sqlite3.Connection, piece: _Piece, tally: Tally) -> int:
    """Count the staged members into the tally; return how many there are."""
    staged = 0
    segment, sync = tally.segments[piece.segment_id], tally.syncs[piece.sync_id]
    for old_sync_id, old_state, old_wanted, number in connection.execute(_SQL["staged_groups"]).fetchall():
        staged += number
        segment.add("pending", number)
        sync.add("pending", number)
        segment.add("members", number * ((piece.wanted or 0) - (old_wanted or 0)))
        if old_sync_id == piece.sync_id:
            uncount_member(segment, sync, old_state, bool(old_wanted), number)
            continue
        sync.add("changes", number)
        if old_sync_id is not None:
            old_sync = tally.syncs[old_sync_id] if old_state != SETTLED else Delta()
            uncount_member(segment, old_sync, old_state, bool(old_wanted), number)
            old_sync.add("superseded", number)
    return staged


def uncount_member(segment: Delta, sync: Delta, state: int, wanted: bool, number: int) -> None:
    """Take members out of the counters of the state they are leaving."""
    if state == SETTLED:
        segment.add("settled", -number if wanted else 0)
        sync.add("settled", -number)
    elif state == PENDING:
        segment.add("pending", -number)
        sync.add("pending", -number)
    elif state == WAITING:
        segment.add("waiting", -number)
        sync.add("pending", -number)
    else:
        segment.add("dead", -number)
        sync.add("dead", -number)
