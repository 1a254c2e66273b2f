"""`make simulate`: many lives of the service in virtual time, each from a seed; what fails is shrunk and can be run again."""

import argparse
import gc
import itertools
import json
import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Before the service: its parts keep the clocks they find.
from tests.simulation.clocks import real_monotonic  # isort: skip
from tests.new_store import put_new_store
from tests.simulation.injection import KINDS, scenario
from tests.simulation.plans import Plan, draw_plan
from tests.simulation.planted import PLANTED
from tests.simulation.world import Result, database_of, simulate

_MEMORY = Path("/dev/shm")  # noqa: S108  where syncing costs nothing; how a disk loses writes is the power cut's subject
_MAX_SHRINKS = 150


def run_each(
    plans: Iterable[Plan], workers: int, planted: str | None = None, *, tells: bool = False
) -> Iterator[tuple[Plan, Result]]:
    """Carry out plans, each in a process of its own, and yield what came of them as they end."""
    waiting = iter(plans)
    running: dict[int, tuple[int, Plan, Path]] = {}
    poll = select.poll()
    with tempfile.TemporaryDirectory(prefix="heap-cordial-simulation-", dir=_folder()) as root:
        try:
            while True:
                while len(running) < workers and (plan := next(waiting, None)) is not None:
                    folder = Path(tempfile.mkdtemp(dir=root))
                    reader, child = _start(plan, folder, planted, tells=tells)
                    running[reader] = (child, plan, folder)
                    poll.register(reader, select.POLLIN | select.POLLHUP)
                if not running:
                    return
                for reader, _ in poll.poll():
                    poll.unregister(reader)
                    child, plan, folder = running.pop(reader)
                    with os.fdopen(reader, "rb") as answers:
                        told = answers.read()
                    os.waitpid(child, 0)
                    shutil.rmtree(folder)
                    died = Result(plan["seed"], ["the process of the simulation died"], 0, 0.0, 0, "")
                    yield plan, pickle.loads(told) if told else died  # noqa: S301  written by our own child
        finally:
            for child, *_ in running.values():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _start(plan: Plan, folder: Path, planted: str | None, *, tells: bool) -> tuple[int, int]:
    # Before the fork, so that it is made but once.
    put_new_store(database_of(folder, 0))
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return reader, child
    os.close(reader)
    status = 1
    try:
        # Collected at its own moments, garbage would make two runs of one plan differ.
        gc.disable()
        if planted is not None:
            PLANTED[planted]()
        result = simulate(plan, folder, tells=tells)
        with os.fdopen(writer, "wb") as answers:
            answers.write(pickle.dumps(result))
        sys.stdout.flush()
        status = 0
    finally:
        # Without tidying up: what was cut off must not run even now.
        os._exit(status)


def _folder() -> Path | None:
    return _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None


def shrink(plan: Plan, found: list[str], workers: int, planted: str | None = None) -> tuple[Plan, list[str]]:
    """Leave out of a plan whatever its fault can do without, and return what is left with what it finds."""
    rule = found[0].split(":")[0]
    tried, size = 0, max(1, len(plan["events"]) // 2)
    while size and tried < _MAX_SHRINKS:
        starts = range(0, len(plan["events"]), size)
        shorter = [{**plan, "events": plan["events"][:at] + plan["events"][at + size :]} for at in starts]
        tried += len(shorter)
        for candidate, result in run_each(shorter, workers, planted):
            if any(each.startswith(rule) for each in result.found):
                plan, found = candidate, result.found
                break
        else:
            size //= 2
    return plan, found


class _Failing:
    """The plans in which call number n of one scenario fails, each kind of failure until n is not reached any more."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._unreached: set[str] = set()

    def __iter__(self) -> Iterator[Plan]:
        for first, kind in enumerate(KINDS):
            for number in itertools.count(1 + first * self._every // len(KINDS), self._every):
                if kind in self._unreached:
                    break
                yield scenario(number, kind)

    def note(self, plan: Plan, result: Result) -> None:
        """Take what came of a plan."""
        if "inject" in plan and not result.failed and not result.found:
            self._unreached.add(plan["inject"]["kind"])


def _run(arguments: argparse.Namespace) -> int:
    began_at = real_monotonic()
    failing = _Failing(arguments.every)
    if arguments.inject:
        plans: Iterable[Plan] = failing
    elif arguments.plan:
        plans = [json.loads(Path(arguments.plan).read_text(encoding="utf-8"))]
    else:
        plans = (draw_plan(seed) for seed in range(arguments.first, arguments.first + arguments.seeds))
    seeds = steps = calls = 0
    seconds = 0.0
    failures: list[tuple[Plan, Result]] = []
    for plan, result in run_each(plans, arguments.workers, arguments.planted, tells=arguments.tell):
        failing.note(plan, result)
        seeds, steps, calls = seeds + 1, steps + result.steps, calls + result.calls
        seconds += result.virtual_seconds
        if arguments.verbose:
            _say(f"seed {result.seed}: {result.steps} steps, {result.calls} calls, trace {result.trace}")
        if result.found:
            failures.append((plan, result))
            which = f"{plan['inject']} {result.failed}" if "inject" in plan else f"seed {result.seed}"
            _say(f"{which} found: {result.found[0]}")
            if len(failures) >= arguments.stop_after:
                break
    took = real_monotonic() - began_at
    _say(
        f"{seeds} {'failing calls' if arguments.inject else 'seeds'}, {seconds / 86_400:.1f} days of virtual time, {calls} calls, {steps} steps in {took:.0f} s; "
        f"{len(failures)} failed"
    )
    for kind, number in Counter(result.found[0].split(":")[0] for _, result in failures).most_common():
        _say(f"  {number} times {kind}")
    if failures and not arguments.no_shrink:
        _show(*failures[0], arguments)
    return 1 if failures else 0


def _show(plan: Plan, result: Result, arguments: argparse.Namespace) -> None:
    shrunk, found = shrink(plan, result.found, arguments.workers, arguments.planted)
    _say(f"the shortest plan found that fails like seed {result.seed}; save it, and run it again with --plan FILE:")
    _say(_as_text(shrunk))
    for each in found:
        _say(f"  {each}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  a command's answer


def _as_text(plan: Plan) -> str:
    """Return a plan as JSON, an event a line."""
    events = ",\n    ".join(json.dumps(event) for event in plan["events"])
    rest: dict[str, Any] = {name: value for name, value in plan.items() if name != "events"}
    return f'{json.dumps(rest)[:-1]},\n  "events": [\n    {events}]}}'


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plan", help="a file with one plan, to run it again")
    parser.add_argument("--planted", choices=sorted(PLANTED), help="break the service in this way first")
    parser.add_argument("--stop-after", type=int, default=10, help="failures")
    parser.add_argument("--inject", action="store_true", help="let each call of one scenario fail in turn, in each way")
    parser.add_argument("--every", type=int, default=1, help="of the calls to fail, only each so many")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print a line for each seed")
    parser.add_argument("--tell", action="store_true", help="print every call and every line of the log")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of texts would be in another order each time.
        os.execve(  # noqa: S606  ourselves
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            os.environ | {"PYTHONHASHSEED": "0"},
        )
    return _run(arguments)


if __name__ == "__main__":
    sys.exit(main())
