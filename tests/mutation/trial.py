"""Trying mutants: the tests run once as they are, then again for each mutant in a fork of that process."""

import contextlib
import gc
import importlib
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from service.store.sqlite import queries
from tests.mutation import python_mutants, sql_mutants
from tests.mutation.targets import Target

# A mutant with which a test takes far longer is noticed by whoever waits for it. What a loop without end takes is seen in
# the processor's time, however busy the machine is; what waits for ever, only by the clock.
_MAX_TIMES_LONGER = 5
_MAX_MORE_CPU_SECONDS = 1
_MAX_MORE_SECONDS = 10
# How a process ends that tries a mutant.
_FAILED = 1
_NOT_TRIED = 2
_MEMORY = Path("/dev/shm")  # noqa: S108  where there is some: no test needs its files to last


class Choice(NamedTuple):
    """Which of a target's mutants are tried, and how many at the same time.

    Only those whose name contains `words`, and of these so many at random, if `sample` is given. Those in `passed_over`
    are not tried and count as survived.
    """

    sample: int | None = None
    seed: int = 0
    words: str = ""
    workers: int = 1
    passed_over: Collection[str] = ()


class Result(NamedTuple):
    """What came of a mutant of a file; it survived if no test failed, and `tests` is how many called it.

    A mutant with which the tests take far too long counts as killed too: `is_out_of_time`.
    """

    file: str
    name: str
    is_killed: bool
    is_out_of_time: bool
    tests: int

    @property
    def id(self) -> str:
        return _id(self.file, self.name)


class _Mutated(NamedTuple):
    """A mutant of either kind: whom tests must have called to notice it, and what puts it in place."""

    file: str
    name: str
    called: Any
    put: Callable[[], None]

    @property
    def id(self) -> str:
        return _id(self.file, self.name)


class _Running(NamedTuple):
    """A mutant that is being tried."""

    mutant: _Mutated
    tests: Sequence[str]
    # The place in `tests` of the one that runs, or that was the last to run.
    place: mmap.mmap


def _id(file: str, name: str) -> str:
    return f"{file} | {name}"


def try_mutants(target: Target, choice: Choice) -> Iterator[Result]:
    """Run a target's tests with each of its mutants that are chosen, in a process of its own.

    Raises `RuntimeError` where the tests do not pass as they are.
    """
    reading, writing = os.pipe()
    memory = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="heap-cordial-mutation-", dir=memory) as scratch:
        process_id = os.fork()
        if not process_id:
            os.close(reading)
            status = 1
            with contextlib.suppress(BaseException):
                status = _run_here(target, choice, scratch, writing)
            os._exit(status)
        os.close(writing)
        with os.fdopen(reading) as lines:
            yield from (Result(*msgspec.json.decode(line)) for line in lines)
        _, status = os.waitpid(process_id, 0)
    if status:
        raise RuntimeError(f"the tests do not pass as they are: {' '.join(target.tests)}")


def _run_here(target: Target, choice: Choice, scratch: str, writing: int) -> int:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a device
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    # Also for what makes its temporary files without pytest.
    tempfile.tempdir = scratch
    options = ["-q", "-s", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none"]
    options.append(f"--basetemp={scratch}/tests")
    return int(pytest.main([*options, *target.tests], plugins=[_Trial(target, choice, writing)]))


class _Trial:
    """Runs in place of pytest's own loop over the tests."""

    def __init__(self, target: Target, choice: Choice, writing: int) -> None:
        self._target = target
        self._choice = choice
        self._out = os.fdopen(writing, "wb")
        self._items: dict[str, pytest.Item] = {}
        self._seconds: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
        self._calling: dict[Any, set[str]] = defaultdict(set)
        # Those that have killed a mutant of a function or statement run first for its next one.
        self._killers: dict[Any, set[str]] = defaultdict(set)
        self._running: dict[int, _Running] = {}
        self._has_failed = False

    def pytest_sessionstart(self) -> None:
        import hypothesis  # noqa: PLC0415  pytest must have seen it first

        # A test fails at once or not at all: what fails need not be made small, and each run tries the same examples.
        hypothesis.settings.register_profile(
            "mutation",
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=60,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_failed = self._has_failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        mutants = self._mutants()
        self._measure(session.items)
        if self._has_failed or not self._passes_in_a_fork():
            session.testsfailed = 1
            return True
        # What is there now is never looked through again, and so not copied into the forks.
        gc.collect()
        gc.freeze()
        with self._out:
            for mutant in mutants:
                if mutant.id in self._choice.passed_over:
                    self._tell(Result(mutant.file, mutant.name, False, False, len(self._calling[mutant.called])))
                    continue
                if len(self._running) == self._choice.workers:
                    self._tell(self._end_of_one())
                self._begin(mutant)
            while self._running:
                self._tell(self._end_of_one())
        # What fails at times would have killed mutants that it does not notice.
        session.testsfailed = int(not self._passes_in_a_fork())
        return True

    def _mutants(self) -> list[_Mutated]:
        words = self._choice.words
        mutants = [mutant for file in self._target.files for mutant in _mutants_of(file) if words in mutant.name]
        if self._choice.sample is None or self._choice.sample >= len(mutants):
            return mutants
        return random.Random(self._choice.seed).sample(mutants, self._choice.sample)  # noqa: S311  repeatable

    def _measure(self, items: Sequence[pytest.Item]) -> None:
        """Run the tests as they are, see how long each takes and what it calls."""
        now: list[str] = []
        self._mark(lambda called: self._calling[called].add(now[-1]) if now else None)
        for item in items:
            self._items[item.nodeid] = item
            now.append(item.nodeid)
            began, cpu_began = time.monotonic(), time.process_time()
            _run(item)
            self._seconds[item.nodeid] = time.monotonic() - began
            self._cpu_seconds[item.nodeid] = time.process_time() - cpu_began

    def _mark(self, called: Callable[[Any], None]) -> None:
        for file in self._target.files:
            if file.endswith(".py"):
                python_mutants.mark_calls(_module(file), lambda place, file=file: called((file, place)))  # type: ignore[misc]
            else:
                for statements in _statements(file):
                    statements.on_use = lambda name, file=file: called((file, name))  # type: ignore[misc]

    def _passes_in_a_fork(self) -> bool:
        nothing = _Mutated("", "", None, lambda: None)
        self._calling[None] = set(self._items)
        self._begin(nothing)
        return not self._end_of_one().is_killed

    def _begin(self, mutant: _Mutated) -> None:
        killers = self._killers[mutant.called]
        tests = sorted(self._calling[mutant.called], key=lambda test: (test not in killers, self._cpu_seconds[test]))
        running = _Running(mutant, tests, mmap.mmap(-1, 4))
        process_id = os.fork()
        if not process_id:
            status = _NOT_TRIED
            with contextlib.suppress(BaseException):
                mutant.put()
                status = _FAILED
                status = self._try(running)
            os._exit(status)
        self._running[process_id] = running

    def _try(self, running: _Running) -> int:
        for place, test in enumerate(running.tests):
            running.place[:] = place.to_bytes(4)
            cpu_seconds = _MAX_MORE_CPU_SECONDS + _MAX_TIMES_LONGER * self._cpu_seconds[test]
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            signal.setitimer(signal.ITIMER_REAL, _MAX_MORE_SECONDS + _MAX_TIMES_LONGER * self._seconds[test])
            _run(self._items[test])
            if self._has_failed:
                return _FAILED
        return 0

    def _tell(self, result: Result) -> None:
        self._out.write(msgspec.json.encode(result) + b"\n")
        self._out.flush()

    def _end_of_one(self) -> Result:
        process_id, status = os.wait()
        mutant, tests, place = self._running.pop(process_id)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NOT_TRIED:
            raise LookupError(f"{mutant.id}: the function or statement is not there")
        is_killed = status != 0
        if is_killed:
            self._killers[mutant.called].add(tests[int.from_bytes(place[:])])
        return Result(mutant.file, mutant.name, is_killed, os.WIFSIGNALED(status), len(tests))


def _run(item: pytest.Item) -> None:
    # Without a next one, all that the test's fixtures opened is closed behind it.
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


class _Statements(dict[str, str]):
    """A file's statements, which tell when one is used."""

    def __init__(self, statements: dict[str, str]) -> None:
        super().__init__(statements)
        self.on_use: Callable[[str], None] = lambda _name: None

    def __getitem__(self, name: str) -> str:
        self.on_use(name)
        return super().__getitem__(name)


def _mutants_of(file: str) -> Iterator[_Mutated]:
    if file.endswith(".py"):
        module = _module(file)
        live = python_mutants.live_functions(module)
        for python in python_mutants.mutants_of(module):
            yield _Mutated(
                file,
                python.name,
                (file, python.place),
                lambda python=python: python_mutants.put(python, live),  # type: ignore[misc]
            )
        return
    places = _statements(file)
    for sql in sql_mutants.mutants_of(places[0]):

        def put(sql: sql_mutants.Mutant = sql) -> None:
            for place in places:
                place[sql.statement] = sql.sql

        yield _Mutated(file, sql.name, (file, sql.statement), put)


def _module(file: str) -> Any:
    return importlib.import_module(f"service.{file.removesuffix('.py').replace('/', '.')}")


def _statements(file: str) -> list[_Statements]:
    """Return the statements of a file wherever they were loaded, replaced by such as tell when one is used."""
    names = queries.load(file.rpartition("/")[2].removesuffix(".sql")).keys()
    found = []
    for name, module in list(sys.modules.items()):
        loaded = getattr(module, "_SQL", None) if name.startswith("service.") else None
        if isinstance(loaded, dict) and loaded.keys() == names:
            if not isinstance(loaded, _Statements):
                loaded = _Statements(loaded)
                module._SQL = loaded  # type: ignore[attr-defined]
            found.append(loaded)
    if not found:
        raise LookupError(f"nothing has loaded {file}")
    return found
