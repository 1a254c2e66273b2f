"""The check of CPU that CI runs: one round within the bounds is enough, and what is never within them is named."""

import os
from collections.abc import Iterator

import pytest

from benchmarks import check


@pytest.fixture
def same_cores() -> Iterator[None]:
    """Give the process its cores back: the check takes all but one away."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


def rounds_of(*ratios: float):
    """What runs rounds of these ratios, to a baseline of 10 µs."""
    left = iter(ratios)

    async def run() -> tuple[float, float]:
        return next(left) * 10, 10.0

    return run


@pytest.mark.usefixtures("same_cores")
def test_one_round_within_the_bounds_is_enough(monkeypatch):
    checks = (check.Check("a page", rounds_of(9.0, 4.0), 5.0), check.Check("a call", rounds_of(3.0, 3.0, 1.9), 2.0))
    monkeypatch.setattr(check, "CHECKS", checks)
    check.main()


@pytest.mark.usefixtures("same_cores")
def test_what_costs_too_much_in_each_round_fails_the_check(monkeypatch):
    checks = (check.Check("a page", rounds_of(9.0, 9.0, 9.0), 5.0), check.Check("a call", rounds_of(1.0), 2.0))
    monkeypatch.setattr(check, "CHECKS", checks)
    with pytest.raises(SystemExit, match=r"costs too much CPU in each of 3 rounds: a page; "):
        check.main()
