"""Mutation: change the code that decides, one small thing at a time, and see whether a fast test fails.

Prints what survives, and ends with 1 if that is not listed in `survivors.txt`, or if more than 15 % survive.
"""

import argparse
import sys
import time

from tests.mutation.survivors import listed
from tests.mutation.targets import TARGETS
from tests.mutation.trial import Result, try_mutants

_MIN_KILLED = 0.85


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rule", choices=sorted({target.rule for target in TARGETS}), help="only this one")
    parser.add_argument("--file", action="append", help="only files whose path ends so; may be repeated")
    parser.add_argument("--only", default="", help="only mutants whose name contains this")
    parser.add_argument("--sample", type=int, help="only so many mutants of each group of files, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    known = listed()
    results: dict[str, list[Result]] = {}
    for target in TARGETS:
        files = tuple(file for file in target.files if file.endswith(tuple(options.file or [""])))
        if not files or options.rule not in {None, target.rule}:
            continue
        began = time.monotonic()
        found = results.setdefault(target.rule, [])
        for result in try_mutants(target._replace(files=files), options.sample, options.seed, options.only):
            found.append(result)
            if not result.is_killed:
                words = "" if result.tests else " (no test calls it)"
                _say(f"{'listed  ' if result.id in known else 'SURVIVES'} {result.id}{words}")
        _say(f"-- {', '.join(files)}: {time.monotonic() - began:.0f} s\n")
    return _summary(results, known)


def _summary(results: dict[str, list[Result]], known: dict[str, str]) -> int:
    every = [result for found in results.values() for result in found]
    _say("| rule | mutants | killed | survived, listed | survived, not listed |")
    _say("| --- | --- | --- | --- | --- |")
    for rule, found in [*results.items(), ("all", every)]:
        survived = [result for result in found if not result.is_killed]
        unknown = [result for result in survived if result.id not in known]
        killed = len(found) - len(survived)
        share = f"{killed / len(found):.1%}" if found else "none"
        _say(f"| {rule} | {len(found)} | {killed}, {share} | {len(survived) - len(unknown)} | {len(unknown)} |")
    is_enough = sum(result.is_killed for result in every) >= _MIN_KILLED * len(every)
    return 0 if is_enough and all(result.is_killed or result.id in known for result in every) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
