"""The command `trial`: trying on a real account what Cordial's documents leave open."""

import argparse
import asyncio
from typing import Any
from urllib.parse import quote

from service.commands.client import ApiClient, add_api_command, agree, wrong_arguments
from service.commands.terminal import redraw, table, tell

_LOOK_SECONDS = 0.5
_PLAN = (
    "This writes to the Cordial account of {account}. It",
    "  - creates up to three lists, whose names begin with heap-cordial-trial or heap_cordial_trial, and renames one of them;",
    "  - sets memberships of {contacts} on those lists and on no others;",
    "  - creates up to five contacts in the mailbox of {first}, unless create_contacts = false;",
    "  - lets Cordial fetch two files with these contacts, if public_url is set.",
    "It subscribes nobody: it checks whether Cordial does. At the end it removes the contacts from the lists. It deletes",
    "nothing: delete the lists and contacts that it created in Cordial. It prints their names.",
)
_NO_FILES = (
    "Files are still not used: no trial has shown that they subscribe nobody. Until then, single calls send large changes, "
    "which is slower."
)
_OUTCOMES = {"as_documented": "as documented", "otherwise": "otherwise", "not_tried": "not tried"}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    trial = add_api_command(
        subparsers,
        "trial",
        "find out on the real account what Cordial does not document, with your own test contacts",
        _trial,
        examples=(
            "trial --account acme --contact a@example.com --subscribed b@example.com --config config.toml",
            "trial --account acme --show --config config.toml",
        ),
    )
    trial.add_argument("--account", required=True, help="the account's name in the configuration")
    trial.add_argument("--contact", action="append", default=[], help="an address of yours; repeatable, at most five")
    trial.add_argument("--subscribed", help="an address of yours that is subscribed in Cordial")
    trial.add_argument("--show", action="store_true", help="only show what trials have shown so far")
    trial.add_argument("--yes", action="store_true", help="do not ask")


async def _trial(client: ApiClient, arguments: argparse.Namespace) -> int:
    path = f"accounts/{quote(arguments.account, safe='')}/trial"
    if arguments.show:
        await client.check_account(arguments.account)
        return await _tell(client, arguments, await client.get(path))
    contacts = [address.strip().lower() for address in arguments.contact]
    subscribed = arguments.subscribed.strip().lower() if arguments.subscribed else None
    if not contacts:
        words = "Name at least one test contact: --contact you+trial@example.com. Its mailbox must be yours."
        raise wrong_arguments(words)
    await client.check_account(arguments.account)
    named = ", ".join([*contacts, *filter(None, [subscribed])])
    plan = [line.format(account=arguments.account, contacts=named, first=contacts[0]) for line in _PLAN]
    agree("Go ahead?", assumed=arguments.yes, told=plan)
    document = await client.post(path, {"contacts": contacts, "subscribed": subscribed})
    shown = ""
    while document["trial"]["state"] == "running":
        trying = f"trying {(document['trial']['trying'] or 'lists').replace('_', ' ')} …"
        if trying != shown and not arguments.json:
            redraw(trying)
        shown = trying
        await asyncio.sleep(_LOOK_SECONDS)
        document = await client.get(path)
    if not arguments.json:
        redraw("")
    return await _tell(client, arguments, document)


async def _tell(client: ApiClient, arguments: argparse.Namespace, document: dict[str, Any]) -> int:
    """Show a trial; return the exit status: 1 if anything is otherwise or the trial stopped."""
    results, progress = document["results"], document["trial"]
    otherwise = [each for each in results if each["outcome"] == "otherwise"]
    rows = [(each["point"].replace("_", " "), _OUTCOMES[each["outcome"]], each["detail"]) for each in results]
    lines = table(("POINT", "CORDIAL DOES", "SEEN"), rows) if rows else ["No trial of this account yet."]
    for each in otherwise:
        lines += ["", f"{each['point'].replace('_', ' ')}: otherwise", f"  expected:   {each['documented']}"]
        lines += [f"  what to do: {each['what_to_do']}"]
    if otherwise:
        lines += [
            "",
            "Please send us these lines (docs/trial.md says where). They contain no address:",
            f"  heap-cordial {document['version']}",
        ]
        lines += [f"  {each['point']}: {each['detail']}" for each in otherwise]
    is_untried = any(each["point"] == "file_updates" and each["outcome"] == "not_tried" for each in results)
    if is_untried and await _waits_for_trial(client, arguments.account):
        lines += ["", _NO_FILES]
    if progress is not None:
        lines += _left(progress)
    tell(arguments, document, *lines)
    has_stopped = progress is not None and (progress["state"] == "stopped" or bool(progress["problem"]))
    return 1 if otherwise or has_stopped or not results else 0


async def _waits_for_trial(client: ApiClient, name: str) -> bool:
    accounts = (await client.get("accounts"))["items"]
    return any(each["waits_for_trial"] for each in accounts if each["name"] == name)


def _left(progress: dict[str, Any]) -> list[str]:
    lines = ["", f"The trial stopped: {progress['problem']}."] if progress["state"] == "stopped" else []
    if progress["state"] != "stopped" and progress["problem"]:
        lines += ["", f"{progress['problem']}."]
    if progress["lists_left"]:
        lines += ["", "The service deletes nothing. You can delete these in Cordial:"]
        lines += [f"  list     {name}" for name in progress["lists_left"]]
        lines += [f"  contact  {address}" for address in progress["contacts_left"]]
    return lines
