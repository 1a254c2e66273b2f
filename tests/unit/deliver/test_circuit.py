"""When an account pauses, when it is probed, and what ends its pause (R7)."""

import pytest

from service.deliver.circuit import Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_circuit(clock: Clock, chance: float = 0.999) -> Circuit:
    circuit = Circuit(clock, lambda: chance)
    assert circuit.failed("http_503", decisive=True, probe=False)
    return circuit


def test_a_refused_key_opens_the_circuit_at_once_and_an_answer_closes_it(clock):
    circuit = Circuit(clock, lambda: 0.5)
    assert circuit.failed("unauthorized", decisive=True, probe=False)
    assert circuit.is_open
    assert circuit.reason == "unauthorized"
    assert circuit.passed()
    assert not circuit.is_open
    assert not circuit.passed()


def test_other_failures_open_it_when_five_follow_each_other(clock):
    circuit = Circuit(clock, lambda: 0.5)
    for _ in range(3):
        assert [circuit.failed("timeout", decisive=False, probe=False) for _ in range(4)] == [False] * 4
        circuit.passed()
    assert not circuit.is_open
    opened = [circuit.failed("timeout", decisive=False, probe=False) for _ in range(5)]
    assert opened == [False, False, False, False, True]


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_probes_are_half_sure_half_chance_grow_and_are_capped(clock, chance):
    circuit = open_circuit(clock, chance)
    waits = []
    for _ in range(10):
        waits.append(circuit.next_probe_at - clock.now)
        clock.now = circuit.next_probe_at
        circuit.failed("http_503", decisive=False, probe=True)
    whole = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert waits == pytest.approx([interval / 2 + chance * interval / 2 for interval in whole])


def test_calls_on_their_way_when_it_opened_do_not_put_the_next_probe_off(clock):
    circuit = open_circuit(clock)
    first_probe_at = circuit.next_probe_at
    for _ in range(100):
        clock.now += 0.001
        circuit.failed("timeout", decisive=False, probe=False)
    assert circuit.next_probe_at == first_probe_at
    assert circuit.reason == "http_503"


def test_a_new_pause_begins_with_short_intervals_again(clock):
    circuit = open_circuit(clock)
    for _ in range(8):
        circuit.failed("http_503", decisive=False, probe=True)
    circuit.passed()
    circuit.failed("unauthorized", decisive=True, probe=False)
    assert circuit.next_probe_at - clock.now <= 1


def test_a_probe_that_fails_otherwise_says_the_newer_reason(clock):
    circuit = open_circuit(clock)
    circuit.failed("unauthorized", decisive=True, probe=True)
    assert circuit.reason == "unauthorized"
    assert circuit.openings == 1


def test_what_can_be_read_ends_no_pause_of_what_cannot_be_written(clock):
    circuit = Circuit(clock, lambda: 0.5)
    for number in range(5):
        circuit.failed("refused", decisive=False, probe=False, subject=f"email:{number}@x.com")
        circuit.passed(writes=False)
    assert circuit.is_open
    assert not circuit.passed(writes=False)
    assert circuit.passed()
    assert not circuit.is_open


def test_what_can_be_read_ends_it_once_what_could_not_be_written_is_owed_no_longer(clock):
    circuit = Circuit(clock, lambda: 0.5)
    for number in range(5):
        assert not circuit.ends_by_reading
        circuit.failed("refused", decisive=False, probe=False, subject=f"email:{number}@x.com")
    assert (circuit.is_open, circuit.ends_by_reading) == (True, False)
    circuit.forget_writes()
    assert circuit.ends_by_reading
    assert circuit.passed(writes=False)
    assert not circuit.ends_by_reading


def test_it_is_known_whether_one_alone_fails(clock):
    circuit = Circuit(clock, lambda: 0.5)
    for _ in range(4):
        circuit.failed("refused", decisive=False, probe=False, subject="email:a@x.com")
    assert (circuit.is_near, circuit.is_alone("email:a@x.com"), circuit.is_alone("email:b@x.com")) == (
        True,
        True,
        False,
    )
    assert (circuit.has_failed("email:a@x.com"), circuit.has_failed("email:b@x.com")) == (True, False)
    circuit.passed()
    assert not circuit.is_near
    assert not circuit.has_failed("email:a@x.com")


def test_all_calls_that_pass_or_fail_are_counted_and_probes_since_the_pause_began(clock):
    circuit = Circuit(clock, lambda: 0.5)
    assert (circuit.passes, circuit.failures, circuit.openings, circuit.probes) == (0, 0, 0, 0)
    assert circuit.reason == ""
    circuit.passed()
    circuit.passed(writes=False)
    for _ in range(7):
        circuit.failed("timeout", decisive=False, probe=circuit.is_open)
    assert (circuit.passes, circuit.failures, circuit.openings, circuit.probes) == (2, 7, 1, 2)
    circuit.passed()
    circuit.failed("unauthorized", decisive=True, probe=False)
    assert (circuit.passes, circuit.failures, circuit.openings, circuit.probes) == (3, 8, 2, 0)


def test_the_next_failure_is_near_to_a_pause_after_four(clock):
    circuit = Circuit(clock, lambda: 0.5)
    near = []
    for _ in range(5):
        circuit.failed("timeout", decisive=False, probe=False)
        near.append(circuit.is_near)
    # With the fifth the pause has begun.
    assert near == [False, False, False, True, False]


def test_a_pass_forgets_whom_failures_were_about(clock):
    circuit = Circuit(clock, lambda: 0.5)
    circuit.failed("refused", decisive=False, probe=False, subject="email:b@x.com")
    assert not circuit.is_alone("email:a@x.com")
    circuit.passed()
    circuit.failed("refused", decisive=False, probe=False, subject="email:a@x.com")
    assert circuit.is_alone("email:a@x.com")


def test_a_read_ends_a_pause_that_a_refused_key_or_failed_reads_began(clock):
    circuit = Circuit(clock, lambda: 0.5)
    circuit.failed("unauthorized", decisive=True, probe=False)
    assert circuit.passed(writes=False)
    for _ in range(5):
        circuit.failed("timeout", decisive=False, probe=False, writes=False)
    assert circuit.passed(writes=False)
    # What failed to be written before is over with a write that passed.
    circuit.failed("refused", decisive=False, probe=False)
    circuit.passed()
    circuit.failed("unauthorized", decisive=True, probe=False)
    assert circuit.passed(writes=False)


def test_who_fails_during_a_pause_begins_none(clock):
    circuit = open_circuit(clock)
    assert circuit.failed("timeout", decisive=False, probe=False) is False
    assert circuit.failed("timeout", decisive=True, probe=True) is False


def test_a_pause_of_whoever_called_before_is_probed_at_once_and_ends_with_an_answer(clock):
    circuit = Circuit(clock, lambda: 0.5)
    circuit.stay_open("http_503")
    assert (circuit.is_open, circuit.reason, circuit.next_probe_at) == (True, "http_503", clock.now)
    # That something can be read says nothing of what may have failed to be written.
    assert not circuit.passed(writes=False)
    assert circuit.passed()
    assert not circuit.is_open
