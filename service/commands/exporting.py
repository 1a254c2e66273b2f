"""The command `export`: whole tables of the running service as CSV or NDJSON."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from service.commands.arguments import LIST_HELP
from service.commands.client import ApiClient, ClientError, add_api_command, wrong_arguments
from service.commands.terminal import writing

_TABLES = ("failures", "members", "unusable", "syncs", "audit")
_FILTERS = {
    "failures": ("account", "list", "reason"),
    "members": ("list", "state"),
    "unusable": ("account", "list"),
    "syncs": ("account", "list", "state"),
    "audit": (),
}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_api_command(
        subparsers,
        "export",
        "write all failures, members of a list, unusable users, syncs or the audit as CSV or NDJSON",
        _export,
        examples=(
            "export failures --list ActiveUsers --to failures.csv --config config.toml",
            "export members --list ActiveUsers --format ndjson --config config.toml",
        ),
        json=False,
    )
    parser.add_argument("table", choices=_TABLES, metavar="TABLE", help=", ".join(_TABLES))
    parser.add_argument("--account", help="only of this account")
    parser.add_argument("--list", help=f"only of this list, {LIST_HELP}; members need it")
    parser.add_argument("--reason", help="failures: only with this reason")
    parser.add_argument("--state", help="members and syncs: only in this state")
    parser.add_argument("--format", choices=("csv", "ndjson"), default="csv", help="the form of the rows (default csv)")
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="a new file, which only you can read; without it, standard output"
    )


async def _export(client: ApiClient, arguments: argparse.Namespace) -> int:
    table, given = arguments.table, {name: getattr(arguments, name) for name in ("account", "list", "reason", "state")}
    for name, value in given.items():
        if value is not None and name not in _FILTERS[table]:
            raise wrong_arguments(f"--{name} cannot be used with {table}")
    if arguments.list is not None:
        given["list"] = (await client.find_list(arguments.list))["id"]
    await client.check_account(arguments.account)
    path = table
    if table == "members":
        if arguments.list is None:
            raise wrong_arguments("say whose members to write: add --list")
        path = f"lists/{given.pop('list')}/members"
    if arguments.to is None:
        with writing("standard output"):
            sys.stdout.flush()
            await client.download(path, sys.stdout.buffer, format=arguments.format, **given)
        return 0
    try:
        # The rows are people's data.
        descriptor = os.open(arguments.to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ClientError(f"{arguments.to} cannot be created: {error.strerror}") from None
    try:
        with writing(arguments.to), os.fdopen(descriptor, "wb") as file:
            await client.download(path, file, format=arguments.format, **given)
    except BaseException:
        # A part of a file is worse than none.
        arguments.to.unlink()
        raise
    return 0
