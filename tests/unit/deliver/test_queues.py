"""The order in which contacts are taken, and when a piece of the inbox may be dropped."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from service.deliver.queues import Rotation, SegmentQueue
from service.model.changes import Change, ContactWork, Stretch


def work(contact: str) -> ContactWork:
    return ContactWork(contact, (Change(1, wanted=True),))


def stretch(piece_id: int, contacts: Iterable[str], *, complete: bool = True) -> Stretch:
    return Stretch(piece_id, [work(contact) for contact in contacts], complete)


def drained(rotation: Rotation) -> list[tuple[int, int, ContactWork]]:
    taken = []
    while (entry := rotation.next()) is not None:
        taken.append(entry)
    return taken


@given(st.dictionaries(st.integers(1, 20), st.integers(1, 30), min_size=1, max_size=8))
def test_segments_are_taken_from_in_turn(sizes):
    rotation = Rotation()
    claimed: set[str] = set()
    for segment_id, size in sizes.items():
        rotation.queue(segment_id).take_in(stretch(segment_id, [f"{segment_id}:{n}" for n in range(size)]), claimed)
    taken = [segment_id for segment_id, _, _ in drained(rotation)]
    for segment_id, size in sizes.items():
        # When a segment's last contact is taken, no other segment has had more than one turn beyond its own.
        last = len(taken) - 1 - taken[::-1].index(segment_id)
        before = taken[: last + 1]
        assert before.count(segment_id) == size
        assert all(before.count(other) <= size + 1 for other in sizes)


def test_a_segment_that_comes_late_is_served_within_one_round():
    rotation = Rotation()
    claimed: set[str] = set()
    for segment_id in (1, 2):
        rotation.queue(segment_id).take_in(stretch(segment_id, [f"{segment_id}:{n}" for n in range(100)]), claimed)
    for _ in range(50):
        rotation.next()
    rotation.queue(3).take_in(stretch(3, ["3:0"]), claimed)
    assert 3 in [segment_id for segment_id, _, _ in drained(rotation)[:3]]


def test_an_empty_rotation_has_nothing():
    rotation = Rotation()
    assert rotation.next() is None
    rotation.queue(1)
    assert rotation.next() is None


def test_a_contact_that_is_claimed_is_not_taken_twice():
    queue, claimed = SegmentQueue(), {"a"}
    assert queue.take_in(stretch(1, ["a", "b"]), claimed) == 1
    assert claimed == {"a", "b"}
    assert [each.contact for _, each in queue.ready] == ["b"]


def test_a_contact_let_go_since_the_claim_began_is_looked_at_again_instead():
    queue = SegmentQueue()
    claimed: set[str] = set()
    assert queue.take_in(stretch(1, ["a", "b"]), claimed, {"a"}) == 1
    assert claimed == {"b"}
    queue.finish(1, sent=True)
    assert queue.spent_pieces() == []


def test_a_piece_is_spent_when_it_was_seen_to_its_end_and_all_of_it_was_sent():
    queue = SegmentQueue()
    queue.take_in(stretch(1, ["a"], complete=False), set())
    queue.finish(1, sent=True)
    assert queue.spent_pieces() == [], "the rest of the piece has not been looked at"
    queue.take_in(stretch(1, ["b", "c"]), set())
    queue.finish(1, sent=True)
    assert queue.spent_pieces() == [], "one of it is still on its way"
    queue.finish(1, sent=True)
    assert queue.spent_pieces() == [1]
    assert queue.spent_pieces() == [], "each is dropped once"


def test_a_piece_in_which_nothing_is_pending_is_spent_at_once():
    queue = SegmentQueue()
    queue.take_in(stretch(1, []), set())
    assert queue.spent_pieces() == [1]


def test_what_was_left_is_found_again_from_the_first_piece_with_a_rest():
    queue = SegmentQueue()
    queue.take_in(stretch(4, ["a"]), {"a"})
    queue.take_in(stretch(7, ["b"]), set())
    queue.exhausted = True
    queue.look_again()
    assert queue.exhausted, "something is still ready: it goes first"
    queue.ready.popleft()
    queue.finish(7, sent=False)
    assert queue.spent_pieces() == []
    queue.look_again()
    assert (queue.cursor.piece_id, queue.cursor.start, queue.exhausted) == (4, 0, False)
    queue.take_in(stretch(4, ["a"]), set())
    queue.take_in(stretch(7, []), set())
    assert queue.spent_pieces() == [7]
    queue.finish(4, sent=True)
    assert queue.spent_pieces() == [4]


def test_a_queue_does_not_look_again_before_it_came_to_the_end():
    queue = SegmentQueue()
    queue.take_in(stretch(4, ["a"], complete=False), {"a"})
    queue.look_again()
    assert queue.cursor.piece_id == 0


def test_putting_everything_back_lets_all_contacts_go_and_no_piece():
    rotation = Rotation()
    claimed: set[str] = set()
    rotation.queue(1).take_in(stretch(1, ["a", "b"]), claimed)
    rotation.queue(2).take_in(stretch(2, ["c"]), claimed)
    taken = rotation.next()
    assert taken is not None
    back = rotation.put_back_all()
    assert sorted([*back, taken[2].contact]) == ["a", "b", "c"]
    assert rotation.next() is None
    assert rotation.queue(1).spent_pieces() == rotation.queue(2).spent_pieces() == []
    assert rotation.queue(1).outstanding + rotation.queue(2).outstanding == 1


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_every_contact_is_sent_and_every_piece_spent_in_the_end(pieces, fortunes):
    """Some contacts come back unsent; however often, in the end each was sent and no piece is left."""
    owed = {number: {f"c{contact}" for contact in contacts} for number, contacts in enumerate(pieces, start=1)}
    luck = iter(fortunes)
    queue = SegmentQueue()
    claimed: set[str] = set()
    dropped: list[int] = []
    for _ in range(200):
        for piece_id in [each for each in sorted(owed) if each >= queue.cursor.piece_id]:
            queue.take_in(stretch(piece_id, sorted(owed[piece_id])), claimed)
        queue.exhausted = True
        while queue.ready:
            piece_id, each = queue.ready.popleft()
            sent = next(luck, True)
            if sent:
                for contacts in owed.values():
                    contacts.discard(each.contact)
            queue.finish(piece_id, sent=sent)
            claimed.discard(each.contact)
        for piece_id in queue.spent_pieces():
            assert owed.pop(piece_id) == set(), "nothing of a dropped piece is owed"
            dropped.append(piece_id)
        if not owed:
            break
        queue.look_again()
    assert sorted(dropped) == list(range(1, len(pieces) + 1))
