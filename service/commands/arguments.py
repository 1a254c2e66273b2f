"""What the commands' parsers share: examples in `--help`, and kinds of values."""

import argparse
from collections.abc import Sequence
from typing import Any

_EXAMPLES = "examples:\n"


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps what it shows to the terminal's width, but for examples, which people copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


def add_command(
    subparsers: "argparse._SubParsersAction[Any]",
    name: str,
    text: str,
    examples: Sequence[str],
    *,
    description: str = "",
) -> argparse.ArgumentParser:
    """Add a command; `--help` shows the examples, each given without the program's name."""
    lines = "\n".join(f"  heap-cordial {example}" for example in examples)
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=text,
        description=description or f"{text[0].upper()}{text[1:]}.",
        epilog=f"{_EXAMPLES}{lines}",
        formatter_class=_HelpFormatter,
    )
    return parser


def add_json_option(parser: "argparse._ActionsContainer", text: str) -> None:
    """Add `--json`; `text` says what it makes the command print."""
    parser.add_argument("--json", action="store_true", help=text)


def at_least_one(text: str) -> int:
    """Return the whole number from 1 that an argument is; argparse tells what is wrong with another."""
    number = int(text) if text.isdecimal() else 0
    if not number:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number
