"""The short form of `make mutate`, and what it makes of code."""

import asyncio
import importlib
import os
import sys

import pytest

from service.store.sqlite import queries
from tests.command_fixtures import ROOT
from tests.mutation import python_mutants, sql_mutants
from tests.mutation.survivors import listed
from tests.mutation.targets import TARGETS

_PATIENCE_SECONDS = 300
# Their tests take a second or two; a sample of each says whether tests still notice what goes wrong.
_QUICK = ("model/contacts.py", "rate/own_limits.py", "deliver/blame.py", "deliver/circuit.py")
_SAMPLE = 5
_TESTS_OF_ORDERING = "tests/integration/store/test_store_ordering.py"


async def mutate(*arguments: str) -> tuple[int | None, str]:
    """Return the exit status of `make mutate`, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.mutation", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(_PATIENCE_SECONDS):
        said = (await process.communicate())[0].decode()
    return process.returncode, said


async def test_a_fast_test_fails_for_each_of_a_sample_of_mutants_that_is_not_listed():
    status, said = await mutate("--sample", str(_SAMPLE), *(word for file in _QUICK for word in ("--file", file)))
    assert status == 0, said
    assert f"| all | all | {len(_QUICK) * _SAMPLE} |" in said


async def test_a_fast_test_fails_where_an_older_sync_would_count_as_newer():
    status, said = await mutate("--file", "precedence.sql", "--only", "find_newer:", "--tests", _TESTS_OF_ORDERING)
    assert status == 0, said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listed", "--survivors", os.devnull), "SURVIVES deliver/blame.py | Blame.moment: self._now += 1 -> "),
        (("--tests", "tests/unit/deliver/test_circuit.py"), "(no test calls it)"),
    ],
    ids=["not listed", "not tested"],
)
async def test_a_mutant_that_survives_is_told_and_is_a_failure(arguments, words):
    status, said = await mutate("--file", "deliver/blame.py", "--only", "Blame.moment", *arguments)
    assert (status, words in said) == (1, True), said


def test_what_is_listed_as_surviving_is_still_a_mutant_and_has_a_reason():
    found = set()
    for file in {file for target in TARGETS for file in target.files}:
        if file.endswith(".py"):
            module = importlib.import_module(f"service.{file.removesuffix('.py').replace('/', '.')}")
            found |= {f"{file} | {mutant.name}" for mutant in python_mutants.mutants_of(module)}
        else:
            statements = queries.load(file.rpartition("/")[2].removesuffix(".sql"))
            found |= {f"{file} | {mutant.name}" for mutant in sql_mutants.mutants_of(statements)}
    known = listed()
    assert set(known) - found == set()
    assert all(known.values())


def test_the_rule_of_ordering_is_changed_in_each_of_its_parts():
    changes = {mutant.name for mutant in sql_mutants.mutants_of(queries.load("precedence"))}
    assert "find_newer: own.segment_id AND other.precedence_ms >= own.precedence_ms -> >" in changes
    assert sum(change.startswith("find_newer:") for change in changes) >= 8
