"""The commands `pause`, `resume`, `retry`, `approve`, `discard` and `rebuild`: steering the running service."""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from service.commands.arguments import LIST_HELP
from service.commands.client import ApiClient, add_api_command, wrong_arguments
from service.commands.terminal import bar, counted, redraw, tell
from service.model.lists import HeldFor

_LOOK_SECONDS = 0.5


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands."""
    for name, text in (("pause", "stop sending for an account"), ("resume", "continue sending for an account")):
        work = _pause if name == "pause" else _resume
        parser = add_api_command(subparsers, name, text, work, examples=(f"{name} acme --config config.toml",))
        parser.add_argument("account", help="the account's name in the configuration")
    retry = add_api_command(
        subparsers,
        "retry",
        "retry failures that match all given conditions",
        _retry,
        examples=("retry --list ActiveUsers --config config.toml", "retry --id 17 --id 18 --config config.toml"),
    )
    retry.add_argument("--id", type=int, action="append", help="one failure, as `failures --each` has it; repeatable")
    retry.add_argument("--account", help="all of this account")
    retry.add_argument("--list", help=f"all of this list, {LIST_HELP}")
    retry.add_argument("--reason", help="all with this reason")
    approve = add_api_command(
        subparsers,
        "approve",
        "approve a new segment, or a sync, that is held",
        _approve,
        examples=('approve "Active Users" --config config.toml', "approve --sync 12 --config config.toml"),
    )
    approved = approve.add_mutually_exclusive_group(required=True)
    approved.add_argument("list", nargs="?", help=f"the list, {LIST_HELP}")
    approved.add_argument("--sync", type=int, help="a sync that is held for its removals, by id as `syncs` shows it")
    discard = add_api_command(
        subparsers,
        "discard",
        "drop a sync that is held for its removals",
        _discard,
        examples=("discard --sync 12 --config config.toml",),
    )
    discard.add_argument("--sync", type=int, required=True, help="the sync, by id as `syncs` shows it")
    add_api_command(
        subparsers,
        "reload",
        "make the service read its configuration again, as SIGHUP does",
        _reload,
        examples=("reload --config config.toml",),
    )
    rebuild = add_api_command(
        subparsers,
        "rebuild",
        "send all members of a list again",
        _rebuild,
        examples=("rebuild ActiveUsers --wait --config config.toml",),
    )
    rebuild.add_argument("list", help=f"the list, {LIST_HELP}")
    rebuild.add_argument(
        "--include-removed", action="store_true", help="also send the removals of people who have left"
    )
    rebuild.add_argument("--wait", action="store_true", help="show the progress until everything is sent")


async def _pause(client: ApiClient, arguments: argparse.Namespace) -> int:
    await client.check_account(arguments.account)
    done = await client.post(f"accounts/{quote(arguments.account, safe='')}/pause")
    words = f"{arguments.account} is paused." if done["changed"] else f"{arguments.account} was already paused."
    tell(arguments, done, words)
    return 0


async def _resume(client: ApiClient, arguments: argparse.Namespace) -> int:
    await client.check_account(arguments.account)
    done = await client.post(f"accounts/{quote(arguments.account, safe='')}/resume")
    if not done["changed"]:
        words = "was not paused by a person. What keeps it from sending, or from using files, is tried once more now."
    else:
        words = "is not paused any more." if done["kept_back"] else "sends again."
    tell(arguments, done, f"{arguments.account} {words}", *done["kept_back"])
    return 0


async def _retry(client: ApiClient, arguments: argparse.Namespace) -> int:
    selection: dict[str, Any] = {"ids": arguments.id, "account": arguments.account, "reason": arguments.reason}
    if arguments.list:
        selection["list"] = (await client.find_list(arguments.list))["id"]
    selection = {name: value for name, value in selection.items() if value is not None}
    if not selection:
        raise wrong_arguments("name what to retry: --id, --reason, --list or --account")
    await client.check_account(arguments.account)
    done = await client.post("failures/retry", selection)
    retried = done["retried"]
    words = f"{counted(retried, 'change', 'changes')} will be sent again." if retried else "No failed change matches."
    tell(arguments, done, words, *done["kept_back"])
    # Whoever names failures means those.
    return 1 if arguments.id and retried < len(set(arguments.id)) else 0


def _and_sent(done: Mapping[str, Any]) -> str:
    """Return what follows an approval: nothing where the next line says why nothing is sent."""
    return "" if done["kept_back"] else " and will be sent"


async def _approve(client: ApiClient, arguments: argparse.Namespace) -> int:
    if arguments.sync is not None:
        return await _decide(client, arguments, "approve")
    found = await client.find_list(arguments.list)
    done = await client.post(f"lists/{found['id']}/approve")
    name = found["list_name"] or found["segment_name"]
    is_held_for_more = not done["approved"] and found["state"] == "held"
    words = f"{name} did not wait for approval."
    if done["approved"]:
        words = f"{name} is approved{_and_sent(done)}."
    elif is_held_for_more:
        words = f"{name} does not wait for approval, but is held: {found['reason']}"
    tell(arguments, done, words, *done["kept_back"])
    return 1 if is_held_for_more else 0


async def _discard(client: ApiClient, arguments: argparse.Namespace) -> int:
    return await _decide(client, arguments, "discard")


async def _decide(client: ApiClient, arguments: argparse.Namespace, action: str) -> int:
    held = await client.get(f"syncs/{arguments.sync}/removals")
    done = await client.post(f"syncs/{arguments.sync}/{action}")
    words = f"Sync {arguments.sync} was not held."
    if done["decided"]:
        what = f"{held['removals']:,} of {held['removals_of']:,} people"
        words = f"Sync {arguments.sync} is discarded. It would have removed {what}."
        if action == "approve":
            words = f"Sync {arguments.sync}, which removes {what}, is approved{_and_sent(done)}."
    tell(arguments, done, words, *done["kept_back"])
    return 0


async def _reload(client: ApiClient, arguments: argparse.Namespace) -> int:
    done = await client.post("reload")
    took = [*done["changed"], *(f"account {name} added" for name in done["added"])]
    took += [f"account {name} removed" for name in done["removed"]]
    nothing = "No change takes effect without a restart." if done["needs_restart"] else "Nothing has changed."
    words = [f"Changed: {', '.join(took)}." if took else nothing]
    if done["needs_restart"]:
        words.append(f"Restart the service to change {', '.join(done['needs_restart'])}.")
    tell(arguments, done, *words)
    return 0


async def _rebuild(client: ApiClient, arguments: argparse.Namespace) -> int:
    found = await client.find_list(arguments.list)
    done = await client.post(f"lists/{found['id']}/rebuild", {"include_removed": arguments.include_removed})
    total = done["sent_again"]
    words = f"{counted(total, 'membership', 'memberships')} of {found['list_name']} will be sent again."
    if found["held_for"] in {HeldFor.DELETED, HeldFor.OTHER_CORDIAL}:
        words = f"The list {found['list_name']} will be created again, and all its members sent to it."
    elif not total:
        why = "all is still to be sent" if found["wanted"] else "it has no members"
        words = f"Nothing of {found['list_name']} is sent again: {why}."
    tell(arguments, done, words, *done["kept_back"])
    while arguments.wait:
        now = await client.get(f"lists/{found['id']}")
        left = now["pending"] + now["waiting"]
        # What was to be sent already is waited for, too.
        total = max(total, left)
        if not arguments.json:
            redraw(f"{bar(max(0, total - left), total)}  {left:,} left")
        if not left:
            tell(arguments, now, "")
            return 0 if not now["failed"] else 1
        await asyncio.sleep(_LOOK_SECONDS)
    return 0
