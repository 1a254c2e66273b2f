"""Whose fault a failure is held to be (R7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.deliver.blame import Blame, Kind
from service.deliver.circuit import Circuit

ADD = Kind("POST", 1, wanted=True)


class Clock:
    def __call__(self) -> float:
        return 100.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(circuit: Circuit) -> None:
    circuit.failed("http_500", decisive=False, probe=circuit.is_open)


def test_a_contact_is_blamed_once_others_pass_and_it_fails_again(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    verdicts = []
    for _ in range(4):
        fail(circuit)
        verdicts.append(blame.is_to_blame("email:poison@x.com"))
        for _ in range(20):
            circuit.passed()
    assert verdicts == [False, True, True, True]


def test_nobody_is_blamed_while_few_or_none_pass(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    for passes in (0, 1, 9, 9):
        fail(circuit)
        assert not blame.is_to_blame("email:a@x.com")
        for _ in range(passes):
            circuit.passed()


def test_nobody_is_blamed_while_many_fail(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    for _ in range(200):
        for contact in ("email:a@x.com", "email:b@x.com", "email:c@x.com"):
            fail(circuit)
            assert not blame.is_to_blame(contact)
        for _ in range(12):
            circuit.passed()


def test_nobody_is_blamed_across_a_pause(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    fail(circuit)
    assert not blame.is_to_blame("email:a@x.com")
    for _ in range(5):
        fail(circuit)
    for _ in range(100):
        circuit.passed()
    fail(circuit)
    assert not blame.is_to_blame("email:a@x.com")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200))
def test_an_outage_blames_nobody_in_whatever_order_contacts_fail(order):
    """A call now and then gets through, but never ten of eleven."""
    circuit = Circuit(Clock(), lambda: 0.5)
    blame = Blame(circuit)
    for number, contact in enumerate(order):
        fail(circuit)
        assert not blame.is_to_blame(f"email:{contact}@x.com")
        if number % 3 == 0:
            circuit.passed()


def test_a_contact_that_passed_is_forgotten(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    fail(circuit)
    blame.is_to_blame("email:a@x.com")
    for _ in range(50):
        circuit.passed()
    blame.clear("email:a@x.com")
    fail(circuit)
    assert not blame.is_to_blame("email:a@x.com")


def test_what_is_remembered_of_suspects_is_bounded(clock):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    for number in range(10_001):
        fail(circuit)
        blame.is_to_blame(f"email:{number}@x.com")
        for _ in range(20):
            circuit.passed()
    fail(circuit)
    assert not blame.is_to_blame("email:0@x.com"), "the first of them has been forgotten"
    fail(circuit)
    assert len(blame._moments) == 10_000


def test_only_a_pass_that_began_after_a_failure_says_something_about_it(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    began = blame.moment()
    failed_at = blame.moment()
    blame.passed(ADD, "email:b@x.com", began)
    assert not blame.passed_since(ADD, "email:a@x.com", failed_at)
    blame.passed(ADD, "email:b@x.com", blame.moment())
    assert blame.passed_since(ADD, "email:a@x.com", failed_at)
    assert blame.passed_since(None, "email:a@x.com", failed_at)
    assert not blame.passed_since(ADD, "email:b@x.com", failed_at), "nobody is judged by his own calls"
    assert not blame.passed_since(ADD._replace(segment_id=2), "email:a@x.com", failed_at)


def test_one_is_alone_until_another_fails_too(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    blame.failed(ADD, "email:a@x.com")
    assert blame.is_alone(ADD, "email:a@x.com")
    for contact in ("email:b@x.com", "email:c@x.com", "email:d@x.com"):
        blame.failed(ADD, contact)
        assert not blame.is_alone(ADD, "email:a@x.com")
    blame.passed(ADD, "email:c@x.com", blame.moment())
    assert blame.is_alone(ADD, "email:a@x.com")


def test_a_mark_counts_once_and_marks_are_bounded(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    blame.mark("email:a@x.com", ADD)
    assert blame.take_mark("email:a@x.com", ADD)
    assert not blame.take_mark("email:a@x.com", ADD)
    for number in range(10_001):
        blame.mark(f"email:{number}@x.com", ADD)
    assert not blame.take_mark("email:0@x.com", ADD)
    assert blame.take_mark("email:1@x.com", ADD)


@pytest.mark.parametrize(
    ("passes", "failures_of_others", "is_to_blame"),
    [(9, 0, None), (9, 2, None), (10, 0, True), (10, 1, True), (10, 2, False), (17, 2, False), (18, 2, True)],
)
def test_ten_passes_and_nine_of_ten_others_make_a_second_failure_its_own(
    clock, passes, failures_of_others, is_to_blame
):
    circuit = Circuit(clock, lambda: 0.5)
    blame = Blame(circuit)
    fail(circuit)
    assert blame.is_to_blame("email:a@x.com") is False
    for _ in range(failures_of_others):
        fail(circuit)
    for _ in range(passes):
        circuit.passed()
    fail(circuit)
    assert blame.is_to_blame("email:a@x.com") is is_to_blame


def test_the_latest_kind_that_passed_is_asked_first(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    kinds = [ADD, Kind("PUT", 1, wanted=False), Kind("PUT", 2, wanted=True)]
    assert blame.latest() == []
    for kind in kinds:
        blame.passed(kind, "email:a@x.com", blame.moment())
    blame.failed(Kind("PUT", 3, wanted=True), "email:b@x.com")
    assert blame.latest() == kinds[::-1]
    blame.passed(ADD, "email:a@x.com", blame.moment())
    assert blame.latest() == [ADD, *kinds[:0:-1]]


def test_an_earlier_call_that_passes_late_is_not_the_latest(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    earlier, later = blame.moment(), blame.moment()
    blame.passed(ADD, "email:later@x.com", later)
    blame.passed(ADD, "email:earlier@x.com", earlier)
    assert blame.latest_contact(ADD) == "email:later@x.com"


def test_whom_the_latest_pass_was_for_is_of_the_same_list_and_direction(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    by_key = Kind("PUT", 1, wanted=True)
    assert blame.latest_contact(ADD) == ""
    blame.passed(Kind("POST", 2, wanted=True), "email:other-list@x.com", blame.moment())
    blame.passed(Kind("POST", 1, wanted=False), "email:other-direction@x.com", blame.moment())
    blame.failed(ADD, "email:failed@x.com")
    assert blame.latest_contact(ADD) == ""
    blame.passed(by_key, "email:found@x.com", blame.moment())
    assert blame.latest_contact(ADD) == "email:found@x.com"
    blame.passed(ADD, "email:added@x.com", blame.moment())
    blame.passed(by_key, "email:found-later@x.com", blame.moment())
    assert blame.latest_contact(ADD) == blame.latest_contact(by_key) == "email:found-later@x.com"


def test_only_a_call_that_creates_nobody_shows_that_cordial_finds_contacts(clock):
    blame = Blame(Circuit(clock, lambda: 0.5))
    before = blame.moment()
    blame.passed(ADD, "email:added@x.com", blame.moment())
    assert not blame.found_since("email:a@x.com", before)
    blame.passed(Kind("PUT", 1, wanted=False), "email:found@x.com", blame.moment())
    assert blame.found_since("email:a@x.com", before)
    assert not blame.found_since("email:found@x.com", before)
    assert not blame.found_since("email:a@x.com", blame.moment())
