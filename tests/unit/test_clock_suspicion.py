"""When rightly signed deliveries come for another time, and what that says of this host's clock."""

import pytest

from service.receive.authentication import ClockSuspicion

NOW_MS = 1_700_000_000_000
TOLERANCE_SECONDS = 300


class Host:
    """A host whose clock is `off_seconds` ahead; deliveries are signed by a right one."""

    def __init__(self, off_seconds: float) -> None:
        self.off_seconds = off_seconds
        self.true_ms = NOW_MS
        self.started_off_seconds = off_seconds
        self.suspicion = ClockSuspicion(
            lambda: self.true_ms + int(self.off_seconds * 1000),
            lambda: self.true_ms + int(self.started_off_seconds * 1000),
            {"acme": NOW_MS - 10_000_000},
        )

    def receive(self, late_seconds: float = 0.0) -> bool:
        """Take a delivery signed so long ago; return whether it raised the suspicion."""
        self.true_ms += 1_000
        signed_at_ms = self.true_ms - int(late_seconds * 1000)
        age_seconds = late_seconds + self.off_seconds
        if abs(age_seconds) <= TOLERANCE_SECONDS:
            self.suspicion.note_valid("acme", signed_at_ms)
            return False
        return self.suspicion.note_stale("acme", signed_at_ms, TOLERANCE_SECONDS)


@pytest.mark.parametrize("off_seconds", [3_600, -3_600])
def test_three_stale_deliveries_in_a_row_raise_it_once(off_seconds):
    host = Host(off_seconds)
    assert [host.receive() for _ in range(5)] == [False, False, True, False, False]
    assert host.suspicion.off_seconds() == off_seconds
    assert f"probably 3600 s {'ahead of' if off_seconds > 0 else 'behind'} Heap's" in (host.suspicion.fault() or "")


def test_the_youngest_tells_how_far_off_the_clock_is():
    host = Host(3_600)
    for late_seconds in (900, 500, 1):
        host.receive(late_seconds)
    assert host.suspicion.off_seconds() == 3_601


def test_a_valid_delivery_between_them_clears_the_clock():
    host = Host(0)
    for late_seconds in (2_000, 1_000, 0, 500, 400):
        assert not host.receive(late_seconds)
    assert host.suspicion.fault() is None


def test_one_delivery_sent_again_and_again_proves_nothing():
    host = Host(0)
    assert not any(host.suspicion.note_stale("acme", NOW_MS - 1_000_000, TOLERANCE_SECONDS) for _ in range(10))
    assert host.suspicion.fault() is None


def test_it_ends_when_the_clock_is_put_right():
    host = Host(3_600)
    for _ in range(3):
        host.receive()
    host.off_seconds = 0
    assert host.suspicion.fault() is None
    host.off_seconds = 600
    assert "probably 600 s ahead" in (host.suspicion.fault() or "")


def test_it_ends_when_nothing_stale_has_come_for_an_hour():
    host = Host(3_600)
    for _ in range(3):
        host.receive()
    host.true_ms += 3_500_000
    assert host.suspicion.fault() is not None
    host.true_ms += 200_000
    assert host.suspicion.fault() is None


def test_what_is_kept_is_bounded():
    host = Host(3_600)
    for _ in range(1_000):
        host.receive()
    assert len(host.suspicion._stale) <= 100


def test_what_may_have_been_recorded_proves_nothing():
    host = Host(0)
    recorded_ms = [host.true_ms + number for number in range(5)]
    host.receive()
    host.true_ms += 3_600_000
    for signed_at_ms in recorded_ms:
        assert not host.suspicion.note_stale("acme", signed_at_ms, TOLERANCE_SECONDS)
    assert host.suspicion.fault() is None


def test_what_came_before_the_start_may_have_been_recorded():
    host = Host(0)
    for number in range(5):
        assert not host.suspicion.note_stale("acme", NOW_MS - 10_000_000 - number, TOLERANCE_SECONDS)


def test_stale_deliveries_repeated_in_a_circle_count_once_each():
    host = Host(0)
    for _ in range(5):
        for late_ms in (900_000, 800_000):
            host.suspicion.note_stale("acme", NOW_MS - late_ms, TOLERANCE_SECONDS)
    assert host.suspicion.fault() is None
