"""For how long is waited after so many failures in a row."""

from hypothesis import given
from hypothesis import strategies as st

from service.backoff import backoff_seconds


@given(failures=st.integers(0, 10_000), base=st.floats(0.01, 10), cap=st.floats(0.01, 1_000))
def test_backoff_stays_between_the_base_and_the_cap(failures, base, cap):
    assert min(base, cap) <= backoff_seconds(failures, base, cap) <= cap


@given(failures=st.integers(0, 40))
def test_backoff_never_shrinks_with_more_failures(failures):
    assert backoff_seconds(failures, 1, 300) <= backoff_seconds(failures + 1, 1, 300)


def test_backoff_doubles_up_to_the_cap():
    assert [backoff_seconds(failures, 1, 60) for failures in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
