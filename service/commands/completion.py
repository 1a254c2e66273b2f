"""The command `completion`: what makes a shell complete commands and options."""

import argparse
from typing import Any

import shtab

from service.commands.client import add_command

_PROGRAM = "heap-cordial"


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "completion",
        "print the script that completes commands and options in your shell",
        ("completion bash > ~/.local/share/bash-completion/completions/heap-cordial",),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    print(shtab.complete(arguments.parser, arguments.shell, root_prefix="heap_cordial"))  # noqa: T201
    return 0
