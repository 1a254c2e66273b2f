"""Figures, their targets, the table of them, and the machine they were measured on."""

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import aiohttp

Target = tuple[Literal["≥", "≤"], float]


class Figure(NamedTuple):
    """One line of the table.

    `target` bounds `ratio` if there is one, else `measured`, which is the value as a number in the target's unit.
    """

    name: str
    value: str
    ratio: float | None = None
    target: Target | None = None
    measured: float | None = None
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        number = self.measured if self.ratio is None else self.ratio
        if self.target is None or number is None:
            return None
        direction, bound = self.target
        return number >= bound if direction == "≥" else number <= bound


_HEADINGS = ("figure", "value", "ratio", "target", "met")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    return markdown(_HEADINGS, [_row(figure) for figure in figures])


def markdown(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its columns aligned."""
    rows = [headings, *body]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _row(figure: Figure) -> tuple[str, ...]:
    target = ""
    if figure.target is not None:
        direction, bound = figure.target
        target = f"{direction} {bound:,g}{figure.unit and ' ' + figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = {None: "", True: "yes", False: "no"}[figure.is_met]
    return figure.name, figure.value, ratio, target, met


def machine() -> str:
    """Describe what the figures were measured on, and how busy it was with other things."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({_processor()}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, aiohttp {aiohttp.__version__}; "
        f"load averages {load}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123  a path by name reads no better here
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def progress(text: str) -> None:
    """Tell the person who waits what has been done."""
    print(text, file=sys.stderr, flush=True)
