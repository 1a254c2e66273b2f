"""Which contacts are in doubt: Cordial may still carry out a call for them whose end is unknown (R5, R6).

A call whose answer never came puts its contact in doubt. After a crash nobody knows which calls were on their way, so the
contacts that may be sent are noted durably before, some hundreds in one commit, and the notes that a start finds are
in doubt. Nothing waits for the doubt: the newer state is sent, and the contact is read back when it is over.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

import structlog

from service.errors import StoreFaultError, StoreUnavailableError
from service.model.proof import ReadBackReason
from service.store.port import Proofs

log = structlog.get_logger()
_STORE_RETRY_SECONDS = 0.5


class Doubts:
    """The contacts of one account that are in doubt, or would be after a crash, and those that Cordial says do not exist.

    `seconds`: for how long after its end Cordial may still carry out a call.
    """

    def __init__(self, account: str, store: Proofs, seconds: float, now_ms: Callable[[], int]) -> None:
        self._account = account
        self._store = store
        self._wait_ms = int(seconds * 1000)
        self._now_ms = now_ms
        self._lost: dict[str, int] = {}
        self._absent: set[str] = set()
        self._note_of: dict[str, int] = {}
        self._open: Counter[int] = Counter()
        self._ended: list[int] = []

    async def start(self) -> None:
        """Put those in doubt whose calls a crash may have cut off. Raises `StoreUnavailableError` and `StoreFaultError`."""
        found = await self._store.take_up_claims(self._account, self._now_ms() + self._wait_ms)
        if found:
            log.warning(
                "calls.cut_by_crash", account=self._account, contacts=found, read_back_in_seconds=self._wait_ms / 1000
            )

    async def note_claimed(self, contacts: Collection[str]) -> None:
        """Note that these contacts may be sent from now on. Raises `StoreUnavailableError` and `StoreFaultError`."""
        ended, self._ended = self._ended, []
        try:
            note = await self._store.note_claimed(self._account, contacts, ended)
        except BaseException:
            self._ended += ended
            raise
        self._note_of.update(dict.fromkeys(contacts, note))
        self._open[note] = len(contacts)

    def let_go(self, contacts: Collection[str]) -> None:
        """Note that what came of these contacts is durable, or that they were not sent."""
        for contact in contacts:
            note = self._note_of.pop(contact, None)
            if note is None:
                continue
            self._open[note] -= 1
            if not self._open[note]:
                del self._open[note]
                self._ended.append(note)

    def lost(self, contact: str) -> None:
        """Note that a call for the contact has ended and that Cordial may still carry it out; `write` makes it durable."""
        self._lost[contact] = self._now_ms() + self._wait_ms

    def absent(self, contact: str) -> None:
        """Have a contact read back that does not exist, as far as Cordial says: it may be needed on other lists."""
        self._absent.add(contact)

    async def write(self) -> None:
        """Make durable which contacts are in doubt or absent, however long that takes."""
        while self._lost or self._absent:
            lost, absent = dict(self._lost), set(self._absent)
            try:
                if absent:
                    await self._store.ask(self._account, absent, ReadBackReason.ABSENT, self._now_ms())
                if lost:
                    # Those that were lost together are due together: at the last one's time.
                    await self._store.ask(self._account, lost, ReadBackReason.LOST_ANSWER, max(lost.values()))
            except StoreUnavailableError:
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            except StoreFaultError:
                # What is wrong was told by the store; it must not keep the account from sending.
                log.exception("doubts.not_kept", account=self._account, contacts=len(lost))
            else:
                if lost:
                    log.info("calls.in_doubt", account=self._account, contacts=len(lost))
            self._absent -= absent
            self._lost = {contact: due for contact, due in self._lost.items() if due != lost.get(contact)}

    async def tidy(self) -> None:
        """Remove the notes that are over, while nothing else is to be done."""
        ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            await self._store.end_claims(ended)
        except (StoreUnavailableError, StoreFaultError):
            self._ended += ended

    async def end(self) -> None:
        """Remove all notes: no call is on its way any more, and every result is kept."""
        if not self._lost:
            self._ended += self._open
            self._open.clear()
            self._note_of.clear()
            await self.tidy()
