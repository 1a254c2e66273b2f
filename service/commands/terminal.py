"""Writing to a terminal: prose, tables, progress bars."""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

import msgspec

from service.errors import in_words

# The codes of errors in arguments, and of those that have no other.
USAGE = "usage"
FAILED = "failed"

_BAR_CELLS = 30
_MIN_LAST_COLUMN = 20
# What more lines of a text begin below: its own indentation, a number such as `  5. `, a dash, or a label such as `account    `.
_LABEL = re.compile(r"\s*(?:\d+\. |- |\S+(?: \S+){0,2} {2,})?")

# A command in a text, for whoever copies it.
_COMMAND = re.compile(r"`(heap-cordial [^`]+)`")

# What terminals obey instead of showing it, or show at another place, and what cannot be written at all. Names and
# messages come from Heap and Cordial, and JSON is free to hold all of these.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HALVES_OF_PAIRS = range(0xD800, 0xE000)
# Written so that a line of JSON stays one, with the same meaning.
_ESCAPES = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_DIRECTIONS, *_HALVES_OF_PAIRS)}


# What the commands in texts need to reach the same service as the one that prints them.
_options_of_commands = ""


def print_commands_with(config: Path | None) -> None:
    """Add the configuration that this command was given to every command that it prints between backquotes."""
    global _options_of_commands  # noqa: PLW0603  a process runs one command
    _options_of_commands = "" if config is None else f" --config {shlex.quote(str(config))}"


class ReaderGoneError(Exception):
    """Nobody reads any more what the command writes."""


class OutputError(Exception):
    """What the command writes cannot be kept, because a disk is full for example; the message says what and why."""


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Within this block something is written; raises `ReaderGoneError` or `OutputError` where that fails."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(f"{what} cannot be written: {in_words(error)}") from error


def write(stream: TextIO, text: str) -> None:
    """Write a text as it is; raises as `writing` does."""
    with writing("standard output" if stream is sys.stdout else "standard error"):
        stream.write(text)
        stream.flush()


def one_line(text: str) -> str:
    """Return the text as one line that can be shown: whatever would steer the terminal is written out."""
    return text.translate(_ESCAPES)


def _to_people(text: str) -> str:
    """Return a text as one line that can be shown, with whole commands; a cell of a table passes here twice."""
    options = _options_of_commands
    return one_line(_COMMAND.sub(lambda found: f"`{found[1].removesuffix(options)}{options}`", text))


def say(*lines: str) -> None:
    """Write lines of prose, each wrapped between words where the terminal is narrower."""
    width = _terminal_width(sys.stdout)
    say_whole(*(part for line in lines for part in _wrapped(_to_people(line), width)))


def say_whole(*lines: str) -> None:
    """Write lines, each of which stays one whatever it holds: commands and calls that people copy, and JSON."""
    write(sys.stdout, "".join(f"{one_line(line)}\n" for line in lines))


def say_json(*documents: object) -> None:
    """Write documents as JSON, each on one line."""
    say_whole(*(msgspec.json.encode(document).decode() for document in documents))


def say_document(document: object) -> None:
    """Write one document as JSON, indented."""
    say_whole(*msgspec.json.format(msgspec.json.encode(document)).decode().split("\n"))


def complain(*lines: str) -> None:
    """Write lines to standard error, wrapped as `say` does."""
    width = _terminal_width(sys.stderr)
    write(sys.stderr, "".join(f"{part}\n" for line in lines for part in _wrapped(_to_people(line), width)))


def fail(arguments: argparse.Namespace, code: str, *lines: str) -> None:
    """Say on standard error why a command failed; where JSON is asked for, on standard output too, as the API says it."""
    if getattr(arguments, "json", False):
        say_json(error_document(code, "\n".join(lines)))
    complain(*lines)


def error_document(code: str, message: str) -> dict[str, dict[str, str]]:
    """Return an error in the API's form."""
    return {"error": {"code": code, "message": message}}


def short_time(moment: datetime | str) -> str:
    """Return a moment, as the store or the API has it, as tables show it: in UTC, to the second."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def counted(number: int, one: str, many: str) -> str:
    """Return a number with what is counted."""
    return f"{number:,} {one if number == 1 else many}"


def sentence(text: str) -> str:
    """Return a text of the service as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def _wrapped(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    label = _LABEL.match(line)
    # A long word gets as much room as there is.
    room = max(0, width - max(map(len, line.split()), default=0))
    indentation = " " * min(label.end() if label else 0, room)
    return textwrap.wrap(line, width, subsequent_indent=indentation, break_long_words=False, break_on_hyphens=False)


def tell(arguments: argparse.Namespace, document: object, *lines: str) -> None:
    """Write a document where JSON is asked for, otherwise the lines that say the same to people."""
    if arguments.json:
        say_json(document)
    else:
        say(*lines)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None) -> list[str]:
    """Return the lines of a table, at most `width` characters wide (the terminal's; unbounded where there is none).

    Numbers are at the right of their column. The last column is wrapped between words; where that is not enough, each row
    becomes a block of lines with one heading each.
    """
    width = _terminal_width(sys.stdout) if width is None else width
    cells = [[f"{cell:,}" if isinstance(cell, int) else _to_people(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    before_last = sum(widths[:-1]) + 2 * (len(widths) - 1)
    left = width - before_last
    if widths[-1] > left and left < _MIN_LAST_COLUMN:
        return _blocks(headings, cells, width)
    numeric = [bool(rows) and isinstance(rows[0][index], int) for index in range(len(headings))]

    def lines(texts: Sequence[str]) -> list[str]:
        padded = (
            text.rjust(size) if right else text.ljust(size)
            for text, size, right in zip(texts[:-1], widths, numeric, strict=False)
        )
        last = texts[-1].rjust(widths[-1]) if numeric[-1] else texts[-1]
        first, *more = textwrap.wrap(
            last, max(left, 1), break_long_words=False, break_on_hyphens=False, drop_whitespace=False
        ) or [""]
        start = "".join(f"{text}  " for text in padded)
        return [f"{start}{first}".rstrip(), *(" " * before_last + text.strip() for text in more)]

    return [line for texts in (headings, *cells) for line in lines(texts)]


def _blocks(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    size = max(map(len, headings))
    lines: list[str] = []
    for row in rows:
        for heading, cell in zip(headings, row, strict=True):
            wrapped = textwrap.wrap(cell, max(width - size - 2, 1), break_long_words=False, break_on_hyphens=False) or [
                ""
            ]
            lines += [
                f"{heading.ljust(size)}  {wrapped[0]}".rstrip(),
                *(" " * (size + 2) + text for text in wrapped[1:]),
            ]
        lines.append("")
    return lines[:-1]


def _terminal_width(stream: TextIO) -> int:
    """Return the width of the terminal; what is read by a program or kept in a file has none."""
    return shutil.get_terminal_size().columns if stream.isatty() or "COLUMNS" in os.environ else sys.maxsize


def answered_yes(question: str) -> bool:
    """Ask a question that is answered with yes or no, on standard error, which is not read by programs."""
    write(sys.stderr, f"{one_line(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def bar(done: int, total: int) -> str:
    """Return a progress bar with its percentage."""
    share = done / total if total else 1.0
    cells = int(share * _BAR_CELLS)
    return f"[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {share:>4.0%}"


def redraw_screen(*lines: str) -> None:
    """Write lines over the whole screen of a terminal, as `say` writes them; what has no room below is left out."""
    width, height = (
        _terminal_width(sys.stdout),
        shutil.get_terminal_size().lines if sys.stdout.isatty() else sys.maxsize,
    )
    fitting = [part for line in lines for part in _wrapped(_to_people(line), width)]
    if len(fitting) >= height:
        fitting = [*fitting[: height - 2], "…"]
    # One write, the cursor home first and the rest of the screen cleared after: no flicker.
    write(sys.stdout, "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in fitting) + "\x1b[J")


def redraw(text: str) -> None:
    """Write over the current line of a terminal; elsewhere write a line."""
    write(sys.stdout, f"\r\x1b[K{text}" if sys.stdout.isatty() else f"{text}\n")
