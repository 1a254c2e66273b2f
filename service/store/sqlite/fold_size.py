"""How many users one fold takes: as many as it can while nobody who wants to write waits long. Pure, no I/O."""

_FIRST_USERS = 1_000
_LONG_SECONDS = 0.5
_SHORT_SECONDS = 0.2


class FoldSize:
    """Follows how long folds take.

    Each user lies on a page of the ledger of its own. Where the ledger is larger than the memory, each may cost a read of
    the disk: 20,000 of a millisecond keep a page from Heap waiting for 20 s, longer than the service lets it wait.
    """

    def __init__(self, max_users: int) -> None:
        self._max_users = max_users
        self.users = min(_FIRST_USERS, max_users)

    def note(self, users: int, seconds: float) -> None:
        """Note how long a fold took that was to take `self.users`, and found so many."""
        if seconds > _LONG_SECONDS:
            self.users = max(1, self.users // 2)
        elif seconds < _SHORT_SECONDS and users >= self.users:
            self.users = min(self._max_users, self.users * 2)
