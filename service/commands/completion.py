"""The command `completion`: what makes a shell complete commands and options."""

import argparse
from pathlib import Path
from typing import Any

import shtab

from service.commands.arguments import add_command
from service.commands.terminal import writing

_FILES = ("FILE", "CSV")


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "completion",
        "print the script that completes commands and options in your shell",
        (
            "completion bash > ~/.local/share/bash-completion/completions/heap-cordial",
            'completion zsh > "${fpath[1]}/_heap-cordial"',
            "completion fish > ~/.config/fish/completions/heap-cordial.fish",
        ),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    _complete_paths(arguments.parser)
    with writing("standard output"):
        print(shtab.complete(arguments.parser, arguments.shell, root_prefix="heap_cordial"))  # noqa: T201
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Have the shell complete what is a file or a folder, in all commands."""
    for action in parser._actions:  # noqa: SLF001  argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                _complete_paths(each)
        elif action.dest == "directory":
            vars(action)["complete"] = shtab.DIRECTORY
        elif action.type is Path or action.metavar in _FILES:
            vars(action)["complete"] = shtab.FILE
