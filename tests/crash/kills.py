"""Random kills under load: `python -m tests.crash.kills`, or `make crash`. Exit status 0 only if every list is exact.

With 100,000 changes pending and pages coming in all the while, the service is killed (kill -9) at random moments: while it
starts, takes pages, folds, sends, commits. Each time a copy of the store is checked as the crash left it.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time

from tests.crash.harness import Harness, running_harness
from tests.crash.processes import ROOT, ServiceOptions
from tests.crash.report import make_report

_SENDERS = 20
_SEGMENTS = 3
_LARGE_PAGE = 1_000
_SMALL_PAGE = 100
_PAGES_OF_SYNC = 5
_LONGEST_START_SECONDS = 1.5
_LONGEST_LIFE_SECONDS = 3.0
_LONGEST_DELAY_IN_PAGE_SECONDS = 0.02
_SHARE_HELD_BACK = 0.3
_PROGRESS_KILLS = 10
_POLL_SECONDS = 0.2
_OPTIONS = ServiceOptions(requests_per_second=1_000, max_concurrency=16)


async def _load(harness: Harness, pending: int, enough: asyncio.Event) -> None:
    """Let pages come in until it is enough, so many that about `pending` changes are always owed."""
    late: list[bytes] = []
    while not enough.is_set():
        if (await harness.figures()).owed < pending:
            late = await harness.send_wave(_PAGES_OF_SYNC, _SMALL_PAGE, late, _SHARE_HELD_BACK)
            await harness.senders.wait_until_sent()
        else:
            await asyncio.sleep(_POLL_SECONDS)
    harness.senders.submit(late)
    await harness.senders.wait_until_sent()


async def _kill(harness: Harness, kills: int, chance: random.Random) -> None:
    for number in range(1, kills + 1):
        await _wait_for_moment(harness, number, chance)
        await harness.kill_and_restart()
        if number % _PROGRESS_KILLS == 0:
            _say(
                f"{number} kills, {len(harness.senders.acknowledged):,} pages acknowledged, "
                f"{await harness.call_total():,} calls"
            )


async def _wait_for_moment(harness: Harness, number: int, chance: random.Random) -> None:
    """Wait until the next kill is due: one in four before the service is up, one while it sends, two in a page."""
    if number % 4 == 1:
        await asyncio.sleep(chance.uniform(0, _LONGEST_START_SECONDS))
        return
    await harness.service.wait_until_answered(harness.session, "/livez")
    if number % 2:
        await asyncio.sleep(chance.uniform(0, _LONGEST_LIFE_SECONDS))
    else:
        harness.senders.posting.clear()
        await harness.senders.posting.wait()
        await asyncio.sleep(chance.uniform(0, _LONGEST_DELAY_IN_PAGE_SECONDS))


async def _run(arguments: argparse.Namespace) -> int:
    started_at = time.monotonic()
    chance = random.Random(arguments.seed)  # noqa: S311  a run must be repeatable, not unguessable
    async with running_harness(segments=_SEGMENTS, senders=_SENDERS, seed=arguments.seed, options=_OPTIONS) as harness:
        await harness.start()
        await harness.send_wave(-(-arguments.pending // _SEGMENTS // _LARGE_PAGE), _LARGE_PAGE)
        await harness.senders.wait_until_sent()
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_load(harness, arguments.pending, enough))
            await _kill(harness, arguments.kills, chance)
            enough.set()
        _say(f"{time.monotonic() - started_at:.0f} s: no more kills; what is owed is sent")
        await harness.service.wait_until_answered(harness.session, "/readyz")
        report = await make_report(harness, time.monotonic() - started_at)
    report.write()
    _say(f"program start alone    {await _program_start_seconds():.2f} s")
    return 1 if report.faults() else 0


async def _program_start_seconds() -> float:
    """Return how long the program takes to be loaded, which is part of the time to the first call."""
    took: list[float] = []
    for _ in range(3):
        started_at = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "serve", "--help", cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
        )
        await process.wait()
        took.append(time.monotonic() - started_at)
    return statistics.median(took)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash.kills", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pending", type=int, default=100_000, help="changes owed all the while")
    parser.add_argument("--seed", type=int, default=0)
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
