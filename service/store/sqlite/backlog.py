"""How much waits, held in memory beside the counters on disk, so that nobody has to count."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from service.errors import BacklogFullError
from service.store.sqlite.loading import Owed


class Backlog:
    """Users not folded yet, and pending and waiting changes of each segment.

    Changed only after a commit, by the same figures that the commit wrote. The totals are of the accounts being served:
    what the store keeps for an account that is configured no more waits for its return, and must hold nobody else up.
    Users not folded yet count whosever they are, for they are folded in any case. Those that are judged first (R17) are counted
    apart, because they may wait for a person.
    """

    def __init__(self, max_total: int) -> None:
        self._max_total = max_total
        # The accounts being served, each with the bound of its own; 0: none.
        self._max_of_account: Mapping[str, int] = {}
        self._unfolded_of_account: Counter[str] = Counter()
        self._guarded_of_account: Counter[str] = Counter()
        self._pending_of_account: Counter[str] = Counter()
        self._waiting_of_account: Counter[str] = Counter()
        self._pending: dict[int, int] = defaultdict(int)
        self._waiting: dict[int, int] = defaultdict(int)
        self._owing_of_account: dict[str, set[int]] = defaultdict(set)

    def serve(self, accounts: Mapping[str, int], max_total: int) -> None:
        """Count these accounts in the totals, and no others; each with the bound of its own, 0 for none."""
        self._max_of_account = dict(accounts)
        self._max_total = max_total

    def set(self, owed: Iterable[Owed]) -> None:
        """Start anew from what the store says."""
        self._unfolded_of_account.clear()
        self._guarded_of_account.clear()
        for figures in (self._pending_of_account, self._waiting_of_account, self._pending, self._waiting):
            figures.clear()
        self._owing_of_account.clear()
        for each in owed:
            self.change(each.account, each.segment_id, each.pending, each.waiting)
            self.add_unfolded(each.account, each.unfolded)
            self.add_guarded(each.account, each.guarded)

    def check_room(self, account: str) -> None:
        """Refuse more for an account that holds its own bound, or more than its share while all hold theirs together.

        The share is half of what each account had if all had the same. So one account's backlog refuses no other
        account's pages before that one has used its share. Raises `BacklogFullError`.
        """
        held = self.total_of(account)
        max_own = self.max_of(account)
        if held >= max_own:
            whose = f"max_backlog of account {account}" if max_own < self._max_total else "max_backlog of the store"
            raise BacklogFullError(f"{account} has {held} unsettled changes, and {whose} is {max_own}")
        share = min(max_own, self._max_total // (2 * max(1, len(self._max_of_account))))
        if held >= share and self.total >= self._max_total:
            raise BacklogFullError(
                f"all accounts together have {self.total} unsettled changes, and max_backlog of the store is "
                f"{self._max_total}; of this, {account} has used its share of {share}"
            )

    def max_of(self, account: str) -> int:
        """How many changes of the account may be kept unsettled, whatever the others have."""
        return min(self._max_of_account.get(account) or self._max_total, self._max_total)

    def total_of(self, account: str) -> int:
        """Everything of the account that was accepted and is not settled."""
        return self.to_send_of(account) + self._guarded_of_account[account]

    def to_send_of(self, account: str) -> int:
        """Everything of the account that is still to be sent, but for what is set aside."""
        return (
            self._unfolded_of_account[account] + self._pending_of_account[account] + self._waiting_of_account[account]
        )

    @property
    def to_send_total(self) -> int:
        """The same of all accounts being served."""
        return sum(map(self.to_send_of, self._max_of_account))

    @property
    def unfolded_users(self) -> int:
        """Users not folded yet, whosever they are."""
        return self._unfolded_of_account.total()

    def unfolded_of(self, account: str) -> int:
        """Users of one account that are not folded yet."""
        return self._unfolded_of_account[account]

    def add_unfolded(self, account: str, users: int) -> None:
        """Add to an account's users that are not folded yet; a negative number takes away."""
        self._unfolded_of_account[account] += users

    @property
    def guarded_total(self) -> int:
        """Users that are set aside until their sync is judged, or until a person decides."""
        return sum(self._guarded_of_account[account] for account in self._max_of_account)

    def add_guarded(self, account: str, users: int) -> None:
        """Add to an account's users that are set aside; a negative number takes away."""
        self._guarded_of_account[account] += users

    @property
    def pending_total(self) -> int:
        """Changes that may be sent now."""
        return sum(self._pending_of_account[account] for account in self._max_of_account)

    @property
    def waiting_total(self) -> int:
        """Changes that wait for their next call."""
        return sum(self._waiting_of_account[account] for account in self._max_of_account)

    @property
    def total(self) -> int:
        """Everything accepted and not settled."""
        return self.unfolded_users + self.guarded_total + self.pending_total + self.waiting_total

    def change(self, account: str, segment_id: int, pending: int, waiting: int) -> None:
        """Add to a segment's figures; negative numbers take away."""
        self._pending_of_account[account] += pending
        self._waiting_of_account[account] += waiting
        self._pending[segment_id] += pending
        self._waiting[segment_id] += waiting
        if self.is_drained(segment_id):
            del self._pending[segment_id], self._waiting[segment_id]
            self._owing_of_account[account].discard(segment_id)
        else:
            self._owing_of_account[account].add(segment_id)

    def pending_segments(self, account: str) -> dict[int, int]:
        """Return the pending changes of each segment of the account that has any."""
        return {each: self._pending[each] for each in self.owing_segments(account) if self._pending[each]}

    def is_drained(self, segment_id: int) -> bool:
        """Tell whether nothing of the segment is pending or waiting."""
        return not self._pending.get(segment_id) and not self._waiting.get(segment_id)

    def owing_segments(self, account: str) -> list[int]:
        """Return the segments of the account of which anything is pending or waiting."""
        return sorted(self._owing_of_account[account])
