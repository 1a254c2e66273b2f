"""Taking a contact out of everything that mentions it besides the ledger, a bounded step at a time."""

import json
import sqlite3
from typing import Any, NamedTuple
from urllib.parse import quote

from service.store.sqlite import queries

_SQL = queries.load("erase")

# One transaction's share, so that deliveries never wait long behind an erasure; a piece has at most 250 contacts.
_PIECES_AT_ONCE = 40
_ROWS_AT_ONCE = 1_000
# A rejected value is kept cut to this length.
_CUT_AT = 64
_ERASED = "(erased)"
# A shorter id is part of many a word that is not about the user.
_SHORTEST_IN_TEXT = 6


class Named(NamedTuple):
    """A contact (`key:value`) of an account."""

    account_id: int
    contact: str

    @property
    def user(self) -> str:
        """The user's id as it stands in pages."""
        return self.contact.split(":", 1)[1]


class Step(NamedTuple):
    """The last row that a step looked at, 0 at the end; how many users it took out of the inbox, and of what is set aside."""

    last: int
    taken_out: int = 0
    taken_from_guarded: int = 0


def clean_unfolded(connection: sqlite3.Connection, named: Named, after: int) -> Step:
    """Take the contact out of the next pieces that are not in the ledger yet."""
    naming, last = _pieces(connection, named, after)
    taken_out = 0
    for piece in naming:
        if not piece.is_folded:
            values = {"id": piece.id, "contact": named.contact}
            taken_out += piece.users - connection.execute(_SQL["take_out_of_piece"], values).fetchone()[0]
    return Step(last, taken_out)


def clean_guarded(connection: sqlite3.Connection, named: Named, after: int) -> Step:
    """Take the contact out of the next pieces that are set aside until their sync is judged (R17)."""
    naming, last = _pieces(connection, named, after, "guarded")
    taken_out = 0
    for piece in naming:
        values = {"id": piece.id, "contact": named.contact}
        taken_out += piece.users - connection.execute(_SQL["take_out_of_guarded"], values).fetchone()[0]
    return Step(last, taken_from_guarded=taken_out)


def has_moved(connection: sqlite3.Connection, named: Named, last_piece: int, last_guarded: int) -> bool:
    """Tell whether pieces of the account were set aside or given back since an erasure looked up to these."""
    values = {**named._asdict(), "last_piece": last_piece, "last_guarded": last_guarded}
    return bool(connection.execute(_SQL["has_moved"], values).fetchone()[0])


def clean_folded(connection: sqlite3.Connection, named: Named, after: int) -> Step:
    """Blank the contact in the next pieces that are the list of whom to send."""
    naming, last = _pieces(connection, named, after)
    for piece in naming:
        if piece.is_folded:
            connection.execute(_SQL["blank_in_piece"], {"id": piece.id, "contact": named.contact})
    return Step(last)


def clean_rejected(connection: sqlite3.Connection, named: Named, after: int) -> Step:
    """Blank the user among the rejected users of the next deliveries; place and reason stay."""
    values = {"account_id": named.account_id, "after": after, "limit": _ROWS_AT_ONCE}
    rows = connection.execute(_SQL["deliveries"], values).fetchall()
    for delivery_id, text in rows:
        rejected = json.loads(text)
        meant = [entry for entry in rejected if _is_meant(entry["value"].casefold(), named.user.casefold())]
        for entry in meant:
            entry["value"] = _ERASED
        if meant:
            changed = {"id": delivery_id, "rejected_users": json.dumps(rejected, ensure_ascii=False)}
            connection.execute(_SQL["set_rejected_users"], changed)
    return Step(rows[-1][0] if len(rows) == _ROWS_AT_ONCE else 0)


def clean_failures(connection: sqlite3.Connection, named: Named, after: int) -> Step:
    """Blank the words of Cordial's that name the user in the next failures, of whichever contact."""
    if len(named.user) < _SHORTEST_IN_TEXT:
        return Step(0)
    last = connection.execute(_SQL["last_failure"], {"after": after, "limit": _ROWS_AT_ONCE}).fetchone()[0]
    if last is None:
        return Step(0)
    connection.execute(_SQL["blank_failures"], {**_texts(named), "after": after, "last": last})
    return Step(last)


def clean_remarks(connection: sqlite3.Connection, named: Named) -> None:
    """Blank what names the user among the few remarks about accounts, lists, imports and people's actions."""
    for statement in ("blank_import_position", "blank_walk", "blank_claimed", "forget_read_back", "forget_member_read"):
        connection.execute(_SQL[statement], named._asdict())
    if len(named.user) >= _SHORTEST_IN_TEXT:
        for statement in ("blank_account", "blank_lists", "blank_imports", "blank_audit"):
            connection.execute(_SQL[statement], _texts(named))


def is_in_use(connection: sqlite3.Connection, named: Named) -> bool:
    """Tell whether an import or a drain under way still needs the contact."""
    return bool(connection.execute(_SQL["is_in_use"], named._asdict()).fetchone()[0])


def is_in_doubt(connection: sqlite3.Connection, named: Named) -> bool:
    """Tell whether Cordial may still carry out a call for the contact."""
    return bool(connection.execute(_SQL["is_in_doubt"], named._asdict()).fetchone()[0])


class _Naming(NamedTuple):
    """A row of `pieces`."""

    id: int
    users: int
    is_folded: int
    names_contact: int


def _pieces(
    connection: sqlite3.Connection, named: Named, after: int, statement: str = "pieces"
) -> tuple[list[_Naming], int]:
    """Return those of the next pieces that name the contact, and the last piece looked at."""
    values = {**named._asdict(), "after": after, "limit": _PIECES_AT_ONCE}
    rows = [_Naming(*row) for row in connection.execute(_SQL[statement], values).fetchall()]
    return [row for row in rows if row.names_contact], rows[-1].id if len(rows) == _PIECES_AT_ONCE else 0


def _is_meant(value: str, user: str) -> bool:
    if len(user) < _SHORTEST_IN_TEXT:
        return value.strip() == user
    return user in value or (len(value) >= _CUT_AT and user.startswith(value))


def _texts(named: Named) -> dict[str, Any]:
    return {**named._asdict(), "user": named.user, "encoded": quote(named.user, safe="")}
