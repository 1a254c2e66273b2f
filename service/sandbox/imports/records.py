"""A file of comma-separated records: where its parts lie, found while it arrives, and the cells of a part. Pure."""

import csv
import io

import msgspec

from service.sandbox.imports.failure import ImportFailedError

_LONGEST_RECORD_BYTES = 1 << 20


class Part(msgspec.Struct, frozen=True, gc=False):
    """Consecutive records of a file: where they start, how long they are together, and how many."""

    start_bytes: int
    length_bytes: int
    records: int


class Splitter:
    """Divides a file into parts of at most `records_per_part` records, from chunks of any size.

    `parts` are complete once `finish` was called. Blank lines are no records. Only parts are remembered, so memory
    does not depend on the chunks; a record is at most 1 MiB long.
    """

    def __init__(self, records_per_part: int, *, has_header: bool) -> None:
        self.header: Part | None = None
        self.parts: list[Part] = []
        self._records_per_part = records_per_part
        self._awaits_header = has_header
        self._rest = b""
        self._quoted = False
        self._end_bytes = 0
        self._record_start_bytes = 0
        self._part_start_bytes = 0
        self._part_records = 0

    @property
    def records(self) -> int:
        """How many records the parts hold, without the header."""
        return sum(part.records for part in self.parts)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; raises `ImportFailedError` when a record is too long."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._add_line(line, line_ending_bytes=1)
        if self._end_bytes + len(self._rest) - self._record_start_bytes > _LONGEST_RECORD_BYTES:
            raise ImportFailedError("a record is longer than 1 MiB; a quotation mark may be missing")

    def finish(self) -> None:
        """Take the end of the file; raises `ImportFailedError` when it comes within a quoted cell."""
        if self._rest:
            self._add_line(self._rest, line_ending_bytes=0)
            self._rest = b""
        if self._quoted:
            raise ImportFailedError("the file ends within a quoted cell")
        self._end_part()

    def _add_line(self, line: bytes, *, line_ending_bytes: int) -> None:
        begins_record = self._end_bytes == self._record_start_bytes
        self._end_bytes += len(line) + line_ending_bytes
        # Quotation marks within quoted cells are doubled: an odd number means that a cell goes on behind the line.
        if line.count(b'"') % 2:
            self._quoted = not self._quoted
        if self._quoted:
            return
        self._record_start_bytes = self._end_bytes
        if begins_record and line in (b"", b"\r"):
            return
        self._part_records += 1
        if self._awaits_header:
            self._awaits_header = False
            self.header = Part(self._part_start_bytes, self._end_bytes - self._part_start_bytes, 1)
            self._part_start_bytes, self._part_records = self._end_bytes, 0
        elif self._part_records == self._records_per_part:
            self._end_part()

    def _end_part(self) -> None:
        if self._part_records:
            length_bytes = self._end_bytes - self._part_start_bytes
            self.parts.append(Part(self._part_start_bytes, length_bytes, self._part_records))
        self._part_start_bytes, self._part_records = self._end_bytes, 0


def rows_of(part: bytes, delimiter: str, records: int) -> list[list[str]]:
    """Return the cells of each of a part's records; bytes that are not UTF-8 become replacement characters.

    Raises `ImportFailedError` when quotation marks or line endings leave open what a record is.
    """
    text = io.StringIO(part.decode("utf-8", "replace"), newline="")
    try:
        rows = [row for row in csv.reader(text, delimiter=delimiter, strict=True) if row]
    except csv.Error as mistake:
        raise ImportFailedError(f"the file cannot be read: {mistake}") from mistake
    if len(rows) != records:
        raise ImportFailedError("the file cannot be read: records are not lines")
    return rows
