"""The worker pool of one account: claim, wait for the limiter, call, settle; one call at a time per contact (R5).

A contact that was claimed stays so until the results of its call are committed. Whatever else turns up for it meanwhile
stays in the store and is found again afterwards.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence

import structlog

from service import supervision
from service.config.settings import AccountSettings
from service.deliver.blame import Kind
from service.deliver.line import AccountLine
from service.deliver.lists.keeper import ListKeeper
from service.deliver.proof.doubts import Doubts
from service.deliver.queues import Rotation, SegmentQueue
from service.deliver.repeating import Confirmed
from service.deliver.retry import Timings
from service.deliver.sending import Sender
from service.deliver.settler import Settler
from service.errors import StoreFaultError, StoreUnavailableError
from service.model.changes import ContactWork, Outcome
from service.store.port import Ledger
from service.supervision import Supervisor

log = structlog.get_logger()

_CLAIM_LIMIT = 250
_MAX_READY = 1_000
# Where the rate is yet to be found: as if it were among the highest that Cordial may allow.
_CALLS_PER_SECOND_TO_FIND = 500
_IDLE_SECONDS = 1.0
_FAULT_SECONDS = 60.0
_STOP_LOOK_SECONDS = 0.1
_STOP_WRITE_SECONDS = 5.0


class AccountPool:
    """Sends what one account owes."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Ledger,
        line: AccountLine,
        lists: ListKeeper,
        settler: Settler,
        *,
        doubts: Doubts,
        sendable: Callable[[Sequence[int], Mapping[int, int]], Mapping[int, int]],
        find_late: Callable[[Mapping[int, int]], Awaitable[None]],
        on_settled: Callable[[int, str], None],
        now_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self._name = settings.name
        self._store = store
        self._line = line
        self._lists = lists
        self._settler = settler
        self._doubts = doubts
        # Given the segments whose lists are ready and the pending changes of all, it says how many changes of each segment
        # calls may send; files take the others. `find_late` is called before it: it asks the store what has come since an
        # import began.
        self._sendable = sendable
        self._find_late = find_late
        self._on_settled = on_settled
        self._sender = Sender(settings, line, lists, on_absent=doubts.absent, now_ms=now_ms, timings=timings)
        self._concurrency = settings.max_concurrency
        # About two seconds of work: enough to keep the workers busy, little enough to be fair and fresh.
        rate = _CALLS_PER_SECOND_TO_FIND if settings.requests_per_second == "auto" else settings.requests_per_second
        self._max_ready = int(min(_MAX_READY, max(4 * settings.max_concurrency, 2 * rate)))
        self._share = self._max_ready
        self._rotation = Rotation()
        self._claimed: set[str] = set()
        self._let_go: set[str] = set()
        self._ready = asyncio.Semaphore(0)
        self._wake = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._has_work = False
        # Of segments whose changes could not be read: when to try again.
        self._not_before: dict[int, float] = {}
        # When there was last nothing to send, or a result; None before the first look.
        self._moved_at: float | None = None
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, supervisor: Supervisor) -> None:
        """Begin to send."""
        self._tasks = [
            supervisor.start(f"{self._name} worker {number}", self._work(), may_end=lambda: self._stopping)
            for number in range(self._concurrency)
        ]
        self._tasks.append(supervisor.start(f"{self._name} feeder", self._feed(supervisor), beats=True))
        self._tasks.append(supervisor.start(f"{self._name} prober", self._probe()))

    @property
    def still_seconds(self) -> float:
        """For how long there have been changes that may be sent, without a result of any."""
        return 0.0 if self._moved_at is None else time.monotonic() - self._moved_at

    def wake(self) -> None:
        """Look for work: something was folded, settled, let go, or a list became ready."""
        self._wake.set()

    def refresh(self) -> None:
        """Claim anew what is queued: it may have waited long, and what is wanted may have changed."""
        contacts = self._rotation.put_back_all()
        self._doubts.let_go(contacts)
        self._claimed.difference_update(contacts)
        self._let_go.update(contacts)
        self.wake()

    def withdraw(self, contacts: Collection[str]) -> None:
        """Send nothing of what was claimed for these contacts and is not written yet; it is claimed anew if still owed."""
        self._line.withdraw(contacts)
        # What a claim under way has read of them is out of date.
        self._let_go.update(contacts)
        self.refresh()

    @contextlib.contextmanager
    def reading(self, contact: str) -> Iterator[bool]:
        """Make no call for a contact and have no file take it until the block ends; gives False if one is under way (R5)."""
        if contact in self._claimed:
            yield False
            return
        self._claimed.add(contact)
        try:
            yield True
        finally:
            self._claimed.discard(contact)
            self._let_go.add(contact)
            self.wake()

    @contextlib.asynccontextmanager
    async def between_claims(self) -> AsyncIterator[Collection[str]]:
        """Claim nothing until the block ends; gives the contacts that are claimed."""
        async with self._claiming:
            yield self._claimed

    @contextlib.asynccontextmanager
    async def settled_contact(self, kinds: Sequence[Kind], apart_from: str) -> AsyncIterator[Confirmed | None]:
        """Find a contact whose state Cordial has confirmed in one of these ways; make no other call for it in the block (R5).

        Gives None where there is none but `apart_from`, or its list cannot be written to.
        """
        found: Confirmed | None = None
        async with self._claiming:
            # The keeper's names change while the store is asked.
            names = self._lists.names.to_prove()
            for kind in (kind for kind in kinds if kind.segment_id in names):
                contacts = await self._settled_near(kind, apart_from)
                free = [contact for contact in contacts if contact not in self._claimed]
                if free:
                    # Whom Cordial found last it finds best; but not always the same, who may be gone from it since.
                    latest = self._line.blame.latest_contact(kind)
                    anyone = random.choice(free)  # noqa: S311  no secret
                    contact = random.choice([latest, anyone]) if latest in free else anyone  # noqa: S311  no secret
                    found = Confirmed(contact, kind, names[kind.segment_id])
                    self._claimed.add(found.contact)
                    break
        if found is None:
            yield None
            return
        try:
            await self._doubts.note_claimed([found.contact])
            yield found
            await self._doubts.write()
            # Otherwise the call was cut off: the note stays, and the next start finds the contact in doubt.
            self._doubts.let_go([found.contact])
        finally:
            self._claimed.discard(found.contact)
            self._let_go.add(found.contact)
            self.wake()

    async def has_settled(self, kinds: Sequence[Kind], apart_from: str) -> bool:
        """Return whether there is a contact but `apart_from` whose state Cordial has confirmed in one of these ways."""
        names = self._lists.names.to_prove()
        for kind in (kind for kind in kinds if kind.segment_id in names):
            if await self._settled_near(kind, apart_from, or_in_import=True):
                return True
        return False

    async def _settled_near(self, kind: Kind, apart_from: str, *, or_in_import: bool = False) -> list[str]:
        near = self._line.blame.latest_contact(kind)
        return await self._store.settled_contacts(
            self._name,
            kind.segment_id,
            wanted=kind.wanted,
            near=near,
            apart_from=apart_from,
            or_in_import=or_in_import,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Let calls that are on their way finish within the grace, cancel the others (R13)."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        while (left := deadline - loop.time()) > 0:
            calling = {task for task in self._tasks if self._line.is_calling(task)}
            for task in self._tasks:
                if task not in calling:
                    task.cancel()
            if not calling:
                break
            # Looked at again soon: a call that was answered "later" waits with no request on its way.
            await asyncio.wait(calling, timeout=min(left, _STOP_LOOK_SECONDS))
        await supervision.stop(*self._tasks)
        # Calls that were cut just now.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WRITE_SECONDS):
                await self._doubts.write()

    async def _feed(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.beat()
            self._wake.clear()
            try:
                found = await self._fill()
            except StoreUnavailableError as error:
                log.warning("feeder.delayed", account=self._name, reason=error.message)
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            except Exception:
                # Whatever the trouble is, sending goes on by itself when it is over.
                log.exception("feeder.failed", account=self._name)
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            if not found:
                await self._doubts.tidy()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self._wake.wait()

    async def _probe(self) -> None:
        """Ask Cordial whether the account can be served again, where there is nothing to send that would show it (R7)."""
        circuit = self._line.circuit
        while True:
            await asyncio.sleep(_IDLE_SECONDS)
            if circuit.is_open and all(map(self._lists.is_held, self._store.owing_segments(self._name))):
                # Nothing is owed that could be written, so nothing else can show that the trouble is over.
                circuit.forget_writes()
            if circuit.ends_by_reading and not self._has_work:
                await self._lists.cordial.all()

    async def _fill(self) -> bool:
        """Claim once for each segment whose queue runs low; return whether anything was found."""
        pending = self._store.pending_segments(self._name)
        await self._find_late(pending)
        lists = self._sendable(self._lists.ready(pending), pending)
        self._has_work = bool(lists)
        if not lists or self._moved_at is None:
            self._moved_at = time.monotonic()
        self._share = max(1, self._max_ready // (len(lists) or 1))
        found = False
        for segment_id, changes in lists.items():
            queue = self._rotation.queue(segment_id)
            if (
                queue.outstanding >= changes
                or self._not_before.get(segment_id, 0.0) > asyncio.get_running_loop().time()
            ):
                continue
            queue.look_again()
            if not queue.exhausted and len(queue.ready) * 2 <= self._share:
                try:
                    found |= await self._claim(segment_id, queue, min(self._share, _CLAIM_LIMIT))
                except StoreFaultError:
                    # The other segments go on.
                    self._not_before[segment_id] = asyncio.get_running_loop().time() + _FAULT_SECONDS
                    log.exception("claim.failed", account=self._name, segment=segment_id)
        return found

    async def _claim(self, segment_id: int, queue: SegmentQueue, limit: int) -> bool:
        async with self._claiming:
            return await self._claim_next(segment_id, queue, limit)

    async def _claim_next(self, segment_id: int, queue: SegmentQueue, limit: int) -> bool:
        self._let_go.clear()
        claimed = await self._store.claim(self._name, segment_id, queue.cursor, limit)
        found = {work.contact for stretch in claimed.stretches for work in stretch.works}
        if contacts := found - self._claimed - self._let_go:
            # Durable before any of their calls is made: a crash must not lose which they were (R6).
            await self._doubts.note_claimed(contacts)
        queue.cursor, queue.exhausted = claimed.cursor, claimed.exhausted
        for stretch in claimed.stretches:
            for _ in range(queue.take_in(stretch, self._claimed, self._let_go)):
                self._ready.release()
        # Claimed or let go while the note was written.
        self._doubts.let_go(contacts - {work.contact for _, work in queue.ready})
        self._drop_spent(queue)
        return not claimed.exhausted

    async def _work(self) -> None:
        while not self._stopping:
            await self._ready.acquire()
            entry = self._rotation.next()
            if entry is None:
                continue
            segment_id, piece_id, work = entry
            queue = self._rotation.queue(segment_id)
            if not queue.exhausted and len(queue.ready) * 2 <= self._share:
                self._wake.set()
            try:
                await self._deliver(queue, piece_id, work)
            except Exception:
                log.exception("worker.failed", account=self._name)
                self._finish(queue, piece_id, work, ())
                await asyncio.sleep(_IDLE_SECONDS)

    async def _deliver(self, queue: SegmentQueue, piece_id: int, work: ContactWork) -> None:
        verdict = await self._sender.send(work)
        # Before the contact is let go: a crash must not lose it.
        await self._doubts.write()
        for segment_id, name in verdict.lost_lists.items():
            self._lists.lost(segment_id, name)
        outcomes = verdict.outcomes
        if outcomes:
            await self._settler.add(outcomes, lambda: self._finish(queue, piece_id, work, outcomes))
        else:
            self._finish(queue, piece_id, work, outcomes)

    def _finish(self, queue: SegmentQueue, piece_id: int, work: ContactWork, outcomes: Sequence[Outcome]) -> None:
        # A change without an outcome is still owed: its piece has to be looked at again.
        queue.finish(piece_id, sent=len(outcomes) == len(work.changes))
        self._claimed.discard(work.contact)
        self._let_go.add(work.contact)
        self._doubts.let_go([work.contact])
        self._drop_spent(queue)
        if outcomes:
            self._moved_at = time.monotonic()
        for outcome in outcomes:
            self._on_settled(outcome.segment_id, work.contact)
        self._wake.set()

    def _drop_spent(self, queue: SegmentQueue) -> None:
        for piece_id in queue.spent_pieces():
            self._settler.drop_piece(piece_id)
