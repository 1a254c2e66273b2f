"""Reading a file that somebody exported from Cordial's web interface: who is on a list. Streamed, so it may be of any size."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from service.commands.csv_file import CsvFile, UnreadableFileError
from service.commands.terminal import counted
from service.model.contacts import EMAIL, contact_of

_ADDRESS_HEADERS = {"email", "email address", "e-mail", "channels.email.address", "email_address", "address"}
_LISTS_HEADERS = {"lists", "list"}
_YES = {"1", "true", "yes", "y", "x", "on"}
_MAX_VALUE = 1_024


class ExportedFile:
    """One file: `rows` it has, `on_list` of them are on the list; both are known once `people` has come to its end."""

    def __init__(self, path: Path, *, keys: Sequence[str], column: str | None, lists: Sequence[str]) -> None:
        """`keys`: what people are identified by. `column`: the header that stands for the first of them.

        `lists`: the list's name and its id in Cordial. Raises `UnreadableFileError` and `OSError`.
        """
        self._file = CsvFile(path)
        self._lists = {each for each in lists if each}
        self.rows = 0
        self.on_list = 0
        self.without_value = 0
        self._headers = self._file.header
        if not self._headers:
            raise UnreadableFileError("it is empty")
        self._folded = [header.lower() for header in self._headers]
        self._columns = self._identifying(keys, column)
        self._list_column = self._find(self._headers, self._lists)
        self._lists_column = None if self._list_column is not None else self._find(self._folded, _LISTS_HEADERS)

    def people(self) -> Iterator[list[str]]:
        """Yield for each row of somebody on the list the contacts (`key:value`) that they may be in the ledger.

        Raises `UnreadableFileError` and `OSError`.
        """
        for row in islice(self._file.rows(), 1, None):
            self.rows += 1
            if not self._is_on_list(row):
                continue
            values = [(key, row[place].strip()) for key, place in self._columns if place < len(row)]
            contacts = [contact_of(value, key) for key, value in values if value and len(value) <= _MAX_VALUE]
            if contacts:
                self.on_list += 1
                yield contacts
            else:
                self.without_value += 1

    def remarks(self) -> str:
        """Return what a person should know of how the file was read."""
        words = ""
        if self._list_column is None and self._lists_column is None:
            words += "; no column is for the list, so every row counts as on it"
        if self.without_value:
            words += f"; {counted(self.without_value, 'row has', 'rows have')} no address"
        return words

    def _identifying(self, keys: Sequence[str], column: str | None) -> list[tuple[str, int]]:
        if column is not None:
            place = self._find(self._headers, {column})
            if place is None:
                raise UnreadableFileError(f"it has no column {column}; it has {self._shown()}")
            return [(keys[0], place)]
        found = []
        for key in keys:
            names = _ADDRESS_HEADERS if key == EMAIL else {key.lower(), f"attributes.{key}".lower()}
            place = self._find(self._folded, names)
            if place is not None:
                found.append((key, place))
        if not found:
            raise UnreadableFileError(
                f"no column is known to hold {' or '.join(keys)}; name it with --column; it has {self._shown()}"
            )
        return found

    def _is_on_list(self, row: Sequence[str]) -> bool:
        if self._list_column is not None:
            return self._list_column < len(row) and row[self._list_column].strip().lower() in _YES
        if self._lists_column is not None:
            cell = row[self._lists_column] if self._lists_column < len(row) else ""
            return bool(
                self._lists & {name.strip(" []\"'") for name in cell.replace(";", ",").replace("|", ",").split(",")}
            )
        return True

    def _find(self, headers: Sequence[str], names: Collection[str]) -> int | None:
        """Return the place of the first header that is one of these names."""
        place = next((place for place, header in enumerate(headers) if header in names), None)
        if place is not None and headers.count(headers[place]) > 1:
            raise UnreadableFileError(f"it has several columns {self._headers[place]}; remove all but one")
        return place

    def _shown(self) -> str:
        return ", ".join(self._headers[:20])[:500]
