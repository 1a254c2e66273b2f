"""The commands `backup` and `restore`: the store's file, copied while the service runs, and put back while it does not."""

import argparse
import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from service.clock import moment_in_words
from service.commands.arguments import add_command, add_json_option
from service.commands.client import add_config_option, fail_by_configuration
from service.commands.same_store import doubt_about_store
from service.commands.terminal import FAILED, counted, fail, tell
from service.config import loading
from service.config.settings import Settings
from service.errors import ConfigurationError
from service.store.sqlite.backup import BackupError, Contents, restore_backup, take_backup

# Answers of the service on the same host come first.
_NICENESS = 10


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands."""
    backup = add_command(
        subparsers,
        "backup",
        "copy the store to a file, also while the service runs",
        (
            "backup --to store-backup.db --config config.toml",
            "backup --to store-backup.db --json --config config.toml",
        ),
    )
    add_config_option(backup)
    backup.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE",
        help="the file to create; an existing file is never overwritten",
    )
    add_json_option(backup, "what the copy contains, as one JSON document")
    backup.set_defaults(run=lambda arguments: _run(arguments, _backup))
    restore = add_command(
        subparsers,
        "restore",
        "replace the store with a backup, while the service does not run",
        ("restore --from store-backup.db --config config.toml",),
    )
    add_config_option(restore)
    restore.add_argument("--from", type=Path, required=True, dest="source", metavar="FILE", help="the backup")
    restore.add_argument(
        "--force", action="store_true", help="replace the existing store; it is kept beside the new one"
    )
    add_json_option(restore, "what the store contains now, as one JSON document")
    restore.set_defaults(run=lambda arguments: _run(arguments, _restore))


def _run(arguments: argparse.Namespace, work: Callable[[Path, argparse.Namespace], None]) -> int:
    try:
        settings = loading.load(arguments.config, os.environ)
        _refuse_other_store(settings, is_certain=work is _restore)
        work(Path(settings.store.path), arguments)
    except ConfigurationError as error:
        return fail_by_configuration(arguments, error)
    except BackupError as error:
        fail(arguments, FAILED, str(error))
        return 1
    return 0


def _refuse_other_store(settings: Settings, *, is_certain: bool) -> None:
    """Raise `BackupError` where the running service has another store, or where that is not certain but must be."""
    doubt = asyncio.run(doubt_about_store(settings))
    if doubt is not None and (doubt.is_other or is_certain):
        raise BackupError(f"nothing was done: {doubt.text}")


def _backup(database: Path, arguments: argparse.Namespace) -> None:
    os.nice(_NICENESS)
    contents = take_backup(database, arguments.to)
    document = {"file": str(arguments.to.absolute()), **msgspec.structs.asdict(contents)}
    tell(arguments, document, f"{arguments.to}: {_described(contents)}")


def _restore(database: Path, arguments: argparse.Namespace) -> None:
    restored = restore_backup(database, arguments.source, force=arguments.force)
    replaced = None if restored.replaced is None else str(restored.replaced.absolute())
    document = {"file": str(database.absolute()), **msgspec.structs.asdict(restored.contents), "replaced": replaced}
    lines = [f"{database}: {_described(restored.contents)}"]
    if restored.replaced is not None:
        lines.append(f"The old store is kept as {restored.replaced}.")
    lines.append("Pages that arrived later are not in it: press Sync now in Heap, and see docs/backup.md.")
    tell(arguments, document, *lines)


def _described(contents: Contents) -> str:
    last = "never" if contents.last_page_at is None else moment_in_words(contents.last_page_at)
    return (
        f"{contents.size_bytes:,} bytes, {counted(contents.members, 'member', 'members')}, {contents.unsettled:,} unsettled, "
        f"last page {last}; its content was checked."
    )
