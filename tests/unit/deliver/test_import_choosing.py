"""Which segments travel as files, and when an import begins."""

from hypothesis import given
from hypothesis import strategies as st

from service.deliver.imports.choosing import Choice, Chooser

THRESHOLD = 100
NOTHING = Choice(frozenset(), ())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def nobody(_segment_id: int) -> int:
    return 0


def test_small_backlogs_are_left_to_calls():
    assert Chooser(THRESHOLD, Clock()).choose({1: 100, 2: 3}, nobody, 0) == NOTHING


def test_a_large_backlog_that_is_whole_begins_at_once():
    assert Chooser(THRESHOLD, Clock()).choose({1: 101, 2: 3}, nobody, 0) == Choice(frozenset({1}), (1,))


def test_the_first_page_of_a_large_sync_is_not_sent_by_calls():
    choice = Chooser(THRESHOLD, Clock()).choose({1: 10}, lambda _: 990, 0)
    assert choice == Choice(frozenset({1}), ())


def test_an_import_waits_for_what_is_still_arriving_or_not_folded():
    chooser = Chooser(THRESHOLD, Clock())
    assert chooser.choose({1: 500}, lambda _: 1, 0).now == ()
    assert chooser.choose({1: 500}, nobody, 1).now == ()
    assert chooser.choose({1: 500}, nobody, 0).now == (1,)


def test_an_import_waits_five_minutes_at_most():
    clock = Clock()
    chooser = Chooser(THRESHOLD, clock)
    assert chooser.choose({1: 500}, lambda _: 1_000, 7).now == ()
    clock.now = 299
    assert chooser.choose({1: 500}, lambda _: 1_000, 7).now == ()
    clock.now = 300
    assert chooser.choose({1: 500}, lambda _: 1_000, 7).now == (1,)


def test_the_wait_begins_anew_for_a_segment_that_was_small_between():
    clock = Clock()
    chooser = Chooser(THRESHOLD, clock)
    chooser.choose({1: 500}, nobody, 1)
    clock.now = 200
    chooser.choose({1: 5}, nobody, 1)
    chooser.choose({1: 500}, nobody, 1)
    clock.now = 400
    assert chooser.choose({1: 500}, nobody, 1).now == ()


pending = st.dictionaries(st.integers(1, 30), st.integers(1, 300))


@given(pending=pending, arriving=st.dictionaries(st.integers(1, 30), st.integers(0, 300)), inbox=st.integers(0, 2))
def test_whatever_waits_only_large_ones_are_taken_from_calls(pending, arriving, inbox):
    choice = Chooser(THRESHOLD, Clock()).choose(pending, lambda segment_id: arriving.get(segment_id, 0), inbox)
    assert choice.waiting == {each for each in pending if pending[each] + arriving.get(each, 0) > THRESHOLD}
    assert set(choice.now) <= choice.waiting
    assert all(pending[each] > THRESHOLD for each in choice.now)
    assert len(choice.now) <= 16
