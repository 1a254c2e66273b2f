"""Writing to a terminal: tables, progress bars."""

import sys
from collections.abc import Sequence

_BAR_CELLS = 30

# What terminals obey instead of showing it, or show at another place, and what cannot be written at all. Names and
# messages come from Heap and Cordial, and JSON is free to hold all of these.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HALVES_OF_PAIRS = range(0xD800, 0xE000)
# Written so that a line of JSON stays one, with the same meaning.
_ESCAPES = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_DIRECTIONS, *_HALVES_OF_PAIRS)}


def one_line(text: str) -> str:
    """Return the text as one line that can be shown: whatever would steer the terminal is written out."""
    return text.translate(_ESCAPES)


def say(*lines: str) -> None:
    """Write lines, each of which stays one whatever it holds."""
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))
    sys.stdout.flush()


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table; numbers stand at the right of their column."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else one_line(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    numeric = [bool(rows) and isinstance(rows[0][index], int) for index in range(len(headings))]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(headings), *map(line, cells)]


def bar(done: int, total: int) -> str:
    """Return a progress bar with its percentage."""
    share = done / total if total else 1.0
    cells = int(share * _BAR_CELLS)
    return f"[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {share:>4.0%}"


def redraw(text: str) -> None:
    """Write over the current line of a terminal; elsewhere write a line."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{text}")
    else:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
