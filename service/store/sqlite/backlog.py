"""How much waits, held in memory beside the counters on disk, so that nobody has to count."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from service.store.sqlite.loading import Owed


class Backlog:
    """Users not folded yet, and pending and waiting changes of each segment.

    Changed only after a commit, by the same figures that the commit wrote. The totals are of the accounts being served:
    what the store keeps for an account that is configured no more waits for its return, and must hold nobody else up.
    Users not folded yet count whosever they are, for they are folded in any case.
    """

    def __init__(self) -> None:
        self.unfolded_users = 0
        self._served: frozenset[str] = frozenset()
        self._pending_of_account: Counter[str] = Counter()
        self._waiting_of_account: Counter[str] = Counter()
        self._pending: dict[int, int] = defaultdict(int)
        self._waiting: dict[int, int] = defaultdict(int)
        self._account_of: dict[int, str] = {}
        self._segments_of: dict[str, set[int]] = defaultdict(set)

    def serve(self, accounts: Collection[str]) -> None:
        """Count these accounts in the totals, and no others."""
        self._served = frozenset(accounts)

    def set(self, owed: Iterable[Owed], unfolded_users: int) -> None:
        """Start anew from what the store says."""
        self.unfolded_users = unfolded_users
        for figures in (self._pending_of_account, self._waiting_of_account, self._pending, self._waiting):
            figures.clear()
        self._segments_of.clear()
        for each in owed:
            self.change(each.account, each.segment_id, each.pending, each.waiting)

    @property
    def pending_total(self) -> int:
        """Changes that may be sent now."""
        return sum(self._pending_of_account[account] for account in self._served)

    @property
    def waiting_total(self) -> int:
        """Changes that wait for their next call."""
        return sum(self._waiting_of_account[account] for account in self._served)

    @property
    def total(self) -> int:
        """Everything accepted and not settled."""
        return self.unfolded_users + self.pending_total + self.waiting_total

    def change(self, account: str, segment_id: int, pending: int, waiting: int) -> None:
        """Add to a segment's figures; negative numbers take away."""
        self._pending_of_account[account] += pending
        self._waiting_of_account[account] += waiting
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
