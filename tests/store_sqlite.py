"""The SQLite store as the contract suite needs it: where it lives, and a reading of its file by a second connection."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from service.model.changes import MemberState
from service.store.sqlite.store import SqliteStore
from tests.new_store import put_new_store
from tests.store_harness import (
    ACCOUNTS,
    Facts,
    FailureFact,
    MemberFact,
    SegmentFact,
    SettableClock,
    Store,
    SyncFact,
)

# As the comment of table `member` in the migration numbers them.
_STATES = [MemberState.SETTLED, MemberState.PENDING, MemberState.WAITING, MemberState.DEAD]

# What a column would hold that an older schema does not have; elsewhere 0.
_UNKNOWN = {"guard": "NULL", "guard_members": "NULL", "drained_told_ms": "drained_at_ms"}


class SqliteStoreMaker:
    """A store in a directory of its own."""

    def __init__(self, directory: Path, clock: SettableClock | None = None) -> None:
        self.database = directory / "store.db"
        self.clock = clock or SettableClock()

    async def open(self, *, max_backlog: int = 1_000_000) -> Store:
        return await SqliteStore.open(self.database, ACCOUNTS, max_backlog=max_backlog, clock=self.clock)

    def put_new(self) -> None:
        put_new_store(self.database)

    def crashed(self, place: Path) -> "SqliteStoreMaker":
        place.mkdir()
        for suffix in ("", "-wal"):
            source = self.database.with_name(self.database.name + suffix)
            if source.exists():
                shutil.copy(source, place)
        return SqliteStoreMaker(place, self.clock)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Give a second connection to the file."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            yield connection

    def facts(self) -> Facts:
        with self.connection() as connection:
            return read_facts(connection)


def read_facts(connection: sqlite3.Connection) -> Facts:
    """Read everything in one transaction, so that it is of one instant."""
    connection.execute("BEGIN")
    members = connection.execute(
        "SELECT name, contact, segment_id, wanted, member.state, sync_id FROM member JOIN account ON account.id = account_id"
    ).fetchall()
    segments = connection.execute(
        "SELECT segment.id, account.name, heap_id, segment.name, members, settled, pending, waiting, dead"
        " FROM segment JOIN account ON account.id = account_id"
    ).fetchall()
    # A file of an older schema has no column for what it did not know.
    known = {row[0] for row in connection.execute("SELECT name FROM pragma_table_info('sync')")}
    columns = ", ".join(name if name in known else _UNKNOWN.get(name, "0") for name in SyncFact._fields)
    syncs = connection.execute(f"SELECT {columns} FROM sync").fetchall()  # noqa: S608  our own names
    failures = connection.execute(
        "SELECT name, contact, segment_id, dead, failures, attempts, reason, message, status"
        " FROM failure JOIN account ON account.id = account_id"
    ).fetchall()
    (position,) = connection.execute("SELECT piece_id FROM fold_position").fetchone()
    pieces = connection.execute("SELECT id, segment_id, identity, wanted, users, contacts FROM piece").fetchall()
    (deliveries,) = connection.execute("SELECT count(*) FROM delivery").fetchone()
    guarded = (0, 0)
    if "guard" in known:
        guarded = connection.execute("SELECT coalesce(sum(users), 0), count(*) FROM guarded_piece").fetchone()
    superseded = 0
    if "overtaken_users" in known:
        (superseded,) = connection.execute("SELECT count(superseded_at_ms) FROM delivery").fetchone()
    connection.execute("COMMIT")
    to_send = {
        (segment_id, f"{identity}:{entry}" if identity else entry)
        for piece_id, segment_id, identity, wanted, _, contacts in pieces
        if contacts is not None and (piece_id <= position or wanted is None)
        for entry in json.loads(contacts)
    }
    return Facts(
        [MemberFact(row[0], row[1], row[2], bool(row[3]), _STATES[row[4]], row[5]) for row in members],
        [SegmentFact(*row) for row in segments],
        [SyncFact(*row) for row in syncs],
        [FailureFact(*row)._replace(dead=bool(row[3])) for row in failures],
        deliveries,
        superseded,
        sum(users for piece_id, _, _, _, users, _ in pieces if piece_id > position),
        sum(piece_id > position for piece_id, *_ in pieces),
        to_send,
        *guarded,
    )
