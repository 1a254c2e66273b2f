"""Syncs whose pages are still arriving, so that whoever plans ahead need not judge a million users by the first page."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from service.model.deliveries import Delivery, Receipt

# Heap repeats what was not answered for hours, but sends the pages of a sync in one go.
_SILENCE_SECONDS = 60.0


@dataclass
class _Arrival:
    """`pages` and `users` of this sync that came since the start; of those that came before, only the store knows."""

    pages: int = 0
    users: int = 0
    at: float = 0.0
    pages_to_come: int = 0


class Arrivals:
    """What has come of each sync since the start, in memory only; forgotten once its account's inbox is folded, or silent for a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrivals: defaultdict[str, dict[int, dict[str, _Arrival]]] = defaultdict(dict)

    def note(self, receipt: Receipt, page: Delivery) -> None:
        """Note a page that is kept."""
        syncs = self._arrivals[page.account].setdefault(receipt.segment_id, {})
        arrival = syncs.setdefault(page.task_id, _Arrival())
        arrival.pages += 1
        arrival.users += len(page.add) + len(page.remove)
        arrival.at = self._clock()
        # Heap's own examples send two pages with one number, which are two pages here and one in the store. Pages that
        # came before a restart are only there.
        arrival.pages_to_come = max(0, page.total_pages - max(arrival.pages, receipt.pages_received))

    def users_to_come(self, account: str, segment_id: int, unfolded_users: int) -> int:
        """Return about how many users are not in the ledger yet, taking the missing pages to be like those that came.

        `unfolded_users` of the account wait to be folded: at most what has come of this segment is among them.
        """
        now, came, missing = self._clock(), 0, 0
        for arrival in self._arrivals[account].get(segment_id, {}).values():
            came += arrival.users
            if now - arrival.at <= _SILENCE_SECONDS:
                missing += arrival.users * arrival.pages_to_come // arrival.pages
        return min(came, unfolded_users) + missing

    def forget_folded(self, account: str) -> None:
        """Forget what has come whole or is silent, now that nothing of the account waits to be folded."""
        now = self._clock()
        segments = self._arrivals[account]
        for segment_id, syncs in list(segments.items()):
            for task_id, arrival in list(syncs.items()):
                if not arrival.pages_to_come or now - arrival.at > _SILENCE_SECONDS:
                    del syncs[task_id]
            if not syncs:
                del segments[segment_id]
