"""A few contacts of each sync that has drained, chosen by chance, to be read back (R11)."""

import random
from collections import defaultdict
from collections.abc import Callable

from service.model.proof import ReadBackReason
from service.store.port import Proofs

# Cordial may show what it has confirmed a little later.
_DUE_AFTER_MS = 2_000


class _Sample:
    """So many of the contacts seen so far, each of them as likely as any other."""

    def __init__(self) -> None:
        self.contacts: list[str] = []
        self.seen = 0

    def add(self, contact: str, size: int) -> None:
        """See one contact more."""
        self.seen += 1
        if len(self.contacts) < size:
            self.contacts.append(contact)
        elif (place := random.randrange(self.seen)) < size:  # noqa: S311  a sample, no secret
            self.contacts[place] = contact


class Samples:
    """Chooses `size` contacts of each list's changes; they are read back once the list has nothing left to send."""

    def __init__(
        self, account: str, store: Proofs, size: int, is_drained: Callable[[int], bool], now_ms: Callable[[], int]
    ) -> None:
        self._account = account
        self._store = store
        self._size = size
        self._is_drained = is_drained
        self._now_ms = now_ms
        self._samples: defaultdict[int, _Sample] = defaultdict(_Sample)
        self._imported: set[int] = set()

    def settled(self, segment_id: int, contact: str) -> None:
        """Note that a contact's change of a list was confirmed, or refused for good."""
        if self._size:
            self._samples[segment_id].add(contact, self._size)

    def imported(self, segment_id: int) -> None:
        """Note that changes of a list travelled in a file, too many to name."""
        if self._size:
            self._imported.add(segment_id)

    async def take(self) -> None:
        """Have the samples read back of lists that have drained. Raises `StoreUnavailableError`, `StoreFaultError`."""
        for segment_id in [each for each in {*self._samples, *self._imported} if self._is_drained(each)]:
            contacts = self._samples[segment_id].contacts
            if segment_id in self._imported:
                contacts = [*contacts, *await self._store.any_contacts(self._account, self._size)][: self._size]
            if contacts:
                await self._store.ask(self._account, contacts, ReadBackReason.SAMPLE, self._now_ms() + _DUE_AFTER_MS)
            self._samples.pop(segment_id, None)
            self._imported.discard(segment_id)
