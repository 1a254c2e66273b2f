"""Lives of the service in virtual time, from seeds: what is found is a fault, and what was planted must be found."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.command_fixtures import ROOT

SEEDS = 300
# A minute and a half where nothing else runs; nothing is judged by how long it takes.
_PATIENCE_SECONDS = 3_600


async def simulate(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.simulation", *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(_PATIENCE_SECONDS):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_hundreds_of_lives_keep_every_rule():
    status, said = await simulate("--seeds", str(SEEDS))
    assert status == 0, said
    assert f"{SEEDS} seeds" in said


# From a seed on that finds it soon: any beginning does within so many, but takes longer.
@pytest.mark.parametrize(
    ("fault", "rule", "first"),
    [
        ("permission-before-wait", "R5|R7", 76),
        ("release-at-end-of-call", "R6", 20),
        ("permission-by-name", "R10|R11", 5),
        ("retention-by-clock", "R1", 61),
        ("settler-dies", "log: task.ended", 1),
        ("no-compare-and-set", "R6|R11", 140),
    ],
)
async def test_a_planted_fault_is_found(fault, rule, first):
    arguments = ("--first", str(first), "--seeds", str(SEEDS), "--planted", fault, "--stop-after", "1", "--no-shrink")
    status, said = await simulate(*arguments)
    assert status == 1, said
    assert re.search(rf"seed \d+ found: ({rule})", said), said


async def test_whichever_call_fails_the_service_becomes_exact_by_itself():
    status, said = await simulate("--inject", "--every", "120")
    assert status == 0, said
    [number] = re.findall(r"(\d+) failing calls", said)
    assert int(number) > 25


async def test_the_same_seed_is_the_same_life():
    first, second = [await simulate("--seeds", "3", "--verbose", "--workers", "1") for _ in range(2)]
    lines = [line for line in first[1].splitlines() if line.startswith("seed")]
    assert len(lines) == 3
    assert lines == [line for line in second[1].splitlines() if line.startswith("seed")]


async def test_a_plan_that_fails_is_cut_and_can_be_run_again(tmp_path: Path):
    _, said = await simulate("--seeds", "50", "--planted", "settler-dies", "--stop-after", "1")
    [plan] = re.findall(r'^(\{"seed".*?\]\})$', said, re.DOTALL | re.MULTILINE)
    assert plan.count('"at_ms"') <= 3
    (tmp_path / "plan.json").write_text(plan)
    status, again = await simulate("--plan", str(tmp_path / "plan.json"), "--planted", "settler-dies", "--no-shrink")
    assert (status, "planted" in again) == (1, True)
