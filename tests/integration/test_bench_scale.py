"""The benchmark of scale, small: its members are who they should be, and what it prints can be believed."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from benchmarks.scale import main
from benchmarks.scaling.population import plan

ROOT = Path(__file__).parents[2]
MEMBERS = 1_000
PATIENCE_SECONDS = 300
# Imports take a second or two: far longer than the benchmark needs to see that they run, and to kill the service amid them.
ARGUMENTS = (
    "--accounts 2 --segments 6 --members 1000 --bulk-threshold 200 --delay 0 --rate 200 --latency-ms 20 --rows 300"
)


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    command = [sys.executable, "-m", "benchmarks.scale", *ARGUMENTS.split()]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert finished.returncode == 0, finished.stderr
    rows = [line.strip("|").split("|") for line in finished.stdout.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows}


def counts(words: str) -> dict[str, int]:
    return {kind: int(calls.replace(",", "")) for kind, calls in re.findall(r"(\w+) ([\d,]*\d)", words)}


def test_everybody_is_compared_before_and_after_the_delta(printed):
    assert printed["compared with the stand-ins' lists"] == f"{2 * MEMBERS:,} members, all as they must be"
    assert printed["first sync: pages taken"] == f"6 of {MEMBERS:,} users"


def test_large_segments_travel_as_files_and_small_ones_by_calls(printed):
    first, delta = (counts(printed[f"{phase}: calls"]) for phase in ("first sync", "delta"))
    # Each account's file goes once to update and once to create; after the kill a job may have to begin again.
    assert 4 <= first["imports"] <= 8
    assert 0 < first["single"] < MEMBERS / 10
    changed = sum(segment.changed for segment in plan(accounts=2, segments=6, members=MEMBERS, delta_share=0.02))
    assert delta["imports"] == 0
    # A contact that changes on several lists at once costs one call.
    assert changed / 2 <= delta["single"] <= changed


def test_the_first_call_comes_after_the_kill(printed):
    [line] = [line for line in printed if line.startswith("kill -9")]
    owed = re.search(r"([\d,]+) owed", line)
    assert owed is not None
    assert 0 < int(owed[1].replace(",", "")) <= MEMBERS
    assert float(printed[line].removesuffix(" s")) > 0


def test_told_to_stop_it_takes_its_processes_with_it():
    command = [sys.executable, "-m", "benchmarks.scale", *ARGUMENTS.split()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while "pages" not in process.stderr.readline():
                assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
            assert len(children) == 2
        finally:
            process.terminate()
        assert process.wait(timeout=PATIENCE_SECONDS) != 0
    assert not any(child.is_running() for child in children)


def test_members_are_divided_as_asked_and_nobody_is_in_two_accounts():
    segments = plan(accounts=20, segments=200, members=100_000, delta_share=0.02)
    assert len(segments) == 200
    assert sum(segment.members for segment in segments) == 100_000
    accounts: dict[str, int] = {}
    for segment in segments:
        assert len(set(segment.users)) == segment.members
        for user in segment.users:
            assert accounts.setdefault(user, segment.account) == segment.account
    per_account = Counter(accounts.values())
    assert per_account[0] > 5 * per_account[19]
    shared = 100_000 - len(accounts)
    assert 0 < shared < 2_000


def test_a_delta_takes_away_and_adds_as_many():
    for segment in plan(accounts=2, segments=6, members=10_000, delta_share=0.02):
        before, after = set(segment.users), set(segment.users_after_delta)
        assert before - after == set(segment.leaving)
        assert after - before == set(segment.joining)
        assert len(segment.leaving) == len(segment.joining) == segment.changed // 2 > 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--accounts", "3", "--segments", "10"], "must be a multiple"),
        (["--accounts", "2", "--segments", "20", "--members", "100"], "too few members"),
    ],
)
def test_what_cannot_be_divided_is_refused(arguments, fault, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.scale", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert fault in capsys.readouterr().err
