"""Have the same job done by each contender, undisturbed and with a kill -9; progress on standard error, tables at the end.

The users of one segment come as signed pages from 8 senders at once, and are put on a list of the stand-in Cordial by
single calls, at most 16 at a time, as fast as the contender can. A contender that needs more than twice --seconds for the
whole job, judged by a short run first, is given as many users as it manages in --seconds.
"""

import argparse
import asyncio
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.contenders import CONTENDERS, Contender
from benchmarks.peers.results import Result, tables
from benchmarks.peers.trial import Job, kill, measure
from benchmarks.report import machine, progress

_ROOT = Path(__file__).parents[2]
_SHORT_RUN_USERS = 3_000


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("contenders", nargs="*", metavar="CONTENDER", help=f"of {', '.join(CONTENDERS)}; default: all")
    parser.add_argument("--users", type=int, default=100_000, help="users of the segment")
    parser.add_argument("--page-size", type=int, default=1_000, help="users of a page")
    parser.add_argument("--latency-ms", type=float, default=0, help="how long the stand-in takes for a call, at least")
    parser.add_argument(
        "--seconds", type=float, default=60, help="about as long as a slow contender may take for a run"
    )
    parser.add_argument(
        "--python", default=str(_ROOT / ".venv-peers/bin/python"), help="the interpreter with the peers' packages"
    )
    options = parser.parse_args()
    unknown = set(options.contenders) - set(CONTENDERS)
    if unknown:
        parser.error(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    chosen = [CONTENDERS[name] for name in options.contenders or CONTENDERS]
    missing = _missing_for(chosen, options.python)
    if missing:
        parser.error(f"not found: {', '.join(missing)}; `make bench-peers` brings or names what the peers need")
    # Contenders run in sessions of their own; told to stop in either way, this ends them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = machine()
    job = Job(options.users, options.page_size, options.latency_ms, options.python)
    results = asyncio.run(_run(chosen, job, options.seconds))
    print(f"\nBefore: {before}\nAfter: {machine()}\n\n{tables(results, options.users, options.seconds)}")


def _missing_for(contenders: Sequence[Contender], python: str) -> list[str]:
    needed = {python} if any(contender.needs_packages for contender in contenders) else set()
    needed |= {program for contender in contenders for program in contender.needs_installed}
    return sorted(program for program in needed if shutil.which(program) is None)


async def _run(contenders: Sequence[Contender], whole_job: Job, seconds: float) -> list[Result]:
    results = []
    for contender in contenders:
        job = whole_job._replace(users=await _affordable_users(contender, whole_job, seconds))
        done = await measure(contender, job)
        progress(f"{contender.name}: {job.users:,} users in {done.seconds:.1f} s, {done.calls:,} calls")
        killed = {}
        for ending in contender.endings:
            outcome = killed[ending.label] = await kill(contender, ending, job)
            progress(
                f"{contender.name}, killed: {ending.label}: {outcome.lost:,} lost, {outcome.repeated:,} calls repeated"
            )
        results.append(Result(contender.name, job.users, done, killed))
    return results


async def _affordable_users(contender: Contender, job: Job, seconds: float) -> int:
    """Return the job's users or, in whole pages, as many as fit into the time by the speed of a short run.

    All of them up to twice that time: a whole job compares better, and a short run is slower by what a start costs.
    """
    if job.users <= _SHORT_RUN_USERS:
        return job.users
    short = await measure(contender, job._replace(users=_SHORT_RUN_USERS))
    affordable = int(_SHORT_RUN_USERS / short.seconds * seconds) // job.page_size * job.page_size
    return job.users if job.users <= 2 * affordable else max(affordable, _SHORT_RUN_USERS)


if __name__ == "__main__":
    main()
