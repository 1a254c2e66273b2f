"""The commands that show what the running service knows, and change nothing."""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from service.commands.arguments import LIST_HELP, at_least_one
from service.commands.client import ApiClient, ClientError, add_api_command, agree
from service.commands.csv_file import CsvFile, UnreadableFileError
from service.commands.terminal import counted, say, say_json, say_whole, sentence, short_time, table, tell
from service.errors import in_words
from service.model.accounts import AccountStanding, Sending
from service.model.conditions import Condition, Severity, grouped, in_two
from service.model.imports import ImportState, ListTravel
from service.model.lists import ListState
from service.model.views import ListStanding, SyncState

_ROWS = 50
_CALLS = 20
_ADDRESSES_AT_ONCE = 150
_ADDRESS_LENGTHS = range(3, 321)

# What keeps an account's changes from being sent, or from being sent soon.
KEPT_BACK = {
    Sending.PAUSED: "stopped",
    Sending.PAUSED_BY_OPERATOR: "paused",
    Sending.DRY_RUN: "dry run",
    Sending.NOT_CONFIGURED: "not configured",
    Sending.SLOWED: "slowed by Cordial",
}
# How a list's changes travel, if not by single calls.
_TRAVEL = {ListTravel.SENDING: "in a file", ListTravel.WAITING: "waits for a file"}
_MOVING = {ListStanding.SENDING, ListStanding.TRIED_AGAIN_LATER, ListStanding.NOT_CREATED}
_FATES = {
    "use": "exists and is ours",
    "create": "would be created",
    "take_over": "exists, was not created by this service, and would be taken over",
    "hold": "is held; nothing is sent",
    "unknown": "may be created; Cordial does not answer now",
}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands."""
    lists = _add(
        subparsers,
        "lists",
        "show lists: wanted, on the list, failed, Cordial's own count",
        _lists,
        "lists --account acme --config config.toml",
    )
    _add_states(lists, ListStanding)
    lists.add_argument("--search", help="a part of a name")
    syncs = _add(
        subparsers,
        "syncs",
        "show syncs and how far they have come",
        _syncs,
        "syncs --list ActiveUsers --state held --config config.toml",
    )
    syncs.add_argument("--list", help=f"only of this list, {LIST_HELP}")
    _add_states(syncs, SyncState)
    imports = _add(
        subparsers,
        "imports",
        "show changes that are sent to Cordial as files, and the results",
        _imports,
        "imports --state sending --config config.toml",
    )
    imports.add_argument("--list", help=f"only of this list, {LIST_HELP}")
    _add_states(imports, ImportState)
    _add_import_actions(imports)
    failures = _add(
        subparsers,
        "failures",
        "show changes that failed, and why",
        _failures,
        "failures --list ActiveUsers --each --config config.toml",
    )
    failures.add_argument("--list", help=f"only of this list, {LIST_HELP}")
    failures.add_argument("--reason", help="only with this reason")
    failures.add_argument("--each", action="store_true", help="one line for each user instead of one for each reason")
    failures.add_argument("--find", metavar="PART", help="only users with this in their ids, one line for each")
    unusable = _add(
        subparsers,
        "unusable",
        "show users of accepted pages whose ids cannot be used",
        _unusable,
        "unusable --list ActiveUsers --find undefined --config config.toml",
    )
    unusable.add_argument("--list", help=f"only of this list, {LIST_HELP}")
    unusable.add_argument("--find", metavar="PART", help="only users with this in their ids")
    deliveries = _add(
        subparsers,
        "deliveries",
        "show the pages that were accepted",
        _deliveries,
        "deliveries --limit 10 --config config.toml",
    )
    deliveries.add_argument("--list", help=f"only of this list, {LIST_HELP}")
    conditions = add_api_command(
        subparsers,
        "conditions",
        "show what a person should know, and what to do about it",
        _conditions,
        examples=("conditions --config config.toml", "conditions --all --config config.toml"),
    )
    conditions.add_argument(
        "--all", action="store_true", help="each by itself, also where an account has more than three of a kind"
    )
    audit = add_api_command(
        subparsers,
        "audit",
        "show what people did: by which API key, when, and to what",
        _audit,
        examples=("audit --limit 10 --config config.toml",),
    )
    audit.add_argument("--limit", type=at_least_one, default=_ROWS, help=f"the most rows (default {_ROWS})")
    why = add_api_command(
        subparsers,
        "why",
        "say why a user is on a list, or is not",
        _why,
        examples=("why ActiveUsers jane@example.com --config config.toml",),
    )
    why.add_argument("list", help=f"the list, {LIST_HELP}")
    why.add_argument("user", help="the user's id as Heap sends it")
    preview = add_api_command(
        subparsers,
        "preview",
        "show what would be sent for a list, and send nothing",
        _preview,
        examples=('preview "Active Users" --config config.toml',),
    )
    preview.add_argument("list", help=f"the list, {LIST_HELP}")
    preview.add_argument(
        "--calls", type=at_least_one, default=_CALLS, help=f"the most calls to show (default {_CALLS})"
    )


def _add(
    subparsers: "argparse._SubParsersAction[Any]",
    name: str,
    text: str,
    work: Callable[[ApiClient, argparse.Namespace], Awaitable[int]],
    *examples: str,
) -> argparse.ArgumentParser:
    parser = add_api_command(subparsers, name, text, work, examples=examples)
    parser.add_argument("--account", help="only of this account")
    parser.add_argument("--limit", type=at_least_one, default=_ROWS, help=f"the most rows (default {_ROWS})")
    return parser


def _add_states(parser: argparse.ArgumentParser, kind: type[StrEnum]) -> None:
    states = [each.value for each in kind]
    help_text = f"only in this state: {', '.join(states)}"
    parser.add_argument("--state", choices=states, metavar="STATE", help=help_text)


def _add_import_actions(imports: argparse.ArgumentParser) -> None:
    actions = imports.add_subparsers(title="actions", metavar="ACTION")
    end_doubt = add_api_command(
        actions,
        "end-doubt",
        "say what happened to a job whose end the service cannot know",
        _end_doubt,
        is_action=True,
        examples=("imports end-doubt 3 --job over --config config.toml",),
    )
    end_doubt.add_argument("id", type=int, help="the import's id")
    end_doubt.add_argument(
        "--job", required=True, choices=("over", "never-started"), help="what you saw in Cordial's list of jobs"
    )
    end_doubt.add_argument("--yes", action="store_true", help="do not ask")
    rejected = add_api_command(
        actions,
        "rejected",
        "name rejected rows at once, with the file from Cordial's web interface",
        _rejected,
        examples=("imports rejected rejected-rows.csv --config config.toml",),
        is_action=True,
    )
    rejected.add_argument("file", type=Path, help="the file of rejected rows, CSV with the addresses in any column")
    rejected.add_argument(
        "--import", type=int, dest="id", help="the import's id; without it, all that have unnamed rows"
    )


async def _end_doubt(client: ApiClient, arguments: argparse.Namespace) -> int:
    seen = "is over" if arguments.job == "over" else "was never started"
    question = (
        f"You say that the job of import {arguments.id} {seen}, as Cordial's own list of jobs shows. Its contacts "
        "are then sent by single calls. If Cordial runs the job later, it brings an older state back. Are you sure?"
    )
    agree(question, assumed=arguments.yes)
    done = await client.post(f"imports/{arguments.id}/end-doubt", {"job": arguments.job.replace("-", "_")})
    tell(arguments, done, f"{counted(done['contacts'], 'contact is', 'contacts are')} sent by single calls.")
    return 0


async def _rejected(client: ApiClient, arguments: argparse.Namespace) -> int:
    try:
        rows = CsvFile(arguments.file).rows()
        addresses = list(dict.fromkeys(filter(None, (_address_in(row) for row in rows))))
    except (UnreadableFileError, OSError) as error:
        raise ClientError(in_words(error, arguments.file)) from error
    if not addresses:
        raise ClientError(f"{arguments.file} has no address in it")
    ids = (
        [arguments.id]
        if arguments.id
        else [row["id"] for row in await client.items("imports", _ROWS) if row["unnamed"]]
    )
    if not ids:
        raise ClientError("no import has rows without a name")
    named = 0
    for import_id in ids:
        for start in range(0, len(addresses), _ADDRESSES_AT_ONCE):
            some = addresses[start : start + _ADDRESSES_AT_ONCE]
            named += (await client.post(f"imports/{import_id}/rejected", {"addresses": some}))["named"]
    words = f"{named:,} of {counted(len(addresses), 'address', 'addresses')} named; `heap-cordial failures` has them. No call was made."
    tell(arguments, {"addresses": len(addresses), "named": named}, words)
    return 0


def _address_in(row: Sequence[str]) -> str:
    """Return the first cell of a row that can be an address."""
    return next((cell.strip() for cell in row if "@" in cell and len(cell.strip()) in _ADDRESS_LENGTHS), "")


async def _lists(client: ApiClient, arguments: argparse.Namespace) -> int:
    await client.check_account(arguments.account)
    rows = await client.items(
        "lists", arguments.limit, account=arguments.account, standing=arguments.state, search=arguments.search
    )
    if _show_json(rows, arguments):
        return 0
    kept_back = await accounts_kept_back(client)
    cells = [
        (
            row["id"],
            row["list_name"] or f"({row['segment_name']})",
            row["account"],
            list_words(row["standing"], kept_back.get(row["account"], ""), row["import_state"]),
            row["wanted"],
            row["on_list"],
            row["pending"] + row["waiting"],
            row["failed"],
            "-" if row["counted"] is None else f"{row['counted']:,}{' differs' if row['differs'] else ''}",
        )
        for row in rows
    ]
    headings = ("ID", "LIST", "ACCOUNT", "STATE", "WANTED", "ON LIST", "TO SEND", "FAILED", "COUNTED")
    _show(headings, cells, _none("list", "No list yet: no page has arrived from Heap.", arguments), arguments.limit)
    for row in rows:
        if row["unnamed"]:
            more = counted(row["unnamed"], "more person was", "more people were")
            have = "has" if row["unnamed"] == 1 else "have"
            say(f"{row['list_name']}: {more} refused in a file, and {have} no name yet")
        if row["read_back"]:
            say(f"{row['list_name']}: {row['proof']}")
        if row["reason"]:
            say(f"{row['list_name'] or row['segment_name']}: {row['reason']}")
    return 0


async def _chosen(client: ApiClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the account and the list that are asked for, as the API takes them; raises `ClientError` where there is none."""
    await client.check_account(arguments.account)
    return {
        "account": arguments.account,
        "list": (await client.find_list(arguments.list))["id"] if arguments.list else None,
    }


async def _syncs(client: ApiClient, arguments: argparse.Namespace) -> int:
    chosen = await _chosen(client, arguments)
    rows = await client.items("syncs", arguments.limit, state=arguments.state, **chosen)
    if _show_json(rows, arguments):
        return 0
    kept_back = await accounts_kept_back(client)
    cells = [
        (
            row["id"],
            short_time(row["last_received_at"]),
            row["list_name"] or row["segment_name"],
            _sync_words(row, kept_back),
            f"{row['pages_received']} of {row['total_pages']}",
            row["added"],
            row["removed"],
            row["pending"],
            row["failed"],
            row["rejected"],
        )
        for row in rows
    ]
    headings = ("ID", "RECEIVED", "LIST", "STATE", "PAGES", "ADDED", "REMOVED", "TO SEND", "FAILED", "UNUSABLE")
    _show(headings, cells, _none("sync", "No sync yet: no page has arrived from Heap.", arguments), arguments.limit)
    return 0


async def accounts_kept_back(client: ApiClient) -> dict[str, str]:
    """Return what keeps which accounts from sending."""
    accounts = (await client.get("accounts"))["items"]
    found = {each["name"]: account_kept_back(each["state"], each["standing"]) for each in accounts}
    return {name: words for name, words in found.items() if words}


def account_kept_back(state: str, standing: str | None) -> str:
    """Return what keeps an account from sending, in a word or two; empty if nothing does. `standing`: where it is known."""
    if standing == AccountStanding.STORE_TROUBLE:
        return "store cannot write"
    return KEPT_BACK.get(Sending(state), "")


def list_words(standing: str, kept_back: str, import_state: str | None = None) -> str:
    """Return how a list stands; where its changes are on their way, what keeps them back or how they travel, if it is known."""
    if standing == ListStanding.SENDING and import_state is not None and not is_stopped(kept_back):
        return _TRAVEL[ListTravel(import_state)]
    return (standing in _MOVING and kept_back) or standing.replace("_", " ")


def is_stopped(kept_back: str) -> bool:
    """Tell whether what keeps an account back lets nothing of it be sent."""
    return kept_back not in {"", KEPT_BACK[Sending.SLOWED]}


def _sync_words(row: dict[str, Any], kept_back: dict[str, str]) -> str:
    if row["state"] == "held":
        return f"held: removes {row['removals']:,} of {row['removals_of']:,}"
    if row["state"] not in {"sending", "waiting"}:
        return "looking for refused rows" if row["state"] == "searching" else str(row["state"])
    if row["list_held"]:
        return "to approve" if row["awaits_approval"] else "list held"
    by_account = kept_back.get(row["account"], "")
    if not is_stopped(by_account):
        if row["next_attempt_at"]:
            return f"tried again at {short_time(row['next_attempt_at'])}"
        if row["import_state"] is not None:
            return _TRAVEL[ListTravel(row["import_state"])]
    return by_account or str(row["state"])


async def _imports(client: ApiClient, arguments: argparse.Namespace) -> int:
    chosen = await _chosen(client, arguments)
    rows = await client.items("imports", arguments.limit, state=arguments.state, **chosen)
    if _show_json(rows, arguments):
        return 0
    cells = [
        (
            row["id"],
            short_time(row["started_at"]),
            row["account"],
            ", ".join(each["list_name"] for each in row["lists"]),
            "in doubt" if any(part["doubt"] for part in row["parts"]) else row["state"],
            row["contacts"],
            row["settled"],
            row["released"],
            row["jobs"],
        )
        for row in rows
    ]
    headings = ("ID", "STARTED", "ACCOUNT", "LISTS", "STATE", "CONTACTS", "SETTLED", "LEFT TO CALLS", "JOBS")
    _show(headings, cells, _none("import", "No import: single calls do all the work.", arguments), arguments.limit)
    for row in rows:
        for part in row["parts"]:
            job = f"job {part['job_id']}" if part["job_id"] else "no job yet"
            say(
                f"import {row['id']}: {counted(part['contacts'], 'contact', 'contacts')} {part['state'].replace('_', ' ')}, {job}"
            )
            if part["doubt"]:
                say(f"import {row['id']}: they wait for the end of Cordial's job: {part['doubt']}")
                say(
                    f"import {row['id']}: when you know what happened to it: `heap-cordial imports end-doubt {row['id']} --help`"
                )
        if row["reason"]:
            say(f"import {row['id']}: {row['reason']}")
        if row["unnamed"]:
            say(
                f"import {row['id']}: {counted(row['unnamed'], 'row has', 'rows have')} no name yet; `heap-cordial imports rejected --help`"
            )
    return 0


async def _failures(client: ApiClient, arguments: argparse.Namespace) -> int:
    chosen = await _chosen(client, arguments)
    if arguments.each or arguments.find is not None:
        rows = await client.items("failures", arguments.limit, find=arguments.find, reason=arguments.reason, **chosen)
        cells = [
            (row["id"], row["list_name"], row["contact"], _fate(row), row["reason"], row["message"]) for row in rows
        ]
        headings: tuple[str, ...] = ("ID", "LIST", "CONTACT", "STATE", "REASON", "CORDIAL'S WORDS")
    else:
        rows = (await client.get("failures/groups", **chosen))["items"]
        rows = [row for row in rows if arguments.reason in {None, row["reason"]}][: arguments.limit]
        cells = [
            (row["changes"], row["list_name"], _fate(row), row["reason"], row["message"])  # type: ignore[misc]
            for row in rows
        ]
        headings = ("CHANGES", "LIST", "STATE", "REASON", "CORDIAL'S WORDS")
    if not _show_json(rows, arguments):
        _show(headings, cells, _none("failure", "No failures.", arguments), arguments.limit)
    return 0


async def _unusable(client: ApiClient, arguments: argparse.Namespace) -> int:
    chosen = await _chosen(client, arguments)
    rows = await client.items("unusable", arguments.limit, find=arguments.find, **chosen)
    if _show_json(rows, arguments):
        return 0
    cells = [
        (
            short_time(row["received_at"]),
            row["account"],
            row["segment_name"],
            row["sync_id"],
            row["page_number"],
            row["path"],
            row["reason"].replace("_", " "),
            row["value"],
        )
        for row in rows
    ]
    headings = ("RECEIVED", "ACCOUNT", "SEGMENT", "SYNC", "PAGE", "PLACE", "WHY", "ID")
    _show(headings, cells, _none("unusable id", "No unusable ids.", arguments), arguments.limit)
    return 0


async def _deliveries(client: ApiClient, arguments: argparse.Namespace) -> int:
    chosen = await _chosen(client, arguments)
    rows = await client.items("deliveries", arguments.limit, **chosen)
    if _show_json(rows, arguments):
        return 0
    cells = [
        (
            short_time(row["received_at"]),
            row["account"],
            row["segment_name"],
            row["page_number"],
            row["added"],
            row["removed"],
            row["rejected"],
            row["task_id"],
        )
        for row in rows
    ]
    headings = ("RECEIVED", "ACCOUNT", "SEGMENT", "PAGE", "ADDED", "REMOVED", "UNUSABLE", "SYNC TASK")
    _show(headings, cells, _none("page", "No page has arrived from Heap yet.", arguments), arguments.limit)
    return 0


async def _conditions(client: ApiClient, arguments: argparse.Namespace) -> int:
    page = await client.get("conditions")
    rows = page["items"]
    if not _show_json(rows, arguments):
        conditions = msgspec.convert(rows, list[Condition])
        shown = conditions if arguments.all else grouped(conditions, page["numbers_by_account"])
        cells = [
            (
                each.severity.value,
                each.id,
                " ".join(filter(None, (each.account, each.subject))) or "-",
                short_time(each.since),
                " ".join(
                    filter(
                        None,
                        (
                            f"{each.title}.",
                            sentence(each.detail),
                            in_two(each.meaning)[1],
                            each.what_to_do,
                            each.command and f"`{each.command}`",
                        ),
                    )
                ),
            )
            for each in shown
        ]
        _show(("SEVERITY", "CONDITION", "ABOUT", "SINCE", "WHAT TO DO"), cells, "Nothing needs a person.")
        if len(shown) < len(conditions):
            say("", "`heap-cordial conditions --all` shows each of them.")
        if (number := sum(page["numbers"].values())) > len(conditions):
            say("", f"{number:,} last in all; the worst {len(conditions):,} of them are here.")
    return 1 if any(row["severity"] == Severity.CRITICAL for row in rows) else 0


async def _audit(client: ApiClient, arguments: argparse.Namespace) -> int:
    rows = await client.items("audit", arguments.limit)
    if _show_json(rows, arguments):
        return 0
    cells = [(short_time(row["at"]), row["action"], _on_what(row), row["changes"], row["actor"]) for row in rows]
    _show(("AT", "ACTION", "ON WHAT", "CHANGES", "BY"), cells, "Nobody has done anything yet.", arguments.limit)
    return 0


def _on_what(row: dict[str, Any]) -> str:
    """Return what an action was about, as people call it."""
    kind, target, name = row["action"].partition(".")[0], row["target"], row["segment_name"]
    about = f" ({name})" if name else ""
    if kind in {"list", "sync", "import"} and target.isdecimal():
        return f"{kind} {target}{about}"
    if not target.startswith("{"):
        return str(target)
    asked = msgspec.json.decode(target)
    parts = [
        counted(len(asked["ids"]), "failure", "failures") if asked.get("ids") else "",
        f"list {asked['segment_id']}{about}" if asked.get("segment_id") else "",
        f"account {asked['account']}" if asked.get("account") else "",
        f"reason {asked['reason']}" if asked.get("reason") else "",
    ]
    return ", ".join(filter(None, parts)) or "all failures"


async def _why(client: ApiClient, arguments: argparse.Namespace) -> int:
    found = await client.find_list(arguments.list)
    answer = await client.post(f"lists/{found['id']}/members/find", {"user": arguments.user})
    if _show_json([answer], arguments):
        return 0
    unknown = {"settled": "Cordial may have refused this person", "dead": "the last change failed"}
    not_known = f"not known: {unknown.get(answer['state'], 'a change is to be sent')}"
    on_list = {True: "on the list", False: "not on the list", None: not_known}
    say(f"user       {answer['user']}")
    say(f"list       {answer['list_name'] or found['segment_name']}")
    say(f"in Cordial {on_list[answer['on_list']] if answer['heap'] else 'not on the list by this service'}")
    if answer["heap"]:
        said = answer["heap"]["said_at"]
        say(
            f"in Heap    {'in the segment' if answer['heap']['wanted'] else 'not in the segment'}, as of {short_time(said) if said else 'an unknown time'}"
        )
    say("")
    say(answer["explanation"])
    return 0


def _will_be_sent(found: dict[str, Any], preview: dict[str, Any], kept_back: str) -> str:
    if preview["dry_run"]:
        return "yes, none of this is sent"
    if found["state"] == ListState.HELD.value:
        return "no, but the list is held: none of this is sent"
    if kept_back:
        return f"no. {kept_back}"
    return "no, this may already have been sent"


async def _preview(client: ApiClient, arguments: argparse.Namespace) -> int:
    found = await client.find_list(arguments.list)
    preview = await client.get(f"lists/{found['id']}/preview", calls=arguments.calls)
    if _show_json([preview], arguments):
        return 0
    accounts = (await client.get("accounts"))["items"]
    kept_back = "".join(each["kept_back"] for each in accounts if each["name"] == found["account"])
    reason = f": {preview['reason']}" if preview["reason"] else ""
    say(f"list       {preview['list_name']} {_FATES[preview['fate']]}{reason}")
    say(f"to send    {preview['additions']:,} to add, {preview['removals']:,} to remove")
    if preview["unread_pages"]:
        say("           more pages have arrived and are being processed")
    if preview["set_aside"]:
        where = (
            "syncs that are held: `heap-cordial syncs --state held`"
            if preview["is_held"]
            else "a sync that waits for its other pages or is being read"
        )
        say(f"           not counted: {counted(preview['set_aside'], 'user', 'users')} in {where}")
    say(f"dry run    {_will_be_sent(found, preview, kept_back)}")
    if preview["as_import"]:
        say("sent as    a file that Cordial fetches, instead of these calls:")
    for call in preview["calls"]:
        body = "" if call["body"] is None else msgspec.json.encode(call["body"]).decode()
        condition = f"    if {call['condition']}" if call["condition"] else ""
        say_whole(f"{call['method']} {call['path']} {body}{condition}")
    if preview["more_calls"]:
        say("… and more")
    return 0


def _fate(row: dict[str, Any]) -> str:
    return "failed" if row["dead"] else "tried again"


def _none(what: str, of_all: str, arguments: argparse.Namespace) -> str:
    """Return what to say where there is no row: of all there are, unless the arguments choose among them."""
    chosen = any(getattr(arguments, name, None) for name in ("account", "list", "state", "search", "reason", "find"))
    return f"No {what} matches." if chosen else of_all


def _show(headings: tuple[str, ...], cells: list[Any], empty: str, limit: int | None = None) -> None:
    for line in table(headings, cells) if cells else [empty]:
        say(line)
    if limit is not None and len(cells) >= limit:
        say("", f"No more than {limit:,} are shown. For more, add --limit.")


def _show_json(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> bool:
    if arguments.json:
        say_json(*rows)
    return bool(arguments.json)
