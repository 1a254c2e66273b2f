"""Every counter of a store, recomputed from the ledger."""

import contextlib
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path

from service.store.sqlite import queries
from service.store.sqlite.opening import APPLICATION_ID

_NEWEST = queries.migrations()[-1][0]
_MAGIC = b"SQLite format 3\0"

_MEMBERS = """
SELECT segment_id, sync_id, wanted, member_state.name, count(*)
FROM member JOIN member_state ON member_state.number = member.state GROUP BY 1, 2, 3, 4
"""
_UNFOLDED = """
SELECT sync_id, sum(pieces) FROM (
    SELECT delivery.sync_id, count(*) AS pieces FROM piece JOIN delivery ON delivery.id = piece.delivery_id
    WHERE piece.wanted IS NOT NULL AND piece.id > (SELECT piece_id FROM fold_position) GROUP BY 1
    UNION ALL
    SELECT sync_id, count(*) FROM guarded_piece GROUP BY 1
) GROUP BY 1
"""
_SEGMENTS = "SELECT id, members, settled, pending, waiting, dead FROM segment"
_UNNAMED = """
SELECT segment.id, segment.unnamed, coalesce(sum(unnamed.refused), 0) FROM segment
LEFT JOIN unnamed ON unnamed.account_id = segment.account_id
    AND segment.id IN (SELECT value FROM json_each(unnamed.segments))
GROUP BY segment.id
"""
_SYNCS = (
    "SELECT id, pending, dead, unfolded, changes - settled - superseded, drained_at_ms IS NOT NULL, settled FROM sync"
)


def stores_below(directory: Path) -> list[Path]:
    """Return the files below a directory that are SQLite's."""
    found = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in found if path.stat().st_size >= len(_MAGIC) and _begins_as_sqlite(path)]


def _begins_as_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def wrong_counters(database: Path) -> list[str]:
    """Return where a store's counters and its ledger disagree, in words; nothing for a file that is no store of today."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if (application, version) != (APPLICATION_ID, _NEWEST):
                return []
            connection.execute("BEGIN")
            return wrong_counters_of(connection)
    except sqlite3.Error:  # damaged on purpose, or out of reach
        return []


def wrong_counters_of(connection: sqlite3.Connection) -> list[str]:
    """Return where the counters of a store of today and its ledger disagree; the connection is in a transaction."""
    of_segment: dict[int, Counter[str]] = defaultdict(Counter)
    of_sync: dict[int, Counter[str]] = defaultdict(Counter)
    for segment_id, sync_id, wanted, state, number in connection.execute(_MEMBERS):
        of_segment[segment_id]["members"] += number * wanted
        of_segment[segment_id][state] += number * wanted if state == "settled" else number
        of_sync[sync_id]["pending" if state == "waiting" else state] += number
    unfolded = dict(connection.execute(_UNFOLDED).fetchall())
    wrong: list[str] = []
    for segment_id, *said in connection.execute(_SEGMENTS):
        counted = [of_segment[segment_id][name] for name in ("members", "settled", "pending", "waiting", "dead")]
        if said != counted:
            wrong.append(f"segment {segment_id}: members, settled, pending, waiting, dead: {said}, counted {counted}")
    for segment_id, said_unnamed, counted_unnamed in connection.execute(_UNNAMED):
        if said_unnamed != counted_unnamed:
            wrong.append(f"segment {segment_id}: unnamed: {said_unnamed}, counted {counted_unnamed}")
    for sync_id, *said, settled in connection.execute(_SYNCS):
        counts = of_sync[sync_id]
        pieces = unfolded.get(sync_id, 0)
        owed = counts["pending"] + counts["dead"]
        counted = [counts["pending"], counts["dead"], pieces, owed, int(not pieces and not counts["pending"])]
        # What a sync has settled stays to its credit when a newer one changes the member again.
        if said != counted or settled < counts["settled"]:
            wrong.append(f"sync {sync_id}: pending, dead, unfolded, owed, drained: {said}, counted {counted}")
    return wrong
