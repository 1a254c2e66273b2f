"""What the cells of one row of an import say. Pure."""

from collections.abc import Sequence

import msgspec

from service.sandbox.imports.columns import Columns
from service.sandbox.schema import SUBSCRIBE_STATUSES, valid_address
from service.sandbox.state import AccountList

_MEMBERSHIPS = {"1": True, "0": False}


class RowValues(msgspec.Struct, frozen=True, gc=False):
    """One row: whom it is about (`address` normalised, or a secondary key and its value), and what to write.

    `subscribe_status` is `None` when the row says nothing about it. `None` among identifiers and attributes empties.
    """

    address: str | None
    key: tuple[str, str] | None
    subscribe_status: str | None
    memberships: list[tuple[AccountList, bool]]
    identifiers: list[tuple[str, str | None]]
    attributes: list[tuple[str, str | float | None]]


class RowRejectedError(Exception):
    """The row cannot be carried out; nobody is told why, or which row it was."""


def read_row(columns: Columns, row: Sequence[str], null_marker: str | None) -> RowValues:
    """Return what a row says; cells equal to `null_marker` are skipped.

    Raises `RowRejectedError` when it has too many or too few cells, or one that does not fit its column: an address
    that is none, a status that is none, something other than 1 or 0 for a list, a number that is none.
    """
    if len(row) != columns.width:
        raise RowRejectedError
    try:
        return RowValues(
            None if columns.address is None else _address(row[columns.address]),
            None if columns.key is None else _key_value(columns.key, row, null_marker),
            None if columns.status is None else _status(row[columns.status], null_marker),
            [
                (account_list, _MEMBERSHIPS[row[position]])
                for position, account_list in columns.lists
                if row[position] != null_marker
            ],
            [(key, row[position] or None) for position, key in columns.identifiers if row[position] != null_marker],
            [
                (key, _attribute(row[position], kind))
                for position, key, kind in columns.attributes
                if row[position] != null_marker
            ],
        )
    except (KeyError, ValueError):
        raise RowRejectedError from None


def _address(cell: str) -> str:
    address = valid_address(cell)
    if address is None:
        raise ValueError(cell)
    return address


def _key_value(key: tuple[int, str], row: Sequence[str], null_marker: str | None) -> tuple[str, str]:
    position, name = key
    if row[position] in ("", null_marker):
        raise ValueError(name)
    return name, row[position]


def _status(cell: str, null_marker: str | None) -> str | None:
    # A skipped or empty cell says as little as no column: the import then decides by itself.
    if cell in ("", null_marker):
        return None
    if cell not in SUBSCRIBE_STATUSES:
        raise ValueError(cell)
    return cell


def _attribute(cell: str, kind: str) -> str | float | None:
    if not cell:
        return None
    return float(cell) if kind == "number" else cell
