"""The `status` command: what is stuck, why, and what to do, read from the store whether the service runs or not."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from service.commands.client import add_config_option, local_connector, local_url
from service.commands.same_store import doubt_about_store
from service.commands.terminal import one_line, say
from service.config import loading
from service.config.settings import ServerSettings, Settings
from service.errors import ConfigurationError
from service.model.conditions import CATALOGUE, Condition, Severity, worst_first
from service.model.lists import ListState
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.progress import (
    AccountProgress,
    FailureGroup,
    ImportProgress,
    Overview,
    SyncProgress,
    read_overview,
)

_TIMEOUT_SECONDS = 3.0
_BAR_CELLS = 20
_WATCH_SECONDS = 1.0
_MAX_CONDITIONS = 20


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("status", help="show accounts, lists, syncs and failures")
    add_config_option(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="one JSON document instead of text")
    shape.add_argument("--watch", action="store_true", help="show it anew every second, until Ctrl-C")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = loading.load(arguments.config, os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201  a command speaks to its terminal
        return 2
    database = Path(settings.store.path)
    doubt = asyncio.run(doubt_about_store(settings))
    if doubt is not None:
        print(one_line(doubt.text), file=sys.stderr)  # noqa: T201
        if doubt.is_other:
            return 1
    try:
        overview = asyncio.run(read_overview(database))
    except StoreOpenError as error:
        hint = "" if database.exists() else "\nThe store is made when the service first runs."
        print(f"{error}{hint}", file=sys.stderr)  # noqa: T201
        return 1
    readiness = asyncio.run(_ask_readiness(settings.server))
    if arguments.json:
        conditions = msgspec.to_builtins(_conditions(overview))
        document = {"service": readiness, **msgspec.to_builtins(overview), "conditions": conditions}
        say(*msgspec.json.format(msgspec.json.encode(document)).decode().split("\n"))
    elif arguments.watch:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(settings))
    else:
        say(*_lines(readiness, overview, settings.accounts))
    return 1 if _is_critical(readiness, overview) else 0


async def _watch(settings: Settings) -> None:
    while True:
        overview = await read_overview(Path(settings.store.path))
        lines = _lines(await _ask_readiness(settings.server), overview, settings.accounts)
        # One write, the cursor home first and the rest of the screen cleared after: no flicker.
        sys.stdout.write("\x1b[H" + "\x1b[K\n".join(map(one_line, lines)) + "\x1b[K\n\x1b[J")
        sys.stdout.flush()
        await asyncio.sleep(_WATCH_SECONDS)


async def _ask_readiness(server: ServerSettings) -> str:
    url = f"{local_url(server)}/readyz"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = local_connector(server)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, session.get(url) as response:
            body = msgspec.json.decode(await response.read())
    except ConfigurationError as error:
        return str(error)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return f"not reachable at port {server.port}"
    if response.status != 200:  # noqa: PLR2004
        return str(body.get("error", {}).get("message", "not ready"))
    return ", ".join(["ready", *map(str, body.get("degraded", []))])


def _conditions(overview: Overview) -> list[Condition]:
    known = [each for each in overview.conditions if each.id in CATALOGUE]
    return worst_first([each.as_condition() for each in known])


def _is_critical(readiness: str, overview: Overview) -> bool:
    # A store that cannot be written has no record of that.
    named = [kind.severity for name, kind in CATALOGUE.items() if name in readiness]
    return Severity.CRITICAL in {*named, *(condition.severity for condition in _conditions(overview))}


def _lines(readiness: str, overview: Overview, configured: Collection[str]) -> list[str]:
    lines = [f"service    {readiness}", *_condition_lines(_conditions(overview))]
    if overview.inbox_users:
        lines.append(f"inbox      {overview.inbox_users:,} users not looked at yet")
    lines += [
        f"account    {account.name}: {_account_words(account) if account.name in configured else 'not in the configuration'}"
        for account in overview.accounts
    ]
    lines += [f"import     {_import_words(each)}" for each in overview.imports]
    if not overview.segments:
        return [
            *lines,
            "",
            "No delivery has come yet. Heap posts to /webhooks/heap/ACCOUNT every few hours, or at “Sync now”.",
        ]
    lines += ["", f"{'LIST':<32} {'WANTED':>10} {'ON LIST':>10} {'PENDING':>10} {'WAITING':>8} {'FAILED':>8}  STATE"]
    for segment in overview.segments:
        name = segment.list_name or f"({segment.name})"
        lines.append(
            f"{name:<32} {segment.members:>10,} {segment.settled:>10,} {segment.pending:>10,} "
            f"{segment.waiting:>8,} {segment.dead:>8,}  {segment.list_state.value}"
        )
        if segment.list_reason:
            mark = "held: " if segment.list_state is ListState.HELD else ""
            lines.append(f"    {mark}{segment.list_reason}")
    lines += ["", "RECENT SYNCS", *(_sync_line(sync) for sync in overview.syncs)]
    if overview.failures:
        lines += ["", "FAILURES", *(_failure_line(group) for group in overview.failures)]
    return lines


def _condition_lines(conditions: list[Condition]) -> list[str]:
    lines = []
    conditions = [each for each in conditions if each.severity is not Severity.INFO]
    for each in conditions[:_MAX_CONDITIONS]:
        about = " ".join(filter(None, (each.account, each.subject)))
        people = f", {each.people:,} people" if each.people else ""
        detail = f": {each.detail}" if each.detail else ""
        lines.append(
            f"{each.severity.value:<10} {each.id} {about}{detail}{people}, since {each.since:%Y-%m-%d %H:%M:%SZ}"
        )
        lines.append(f"           {each.meaning} {each.what_to_do}{f' {each.command}' if each.command else ''}")
    if len(conditions) > _MAX_CONDITIONS:
        lines.append(f"           and {len(conditions) - _MAX_CONDITIONS:,} more: GET /api/v1/conditions")
    return lines


def _account_words(account: AccountProgress) -> str:
    words = f"{account.state}, {account.reason}" if account.reason else account.state
    return f"{words}; {account.in_doubt:,} contacts in doubt, to be read back" if account.in_doubt else words


def _import_words(running: ImportProgress) -> str:
    done = running.settled + running.released
    job = f", Cordial's job {running.job_id}" if running.job_id else ""
    return (
        f"{running.account}: {running.state} {running.contacts:,} contacts of {running.list_names}{job}, "
        f"{done:,} done, since {_time(running.started_at_ms)}"
    )


def _sync_line(sync: SyncProgress) -> str:
    done = sync.settled + sync.dead + sync.superseded
    share = done / sync.changes if sync.changes else float(not sync.unfolded)
    cells = int(share * _BAR_CELLS)
    failed = f", {sync.dead:,} failed" if sync.dead else ""
    rejected = f", {sync.rejected:,} unusable" if sync.rejected else ""
    return (
        f"{_time(sync.last_received_at_ms)}  {'#' * cells}{'.' * (_BAR_CELLS - cells)} {share:>4.0%}  "
        f"{sync.list_name or sync.segment}: {sync.pages_received} of {sync.total_pages} pages, "
        f"+{sync.added:,} -{sync.removed:,}{failed}{rejected}"
    )


def _failure_line(group: FailureGroup) -> str:
    state = "given up" if group.dead else "to be tried again"
    return f"{group.changes:>8,}  {group.list_name}: {group.reason} since {_time(group.since_ms)}, {state}: {group.message}"


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
