"""`make powercut`: lives of the service under strace, the disks that a power cut may leave of them, and what came of each."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import structlog

from tests.powercut.cuts import Findings, examine
from tests.powercut.disk import Loss
from tests.powercut.lives import LIVES
from tests.powercut.planted import Fault

# The life that shows each planted fault.
SHOWN_BY = {
    Fault.NORMAL: "live",
    Fault.EARLY: "live",
    Fault.RESTORE: "restore",
    Fault.RESET: "live",
}
# What part of all disks each life gives: most have few places at which something else can be lost.
SHARES = {"live": 0.35, "imports": 0.15, "install": 0.1, "upgrade": 0.1, "backup": 0.1, "restore": 0.2}
DISKS_WITH_FAULT = 60
_AT_ONCE = 2
_MAX_PER_LIFE = 300
# Each disk that does not become exact is waited for, and more of the same teach nothing.
_MAX_FAULTY = 3


def program(fault: Fault | None) -> list[str]:
    """Return the modules that run the service, with a fault planted if one is named."""
    return ["-m", "service"] if fault is None else ["-m", "tests.powercut.planted", fault.value]


async def examine_life(name: str, disks: int, *, seed: int = 1, fault: Fault | None = None) -> Findings:
    """Run a life and look at so many disks; with a fault planted, until one shows it."""
    if fault is not None:
        return await _examine(name, disks, seed, fault)
    # Two at once, for they wait more than they work. Each run has other moments.
    runs = (_examine(name, -(-disks // _AT_ONCE), seed + run, None) for run in range(_AT_ONCE))
    found = await asyncio.gather(*runs)
    return Findings(
        sum(each.disks for each in found),
        sum((each.by_loss for each in found), Counter()),
        [fault for each in found for fault in each.faults],
    )


async def _examine(name: str, disks: int, seed: int, fault: Fault | None) -> Findings:
    max_faulty = _MAX_FAULTY if fault is None else 1
    with tempfile.TemporaryDirectory(prefix="heap-cordial-powercut-") as folder:
        record = await LIVES[name](Path(folder), program(fault))
        return await examine(record, disks, seed, max_faulty=max_faulty)


async def _run(lives: Mapping[str, int], seed: int) -> int:
    looked_at, faulty = 0, 0
    for name, wanted in lives.items():
        found, faults, rounds = 0, list[str](), 0
        by_loss: Counter[Loss] = Counter()
        began = time.monotonic()
        while found < wanted and not faults:
            findings = await examine_life(name, min(wanted - found, _MAX_PER_LIFE), seed=seed + rounds * _AT_ONCE)
            found, rounds = found + findings.disks, rounds + 1
            by_loss += findings.by_loss
            faults += findings.faults
        losses = ", ".join(f"{loss} {by_loss[loss]}" for loss in Loss)
        _say(f"{name}: {found} disks in {time.monotonic() - began:.0f} s ({losses}), {len(faults)} with a fault")
        for fault in faults[:20]:
            _say(f"  {fault}")
        looked_at, faulty = looked_at + found, faulty + len(faults)
    missed = 0
    for planted, name in SHOWN_BY.items():
        if name in lives:
            findings = await examine_life(name, DISKS_WITH_FAULT, seed=seed, fault=planted)
            missed += not findings.faults
            _say(f"planted {planted}: {'missed' if not findings.faults else f'shown within {findings.disks} disks'}")
    _say(f"{looked_at} disks, {faulty} faults; {missed} planted faults were missed")
    return 1 if faulty or missed else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  a command speaks to its terminal


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="powercut", description=__doc__)
    parser.add_argument("--disks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", choices=LIVES, help="look at this one alone")
    arguments = parser.parse_args()
    shares = {arguments.life: 1.0} if arguments.life else SHARES
    wanted = {name: round(arguments.disks * share) for name, share in shares.items()}
    structlog.configure(processors=[_say_nothing])
    return asyncio.run(_run(wanted, arguments.seed))


def _say_nothing(*_event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
