"""What a number of members read back proves of all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.proof import differ_at_most, proof_in_words


def chance_of_at_most(found: int, differing: int, read: int, of: int) -> float:
    """The hypergeometric distribution, by whole numbers."""
    ways = sum(
        math.comb(differing, number) * math.comb(of - differing, read - number)
        for number in range(found + 1)
        if read - number >= 0
    )
    return ways / math.comb(of, read)


def test_the_words():
    assert proof_in_words(1_440, 0, 52_000) == (
        "1,440 of 52,000 members read back in the last day, 0 differ: with 95 % confidence at most 0.21 % do"
    )
    assert proof_in_words(0, 0, 52_000) == "no member read back in the last day"


def test_in_a_large_list_the_bound_follows_the_rule_of_three():
    for read in (100, 1_000, 10_000):
        assert differ_at_most(read, 0, 1_000_000_000) == pytest.approx(1 - 0.05 ** (1 / read), rel=1e-4)
        assert differ_at_most(read, 0, 1_000_000_000) == pytest.approx(3 / read, rel=0.02)


@pytest.mark.parametrize(("read", "differ", "of"), [(10, 0, 10), (10, 3, 10), (30, 3, 10), (1, 0, 1)])
def test_when_all_are_read_nothing_is_left_to_chance(read, differ, of):
    assert differ_at_most(read, differ, of) == differ / of


def test_of_nobody_nothing_is_known():
    assert differ_at_most(0, 0, 10) is None
    assert differ_at_most(5, 0, 0) is None


@given(of=st.integers(1, 300), data=st.data())
def test_the_bound_is_the_largest_number_that_one_in_twenty_choices_would_show(of, data):
    read = data.draw(st.integers(1, of))
    differ = data.draw(st.integers(0, read))
    bound = differ_at_most(read, differ, of)
    assert bound is not None
    number = round(bound * of)
    assert chance_of_at_most(differ, number, read, of) > 0.05 - 1e-9
    if number < of - (read - differ):
        assert chance_of_at_most(differ, number + 1, read, of) <= 0.05 + 1e-9


@given(st.integers(0, 2_000_000), st.integers(0, 50), st.integers(0, 2_000_000))
def test_the_bound_is_a_share_and_at_least_what_was_seen(read, differ, of):
    bound = differ_at_most(read, differ, of)
    assert bound is None or min(differ, read, of) / of <= bound <= 1
