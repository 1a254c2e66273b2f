"""How many users of syncs under way are still to come."""

from service.model.deliveries import Action, Delivery, Receipt, ReceiptStatus, UserIds
from service.store.sqlite.arrivals import Arrivals


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def page(total_pages: int, users: int, task: str = "t1") -> Delivery:
    return Delivery(
        "acme",
        Action.SYNC,
        "1",
        "Active Users",
        task,
        1,
        total_pages,
        b"",
        "email",
        UserIds.of(["x"] * users, "email"),
        UserIds([]),
        [],
        0,
        0,
        0,
    )


def receipt(segment_id: int, pages_received: int = 1) -> Receipt:
    return Receipt(ReceiptStatus.ACCEPTED, 1, segment_id, pages_received)


def test_the_pages_to_come_are_taken_to_be_like_those_that_came():
    arrivals = Arrivals(Clock())
    assert arrivals.users_to_come("acme", 1, 0) == 0
    arrivals.note(receipt(1), page(10, 100))
    assert arrivals.users_to_come("acme", 1, 0) == 900
    arrivals.note(receipt(1), page(10, 50))
    assert arrivals.users_to_come("acme", 1, 0) == 75 * 8
    assert arrivals.users_to_come("acme", 2, 0) == 0


def test_a_whole_sync_has_nothing_to_come():
    arrivals = Arrivals(Clock())
    for _ in range(3):
        arrivals.note(receipt(1), page(3, 100))
    assert arrivals.users_to_come("acme", 1, 0) == 0


def test_pages_that_came_before_the_start_are_not_to_come():
    arrivals = Arrivals(Clock())
    arrivals.note(receipt(1, pages_received=7), page(10, 100))
    assert arrivals.users_to_come("acme", 1, 0) == 300


def test_what_came_and_is_not_folded_is_still_to_come():
    arrivals = Arrivals(Clock())
    for _ in range(3):
        arrivals.note(receipt(1), page(3, 100))
    assert arrivals.users_to_come("acme", 1, 1_000) == 300
    assert arrivals.users_to_come("acme", 1, 120) == 120
    arrivals.forget_folded("acme")
    assert arrivals.users_to_come("acme", 1, 1_000) == 0, "it was folded"


def test_several_syncs_of_a_segment_are_added():
    arrivals = Arrivals(Clock())
    arrivals.note(receipt(1), page(2, 100, "t1"))
    arrivals.note(receipt(1), page(3, 10, "t2"))
    assert arrivals.users_to_come("acme", 1, 0) == 100 + 20


def test_pages_that_never_come_are_waited_for_a_minute():
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.note(receipt(1), page(2, 100))
    clock.now = 60
    assert arrivals.users_to_come("acme", 1, 0) == 100
    clock.now = 61
    assert arrivals.users_to_come("acme", 1, 0) == 0


def test_what_nobody_asks_for_is_forgotten_as_well():
    """Without a `public_url` nobody asks; the memory must not grow with each sync for all that."""
    clock = Clock()
    arrivals = Arrivals(clock)
    for number in range(100):
        arrivals.note(receipt(number), page(1, 10, f"t{number}"))
        arrivals.note(receipt(number), page(2, 10, f"half {number}"))
        arrivals.forget_folded("acme")
    assert {len(syncs) for syncs in arrivals._arrivals["acme"].values()} == {1}
    clock.now = 61
    arrivals.forget_folded("acme")
    assert arrivals._arrivals == {"acme": {}}
