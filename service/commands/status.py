"""The `status` command: what is stuck, why, and what to do, read from the store whether the service runs or not."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from service.commands.arguments import add_command, add_json_option
from service.commands.client import (
    ApiClient,
    ClientError,
    add_config_option,
    fail_by_configuration,
    local_connector,
    local_url,
    session_for,
    which_configuration,
)
from service.commands.looking import account_kept_back, list_words
from service.commands.same_store import doubt_about_store
from service.commands.terminal import (
    FAILED,
    complain,
    counted,
    fail,
    redraw_screen,
    say,
    say_document,
    sentence,
    short_time,
    table,
)
from service.config import loading
from service.config.settings import ServerSettings, Settings
from service.errors import ConfigurationError, ServiceError
from service.model.accounts import (
    DRY_RUN_REASON,
    PAUSED_BY_OPERATOR,
    AccountState,
    Sending,
    sending_of,
)
from service.model.conditions import CATALOGUE, Condition, Severity, grouped, in_two, worst_first
from service.model.imports import ImportView
from service.model.proof import differ_at_most, proof_in_words
from service.model.views import FailureGroupView, ListStanding, RecordedAccount, SegmentView, SyncState, SyncView
from service.observe.api.documents import AccountDocument, list_document
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.reading import Reader

_TIMEOUT_SECONDS = 3.0
_BAR_CELLS = 20
_WATCH_SECONDS = 1.0
_MAX_CONDITIONS = 20
_MAX_LISTS = 10_000
_MAX_SHOWN_LISTS = 50
_MAX_SYNCS = 20
_MAX_IMPORTS = 20
# What is said of a sync beside its figures.
_BESIDE = {
    SyncState.HELD: ", held",
    SyncState.QUEUED: ", waits for an earlier sync of the segment",
    SyncState.DISCARDED: ", discarded",
    SyncState.SEARCHING: ", looking for refused rows",
}


class Readiness(msgspec.Struct, frozen=True):
    """What the service says of itself; `is_reached`: it was this service that answered, or its error."""

    words: str
    is_reached: bool = True
    is_ready: bool = False


class Overview(msgspec.Struct, frozen=True):
    """Everything the status shows, as the store has it.

    `numbers`: how many conditions last of each kind in each account, those that are not named too, as the service says it.
    `told`: what the service says of its accounts, `travels`: by list, how it says that changes travel as a file; all empty
    without answer.
    """

    accounts: list[RecordedAccount]
    lists: list[SegmentView]
    syncs: list[SyncView]
    failures: list[FailureGroupView]
    imports: list[ImportView]
    unfolded_users: int
    conditions: list[Condition]
    numbers: dict[str, dict[str, int]] = {}
    told: dict[str, AccountDocument] = {}
    travels: dict[int, str] = {}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "status",
        "show accounts, lists, syncs and failures; status 1 if the service is down or something is critical",
        ("status --config config.toml", "status --watch --config config.toml", "status --json --config config.toml"),
    )
    add_config_option(parser)
    shape = parser.add_mutually_exclusive_group()
    add_json_option(shape, "one JSON document instead of text, with the API's names")
    shape.add_argument("--watch", action="store_true", help="refresh every second, until Ctrl-C")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = loading.load(arguments.config, os.environ)
    except ConfigurationError as error:
        return fail_by_configuration(arguments, error)
    database = Path(settings.store.path)
    doubt = asyncio.run(doubt_about_store(settings))
    if doubt is not None:
        if doubt.is_other:
            fail(arguments, FAILED, doubt.text, which_configuration(arguments.config))
            return 1
        complain(doubt.text, which_configuration(arguments.config))
    try:
        readiness, overview = asyncio.run(_look(settings))
        if arguments.watch:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(_watch(settings))
    except (StoreOpenError, ServiceError) as error:
        hint = [] if database.exists() else ["The service creates the store when it first runs."]
        fail(arguments, FAILED, str(error), *hint, which_configuration(arguments.config))
        return 1
    if arguments.json:
        say_document(_document(readiness, overview, settings.accounts))
    elif not arguments.watch:
        say(*_lines(readiness, overview, settings.accounts))
        if not readiness.is_reached:
            say("", which_configuration(arguments.config))
    return 0 if readiness.is_ready and not _is_critical(readiness, overview) else 1


async def _look(settings: Settings) -> tuple[Readiness, Overview]:
    """Read the store and ask the service; raises `StoreOpenError`, and `ServiceError` when reading takes too long."""
    overview = await _read(Path(settings.store.path))
    readiness = await _ask_readiness(settings.server)
    return readiness, await _with_service(overview, settings) if readiness.is_reached else overview


async def _with_service(overview: Overview, settings: Settings) -> Overview:
    """Add what only the service knows: conditions that it cannot write, and how changes travel; without answer, add nothing."""
    if not (settings.server.api_keys or settings.api_keys):
        return overview
    try:
        async with session_for(settings) as session:
            client = ApiClient(session, settings)
            conditions, accounts = await client.get("conditions"), await client.get("accounts")
            lists = await client.items("lists", _MAX_SHOWN_LISTS, standing=ListStanding.SENDING.value)
        return msgspec.structs.replace(
            overview,
            conditions=msgspec.convert(conditions["items"], list[Condition]),
            numbers=conditions["numbers_by_account"],
            told={each.name: each for each in msgspec.convert(accounts["items"], list[AccountDocument])},
            travels={each["id"]: each["import_state"] for each in lists if each["import_state"]},
        )
    except (ClientError, ConfigurationError, LookupError, msgspec.ValidationError):
        return overview


async def _read(database: Path) -> Overview:
    """Read the store; raises `StoreOpenError`, and `ServiceError` when that takes too long."""
    reader = await Reader.open(database, connections=1)
    try:
        known = [each for each in await reader.conditions() if each.id in CATALOGUE]
        return Overview(
            accounts=await reader.accounts(),
            lists=await reader.segments(limit=_MAX_LISTS),
            syncs=await reader.syncs(limit=_MAX_SYNCS),
            failures=await reader.failure_groups(),
            imports=[each for each in await reader.imports(limit=_MAX_IMPORTS) if each.ended_at is None],
            unfolded_users=await reader.unfolded_users(),
            conditions=worst_first([each.as_condition() for each in known]),
        )
    finally:
        await reader.close()


async def _watch(settings: Settings) -> None:
    while True:
        redraw_screen(*_lines(*await _look(settings), settings.accounts))
        await asyncio.sleep(_WATCH_SECONDS)


async def _ask_readiness(server: ServerSettings) -> Readiness:
    url = f"{local_url(server)}/readyz"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = local_connector(server)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, session.get(url) as response:
            body = msgspec.json.decode(await response.read())
    except ConfigurationError as error:
        return Readiness(str(error), is_reached=False)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        return Readiness(f"not reachable at port {server.port}", is_reached=False)
    if not isinstance(body, dict) or ("status" not in body and "error" not in body):
        return Readiness(f"what answers at port {server.port} is not this service", is_reached=False)
    if response.status != 200:  # noqa: PLR2004
        return Readiness(str(body.get("error", {}).get("message", "not ready")))
    return Readiness(", ".join(["ready", *map(str, body.get("degraded", []))]), is_ready=True)


def _document(readiness: Readiness, overview: Overview, configured: Collection[str]) -> dict[str, Any]:
    """Return the status as JSON, under the names of the API: of accounts all that it tells, or what the store alone knows."""
    return {
        "service": readiness.words,
        "accounts": [overview.told.get(each.name) or _account_document(each, configured) for each in overview.accounts],
        "lists": [_list_document(each) for each in overview.lists],
        "syncs": overview.syncs,
        "failure_groups": overview.failures,
        "imports": overview.imports,
        "unfolded_users": overview.unfolded_users,
        "conditions": overview.conditions,
    }


def _account_document(account: RecordedAccount, configured: Collection[str]) -> dict[str, Any]:
    known = msgspec.structs.asdict(account)
    return {
        "name": known.pop("name"),
        "state": _sending(account, configured),
        "reason": known.pop("state_reason"),
        "since": known.pop("state_since"),
        **{name: known[name] for name in AccountDocument.__struct_fields__ if name in known and name != "state"},
        "differ_at_most": differ_at_most(account.read_back, account.read_back_differ, account.wanted),
        "proof": proof_in_words(account.read_back, account.read_back_differ, account.wanted),
    }


def _sending(account: RecordedAccount, configured: Collection[str]) -> Sending:
    is_configured = account.name in configured
    state = AccountState.of_record(account.state, account.state_reason) if is_configured else None
    return sending_of(state, is_paused_by_operator=account.paused_by_operator)


def _list_document(segment: SegmentView) -> dict[str, Any]:
    known = msgspec.structs.asdict(list_document(segment, {}))
    # Only the running service knows how its changes travel.
    del known["import_state"]
    return known


def _is_critical(readiness: Readiness, overview: Overview) -> bool:
    # A store that cannot be written has no record of that.
    named = [kind.severity for name, kind in CATALOGUE.items() if name in readiness.words]
    return Severity.CRITICAL in {*named, *(condition.severity for condition in overview.conditions)}


def _lines(readiness: Readiness, overview: Overview, configured: Collection[str]) -> list[str]:
    lines = [f"service    {readiness.words}", *_condition_lines(overview)]
    before = "" if readiness.is_reached else "not known now; last time: "
    if overview.unfolded_users:
        lines.append(f"inbox      {counted(overview.unfolded_users, 'user', 'users')} not processed yet")
    lines += [
        f"account    {account.name}: "
        f"{before + _account_words(account, overview.told.get(account.name)) if account.name in configured else 'not in the configuration'}"
        for account in overview.accounts
    ]
    lines += [f"import     {_import_words(each)}" for each in overview.imports]
    if not overview.lists:
        return [
            *lines,
            "",
            "No page has arrived from Heap yet. Heap posts to /webhooks/heap/ACCOUNT every few hours, or at “Sync now”.",
        ]
    kept_back = {
        each.name: _kept_back(each, overview.told.get(each.name), readiness, configured) for each in overview.accounts
    }
    shown = sorted(overview.lists, key=lambda each: list(ListStanding).index(each.standing))[:_MAX_SHOWN_LISTS]
    rows = [
        (
            each.list_name or f"({each.segment_name})",
            each.account,
            each.wanted,
            each.on_list,
            each.pending + each.waiting,
            each.failed,
            list_words(each.standing, kept_back.get(each.account, ""), overview.travels.get(each.id)),
        )
        for each in shown
    ]
    lines += ["", *table(("LIST", "ACCOUNT", "WANTED", "ON LIST", "TO SEND", "FAILED", "STATE"), rows)]
    if len(overview.lists) > len(shown):
        lines.append(f"and {len(overview.lists) - len(shown):,} more: `heap-cordial lists`")
    reasons = [each for each in shown if each.reason]
    lines += [f"{each.list_name or each.segment_name}: {each.reason}" for each in reasons]
    lines += ["", "RECENT SYNCS", *(_sync_line(sync) for sync in overview.syncs)]
    if overview.failures:
        lines += ["", "FAILURES", *(_failure_line(group) for group in overview.failures)]
    return lines


def _kept_back(
    account: RecordedAccount, told: AccountDocument | None, readiness: Readiness, configured: Collection[str]
) -> str:
    """Return what keeps the account from sending, in a word or two; empty if nothing does."""
    if not readiness.is_reached:
        return "not sent now"
    return account_kept_back(_sending(account, configured), None if told is None else told.standing)


def _condition_lines(overview: Overview) -> list[str]:
    lines = []
    serious = [each for each in overview.conditions if each.severity is not Severity.INFO]
    conditions = grouped(serious, overview.numbers)
    for each in conditions[:_MAX_CONDITIONS]:
        about = " ".join(filter(None, (each.account, each.subject)))
        people = counted(each.people, "person", "people")
        # Some titles begin with them.
        people = f", {people}" if each.people and people not in each.title else ""
        named = " ".join(filter(None, (each.id, about)))
        lines.append(f"{each.severity.value:<10} {named}{people}, since {short_time(each.since)}")
        lines.append(f"           {each.title}. {sentence(each.detail)}".rstrip())
        _, more = in_two(each.meaning)
        help_words = " ".join(filter(None, (more, each.what_to_do, each.command and f"`{each.command}`")))
        lines.append(f"           {help_words}")
    if len(conditions) > _MAX_CONDITIONS:
        lines.append(f"           and {len(conditions) - _MAX_CONDITIONS:,} more: `heap-cordial conditions`")
    return lines


# The store keeps a dry run, and an account that Cordial does not serve, as a pause with its reason. Whether one that may send
# does, only the service knows.
_OF_RECORD = {AccountState.PAUSED: "stopped", AccountState.SENDING: "able to send"}


def _account_words(account: RecordedAccount, told: AccountDocument | None) -> str:
    if told is None:
        state, reason = _OF_RECORD.get(AccountState(account.state), account.state), account.state_reason
    else:
        state, reason = told.standing.replace("_", " "), told.reason
    says_all = reason in {DRY_RUN_REASON, PAUSED_BY_OPERATOR}
    words = reason if says_all else ", ".join(filter(None, (state, reason)))
    return (
        f"{words}; {counted(account.in_doubt, 'contact', 'contacts')} in doubt, to be read back"
        if account.in_doubt
        else words
    )


def _import_words(running: ImportView) -> str:
    # Parts are sent in order, so the first one's job is the one that runs.
    job = next((f", Cordial's job {part.job_id}" for part in running.parts if part.job_id), "")
    names = ", ".join(each.list_name for each in running.lists)
    return (
        f"{running.account}: {'in doubt,' if running.is_in_doubt else running.state} {counted(running.contacts, 'contact', 'contacts')} of {names}{job}, "
        f"{running.settled + running.released:,} done, since {short_time(running.started_at)}"
    )


def _sync_line(sync: SyncView) -> str:
    done = sync.settled + sync.failed + sync.superseded
    share = done / sync.changes if sync.changes else float(not sync.unfolded_pieces and not sync.discarded_users)
    cells = int(share * _BAR_CELLS)
    failed = f", {sync.failed:,} failed" if sync.failed else ""
    rejected = f", {sync.rejected:,} unusable" if sync.rejected else ""
    return (
        f"{short_time(sync.last_received_at)}  {'#' * cells}{'.' * (_BAR_CELLS - cells)} {share:>4.0%}  "
        f"{sync.list_name or sync.segment_name}: {sync.pages_received} of {sync.total_pages} pages, "
        f"+{sync.added:,} -{sync.removed:,}{failed}{rejected}{_BESIDE.get(sync.state, '')}"
    )


def _failure_line(group: FailureGroupView) -> str:
    state = "failed" if group.dead else "tried again"
    since = short_time(group.first_failed_at)
    return f"{group.changes:>8,}  {group.list_name}: {group.reason} since {since}, {state}: {group.message}"
