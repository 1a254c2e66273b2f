"""The commands `verify` and `compare`: is a list exact, and if not, who is missing and who is a stranger."""

import argparse
import csv
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from service.commands.arguments import LIST_HELP
from service.commands.client import ApiClient, ClientError, add_api_command, agree
from service.commands.csv_file import UnreadableFileError
from service.commands.exported_file import ExportedFile
from service.commands.terminal import bar, counted, redraw, say, say_json, table, tell, writing
from service.config import loading
from service.config.settings import AccountSettings, Settings
from service.errors import in_words
from service.model.contacts import EMAIL
from service.model.views import ListStanding
from service.store.sqlite.comparing import Comparison, Totals
from service.store.sqlite.files import StoreOpenError

_CONTACTS_AT_ONCE = 50
_ROWS = 200
# A page may repeat people who moved while others came or went.
_MAX_REPEATED_PAGES = 3
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_EXACT = "exact"
# Why a list is not what the segment is, although Cordial counts what it confirmed.
_STILL_MISSING = {
    "sending": "pages that were accepted are not processed yet",
    "tried_again_later": "some changes are tried again later",
    "sync_held": "a sync is held; `heap-cordial syncs --state held` shows it",
    "receiving": "pages of a sync have not arrived; `heap-cordial syncs --state receiving` shows it",
}
_MEANING = {
    "missing": "not on the list, although Cordial confirmed it",
    "wrongly on": "on the list, although Cordial confirmed the removal",
    "stranger": "on the list, but not added by this service",
}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands."""
    verify = add_api_command(
        subparsers,
        "verify",
        "compare a list with Cordial's own count, or member by member; status 1 unless it is exact",
        _verify,
        examples=(
            "verify ActiveUsers --config config.toml",
            "verify ActiveUsers --members --csv differences.csv --config config.toml",
        ),
    )
    verify.add_argument("list", help=f"the list, {LIST_HELP}")
    verify.add_argument("--members", action="store_true", help="name who is missing and who is a stranger")
    verify.add_argument("--yes", action="store_true", help="with --members: do not ask, even if it takes long")
    compare = add_api_command(
        subparsers,
        "compare",
        "compare a list with a file exported from Cordial's web interface; status 1 unless it is exact",
        _compare,
        examples=("compare ActiveUsers export.csv --config config.toml",),
    )
    compare.add_argument("list", help=f"the list, {LIST_HELP}")
    compare.add_argument("file", type=Path, help="a CSV file with a header: a column of addresses, and one of the list")
    compare.add_argument("--column", help="the header of the column that identifies people, if it is not found")
    for parser in (verify, compare):
        parser.add_argument(
            "--csv", type=Path, metavar="FILE", help="write the differences to a new file, which only you can read"
        )
        parser.add_argument("--report-only", action="store_true", help="correct nothing")


async def _verify(client: ApiClient, arguments: argparse.Namespace) -> int:
    found = await client.find_list(arguments.list)
    result = await client.post(f"lists/{found['id']}/verify")
    # As it is after the count: what the page says of it must be the same.
    found = await client.get(f"lists/{found['id']}")
    status, words = _count_words(found, result, shlex.quote(arguments.list))
    if not arguments.members:
        tell(arguments, result, words)
        return status
    if not arguments.json:
        say(words)
    settings = loading.load(arguments.config, os.environ)
    with closing(_comparison(settings, found)) as comparison:
        account = settings.accounts.get(found["account"])
        if account is not None and found["segment_id"] in account.audience_keys:
            await _read_audience(client, found, comparison)
            seen, now = comparison.totals().seen, await client.post(f"lists/{found['id']}/verify")
            if now["counted"] != seen:
                status = 1
                if not arguments.json:
                    difference = f"Cordial's pages named {seen:,} people and its count says {now['counted']:,}"
                    say(f"{difference}: people were added or removed meanwhile. Run it again.")
            differing = _differing(comparison)
        else:
            differing = iter(await _read_each(client, arguments, found, comparison))
        return max(status, await _report(client, arguments, found, comparison.totals(), differing))


async def _compare(client: ApiClient, arguments: argparse.Namespace) -> int:
    found = await client.find_list(arguments.list)
    settings = loading.load(arguments.config, os.environ)
    account = settings.accounts.get(found["account"])
    with closing(_comparison(settings, found)) as comparison:
        try:
            file = ExportedFile(
                arguments.file,
                keys=_keys(account),
                column=arguments.column,
                lists=(found["list_name"], found["cordial_list_id"]),
            )
            comparison.add(file.people())
        except (UnreadableFileError, OSError) as error:
            raise ClientError(in_words(error, arguments.file)) from error
        if not arguments.json:
            say(
                f"{arguments.file}: {counted(file.rows, 'row', 'rows')}, {file.on_list:,} on {found['list_name']}{file.remarks()}."
            )
        return await _report(client, arguments, found, comparison.totals(), _differing(comparison))


def _count_words(found: dict[str, Any], result: dict[str, Any], wanted: str) -> tuple[int, str]:
    """Return the exit status of a count, and what it says; `found` is the list after it, `wanted` what a command calls it.

    Only `exact` is exact.
    """
    name, in_cordial, expected = found["list_name"], f"Cordial counts {result['counted']:,}", result["expected"]
    if result["owed"]:
        return 1, (
            f"{name} is not done yet: {counted(result['owed'], 'change is', 'changes are')} still to be sent; {in_cordial}, "
            f"{counted(expected, 'member is', 'members are')} confirmed."
        )
    failed = f"{counted(found['failed'], 'change', 'changes')} failed; `heap-cordial failures --list {wanted} --each` names them."
    # Who could not be removed is counted too: only what is not explained by that differs, as on the page.
    if found["standing"] == ListStanding.DIFFERS or (result["differs"] and not found["failed"]):
        besides = f" Besides, {failed}" if found["failed"] else ""
        return 1, (
            f"{name} differs: {in_cordial}, {expected:,} should be there. `heap-cordial verify {wanted} --members` says who; "
            f"`heap-cordial rebuild {wanted}` sends its members again.{besides}"
        )
    if found["failed"]:
        so = f"{counted(expected, 'is', 'are')} confirmed, and" if result["differs"] else "as it should, but"
        return 1, f"{name} is incomplete: {in_cordial}, {so} {failed}"
    if found["unnamed"]:
        people = counted(found["unnamed"], "person", "people")
        return (
            1,
            f"{name} is incomplete: Cordial refused {people} in a file, and the service looks for them; {in_cordial}.",
        )
    missing = _STILL_MISSING.get(found["standing"])
    if missing is None and found["standing"] != _EXACT:
        missing = f"it is {found['standing'].replace('_', ' ')}"
    if missing is not None:
        return 1, f"{name} is not done yet: {in_cordial}, as it should, but {missing}."
    return 0, f"{name} is exact: {in_cordial}."


def _comparison(settings: Settings, found: dict[str, Any]) -> Comparison:
    try:
        return Comparison(Path(settings.store.path), found["id"])
    except StoreOpenError as error:
        raise ClientError(f"{error}; this command reads the store, so run it on the machine of the service") from error


def _keys(account: AccountSettings | None) -> list[str]:
    if account is None:
        return [EMAIL]
    if account.identify_by == "auto":
        return list(dict.fromkeys([*account.identities.values(), EMAIL]))
    return [account.identify_by]


async def _read_audience(client: ApiClient, found: dict[str, Any], comparison: Comparison) -> None:
    """Read the audience page by page, until a page has nobody."""
    page, repeated = 0, 0
    while repeated < _MAX_REPEATED_PAGES:
        page += 1
        people = (await client.post(f"lists/{found['id']}/members/audience", {"page": page}))["people"]
        if not people:
            return
        repeated = 0 if comparison.add(people) else repeated + 1
    raise ClientError("Cordial repeats the same people, so the audience cannot be read to its end")


async def _read_each(
    client: ApiClient,
    arguments: argparse.Namespace,
    found: dict[str, Any],
    comparison: Comparison,
) -> list[tuple[str, str]]:
    """Read every settled member in Cordial and return those that differ."""
    totals = comparison.totals()
    total, done, after, began_at = totals.on + totals.off, 0, "", time.monotonic()
    differing: list[tuple[str, str]] = []
    is_agreed = False
    while members := comparison.settled(after, _CONTACTS_AT_ONCE):
        contacts = [contact for contact, _ in members]
        read = (await client.post(f"lists/{found['id']}/members/read", {"contacts": contacts}))["members"]
        for (contact, wanted), each in zip(members, read, strict=True):
            if each["on_list"] is None:
                raise ClientError(f"Cordial did not say whether {done:,} and more are on the list; try again later")
            if each["on_list"] is not wanted:
                differing.append(("missing" if wanted else "wrongly on", contact))
        after, done = contacts[-1], done + len(contacts)
        if not is_agreed and done < total:
            left = (time.monotonic() - began_at) / done * (total - done)
            question = (
                f"Without an audience ({found['list_name']} has none in audience_keys) each of {total:,} contacts is read "
                f"alone: about {_duration(left)}, and strangers are not found. Go on?"
            )
            agree(question, assumed=arguments.yes)
            is_agreed = True
        if not arguments.json:
            redraw(f"{bar(done, total)}  {done:,} of {total:,} read")
    if not arguments.json:
        say("")
    return differing


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004  so far in seconds, then in minutes, then in hours
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7_200 else f"{seconds / 3_600:.1f} hours"  # noqa: PLR2004


def _differing(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for what, contacts in (
        ("missing", comparison.missing()),
        ("wrongly on", comparison.wrongly_on()),
        ("stranger", comparison.strangers()),
    ):
        for contact in contacts:
            yield what, contact


async def _report(
    client: ApiClient,
    arguments: argparse.Namespace,
    found: dict[str, Any],
    totals: Totals,
    differing: Iterator[tuple[str, str]],
) -> int:
    """Tell who differs, and have them read back and set right; return the exit status."""
    counts = dict.fromkeys(_MEANING, 0)
    shown: list[tuple[str, str]] = []
    queue: list[str] = []
    rows = _written(arguments.csv, differing) if arguments.csv else differing
    queued = 0
    for what, contact in rows:
        counts[what] += 1
        if arguments.json:
            say_json({"what": what, "contact": contact})
        elif len(shown) < _ROWS:
            shown.append((what, contact))
        queue.append(contact)
        if len(queue) == _CONTACTS_AT_ONCE and not arguments.report_only:
            queued += await _set_right(client, found, queue)
            queue = []
    if queue and not arguments.report_only:
        queued += await _set_right(client, found, queue)
    total = sum(counts.values())
    summary = {**{what.replace(" ", "_"): number for what, number in counts.items()}, "unsettled": totals.unsettled}
    if arguments.json:
        say_json({"list_name": found["list_name"], **summary, "read_back": queued})
    else:
        _say_summary(found, counts, shown, totals, queued)
    return 1 if total or totals.unsettled or found["failed"] else 0


def _say_summary(
    found: dict[str, Any], counts: dict[str, int], shown: Sequence[tuple[str, str]], totals: Totals, queued: int
) -> None:
    total = sum(counts.values())
    if shown:
        say(*table(("WHAT", "CONTACT"), shown))
    if total > len(shown):
        say(f"... and {total - len(shown):,} more: --csv FILE writes all")
    for what, number in counts.items():
        if number:
            say(f"{number:,} {what}: {_MEANING[what]}")
    if totals.unsettled:
        say(
            f"{counted(totals.unsettled, 'member is', 'members are')} not compared: their changes are still to be sent, or failed"
        )
    if not total:
        say(
            f"{found['list_name']}: all {counted(totals.on, 'member', 'members')} and {totals.off:,} who have left are right."
        )
    if queued:
        say(
            f"{counted(queued, 'is', 'are')} read back one by one, and the service corrects those that really differ. `heap-cordial lists` shows the progress."
        )


async def _set_right(client: ApiClient, found: dict[str, Any], contacts: list[str]) -> int:
    asked: int = (await client.post(f"lists/{found['id']}/members/read-back", {"contacts": contacts}))["contacts"]
    return asked


def _written(path: Path, differing: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield what differs, each written to a file before."""
    try:
        # The rows are people's data.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ClientError(f"{path} cannot be created: {error.strerror}") from None
    with writing(path), os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("what", "contact"))
        for what, contact in differing:
            # A spreadsheet would take it for a formula.
            writer.writerow((what, f"'{contact}" if contact.startswith(_FORMULA_STARTS) else contact))
            yield what, contact
