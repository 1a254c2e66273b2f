"""Reading a file that somebody exported from Cordial's web interface: who is on a list. Streamed, so it may be of any size."""

import csv
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

from service.model.contacts import EMAIL, contact_of

_ADDRESS_HEADERS = {"email", "email address", "e-mail", "channels.email.address", "email_address", "address"}
_LISTS_HEADERS = {"lists", "list"}
_YES = {"1", "true", "yes", "y", "x", "on"}
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SNIFFED_BYTES = 65_536
_MAX_VALUE = 1_024


class UnreadableFileError(Exception):
    """The file is none that can be compared; the message says why."""


class ExportedFile:
    """One file: `rows` it has, `on_list` of them are on the list; both are known once `people` has come to its end."""

    def __init__(self, path: Path, *, keys: Sequence[str], column: str | None, lists: Sequence[str]) -> None:
        """`keys`: what people are identified by. `column`: the header that stands for the first of them.

        `lists`: the list's name and its id in Cordial. Raises `UnreadableFileError` and `OSError`.
        """
        self._path = path
        self._lists = {each for each in lists if each}
        self.rows = 0
        self.on_list = 0
        self.without_value = 0
        with path.open("rb") as file:
            start = file.read(_SNIFFED_BYTES)
        self._encoding = _encoding_of(path, start)
        first_line = start.decode(self._encoding, errors="replace").splitlines()[:1]
        if not first_line:
            raise UnreadableFileError("it is empty")
        self._delimiter = max(",;\t|", key=first_line[0].count)
        self._headers = [cell.strip() for cell in next(csv.reader(first_line, delimiter=self._delimiter))]
        self._columns = self._identifying(keys, column)
        self._list_column = self._find(self._lists)
        self._lists_column = None if self._list_column is not None else self._find_folded(_LISTS_HEADERS)

    def people(self) -> Iterator[list[str]]:
        """Yield for each row of somebody on the list the contacts (`key:value`) that they may be in the ledger."""
        with self._path.open("rb") as raw, TextIOWrapper(raw, self._encoding, newline="") as text:
            reader = csv.reader((line.replace("\x00", "") for line in text), delimiter=self._delimiter)
            next(reader)
            try:
                for row in reader:
                    if not any(row):
                        continue
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
            except (csv.Error, UnicodeError) as error:
                raise UnreadableFileError(f"row {self.rows + 2} cannot be read: {error}") from error

    def remarks(self) -> str:
        """Return what a person should know of how the file was read."""
        words = ""
        if self._list_column is None and self._lists_column is None:
            words += "; it has no column of the list, so every row counts as on it"
        if self.without_value:
            words += f"; {self.without_value:,} rows name nobody"
        return words

    def _identifying(self, keys: Sequence[str], column: str | None) -> list[tuple[str, int]]:
        if column is not None:
            if column not in self._headers:
                raise UnreadableFileError(f"it has no column {column}; it has {self._shown()}")
            return [(keys[0], self._headers.index(column))]
        found = []
        for key in keys:
            place = self._find_folded(_ADDRESS_HEADERS if key == EMAIL else {key.lower(), f"attributes.{key}".lower()})
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

    def _find(self, names: set[str]) -> int | None:
        return next((place for place, header in enumerate(self._headers) if header in names), None)

    def _find_folded(self, names: set[str]) -> int | None:
        return next((place for place, header in enumerate(self._headers) if header.lower() in names), None)

    def _shown(self) -> str:
        return ", ".join(self._headers[:20])[:500]


def _encoding_of(path: Path, start: bytes) -> str:
    """Return the encoding by the mark at the beginning; without one UTF-8, or what spreadsheets write in its place."""
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    try:
        with path.open(encoding="utf-8") as text:
            while text.read(_SNIFFED_BYTES):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"
