"""The `check` command: is the configuration right, can the store be used, does Cordial accept each account's key."""

import argparse
import asyncio
import base64
import os
import shutil
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from service import config
from service.clock import wall_ms
from service.commands.client import add_config_option
from service.deliver.answers import Answer, AnswerKind, classify
from service.errors import ConfigurationError
from service.settings import AccountSettings, Settings
from service.store import sqlite

_LEAST_FREE_BYTES = 100_000_000
_MOST_CLOCK_ERROR_SECONDS = 30.0


class _Asked(NamedTuple):
    """An answer of Cordial's and the time it says it is, as HTTP writes it."""

    answer: Answer
    date: str


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("check", help="check configuration, store and Cordial keys, changing nothing")
    add_config_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = config.load(arguments.config, os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201  a command speaks to its terminal
        return 2
    faults = asyncio.run(find_faults(settings))
    for fault in faults:
        print(fault, file=sys.stderr)  # noqa: T201
    for warning in config.secret_warnings(settings):
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
    if not faults:
        accounts = ", ".join(sorted(settings.accounts))
        print(f"All is well: configuration, store, and Cordial's answer for {accounts}.")  # noqa: T201
    return 1 if faults else 0


async def find_faults(settings: Settings) -> list[str]:
    """Return one line for each fault; writes nothing anywhere."""
    faults = config.secret_faults(settings)
    faults += await _store_faults(Path(settings.store.path))
    answers = await asyncio.gather(*(_account_faults(account) for account in settings.accounts.values()))
    return faults + [fault for found in answers for fault in found]


async def _store_faults(path: Path) -> list[str]:
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return [f"store.path: {folder} is a file; the store needs a folder there"]
    if not os.access(folder, os.W_OK):
        return [f"store.path: the folder {folder} cannot be written; let the service's user write there"]
    faults = []
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _LEAST_FREE_BYTES:
        faults.append(f"store.path: only {free_bytes // 1_000_000} MB are free at {folder}; make room")
    if path.exists():  # noqa: ASYNC240
        if not os.access(path, os.W_OK):
            faults.append(f"store.path: {path} cannot be written; let the service's user write it")
        try:
            await (await sqlite.open_reader(path)).close()
        except sqlite.StoreOpenError as error:
            faults.append(f"store.path: {error}")
    return faults


async def _account_faults(account: AccountSettings) -> list[str]:
    where = f"accounts.{account.name}"
    try:
        key = account.cordial_api_key.read()
    except (OSError, LookupError):
        return []
    timeout = aiohttp.ClientTimeout(total=account.request_timeout_seconds)
    headers = {"Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"}
    try:
        async with aiohttp.ClientSession(f"{account.cordial_base_url}/", headers=headers, timeout=timeout) as session:
            lists = await _ask(session, "v2/accountlists")
            faults = _list_faults(where, account, lists.answer) + _clock_faults(where, account, lists.date)
            if faults or account.identify_by in {"email", "auto"}:
                return faults
            attributes = await _ask(session, "v2/accountcontactattributes")
            return _identity_faults(where, account, attributes.answer)
    except TimeoutError:
        return [f"{where}.cordial_base_url: {account.cordial_base_url} did not answer in time"]
    except aiohttp.ClientError as error:
        return [f"{where}.cordial_base_url: {account.cordial_base_url} cannot be reached: {error}"]


async def _ask(session: aiohttp.ClientSession, path: str) -> _Asked:
    async with session.get(path, allow_redirects=False) as response:
        answer = classify(response.status, response.headers, await response.read(), wall_ms())
        return _Asked(answer, response.headers.get("Date", ""))


def _list_faults(where: str, account: AccountSettings, answer: Answer) -> list[str]:
    # Cordial's contract answers 404 where an account has no list yet.
    if answer.kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
        return []
    if answer.reason == "unauthorized":
        return [
            (
                f"{where}.cordial_api_key: Cordial answers 401; the key is wrong, or this host's address is not on the "
                f"key's IP allow-list (Cordial: Administration > API keys)"
            )
        ]
    if answer.reason == "forbidden":
        return [
            (
                f"{where}.cordial_api_key: Cordial answers 403; the key needs the permission to get lists, or this host's "
                f"address is not on its IP allow-list"
            )
        ]
    if answer.kind is AnswerKind.THROTTLED:
        return [f"{where}: Cordial answers 429, its rate limit is reached at the moment; check again in a minute"]
    return [
        (
            f"{where}.cordial_base_url: {account.cordial_base_url} does not answer as Cordial does to a request for lists: "
            f"{answer.message or f'HTTP {answer.status}'}"
        )
    ]


def _clock_faults(where: str, account: AccountSettings, date: str) -> list[str]:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return []
    ahead = time.time() - theirs
    if abs(ahead) <= _MOST_CLOCK_ERROR_SECONDS:
        return []
    way = "ahead of" if ahead > 0 else "behind"
    return [
        (
            f"clock: this host is {abs(ahead):.0f} s {way} Cordial's; set it (NTP): Heap's signatures are accepted within "
            f"{account.timestamp_tolerance_seconds:g} s ({where}.timestamp_tolerance_seconds)"
        )
    ]


def _identity_faults(where: str, account: AccountSettings, answer: Answer) -> list[str]:
    rows = answer.body
    if answer.kind is not AnswerKind.DONE or not isinstance(rows, list):
        # The permission to read attributes is optional.
        return []
    unique = {str(row.get("key")) for row in rows if isinstance(row, dict) and row.get("unique")}
    if account.identify_by in unique:
        return []
    known = ", ".join(sorted(unique)) or "none"
    return [f'{where}.identify_by: "{account.identify_by}" is no unique attribute in Cordial; there: {known}']
