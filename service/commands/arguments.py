"""What the commands' parsers share: examples in `--help`, and kinds of values."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from service.commands.terminal import USAGE, error_document, say_json, write

# How every command that takes a list finds it.
LIST_HELP = "by its name, its segment's name or its id, as 7 or id:7"
_EXAMPLES = "examples:\n"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments as JSON too, where that is asked for."""

    given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Remember the arguments, so that `error` knows what is asked for."""
        self.given = args or ()
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse itself would ignore that it cannot be written.
        write(file or sys.stderr, message)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with status 2."""
        if "--json" in self.given:
            say_json(error_document(USAGE, message))
        super().error(message)


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
