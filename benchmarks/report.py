"""Figures, their targets, the table of them, and the machine they were measured on."""

import os
import platform
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeVar

import aiohttp
import psutil

Round = TypeVar("Round")
# Beyond, rates and waiting are chance; the kernel's own work, such as writing to the disk, stays below.
_QUIET_SHARE = 0.1

Target = tuple[Literal["≥", "≤"], float]


class Figure(NamedTuple):
    """One line of the table.

    `cpu` is the time on a core that the process measured took for it. `target` bounds `measured`, a number in the target's
    unit, if it is given, else `ratio`.
    """

    name: str
    value: str
    cpu: str = ""
    ratio: float | None = None
    target: Target | None = None
    measured: float | None = None
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        number = self.ratio if self.measured is None else self.measured
        if self.target is None or number is None:
            return None
        direction, bound = self.target
        return number >= bound if direction == "≥" else number <= bound


_HEADINGS = ("figure", "value", "CPU", "ratio", "target", "met")


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
    return figure.name, figure.value, figure.cpu, ratio, target, met


def median_of(rounds: Iterable[Round], number: Callable[[Round], float]) -> float:
    """Return the median of a number that each round has."""
    return median(number(each) for each in rounds)


def ratio_of(ours: Iterable[Round], others: Iterable[Round], number: Callable[[Round], float]) -> float:
    """Return the median of a number's ratio to the baseline of the same round: what slows a whole round slows both."""
    return median(number(mine) / number(other) for mine, other in zip(ours, others, strict=True))


class OtherPrograms:
    """Tells how much of the machine other programs have used since it was made: what is neither idle nor ours.

    Ours are this process and those that it started and that have ended. What a host takes away counts as well.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds = _seconds_of_others()

    def share(self) -> float:
        """Return the share of all cores, from 0 to 1."""
        available_seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_seconds_of_others() - self._seconds) / available_seconds)


def _seconds_of_others() -> float:
    times = psutil.cpu_times()
    busy_seconds = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return busy_seconds - sum(usage.ru_utime + usage.ru_stime for usage in ours)


def quietness(shares: Mapping[str, float]) -> str:
    """Say whether the machine was quiet, from the share that other programs used during each part."""
    words = ", ".join(f"{share:.0%} during {part}" for part, share in shares.items())
    verdict = "Quiet" if max(shares.values()) <= _QUIET_SHARE else "NOT QUIET, measure again"
    return f"{verdict}: other programs used of the machine {words}"


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
