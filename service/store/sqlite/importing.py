"""The transactions of an import: gathering what it says, cutting it into parts, settling or releasing them step by step.

An import ends with its last part; what it says of a contact stands in `import_change` until the part is settled or
released. Each function is one transaction, short enough for deliveries not to wait long behind it.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from service.model.imports import NULL_MARKER, Expected, ImportFile, ImportPart, OpenImport, Strategy
from service.store.sqlite import queries
from service.store.sqlite.ledger import LedgerTransaction

# The contacts of e-mail addresses lie between these in the ledger's order; no other key is sure to be taken in a file.
_BEFORE_FIRST, _BEHIND_LAST = "email:", "email;"
_MEMBERS_PER_STEP = 10_000
_CHANGES_PER_STEP = 4_000
_LINES_PER_STEP = 4_000

# Cordial's contract: without this a contact made by an import is subscribed (R14).
_NEVER_SUBSCRIBED = ",none"

_SQL = queries.load("imports")
_PART_FIELDS = ImportPart.__struct_fields__


class Stepped(NamedTuple):
    """What a step of settling or releasing did to how many changes, and whether there are more."""

    more: bool
    changes: int


def read_open(connection: sqlite3.Connection, account_id: int) -> OpenImport | None:
    """Return the account's import that is being sent, or None."""
    row = connection.execute(_SQL["open_import"], {"account_id": account_id}).fetchone()
    if row is None:
        return None
    import_id, segments, _, contacts, released = row
    parts = [_part(values) for values in connection.execute(_SQL["parts"], {"import_id": import_id})]
    return OpenImport(import_id, json.loads(segments), contacts, released, parts)


def begin(connection: sqlite3.Connection, account_id: int, segment_ids: Sequence[int], now_ms: int) -> None:
    """Begin an import for those segments."""
    values = {
        "account_id": account_id,
        "segments": json.dumps(list(segment_ids)),
        "gathered_to": _BEFORE_FIRST,
        "now_ms": now_ms,
    }
    connection.execute(_SQL["begin"], values)


def gather(connection: sqlite3.Connection, account_id: int, held: Collection[str]) -> bool:
    """Take the next pending changes in the ledger's order into the import, but for contacts that a call holds.

    Return whether there are more members to look at.
    """
    import_id, segments, after, *_ = connection.execute(_SQL["open_import"], {"account_id": account_id}).fetchone()
    values = {
        "account_id": account_id,
        "after": after,
        "before": _BEHIND_LAST,
        "limit": _MEMBERS_PER_STEP,
        "segments": segments,
        "held": json.dumps(list(held)),
    }
    row = connection.execute(_SQL["end_of_step"], values).fetchone()
    values["end"] = row[0] if row else _BEHIND_LAST
    connection.execute(_SQL["gather"], values)
    (contacts,) = connection.execute(_SQL["count_gathered"], values).fetchone()
    gathered = {"id": import_id, "gathered_to": values["end"], "contacts": contacts}
    connection.execute(_SQL["set_gathered"], gathered)
    return row is not None


def cut_whole(connection: sqlite3.Connection, account_id: int, most_contacts: int, now_ms: int) -> None:
    """Cut what was gathered into parts of at most so many contacts, to be sent; end an import that has gathered none."""
    import_id, *_ = connection.execute(_SQL["open_import"], {"account_id": account_id}).fetchone()
    if _cut(connection, account_id, import_id, (_BEFORE_FIRST, _BEHIND_LAST), most_contacts):
        connection.execute(_SQL["start_sending"], {"id": import_id})
    else:
        _end_unsent(connection, import_id, "none of the contacts suits a file", now_ms)


def cut_part(connection: sqlite3.Connection, account_id: int, part: ImportPart, most_contacts: int) -> None:
    """Cut a part into smaller ones, to be sent after all others."""
    _cut(connection, account_id, part.import_id, (part.after_contact, part.last_contact), most_contacts)
    connection.execute(_SQL["remove_part"], {"id": part.id})


def _cut(
    connection: sqlite3.Connection, account_id: int, import_id: int, between: tuple[str, str], most_contacts: int
) -> int:
    """Add parts for the contacts after the first of `between` up to the second; return how many parts."""
    after, last = between
    parts = 0
    while True:
        measured = {"account_id": account_id, "after": after, "last": last, "limit": most_contacts}
        contacts, joining, contacts_bytes, joining_bytes, end = connection.execute(_SQL["measure"], measured).fetchone()
        if not contacts:
            return parts
        values = {
            "import_id": import_id,
            "after": after,
            "last": end,
            "contacts": contacts,
            "joining": joining,
            "contacts_bytes": contacts_bytes,
            "joining_bytes": joining_bytes,
        }
        connection.execute(_SQL["add_part"], values)
        after = end
        parts += 1


def read_file(connection: sqlite3.Connection, name_digest: bytes) -> ImportFile | None:
    """Return the part whose file has a name of that digest, if it may be fetched."""
    row = connection.execute(_SQL["file"], {"name_digest": name_digest}).fetchone()
    if row is None:
        return None
    part = _part(row[: len(_PART_FIELDS)])
    contacts_bytes, joining_bytes, segments, account = row[len(_PART_FIELDS) :]
    segment_ids = json.loads(segments)
    cells_bytes = 2 * len(segment_ids) + 1
    if part.strategy is Strategy.INSERT_ONLY:
        size_bytes = joining_bytes + part.joining * (cells_bytes + len(_NEVER_SUBSCRIBED))
    else:
        size_bytes = contacts_bytes + part.contacts * cells_bytes
    return ImportFile(account, part, segment_ids, size_bytes)


def read_lines(
    connection: sqlite3.Connection, account_id: int, file: ImportFile, after_contact: str
) -> tuple[str, str] | None:
    """Return the next rows of a file after a contact, and the last one's contact; None at the end."""
    joining_only = file.part.strategy is Strategy.INSERT_ONLY
    values = {
        "account_id": account_id,
        "segments": json.dumps(file.segment_ids),
        "after": after_contact,
        "last": file.part.last_contact,
        "joining_only": joining_only,
        "status": _NEVER_SUBSCRIBED if joining_only else "",
        "null_marker": NULL_MARKER,
        "limit": _LINES_PER_STEP,
    }
    end, lines = connection.execute(_SQL["lines"], values).fetchone()
    return (end, lines) if end is not None else None


def settle_some(ledger: LedgerTransaction, account_id: int, part: ImportPart) -> Stepped:
    """Settle the next changes of a part, where still wanted as they were sent; at its end the part is gone."""
    connection = ledger.connection
    values, rows = _next_changes(connection, account_id, part)
    together: dict[tuple[int, int], list[str]] = defaultdict(list)
    for contact, segment_id, wanted in rows:
        together[segment_id, wanted].append(contact)
    for (segment_id, wanted), contacts in together.items():
        ledger.settle(account_id, segment_id, contacts, wanted=bool(wanted))
    more = _remove_changes(connection, values, rows, part)
    counted = {"settled": len({row[0] for row in rows}), "released": 0, "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    _end_if_over(connection, part, ledger.now_ms, more=more)
    return Stepped(more, len(rows))


def release_some(ledger: LedgerTransaction, account_id: int, part: ImportPart) -> Stepped:
    """Leave the next changes of a part to single calls; at its end the part is gone."""
    connection = ledger.connection
    values, rows = _next_changes(connection, account_id, part)
    more = _remove_changes(connection, values, rows, part)
    counted = {"settled": 0, "released": len({row[0] for row in rows}), "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    _end_if_over(connection, part, ledger.now_ms, more=more)
    return Stepped(more, len(rows))


def release_leaving(connection: sqlite3.Connection, account_id: int, part: ImportPart) -> int:
    """Leave the next of a part's changes that take contacts off lists to single calls; return how many."""
    released = _remove_some(connection, account_id, part.after_contact, part.last_contact, leaving_only=True)
    counted = {"settled": 0, "released": released, "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    return released


def take_back_some(connection: sqlite3.Connection, account_id: int, now_ms: int) -> bool:
    """Take back the next of what an import gathered whose gathering was cut short; return whether that is to go on.

    Nothing of it was sent. The last step ends the import.
    """
    row = connection.execute(_SQL["cut_short"], {"account_id": account_id}).fetchone()
    if row is None:
        return False
    if _remove_some(connection, account_id, _BEFORE_FIRST, _BEHIND_LAST, leaving_only=False):
        return True
    _end_unsent(connection, row[0], "the service stopped while its changes were gathered", now_ms)
    return False


def expected_counts(connection: sqlite3.Connection, account_id: int) -> list[Expected]:
    """Return what each list must hold at least once the whole of the account's import took effect."""
    return [Expected(*row) for row in connection.execute(_SQL["expected"], {"account_id": account_id})]


def _part(values: Sequence[Any]) -> ImportPart:
    return msgspec.convert(dict(zip(_PART_FIELDS, values, strict=True)), ImportPart)


def _next_changes(
    connection: sqlite3.Connection, account_id: int, part: ImportPart
) -> tuple[dict[str, Any], list[tuple[str, int, int]]]:
    """Return whole contacts only: the last one of a full step is left to the next, unless it is alone."""
    values: dict[str, Any] = {
        "account_id": account_id,
        "after": part.after_contact,
        "last": part.last_contact,
        "limit": _CHANGES_PER_STEP,
    }
    rows = connection.execute(_SQL["next_changes"], values).fetchall()
    if len(rows) == _CHANGES_PER_STEP:
        rows = [row for row in rows if row[0] != rows[-1][0]]
    return values, rows


def _remove_changes(
    connection: sqlite3.Connection, values: dict[str, Any], rows: list[tuple[str, int, int]], part: ImportPart
) -> bool:
    """Remove what a step has dealt with; return whether anything of the part is left."""
    if rows:
        connection.execute(_SQL["remove_changes"], {**values, "last": rows[-1][0]})
    left = connection.execute(_SQL["next_changes"], {**values, "limit": 1}).fetchone()
    if left is None:
        connection.execute(_SQL["remove_part"], {"id": part.id})
    return left is not None


def _end_unsent(connection: sqlite3.Connection, import_id: int, reason: str, now_ms: int) -> None:
    connection.execute(_SQL["note_reason"], {"import_id": import_id, "reason": reason})
    connection.execute(_SQL["end_import"], {"id": import_id, "now_ms": now_ms})


def _remove_some(connection: sqlite3.Connection, account_id: int, after: str, last: str, *, leaving_only: bool) -> int:
    """Remove one step's share of what stands between two contacts; return how many changes that were."""
    values = {
        "account_id": account_id,
        "after": after,
        "last": last,
        "leaving_only": leaving_only,
        "limit": _CHANGES_PER_STEP,
    }
    return connection.execute(_SQL["remove_some"], values).rowcount


def _end_if_over(connection: sqlite3.Connection, part: ImportPart, now_ms: int, *, more: bool) -> None:
    if not more and not connection.execute(_SQL["parts"], {"import_id": part.import_id}).fetchone():
        connection.execute(_SQL["end_import"], {"id": part.import_id, "now_ms": now_ms})
