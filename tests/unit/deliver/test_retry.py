"""For how long a change that failed waits (R8)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from service.deliver.retry import Timings


@given(failures=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_the_wait_for_a_retry_stays_between_nothing_and_the_cap(failures, chance):
    assert 0 <= Timings().retry_delay(failures, lambda: chance) <= Timings().retry_cap


def test_the_wait_for_a_retry_doubles_and_jitters_fully():
    assert [Timings().retry_delay(failures, lambda: 1.0) for failures in range(4)] == [1, 2, 4, 8]
    drawn = [Timings().retry_delay(3, random.Random(seed).random) for seed in range(200)]  # noqa: S311  chance, no secret
    assert min(drawn) < 1
    assert max(drawn) > 7
