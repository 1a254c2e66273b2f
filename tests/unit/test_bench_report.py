"""The table of the benchmarks: CPU beside each figure, targets, and whether the machine was quiet."""

import resource
import subprocess
import sys
from subprocess import PIPE

from benchmarks.processes import cpu_seconds
from benchmarks.report import Figure, quietness, table


def cells_of(figure: Figure) -> list[str]:
    return [cell.strip() for cell in table([figure]).splitlines()[-1].strip("|").split("|")]


def test_a_target_bounds_the_number_measured_or_else_the_ratio():
    assert cells_of(Figure("a", "5 calls/s", "9 µs", ratio=0.5, target=("≥", 0.75)))[1:] == [
        "5 calls/s",
        "9 µs",
        "0.50",
        "≥ 0.75",
        "no",
    ]
    bounded = Figure("a", "", "9 µs", ratio=3.0, measured=9, target=("≤", 10), unit="µs")
    assert cells_of(bounded)[3:] == ["3.00", "≤ 10 µs", "yes"]
    assert cells_of(Figure("a", "5"))[2:] == ["", "", "", ""]


def test_one_busy_part_makes_a_run_one_that_was_not_quiet():
    assert quietness({"accept": 0.02, "drain": 0.0}).startswith("Quiet: ")
    assert quietness({"accept": 0.02, "drain": 0.4}) == (
        "NOT QUIET, measure again: other programs used of the machine 2% during accept, 40% during drain"
    )


_WORKS_THEN_WAITS = """
import time
while time.process_time() < 0.05:
    pass
print(flush=True)
input()
"""


def test_time_on_a_core_is_read_of_a_process_from_outside():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen([sys.executable, "-c", _WORKS_THEN_WAITS], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = cpu_seconds(process.pid)
        process.communicate(b"\n")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert 0.05 <= found <= after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + 0.02
