"""What the columns of an import's file mean to the account. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from service.sandbox.imports.failure import ImportFailedError
from service.sandbox.state import AccountList, SandboxState

_ADDRESS = "channels.email.address"
_STATUS = "channels.email.subscribeStatus"
_TYPES_IN_CELLS = frozenset({"string", "number", "date"})


class Columns(msgspec.Struct):
    """Where in a row each thing is, counted from 0; `width` is the number of cells in a row.

    `key` is the secondary key that contacts are found by if there is no address. `lists` are the lists with a column,
    `identifiers` the secondary keys, `attributes` the keys of all other attributes with their types.
    """

    width: int
    address: int | None = None
    status: int | None = None
    key: tuple[int, str] | None = None
    lists: list[tuple[int, AccountList]] = []
    identifiers: list[tuple[int, str]] = []
    attributes: list[tuple[int, str, str]] = []


def find_list(state: SandboxState, name_or_id: str) -> AccountList | None:
    """Return the list that is called so or, failing that, has this id."""
    found = state.lists_by_name.get(name_or_id)
    if found is None and name_or_id.isdecimal():
        return state.lists.get(int(name_or_id))
    return found


def resolve_columns(
    state: SandboxState, names: Sequence[str], overridden: Iterable[AccountList], *, by_secondary_key: bool
) -> Columns:
    """Return what the named columns mean; an empty name and an `overridden` list's skip their column.

    Names are case-sensitive. Beyond e-mail, channels are not offered. Raises `ImportFailedError` when a column is not
    known or comes twice, or when none says which contact a row is about.
    """
    columns = Columns(width=len(names))
    skipped = {account_list.id for account_list in overridden}
    for position, name in enumerate(names):
        if name and name in names[:position]:
            raise ImportFailedError(f"column {name} comes twice")
        account_list = find_list(state, name)
        if name == _ADDRESS:
            columns.address = position
        elif name == _STATUS:
            columns.status = position
        elif account_list is not None:
            _add_list(columns, position, account_list, skipped)
        elif name in state.secondary_keys:
            columns.identifiers.append((position, name))
        elif state.attributes.get(name) in _TYPES_IN_CELLS:
            columns.attributes.append((position, name, state.attributes[name]))
        elif name:
            raise ImportFailedError(f"column {name} is not part of the schema")
    if columns.address is None:
        _find_by_secondary_key(columns, allowed=by_secondary_key)
    return columns


def _add_list(columns: Columns, position: int, account_list: AccountList, skipped: set[int]) -> None:
    if any(account_list is other for _, other in columns.lists):
        raise ImportFailedError(f"list {account_list.name} has two columns")
    if account_list.id not in skipped:
        columns.lists.append((position, account_list))


def _find_by_secondary_key(columns: Columns, *, allowed: bool) -> None:
    if not allowed or not columns.identifiers:
        raise ImportFailedError(f"no column {_ADDRESS}")
    columns.key = columns.identifiers.pop(0)
