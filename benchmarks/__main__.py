"""Run the benchmarks: progress on standard error, the table of figures at the end on standard output."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine

from benchmarks import accept, bulk, drain, fold, memory, script
from benchmarks.report import Figure, OtherPrograms, machine, progress, quietness, table

_Measure = Callable[[argparse.Namespace], Coroutine[None, None, list[Figure]]]

_PARTS: dict[str, _Measure] = {
    "accept": lambda options: accept.measure(pages=options.pages, rounds=options.rounds, seconds=options.seconds),
    "drain": lambda options: drain.measure(users=options.calls, rounds=options.rounds),
    "fold": lambda options: fold.measure(users=options.fold, rounds=options.rounds),
    "memory": lambda options: memory.measure(pending=options.pending, rounds=options.rounds),
    "script": lambda options: script.measure(users=options.script, rounds=options.rounds),
    # Once: it counts more than it times.
    "bulk": lambda options: bulk.measure(users=options.bulk),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds of which each figure is the median")
    parser.add_argument("--pages", type=_positive, default=1_000, help="accept: pages of 1,000 users in a round")
    parser.add_argument("--seconds", type=_positive, default=6, help="accept: length of each steady load")
    parser.add_argument("--calls", type=_positive, default=15_000, help="drain: calls in a round")
    parser.add_argument("--fold", type=_positive, default=300_000, help="fold: users")
    parser.add_argument("--pending", type=_positive, default=1_000_000, help="memory: pending changes")
    parser.add_argument("--script", type=_positive, default=100_000, help="script: users")
    parser.add_argument("--bulk", type=_positive, default=1_000_000, help="bulk: users, in pages of 1,000; one round")
    options = parser.parse_args()
    unknown = set(options.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    before = machine()
    figures: list[Figure] = []
    shares: dict[str, float] = {}
    for name, measure in _PARTS.items():
        if name in (options.parts or _PARTS):
            progress(f"{name} …")
            others = OtherPrograms()
            figures += asyncio.run(measure(options))
            shares[name] = others.share()
    print(f"\nBefore: {before}\nAfter: {machine()}\n{quietness(shares)}\n\n{table(figures)}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return number


if __name__ == "__main__":
    main()
