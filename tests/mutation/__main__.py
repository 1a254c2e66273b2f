"""Mutation: change the code that decides, one small thing at a time, and see whether a fast test fails.

Prints what survives, then the figures of each file. Ends with 1 if a mutant survives that `survivors.txt` does not list, or
if more than 15 % of those of one rule survive.
"""

import argparse
import os
import sys
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from tests.mutation.survivors import LISTED, listed
from tests.mutation.targets import TARGETS
from tests.mutation.trial import Choice, Result, try_mutants

_MIN_KILLED = 0.85


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rule", choices=sorted({target.rule for target in TARGETS}), help="only this one")
    parser.add_argument("--file", action="append", help="only files whose path ends so; may be repeated")
    parser.add_argument("--only", default="", help="only mutants whose name contains this")
    parser.add_argument("--tests", nargs="+", help="in place of the tests of the file, as pytest takes them")
    parser.add_argument("--sample", type=int, help="only so many mutants of each group of files, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="how many mutants are tried at the same time"
    )
    parser.add_argument("--listed", action="store_true", help="try those as well that are listed as surviving")
    parser.add_argument("--survivors", type=Path, default=LISTED, help="the list of those that may survive")
    options = parser.parse_args()
    known = listed(options.survivors)
    passed_over = () if options.listed else known.keys()
    choice = Choice(options.sample, options.seed, options.only, options.workers, passed_over)
    results: dict[str, list[Result]] = {}
    for target in TARGETS:
        files = tuple(file for file in target.files if file.endswith(tuple(options.file or [""])))
        if not files or options.rule not in {None, target.rule}:
            continue
        began = time.monotonic()
        found = results.setdefault(target.rule, [])
        tests = tuple(options.tests or target.tests)
        for result in try_mutants(target._replace(files=files, tests=tests), choice):
            found.append(result)
            if not result.is_killed:
                words = "" if result.tests else " (no test calls it)"
                _say(f"{'listed  ' if result.id in known else 'SURVIVES'} {result.id}{words}")
            elif result.id in known:
                _say(f"killed, though listed: {result.id}")
        _say(f"-- {', '.join(files)}: {time.monotonic() - began:.0f} s\n")
    return _summary(results, known)


def _summary(results: dict[str, list[Result]], known: Collection[str]) -> int:
    every = [result for found in results.values() for result in found]
    _say("| rule | file | mutants | killed | of these, out of time | survived, listed | survived, not listed |")
    _say("| --- | --- | --- | --- | --- | --- | --- |")
    for rule, found in results.items():
        for file in dict.fromkeys(result.file for result in found):
            _say_figures(rule, f"`{file}`", [result for result in found if result.file == file], known)
    for rule, found in (*results.items(), ("all", every)):
        _say_figures(rule, "all", found, known)
    is_enough = all(_killed(found) >= _MIN_KILLED * len(found) for found in results.values())
    return 0 if is_enough and all(result.is_killed or result.id in known for result in every) else 1


def _say_figures(rule: str, file: str, found: Collection[Result], known: Collection[str]) -> None:
    killed = _killed(found)
    share = f", {killed / len(found):.1%}" if found else ""
    out_of_time = sum(result.is_out_of_time for result in found)
    are_listed = sum(result.id in known for result in found if not result.is_killed)
    others = len(found) - killed - are_listed
    _say(f"| {rule} | {file} | {len(found)} | {killed}{share} | {out_of_time} | {are_listed} | {others} |")


def _killed(found: Iterable[Result]) -> int:
    return sum(result.is_killed for result in found)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
