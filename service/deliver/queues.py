"""What an account has claimed and not sent yet: a short queue for each segment, taken from in turn (R9). No I/O."""

from collections import Counter, deque
from collections.abc import Collection

from service.model.changes import ClaimCursor, ContactWork, Stretch


class SegmentQueue:
    """The claimed contacts of one segment, and which of its pieces may be dropped.

    A piece is spent when it has been looked at to its end and each contact found in it has been dealt with. A contact
    that was found while it was claimed, or that was put back unsent, makes its piece be looked at again.
    """

    def __init__(self) -> None:
        self.cursor = ClaimCursor()
        self.exhausted = False
        self.ready: deque[tuple[int, ContactWork]] = deque()
        self.outstanding = 0
        self._open: Counter[int] = Counter()
        self._complete: set[int] = set()
        self._again: set[int] = set()

    def take_in(self, stretch: Stretch, claimed: set[str], let_go: Collection[str] = ()) -> int:
        """Queue what a claim found that was not claimed yet; return how many contacts that was.

        `let_go` are contacts let go since the claim began: what it read of them may be out of date.
        """
        taken = 0
        for work in stretch.works:
            if work.contact in claimed or work.contact in let_go:
                self._again.add(stretch.piece_id)
            else:
                claimed.add(work.contact)
                self.ready.append((stretch.piece_id, work))
                taken += 1
        self.outstanding += taken
        if taken:
            self._open[stretch.piece_id] += taken
        if stretch.complete:
            self._complete.add(stretch.piece_id)
        if stretch.has_skipped:
            self._again.add(stretch.piece_id)
        return taken

    def finish(self, piece_id: int, *, sent: bool) -> None:
        """Note that a contact of the piece has been dealt with, or put back."""
        self.outstanding -= 1
        self._open[piece_id] -= 1
        if not self._open[piece_id]:
            del self._open[piece_id]
        if not sent:
            self._again.add(piece_id)

    def spent_pieces(self) -> list[int]:
        """Return and forget the pieces that may be dropped."""
        done = [piece for piece in self._complete if piece not in self._open and piece not in self._again]
        self._complete.difference_update(done)
        return done

    def look_again(self) -> None:
        """Go back to the first piece in which something was skipped, if the queue has come to the end of its pieces."""
        if self.exhausted and not self.ready:
            self.exhausted = False
            if self._again:
                self.cursor = ClaimCursor(min(self._again), 0)
                self._complete -= self._again
                self._again.clear()


class Rotation:
    """The queues of all segments of an account; hands out contacts segment by segment in turn."""

    def __init__(self) -> None:
        self.queues: dict[int, SegmentQueue] = {}
        self._turn: deque[int] = deque()

    def queue(self, segment_id: int) -> SegmentQueue:
        """Return the queue of a segment, made at first use."""
        found = self.queues.get(segment_id)
        if found is None:
            found = self.queues[segment_id] = SegmentQueue()
            self._turn.append(segment_id)
        return found

    def next(self) -> tuple[int, int, ContactWork] | None:
        """Return (segment, piece, contact) of the next segment in turn that has something ready, or None."""
        for _ in range(len(self._turn)):
            segment_id = self._turn[0]
            self._turn.rotate(-1)
            queue = self.queues[segment_id]
            if queue.ready:
                return segment_id, *queue.ready.popleft()
        return None

    def put_back_all(self) -> list[str]:
        """Empty all queues, so that what is in them is claimed anew; return the contacts let go."""
        contacts: list[str] = []
        for queue in self.queues.values():
            while queue.ready:
                piece_id, work = queue.ready.popleft()
                queue.finish(piece_id, sent=False)
                contacts.append(work.contact)
        return contacts
