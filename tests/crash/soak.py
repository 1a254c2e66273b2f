"""The full size: `python -m tests.crash.soak`, or `make soak`. Exit status 0 only if every list equals the model.

100 senders deliver 1,000 pages of 1,000 users over 5 segments while the service is killed (kill -9) and started again in
the middle. With --minutes, rounds of this, with mixed faults of the stand-in Cordial, follow each other until time is up.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator

from tests.crash.harness import Harness, running_harness
from tests.crash.report import make_report
from tests.crash.trouble import make_trouble

_WAVES = 4
_SHARE_HELD_BACK = 0.1
_PROGRESS_SECONDS = 5.0
_POLL_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 0.01
_MAX_CALLS_BEFORE_KILL = 0.5


class Soak:
    """One run."""

    def __init__(self, harness: Harness, arguments: argparse.Namespace) -> None:
        self._harness = harness
        self._arguments = arguments
        self._random = random.Random(arguments.seed)  # noqa: S311  a run must be repeatable, not unguessable
        self._pages_of_sync = max(1, arguments.pages // arguments.segments // _WAVES)
        self._pages_of_round = self._pages_of_sync * arguments.segments * _WAVES
        self._round_pages_before = 0
        self._started_at = time.monotonic()

    async def run(self) -> None:
        """Run one round, or rounds until the minutes are up."""
        deadline = time.monotonic() + 60 * self._arguments.minutes
        await self._harness.start()
        async with _background(self._tell_progress()):
            await self._round()
            while time.monotonic() < deadline:
                await self._harness.begin_round()
                async with _background(make_trouble(self._harness, self._random)):
                    await self._round()

    async def _round(self) -> None:
        """Send all waves, killing the service meanwhile, and wait until everything is settled."""
        self._round_pages_before = len(self._harness.senders.acknowledged)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_in_the_middle())
            late: list[bytes] = []
            for wave in range(_WAVES):
                share = 0.0 if wave == _WAVES - 1 else _SHARE_HELD_BACK
                late = await self._harness.send_wave(self._pages_of_sync, self._arguments.users, late, share)
                await self._harness.senders.wait_until_sent()
                await self._wait_until_half_sent()
        await self._harness.wait_until_drained()

    async def _kill_in_the_middle(self) -> None:
        """Kill while pages are being taken and while changes are being sent, in turn, spread over the round."""
        senders, kills = self._harness.senders, self._arguments.kills
        for number in range(kills):
            share = (number + self._random.uniform(0.3, 0.7)) / kills
            await senders.wait_for_acknowledged(self._round_pages_before + int(share * self._pages_of_round))
            if number % 2:
                # Each call settles a change in every list at most, so there will be that many more.
                calls_to_come = await self._owed() / self._arguments.segments
                share = self._random.uniform(0, _MAX_CALLS_BEFORE_KILL)
                await self._harness.wait_for_calls(await self._harness.call_total() + int(share * calls_to_come))
            await asyncio.sleep(self._random.uniform(0, _LONGEST_DELAY_SECONDS))
            await self._harness.kill_and_restart()

    async def _wait_until_half_sent(self) -> None:
        most = await self._owed()
        while await self._owed() > most // 2:  # noqa: ASYNC110  another process works it off
            await asyncio.sleep(_POLL_SECONDS)

    async def _owed(self) -> int:
        return (await self._harness.figures()).owed

    async def _tell_progress(self) -> None:
        calls_before = await self._harness.call_total()
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            calls, owed = await self._harness.call_total(), await self._owed()
            speed = (calls - calls_before) / _PROGRESS_SECONDS
            calls_before = calls
            acknowledged = len(self._harness.senders.acknowledged)
            pages_to_come = max(0, self._round_pages_before + self._pages_of_round - acknowledged)
            left = owed + pages_to_come * self._arguments.users
            peaks = self._harness.peaks
            _say(
                f"{time.monotonic() - self._started_at:6.0f} s  {acknowledged:,} pages taken, {pages_to_come:,} to come in this "
                f"round, {owed:,} changes owed, {calls:,} calls ({speed:,.0f}/s), {self._harness.restart_total} kills, "
                f"{peaks.rss_bytes / 2**20:.0f} MiB, WAL {peaks.wal_bytes / 2**20:.0f} MiB, "
                f"about {left / max(speed, 1):,.0f} s left in this round"
            )


@contextlib.asynccontextmanager
async def _background(coroutine: "asyncio._CoroutineLike[None]") -> AsyncIterator[None]:
    """Run a coroutine while the block lasts; should it fail, so does the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(coroutine)
        yield
        task.cancel()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _run(arguments: argparse.Namespace) -> int:
    started_at = time.monotonic()
    async with running_harness(segments=arguments.segments, senders=arguments.senders, seed=arguments.seed) as harness:
        try:
            await Soak(harness, arguments).run()
            report = await make_report(harness, time.monotonic() - started_at)
        except BaseException:
            _say(harness.service.last_log_lines())
            raise
    report.write()
    return 1 if report.faults() else 0


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash.soak",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--senders", type=int, default=100, help="pages being posted at once, at most")
    parser.add_argument("--pages", type=int, default=1_000, help="pages of a round, of all segments together")
    parser.add_argument("--users", type=int, default=1_000, help="users of a page")
    parser.add_argument("--segments", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3, help="kills of a round")
    parser.add_argument("--minutes", type=float, default=0, help="repeat rounds, with faults, until time is up")
    parser.add_argument("--seed", type=int, default=0)
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
