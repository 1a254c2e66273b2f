"""A first sync by file of which Cordial refuses some rows: calls until each has a name, and how soon later changes go.

    python -m benchmarks.refused --users 100000 --refused 10 --look odd

`--look odd`: the refused addresses look unlike the others; `plain`: nothing tells them apart.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from benchmarks.bulk import make_known, post, state
from benchmarks.report import progress
from benchmarks.service_process import free_port, running_service
from benchmarks.stand_in import running_stand_in
from service.store.sqlite import opening

_LONGEST_SECONDS = 3_600.0
_POLL_SECONDS = 0.1
_LATE = "SELECT count(*) FROM member WHERE account_id = 1 AND contact = 'email:late@example.com' AND state = 0"
_ODD = ("gmial.com", "hotmail.con", "mail.local", "yaho.com", "host.invalid")


class Measured(NamedTuple):
    """Of one run: seconds from the last page to a right list, to the last name, of a later change; and calls by operation."""

    right_seconds: float
    named_seconds: float
    later_seconds: float
    calls: int
    contact_calls: int
    jobs: int


async def measure(users: int, refused: int, *, look: str) -> Measured:
    """Sync that many users of whom so many are refused. Raises `RuntimeError` unless list and names are exact."""
    chance = random.Random(1)  # noqa: S311  the same rows each time
    wanted = [f"user{number:07}@example.com" for number in range(users)]
    bad = chance.sample(range(users), refused)
    for number in bad:
        if look == "odd":
            wanted[number] = f"user{number:07}@{chance.choice(_ODD)}"
    refused_addresses = {wanted[number] for number in bad}
    async with running_stand_in() as url, aiohttp.ClientSession() as session:
        await make_known(session, url, wanted)
        await _refuse(session, url, sorted(refused_addresses))
        before = await state(session, url)
        with tempfile.TemporaryDirectory() as directory:
            return await _sync(session, Path(directory), url, wanted, refused_addresses, before["calls"])


async def _sync(  # noqa: PLR0917  what a run consists of
    session: aiohttp.ClientSession, directory: Path, url: str, wanted: Sequence[str], refused: set[str], calls: int
) -> Measured:
    async with running_service(directory, url, requests_per_second=100, port=free_port(), imports=True) as service:
        await post(session, service.webhook_url, wanted)
        posted = time.monotonic()
        progress(f"refused: {len(wanted):,} users are acknowledged")
        database = await opening.open_reader(service.database)
        try:
            await _until(lambda: _count(session, url), len(wanted) - len(refused))
            right = time.monotonic() - posted
            progress(f"refused: the list is right after {right:.0f} s")
            await _until(lambda: _rows(database, "SELECT count(*) FROM unnamed"), 1, at_least=True)
            began = time.monotonic()
            await post(session, service.webhook_url, ["late@example.com"], task="late")
            # The stand-in would look through all members for one, and answer no call meanwhile.
            await _until(lambda: _rows(database, _LATE), 1)
            later = time.monotonic() - began
            progress(f"refused: a later change takes {later:.1f} s")
            await _until(lambda: _rows(database, "SELECT count(*) FROM unnamed"), 0)
            await _until(lambda: _rows(database, "SELECT sum(pending + waiting) FROM segment"), 0)
            named = time.monotonic() - posted
            rows = await database.run(lambda store: store.execute("SELECT contact FROM failure WHERE dead").fetchall())
        finally:
            await database.close()
    if {contact.removeprefix("email:") for (contact,) in rows} != refused:
        raise RuntimeError(f"{len(rows)} names instead of {len(refused)}")
    after = await state(session, url)
    by_operation: dict[str, int] = after["calls_by_operation"]
    contact_calls = sum(number for operation, number in by_operation.items() if "/v2/contacts" in operation)
    return Measured(right, named, later, after["calls"] - calls, contact_calls, after["imports"] - 1)


async def _refuse(session: aiohttp.ClientSession, url: str, addresses: Sequence[str]) -> None:
    async with session.post(f"{url}/sandbox/imports/refused", json=addresses) as answer:
        answer.raise_for_status()
    faults = [{"kind": "answer", "contact": f"email:{address}", "times": None, "status": 422} for address in addresses]
    async with session.post(f"{url}/sandbox/faults", json=faults) as answer:
        answer.raise_for_status()


async def _count(session: aiohttp.ClientSession, url: str) -> int:
    lists: list[dict[str, Any]] = (await state(session, url))["lists"]
    return sum(found["count"] for found in lists)


async def _rows(database: opening.Connection, query: str) -> int:
    return int((await database.run(lambda store: store.execute(query).fetchone()))[0] or 0)


async def _until(look: Any, expected: int, *, at_least: bool = False) -> None:
    async with asyncio.timeout(_LONGEST_SECONDS):
        while (found := await look()) != expected and not (at_least and found >= expected):  # noqa: ASYNC110  other processes work, without telling
            await asyncio.sleep(_POLL_SECONDS)


def main() -> None:
    """Measure as the command line says, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--refused", type=int, default=10)
    parser.add_argument("--look", choices=("odd", "plain"), default="odd")
    options = parser.parse_args()
    found = asyncio.run(measure(options.users, options.refused, look=options.look))
    progress(
        f"{options.refused} of {options.users:,} refused, {options.look}: list right after {found.right_seconds:.0f} s, all named "
        f"after {found.named_seconds:.0f} s, a later change after {found.later_seconds:.1f} s; {found.calls} calls, of these "
        f"{found.contact_calls} about contacts and {found.jobs} files"
    )


if __name__ == "__main__":
    main()
