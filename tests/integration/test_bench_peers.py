"""The benchmark of peers, small: those that need no packages of their own do the job, and its counts can be believed."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.programs.job import is_signed
from benchmarks.peers.results import Result, tables
from benchmarks.peers.trial import Done, Killed
from service.receive.signature import sign

ROOT = Path(__file__).parents[2]
USERS = 300
# With this latency and 16 calls at a time half of the users take a second: long enough to be killed in between.
ARGUMENTS = ("--users", str(USERS), "--page-size", "50", "--latency-ms", "100")


def rows_of(printed: str) -> list[list[str]]:
    """The cells of all rows of the tables in Markdown."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line.startswith("|")
    ]


@pytest.fixture(scope="module")
def printed() -> list[list[str]]:
    command = [sys.executable, "-m", "benchmarks.peers", "script", "heap-cordial", *ARGUMENTS]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return rows_of(finished.stdout)


def test_each_contender_puts_all_users_on_the_list(printed):
    done = {row[0]: row for row in printed if len(row) == 9}
    for name in ("plain script", "heap-cordial"):
        assert done[name][1] == str(USERS)
        assert USERS <= int(done[name][5]) <= USERS + 10


def test_a_kill_costs_the_script_what_it_had_in_memory_and_the_service_nothing(printed):
    at_kill, lost, repeated = {}, {}, {}
    for row in printed:
        if len(row) == 6 and row[2] == str(USERS):
            at_kill[row[0]], lost[row[0]], repeated[row[0]] = (int(cell) for cell in row[3:])
    assert USERS // 2 <= at_kill["plain script"] < USERS
    # Nobody but those whose calls were on their way could still come onto the list.
    assert 0 < lost["plain script"] <= USERS - at_kill["plain script"]
    assert lost["heap-cordial"] == 0
    assert repeated["plain script"] == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nobody"], "no such contender: nobody; there are heap-cordial, script, fastapi, saq"),
        (["fastapi", "--python", "/nowhere/python"], "not found: /nowhere/python; `make bench-peers`"),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_would_be_right(arguments, fault, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.peers", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert fault in capsys.readouterr().err


def test_peers_verify_as_heap_signs():
    header = sign("a secret", "1700000000000", b'{"a":1}')
    assert is_signed("a secret", header, b'{"a":1}')
    assert not is_signed("a secret", header, b'{"a":2}')
    assert not is_signed("another secret", header, b'{"a":1}')
    assert not is_signed("a secret", "", b'{"a":1}')


def test_who_was_given_fewer_users_is_marked():
    done = Done(seconds=10, cpu_seconds=9, calls=1_002, p50_ms=1, p99_ms=2, max_resident_mib=30)
    killed = {"all of it": Killed(users_at_kill=500, lost=7, repeated=9)}
    text = tables([Result("slow", 1_000, done, killed), Result("quick", 2_000, done, killed)], 2_000, 60)
    rows = {row[0]: row for row in rows_of(text) if len(row) == 9}
    assert (rows["slow"][1], rows["quick"][1]) == ("1,000 *", "2,000")
    assert (rows["slow"][4], rows["quick"][4]) == ("100", "200")
    assert "Fewer than 2,000" in text
