"""Writing to a terminal: tables, progress bars."""

import sys
from collections.abc import Sequence

_BAR_CELLS = 30


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table; numbers stand at the right of their column."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
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
