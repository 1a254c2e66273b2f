"""The `check` command: is the configuration right, can the store be used, does Cordial accept each account's key."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from service import config
from service.errors import ConfigurationError
from service.settings import AccountSettings, Settings
from service.store import sqlite

_LEAST_FREE_BYTES = 100_000_000
_MOST_CLOCK_ERROR_SECONDS = 30.0
_NOT_FOUND = 404


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("check", help="check configuration, store and Cordial keys, changing nothing")
    parser.add_argument("--config", type=Path, help="the TOML file; without it, environment variables alone")
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
    url = f"{account.cordial_base_url}/v2"
    timeout = aiohttp.ClientTimeout(total=account.request_timeout_seconds)
    auth = aiohttp.BasicAuth(key)
    try:
        async with aiohttp.ClientSession(auth=auth, timeout=timeout) as session:
            async with session.get(f"{url}/accountlists", allow_redirects=False) as answer:
                await answer.read()
                faults = _list_faults(where, account, answer.status) + _clock_faults(where, account, answer.headers)
            if faults or account.identify_by in {"email", "auto"}:
                return faults
            async with session.get(f"{url}/accountcontactattributes", allow_redirects=False) as answer:
                return _identity_faults(where, account, answer.status, await answer.read())
    except TimeoutError:
        return [f"{where}.cordial_base_url: {account.cordial_base_url} did not answer in time"]
    except aiohttp.ClientError as error:
        return [f"{where}.cordial_base_url: {account.cordial_base_url} cannot be reached: {error}"]


def _list_faults(where: str, account: AccountSettings, status: int) -> list[str]:
    # Cordial's contract answers 404 where an account has no list yet.
    if status in {200, _NOT_FOUND}:
        return []
    if status == 401:  # noqa: PLR2004
        return [
            (
                f"{where}.cordial_api_key: Cordial answers 401; the key is wrong, or this host's address is not on the "
                f"key's IP allow-list (Cordial: Administration > API keys)"
            )
        ]
    if status == 403:  # noqa: PLR2004
        return [
            (
                f"{where}.cordial_api_key: Cordial answers 403; the key needs the permission to get lists, or this host's "
                f"address is not on its IP allow-list"
            )
        ]
    return [f"{where}.cordial_base_url: {account.cordial_base_url} answers {status} to a request for lists"]


def _clock_faults(where: str, account: AccountSettings, headers: Mapping[str, str]) -> list[str]:
    try:
        theirs = parsedate_to_datetime(headers.get("Date", "")).timestamp()
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


def _identity_faults(where: str, account: AccountSettings, status: int, body: bytes) -> list[str]:
    try:
        rows = msgspec.json.decode(body)
    except msgspec.DecodeError:
        rows = None
    if status != 200 or not isinstance(rows, list):  # noqa: PLR2004  the permission is optional
        return []
    unique = {str(row.get("key")) for row in rows if isinstance(row, dict) and row.get("unique")}
    if account.identify_by in unique:
        return []
    known = ", ".join(sorted(unique)) or "none"
    return [f'{where}.identify_by: "{account.identify_by}" is no unique attribute in Cordial; there: {known}']
