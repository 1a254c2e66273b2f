"""How much waits, held in memory beside the counters on disk, so that nobody has to count."""

from collections import defaultdict


class Backlog:
    """Users not folded yet, and pending and waiting changes of each segment.

    Changed only after a commit, by the same figures that the commit wrote.
    """

    def __init__(self) -> None:
        self.unfolded_users = 0
        self.pending_total = 0
        self.waiting_total = 0
        self._pending: dict[int, int] = defaultdict(int)
        self._waiting: dict[int, int] = defaultdict(int)
        self._account_of: dict[int, str] = {}
        self._segments_of: dict[str, set[int]] = defaultdict(set)

    @property
    def total(self) -> int:
        """Everything accepted and not settled."""
        return self.unfolded_users + self.pending_total + self.waiting_total

    def change(self, account: str, segment_id: int, pending: int, waiting: int) -> None:
        """Add to a segment's figures; negative numbers take away."""
        self.pending_total += pending
        self.waiting_total += waiting
        self._waiting[segment_id] += waiting
        left = self._pending[segment_id] + pending
        if left:
            self._pending[segment_id] = left
            self._account_of[segment_id] = account
            self._segments_of[account].add(segment_id)
        else:
            self._pending.pop(segment_id, None)
            self._segments_of[account].discard(segment_id)

    def pending_segments(self, account: str) -> dict[int, int]:
        """Return the pending changes of each segment of the account that has any."""
        return {segment_id: self._pending[segment_id] for segment_id in sorted(self._segments_of[account])}

    def is_drained(self, segment_id: int) -> bool:
        """Tell whether nothing of the segment is pending or waiting."""
        return not self._pending.get(segment_id) and not self._waiting.get(segment_id)
