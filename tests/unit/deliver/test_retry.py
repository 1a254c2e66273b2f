"""For how long a call that failed waits (R8)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from service.deliver.retry import Timings, backoff_seconds

fractions = st.floats(0, 1, exclude_max=True)


@given(failures=st.integers(0, 10_000), base=st.floats(0.01, 10), cap=st.floats(0.01, 1_000), chance=fractions)
def test_backoff_stays_between_nothing_and_the_cap(failures, base, cap, chance):
    assert 0 <= backoff_seconds(failures, base, cap, lambda: chance) <= cap


@given(failures=st.integers(0, 40), chance=fractions)
def test_backoff_never_shrinks_with_more_failures(failures, chance):
    fewer, more = (backoff_seconds(each, 1, 300, lambda: chance) for each in (failures, failures + 1))
    assert fewer <= more


def test_backoff_doubles_and_jitters_fully():
    assert [backoff_seconds(failures, 1, 60, lambda: 1.0) for failures in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    drawn = [Timings().retry_delay(3, random.Random(seed).random) for seed in range(200)]  # noqa: S311  chance, no secret
    assert min(drawn) < 1
    assert max(drawn) > 7
