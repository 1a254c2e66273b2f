"""How many users one fold takes, by how long the last ones took."""

from service.store.sqlite.fold_size import FoldSize


def test_quick_folds_grow_up_to_the_most():
    size = FoldSize(5_000)
    sizes = [size.users]
    for _ in range(4):
        size.note(size.users, 0.19)
        sizes.append(size.users)
    assert sizes == [1_000, 2_000, 4_000, 5_000, 5_000]


def test_a_slow_fold_halves_the_next_down_to_one_piece():
    size = FoldSize(20_000)
    sizes = [size.users]
    for _ in range(11):
        size.note(size.users, 0.51)
        sizes.append(size.users)
    assert sizes == [1_000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1]


def test_a_fold_that_is_neither_quick_nor_slow_changes_nothing():
    size = FoldSize(20_000)
    for seconds in (0.2, 0.35, 0.5):
        size.note(1_000, seconds)
    assert size.users == 1_000


def test_a_fold_that_found_little_says_nothing_of_large_ones_unless_it_was_slow():
    size = FoldSize(20_000)
    size.note(999, 0.01)
    assert size.users == 1_000
    size.note(10, 0.6)
    assert size.users == 500


def test_the_most_may_be_less_than_what_folding_begins_with():
    assert FoldSize(3).users == 3
