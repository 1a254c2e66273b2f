"""A CSV file that somebody exported or saved from a spreadsheet: its encoding and delimiter are found out. Read row by row."""

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SNIFFED_BYTES = 65_536
# Longer than any row of an export; a file without line ends must not be read into memory whole.
_MAX_LINE_CHARACTERS = 1_000_000


class UnreadableFileError(Exception):
    """The file cannot be used; the message says why."""


class CsvFile:
    """One file; `header` is its first row."""

    def __init__(self, path: Path) -> None:
        """Find out how the file is written. Raises `UnreadableFileError` and `OSError`."""
        self._path = path
        with path.open("rb") as file:
            start = file.read(_SNIFFED_BYTES)
        self._encoding = _encoding_of(path, start)
        first_line = start.decode(self._encoding, errors="replace").lstrip("\r\n").splitlines()[:1]
        self._delimiter = max(",;\t|", key=first_line[0].count) if first_line else ","
        self.header = [cell.strip() for cell in next(self.rows(), [])]

    def rows(self) -> Iterator[list[str]]:
        """Yield each row that is not empty, the header among them. Raises `UnreadableFileError` where the file cannot be read on."""
        row: list[str] = []
        number, columns = 0, 0
        with self._path.open("rb") as raw, TextIOWrapper(raw, self._encoding, newline="") as text:
            lines = _Lines(text)
            reader = csv.reader(lines, delimiter=self._delimiter)
            try:
                for row in reader:
                    if any(row):
                        number += 1
                        columns = columns or len(row)
                        yield row
            except (csv.Error, UnicodeError) as error:
                raise UnreadableFileError(f"row {number + 1} cannot be read: {error}") from error
        is_open = lines.has_odd_quotes and any("\n" in cell or "\r" in cell for cell in row)
        if is_open or (not lines.is_ended and len(row) < columns):
            raise UnreadableFileError("its last row is not whole: the file was cut off")


class _Lines:
    """The lines of a text, without the NULs that some programs write, and what shows whether the last one is whole."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self.has_odd_quotes = False
        self.is_ended = True

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_MAX_LINE_CHARACTERS):
            self.is_ended = line.endswith(("\n", "\r"))
            if not self.is_ended and len(line) == _MAX_LINE_CHARACTERS:
                raise csv.Error(f"it has more than {_MAX_LINE_CHARACTERS:,} characters")
            self.has_odd_quotes ^= line.count('"') % 2 == 1
            yield line.replace("\x00", "")


def _encoding_of(path: Path, start: bytes) -> str:
    """Return the encoding by the mark at the beginning; without one UTF-8, or what spreadsheets write in its place."""
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    if 0 in start[:2]:
        # The first character is of ASCII, and half of it is 0.
        return "utf-16-le" if start[0] else "utf-16-be"
    try:
        with path.open(encoding="utf-8") as text:
            while text.read(_SNIFFED_BYTES):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"
