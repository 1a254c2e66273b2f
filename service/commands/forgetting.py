"""The command `forget`: erasing a person's data."""

import argparse
import asyncio
from typing import Any

from service.commands.client import ApiClient, add_api_command
from service.commands.terminal import counted, say, tell

_LOOK_SECONDS = 0.5


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    forget = add_api_command(
        subparsers,
        "forget",
        "remove a user from all lists, then erase every trace of them",
        _forget,
        examples=("forget jane@example.com --wait --config config.toml",),
    )
    forget.add_argument("user", help="the user's id as Heap sends it")
    forget.add_argument("--account", help="only in this account; without it, in every account that the store knows")
    forget.add_argument("--keep-on-lists", action="store_true", help="erase here at once, and make no call to Cordial")
    forget.add_argument("--wait", action="store_true", help="wait until everything is erased")


async def _forget(client: ApiClient, arguments: argparse.Namespace) -> int:
    asked: dict[str, Any] = {"user": arguments.user, "keep_on_lists": arguments.keep_on_lists}
    if arguments.account:
        asked["account"] = arguments.account
    done = await client.post("forget", asked)
    if not arguments.json:
        say(
            *(
                f"{account}: {counted(number, 'membership is', 'memberships are')} being erased."
                for account, number in done["memberships"].items()
            )
        )
        if done["kept_on_lists"]:
            say(f"The lists in Cordial keep the user: {', '.join(done['kept_on_lists'])}.")
    ours = set(done["erasures"])
    told: set[str] = set()
    while left := [item for item in (await client.get("erasures"))["items"] if item["id"] in ours]:
        waiting = await _waiting(client, {item["account"] for item in left if item["left"]})
        if not arguments.json:
            say(*(line for line in waiting if line not in told))
        told.update(waiting)
        if not arguments.wait:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    tell(
        arguments,
        done,
        "In progress. With --wait, the command waits for the end." if left else "Erased here.",
        "Backups, replicas and copies beside the store still contain the user. Delete them when you no longer need them.",
    )
    return 0


async def _waiting(client: ApiClient, accounts: set[str]) -> list[str]:
    """Say what keeps these accounts from sending, so that nobody is taken off their lists."""
    known = (await client.get("accounts"))["items"] if accounts else []
    return [each["kept_back"] for each in known if each["name"] in accounts and each["kept_back"]]
