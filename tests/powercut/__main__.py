"""`make powercut`: lives of the service under strace, the disks that a power cut may leave of them, and what came of each."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.powercut.cuts import Findings, examine
from tests.powercut.lives import LIVES
from tests.powercut.planted import Fault

# The life that shows each planted fault.
SHOWN_BY = {
    Fault.NORMAL: "live",
    Fault.EARLY: "live",
}
_SHARE_OF_LIVE = 0.6
# Each disk that does not become exact is waited for, and more of the same teach nothing.
_MAX_FAULTY = 3


def program(fault: Fault | None) -> list[str]:
    """Return the modules that run the service, with a fault planted if one is named."""
    return ["-m", "service"] if fault is None else ["-m", "tests.powercut.planted", fault.value]


async def examine_life(name: str, disks: int, *, seed: int = 1, fault: Fault | None = None) -> Findings:
    """Run a life in a folder of its own and look at so many disks; with a fault planted, until one shows it."""
    max_faulty = _MAX_FAULTY if fault is None else 1
    with tempfile.TemporaryDirectory(prefix="heap-cordial-powercut-") as folder:
        record = await LIVES[name](Path(folder), program(fault))
        return await examine(record, disks, seed, max_faulty=max_faulty)


async def _run(disks: int, seed: int) -> int:
    looked_at, faulty = 0, 0
    others = [name for name in LIVES if name != "live"]
    for name in LIVES:
        share = _SHARE_OF_LIVE if name == "live" else (1 - _SHARE_OF_LIVE) / len(others)
        wanted, found, faults, lives = max(1, round(disks * share)), 0, list[str](), 0
        began = time.monotonic()
        # No life has endless places: another one with another seed, and another interleaving, has others.
        while found < wanted and not faults:
            findings = await examine_life(name, wanted - found, seed=seed + lives)
            found, lives = found + findings.disks, lives + 1
            faults += findings.faults
        print(f"{name}: {found} disks of {lives} lives in {time.monotonic() - began:.0f} s, {len(faults)} with a fault")  # noqa: T201
        for fault in faults[:20]:
            print(f"  {fault}")  # noqa: T201
        looked_at, faulty = looked_at + found, faulty + len(faults)
    missed = 0
    for planted, name in SHOWN_BY.items():
        findings = await examine_life(name, 60, seed=seed, fault=planted)
        missed += not findings.faults
        print(f"planted {planted}: {'missed' if not findings.faults else f'shown by disk {findings.disks}'}")  # noqa: T201
    print(f"{looked_at} disks, {faulty} faults; {missed} planted faults were missed")  # noqa: T201
    return 1 if faulty or missed else 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="powercut", description=__doc__)
    parser.add_argument("--disks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    structlog.configure(processors=[_say_nothing])
    return asyncio.run(_run(arguments.disks, arguments.seed))


def _say_nothing(*_event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
