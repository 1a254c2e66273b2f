"""Trying mutants: the tests run once as they are, then again for each mutant in a fork of that process."""

import contextlib
import importlib
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from service.store.sqlite import queries
from tests.mutation import python_mutants, sql_mutants
from tests.mutation.targets import Target

# A mutant that takes far longer than the tests need is noticed by whoever waits for them. What a loop without end takes
# is seen in the processor's time, however busy the machine is; what waits for ever, only by the clock.
_MAX_TIMES_LONGER = 5
_MAX_MORE_CPU_SECONDS = 1
_MAX_MORE_SECONDS = 15


class Result(NamedTuple):
    """What came of a mutant of a file; it survived if no test failed, and `tests` is how many called it."""

    file: str
    name: str
    is_killed: bool
    tests: int

    @property
    def id(self) -> str:
        return f"{self.file} | {self.name}"


class _Mutated(NamedTuple):
    """A mutant of either kind: whom tests must have called to notice it, and what puts it in place."""

    file: str
    name: str
    called: Any
    put: Callable[[], None]


def try_mutants(target: Target, sample: int | None = None, seed: int = 0, chosen: str = "") -> Iterator[Result]:
    """Run a target's tests with each of its mutants, or with some drawn at random, in a process of its own.

    Raises `RuntimeError` where the tests do not pass as they are.
    """
    reading, writing = os.pipe()
    process_id = os.fork()
    if not process_id:
        os.close(reading)
        status = 1
        with contextlib.suppress(BaseException):
            status = _run_here(target, sample, seed, chosen, writing)
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        yield from (Result(*msgspec.json.decode(line)) for line in lines)
    _, status = os.waitpid(process_id, 0)
    if status:
        raise RuntimeError(f"the tests do not pass as they are: {' '.join(target.tests)}")


def _run_here(target: Target, sample: int | None, seed: int, chosen: str, writing: int) -> int:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a device
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    options = ["-q", "-s", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none"]
    if os.path.isdir("/dev/shm"):  # noqa: PTH112, S108  memory, where there is some: no test needs its files to last
        options.append(f"--basetemp=/dev/shm/heap-cordial-mutation-{os.getpid()}")
    return int(pytest.main([*options, *target.tests], plugins=[_Trial(target, sample, seed, chosen, writing)]))


class _Trial:
    """Runs in place of pytest's own loop over the tests."""

    def __init__(self, target: Target, sample: int | None, seed: int, chosen: str, writing: int) -> None:
        self._target = target
        self._sample = sample
        self._seed = seed
        self._chosen = chosen
        self._writing = writing
        self._seconds: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
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
        calling: dict[Any, set[str]] = defaultdict(set)
        now: list[str] = []
        self._mark(lambda called: calling[called].add(now[-1]) if now else None)
        for item in session.items:
            now.append(item.nodeid)
            began, cpu_began = time.monotonic(), time.process_time()
            _run(item)
            self._seconds[item.nodeid] = time.monotonic() - began
            self._cpu_seconds[item.nodeid] = time.process_time() - cpu_began
            if self._has_failed:
                session.testsfailed = 1
                return True
        by_id = {item.nodeid: item for item in session.items}
        with os.fdopen(self._writing, "wb") as out:
            for mutant in mutants:
                tests = sorted(calling[mutant.called], key=self._cpu_seconds.__getitem__)
                is_killed = bool(tests) and not self._survives(mutant, [by_id[each] for each in tests])
                out.write(msgspec.json.encode([mutant.file, mutant.name, is_killed, len(tests)]) + b"\n")
                out.flush()
        return True

    def _mutants(self) -> list[_Mutated]:
        mutants = [mutant for file in self._target.files for mutant in _mutants_of(file) if self._chosen in mutant.name]
        if self._sample is None or self._sample >= len(mutants):
            return mutants
        return random.Random(self._seed).sample(mutants, self._sample)  # noqa: S311  repeatable

    def _mark(self, called: Callable[[Any], None]) -> None:
        for file in self._target.files:
            if file.endswith(".py"):
                python_mutants.mark_calls(_module(file), lambda place, file=file: called((file, place)))  # type: ignore[misc]
            else:
                for statements in _statements(file):
                    statements.on_use = lambda name, file=file: called((file, name))  # type: ignore[misc]

    def _survives(self, mutant: _Mutated, items: Sequence[pytest.Item]) -> bool:
        seconds = sum(self._seconds[item.nodeid] for item in items)
        cpu_seconds = sum(self._cpu_seconds[item.nodeid] for item in items)
        process_id = os.fork()
        if not process_id:
            status = 1
            with contextlib.suppress(BaseException):
                signal.setitimer(signal.ITIMER_PROF, _MAX_MORE_CPU_SECONDS + _MAX_TIMES_LONGER * cpu_seconds)
                signal.setitimer(signal.ITIMER_REAL, _MAX_MORE_SECONDS + _MAX_TIMES_LONGER * seconds)
                mutant.put()
                for item in items:
                    _run(item)
                    if self._has_failed:
                        break
                status = int(self._has_failed)
            os._exit(status)
        return os.waitpid(process_id, 0)[1] == 0


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
        for python in python_mutants.mutants_of(module):
            yield _Mutated(
                file,
                python.name,
                (file, python.place),
                lambda python=python: python_mutants.put(python, module),  # type: ignore[misc]
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
