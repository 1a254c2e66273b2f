"""Store files as programs of each schema version left them, with rows in every table."""

import contextlib
import json
import re
import sqlite3
from pathlib import Path

from service.store.sqlite import queries
from service.store.sqlite.opening import APPLICATION_ID
from tests.store_harness import START_MS

VERSIONS = [number for number, _ in queries.migrations()]

# A segment half way: one user on the list, one to send, one waiting for its next call, one given up, one taken off; a
# page that is not in the ledger yet; and another account whose list is complete. Lists that are held, for each reason, and
# one that Cordial may have created or not. AT stands for a time.
_ROWS_OF_VERSION = {
    1: """
INSERT INTO account (id, name, state, state_reason, state_since_ms, next_call_at_ms, paused_by_operator) VALUES
    (1, 'acme', 'slowed', 'Cordial''s rate limit is reached', AT, AT + 5, 0),
    (2, 'globex', 'sending', '', 0, 0, 1);
INSERT INTO segment (
    id, account_id, heap_id, name, list_state, list_name, list_id, list_reason, list_named_after, list_count,
    list_counted_at_ms, members, settled, pending, waiting, dead, drained_by, created_at_ms
) VALUES
    (1, 1, '7', 'Buyers', 'ready', 'Buyers', '101', '', 'Buyers', 1, AT, 4, 1, 1, 1, 1, 0, AT),
    (2, 2, '7', 'Readers', 'ready', 'Readers', '102', '', 'Readers', 1, AT, 1, 1, 0, 0, 0, 0, AT);
INSERT INTO segment (
    id, account_id, heap_id, name, list_state, list_name, list_id, list_reason, list_named_after, created_at_ms
) VALUES
    (3, 2, '13', 'New', 'held', '', '', 'the segment is new', '', AT),
    (4, 2, '14', 'Gone', 'held', 'Gone', '104', 'the list was deleted in Cordial', 'Gone', AT),
    (5, 2, '15', 'Odd', 'held', 'Odd', '105', 'Cordial does not take the list', 'Odd', AT),
    (6, 2, '16', 'Bad', 'held', 'Bad', '', 'Cordial refuses the name: too long', 'Bad', AT),
    (7, 2, '17', 'Theirs', 'held', 'Theirs', '', 'there is a list of this name', 'Theirs', AT),
    (8, 2, '18', 'Asked', 'creating', 'Asked', '', '', 'Asked', AT);
INSERT INTO sync (
    id, segment_id, task_id, action, total_pages, pages_received, added, removed, rejected, duplicates, unfolded, changes,
    pending, settled, dead, superseded, first_received_at_ms, last_received_at_ms, drained_at_ms
) VALUES
    (1, 1, 't1', 'segment.users.sync', 2, 2, 6, 1, 1, 1, 1, 5, 2, 2, 1, 0, AT, AT, NULL),
    (2, 2, 't1', 'segment.users.sync', 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, AT, AT, AT);
INSERT INTO delivery (id, sync_id, page_number, digest, added, removed, rejected, rejected_users, received_at_ms) VALUES
    (1, 1, 1, x'01', 4, 1, 0, '[]', AT),
    (2, 1, 2, x'02', 2, 0, 1, '[{"path":"$.data.add[2].id","reason":"too_long","value":"gina"}]', AT),
    (3, 2, 1, x'03', 1, 0, 0, '[]', AT);
INSERT INTO piece (id, segment_id, delivery_id, identity, wanted, users, contacts) VALUES
    (1, 1, 1, 'email', 1, 4, '["anna","bert","cleo","dora"]'),
    (2, 1, NULL, '', NULL, 0, '["email:bert"]'),
    (3, 1, 2, 'email', 1, 2, '["fritz","gina"]');
UPDATE fold_position SET piece_id = 2;
INSERT INTO member (account_id, contact, segment_id, wanted, state, sync_id, delivery_id) VALUES
    (1, 'email:anna', 1, 1, 0, 1, 1),
    (1, 'email:bert', 1, 1, 1, 1, 1),
    (1, 'email:cleo', 1, 1, 2, 1, 1),
    (1, 'email:dora', 1, 1, 3, 1, 1),
    (1, 'email:emil', 1, 0, 0, 1, 1),
    (2, 'email:anna', 2, 1, 0, 2, 3);
INSERT INTO failure (
    id, account_id, contact, segment_id, dead, failures, attempts, reason, message, status, next_attempt_at_ms,
    first_failed_at_ms, last_failed_at_ms
) VALUES
    (1, 1, 'email:cleo', 1, 0, 1, 0, 'http_503', 'try later', 503, AT + 60000, AT, AT),
    (2, 1, 'email:dora', 1, 1, 5, 5, 'refused', 'no such domain', 422, 9000000000000000, AT, AT);
INSERT INTO audit (id, at_ms, actor, action, target, changes) VALUES (1, AT, 'key 1', 'account.pause', 'globex', 1);
""",
    4: """
INSERT INTO bulk_import (id, account_id, state, segments, gathered_to, contacts, jobs, started_at_ms) VALUES
    (1, 2, 'sending', '[2]', 'email:anna', 1, 1, AT);
INSERT INTO import_part (
    id, import_id, state, strategy, after_contact, last_contact, contacts, joining, contacts_bytes, joining_bytes, job_id
) VALUES (1, 1, 'running', 'updateOnly', '', 'email:anna', 1, 1, 4, 4, 'job-1');
INSERT INTO import_change (account_id, contact, segment_id, wanted) VALUES (2, 'email:anna', 2, 1);
""",
    5: """
INSERT INTO erasure (id, account_id, contact, keep_on_lists, actor, requested_at_ms) VALUES (1, 2, 'email:hans', 0, 'key 1', AT);
""",
    6: """
INSERT INTO spelling (segment_id, contact, user_id, wanted, sync_id) VALUES
    (1, 'email:anna', 'anna', 1, 1), (1, 'email:anna', 'Anna', 0, 1);
UPDATE member SET is_spelled = 1 WHERE contact = 'email:anna' AND segment_id = 1;
INSERT INTO trial (account_id, point, outcome, detail, cordial_base_url, at_ms) VALUES
    (1, 'file_updates', 'as_documented', 'nobody was subscribed', 'https://api.cordial.io', AT);
INSERT INTO unnamed (
    account_id, import_id, segments, after_contact, last_contact, contacts, refused, known_failures
) VALUES (2, 1, '[2]', 'email:', 'email:anna', 1, 1, 0);
UPDATE segment SET unnamed = 1 WHERE id = 2;
INSERT INTO guarded_piece (sync_id, segment_id, delivery_id, identity, wanted, users, contacts) VALUES
    (2, 2, 3, 'email', 0, 1, '["anna"]');
UPDATE sync SET guard = 'held', guard_removals = 1, guard_members = 1, guard_at_ms = AT, unfolded = 1, drained_at_ms = NULL,
    drained_told_ms = NULL
    WHERE id = 2;
INSERT INTO call_wait (account_id, operation, until_ms, wait_ms) VALUES (1, 'POST contacts', AT + 5000, 5000);
INSERT INTO minute (at_ms, backlog, calls, settled, failed) VALUES (AT, 2, 1500, 1490, 10);
INSERT INTO notice_told (target, kind, account, subject, list_id, began_at_ms) VALUES ('ops', 'account_paused', 'acme', '', 0, AT);
INSERT INTO notice (target, message, created_at_ms, next_try_at_ms) VALUES ('ops', x'7b7d', AT, AT);
INSERT INTO condition (kind, account, subject, detail, people, began_at_ms) VALUES ('account_paused', 'acme', '', '', 0, AT);
INSERT INTO read_back (account_id, contact, reason, due_at_ms) VALUES (1, 'email:anna', 'lost_answer', AT);
INSERT INTO claimed (account_id, contacts) VALUES (1, '["email:bert"]');
INSERT INTO member_read (account_id, contact, segment_id, wanted, differed, at_ms) VALUES (1, 'email:emil', 1, 0, 0, AT);
""",
}


def make_store_file(database: Path, version: int) -> None:
    """Make the file that a program of this schema version left, with rows in every table it knew."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA foreign_keys = 1")
        for number, script in queries.migrations():
            if number <= version:
                connection.executescript(script + re.sub(r"\bAT\b", str(START_MS), _ROWS_OF_VERSION.get(number, "")))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")


def add_settled_members(database: Path, number: int) -> None:
    """Add so many confirmed members to the list of the account `globex`: about 600 bytes each."""
    contacts = json.dumps([f"email:{count:08}-{'x' * 600}" for count in range(number)])
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO member (account_id, contact, segment_id, wanted, state, sync_id, delivery_id) "
            "SELECT 2, value, 2, 1, 0, 2, 3 FROM json_each(?)",
            [contacts],
        )
        connection.execute(
            "UPDATE segment SET members = members + :n, settled = settled + :n WHERE id = 2", {"n": number}
        )
        connection.execute("UPDATE sync SET changes = changes + :n, settled = settled + :n WHERE id = 2", {"n": number})


def schema_of(database: Path) -> list[tuple[str, str, str, str]]:
    """Return everything that the file's schema says."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()


def version_of(database: Path) -> int:
    """Return the version that the file is marked with."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version


def tables_without_rows(database: Path) -> list[str]:
    """Return the tables that hold nothing."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return [name for name in names if not connection.execute(f"SELECT 1 FROM {name}").fetchone()]  # noqa: S608


def faults_of(database: Path) -> list[object]:
    """Return what SQLite finds wrong with the file or with what its rows refer to."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        return [row for row in found if row != ("ok",)] + connection.execute("PRAGMA foreign_key_check").fetchall()
