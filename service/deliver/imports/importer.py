"""The imports of one account: takes large backlogs away from single calls, sends them as files, settles what came of it.

    gathering ──▶ part: ready ──▶ posting ──▶ running ──▶ settling ──▶ gone
                           ▲ ▲                  │  │
                           │ └── some unknown ──┘  ├──▶ cut into smaller parts
                           └──── failed once ──────┴──▶ releasing ──▶ gone, left to single calls

While a contact's change travels in a file, nothing else is sent for the contact (R5): the store leaves it out of claims
until the part is settled or released. Whatever a file cannot do ends with single calls, which give failures their names.
"""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from service import supervision
from service.config.settings import AccountSettings
from service.deliver.imports import files
from service.deliver.imports.choosing import Chooser
from service.deliver.imports.counting import ListCounter
from service.deliver.imports.jobs import JobRunner, Unserved, columns_of
from service.deliver.imports.judging import CUT_INTO, Judgement, NextStep, judge
from service.deliver.line import AccountLine
from service.deliver.lists.keeper import ListKeeper
from service.deliver.observing import ImportObserver
from service.errors import StoreUnavailableError
from service.model.accounts import AccountState
from service.model.imports import ImportPart, ImportsStatus, ListTravel, OpenImport, PartState, Rest, Strategy
from service.store.port import BetweenClaims, Imports
from service.supervision import Supervisor

log = structlog.get_logger()

_IDLE_SECONDS = 1.0
_STORE_RETRY_SECONDS = 2.0
_REPEAT_SECONDS = 10.0
# After an import came to nothing, single calls do the work for so long before a file is tried again.
_REST_SECONDS = 3_600.0
# Cordial may count a little behind its writes: a shortfall is believed once it has lasted.
_RECOUNT_AFTER_SECONDS = (0.0, 3.0, 15.0)
# Of one file, so that whatever is wrong with some of its rows leaves other files alone.
_MOST_CONTACTS = 1_000_000


class Importer:
    """Sends one account's large backlogs by import. Without a `public_url` it leaves everything to single calls."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Imports,
        line: AccountLine,
        lists: ListKeeper,
        *,
        on_ended: Callable[[Collection[int]], None],
        observer: ImportObserver,
    ) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._lists = lists
        self._counter = ListCounter(settings.name, store, line, lists)
        self._on_ended = on_ended
        self._observer = observer
        self._runner = JobRunner(settings, store, line)
        self._is_on = bool(settings.public_url) and not settings.dry_run
        self._resting_until = float("-inf")
        self._rest: Rest | None = None
        self._chooser = Chooser(settings.bulk_threshold, time.monotonic)
        self._open: OpenImport | None = None
        # Whether all of the import under way took effect, so far.
        self._is_complete = True
        # At most what imports left to calls in each segment, so that it is not tried in a file again.
        self._released: Counter[int] = Counter()
        self._left: frozenset[int] = frozenset()
        self._due: tuple[int, ...] = ()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, between_claims: BetweenClaims, supervisor: Supervisor) -> None:
        """Take up an import that is under way, then look for more; to be called before single calls are claimed."""
        self._open = await self._store.open(self._settings.name)
        if self._is_on or self._open is not None:
            self._task = supervisor.start(f"{self._settings.name} imports", self._run(between_claims))

    async def stop(self) -> None:
        """End; a job that Cordial has is followed on at the next start."""
        await supervision.stop(self._task)

    def leave(self, segment_ids: Sequence[int], pending: Mapping[int, int]) -> list[int]:
        """Return which segments single calls may send; the others travel as files, now or soon."""
        busy = frozenset(self._open.segment_ids) if self._open else frozenset()
        if self._is_resting:
            self._left, self._due = frozenset(), ()
        else:
            choice = self._chooser.choose(
                {
                    segment_id: pending[segment_id] - self._still_released(segment_id, pending[segment_id])
                    for segment_id in segment_ids
                    if segment_id not in busy
                },
                self._store.arriving_users,
                self._store.inbox_users(),
            )
            self._left, self._due = choice
        if self._due and self._open is None:
            self._wake.set()
        return [segment_id for segment_id in segment_ids if segment_id not in busy and segment_id not in self._left]

    def status(self) -> ImportsStatus:
        """Return which segments' changes travel as files or wait to, and whether the account rests from imports."""
        lists = dict.fromkeys(self._left, ListTravel.WAITING)
        if self._open is not None:
            lists |= dict.fromkeys(self._open.segment_ids, ListTravel.SENDING)
        return ImportsStatus(lists, self._rest if self._is_resting else None)

    def admits(self, authorization: str | None) -> bool:
        """Tell whether a request with that `Authorization` may fetch a file whose name it knows."""
        return files.admits(self._settings.import_passwords, authorization)

    def hint(self) -> None:
        """Look at the job under way: somebody says that it is over."""
        self._runner.hint()

    def _still_released(self, segment_id: int, pending: int) -> int:
        self._released[segment_id] = min(self._released[segment_id], pending)
        return self._released[segment_id]

    @property
    def _is_resting(self) -> bool:
        return not self._is_on or asyncio.get_running_loop().time() < self._resting_until

    async def _run(self, between_claims: BetweenClaims) -> None:
        while True:
            try:
                if self._open is not None:
                    await self._finish(self._open)
                elif self._due and self._line.status().state is not AccountState.PAUSED:
                    await self._begin(between_claims)
                else:
                    await self._rest_a_while()
            except StoreUnavailableError as error:
                log.warning("import.waits", account=self._settings.name, reason=error.message)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
            except Exception:
                log.exception("import.failed", account=self._settings.name)
                await asyncio.sleep(_REPEAT_SECONDS)

    async def _rest_a_while(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._wake.wait()

    async def _begin(self, between_claims: BetweenClaims) -> None:
        segment_ids, self._due = self._due, ()
        self._left -= frozenset(segment_ids)
        # From here on, so that single calls of these segments end while what they leave is gathered.
        self._open = OpenImport(0, list(segment_ids), 0, 0, [])
        try:
            self._open = await self._store.gather(self._settings.name, segment_ids, between_claims, _MOST_CONTACTS)
        except BaseException:
            self._open = None
            raise
        if self._open is None:
            log.info("import.not_begun", account=self._settings.name, reason="none of the contacts suits a file")
            for segment_id in segment_ids:
                self._released[segment_id] = sys.maxsize
        else:
            log.info("import.begun", account=self._settings.name, contacts=self._open.contacts, lists=len(segment_ids))

    async def _finish(self, begun: OpenImport) -> None:
        while (current := await self._store.current(self._settings.name)) is not None:
            self._is_complete &= not current.released
            await self._take_part(current, current.parts[0])
        self._open = None
        is_complete, self._is_complete = self._is_complete, True
        log.info("import.ended", account=self._settings.name, contacts=begun.contacts, is_complete=is_complete)
        self._observer.ended(is_complete=is_complete)
        self._on_ended(begun.segment_ids)

    async def _take_part(self, current: OpenImport, part: ImportPart) -> None:
        name = self._settings.name
        if part.state is PartState.SETTLING:
            await self._store.settle(name, part, self._observer.settled)
        elif part.state is PartState.RELEASING or (self._is_resting and part.state is not PartState.RUNNING):
            await self._release(part)
        else:
            columns = columns_of(current.segment_ids, self._lists.ready_names())
            if columns is None:
                await self._give_up(part, Unserved("one of the lists cannot be written now", may_repeat=False))
                return
            job = await self._runner.run(part, columns)
            if isinstance(job, Unserved):
                await self._give_up(part, job)
                return
            judgement = judge(
                part,
                job,
                creates_contacts=self._settings.create_contacts,
                threshold=self._settings.bulk_threshold,
            )
            await self._follow_up(part, judgement, is_last=len(current.parts) == 1)

    async def _follow_up(self, part: ImportPart, judgement: Judgement, *, is_last: bool) -> None:
        name, step, reason = self._settings.name, judgement.step, judgement.reason
        if is_last and (step is NextStep.SETTLE or judgement.count_decides):
            found = await self._counter.compare(_RECOUNT_AFTER_SECONDS)
            excess = "" if self._settings.adopt_existing_lists else found.excess
            if step is NextStep.SETTLE and (found.shortfall or (excess and not part.tries)):
                await self._give_up(part, Unserved(found.shortfall or excess, may_repeat=True))
                return
            if not found.shortfall:
                step = NextStep.SETTLE
                if excess:
                    await self._release_leaving(part, excess)
        if step is NextStep.SETTLE:
            await self._store.settle(name, part, self._observer.settled)
        elif step is NextStep.CREATE:
            await self._store.send_again(part, Strategy.INSERT_ONLY, missing=judgement.missing)
        else:
            log.warning("import.fell_short", account=name, contacts=part.contacts, reason=reason, then=step.value)
            await self._store.note_reason(part, reason)
            if step is NextStep.CUT:
                await self._store.cut(name, part, -(-part.contacts // CUT_INTO))
            else:
                await self._release(part)

    async def _give_up(self, part: ImportPart, unserved: Unserved) -> None:
        """Try a part once more where that may help, else leave it, and for a time all else, to single calls."""
        if unserved.may_repeat and not part.tries:
            log.warning("import.repeated", account=self._settings.name, reason=unserved.reason)
            await asyncio.sleep(_REPEAT_SECONDS)
            await self._store.send_again(part, Strategy.UPDATE_ONLY, failed=True)
            return
        self._fall_back(unserved.reason)
        await self._store.note_reason(part, unserved.reason)
        await self._release(part)

    async def _release_leaving(self, part: ImportPart, reason: str) -> None:
        """Have calls take contacts off lists that two jobs did not take off: unless others put them there, they can."""
        log.warning(
            "import.fell_short", account=self._settings.name, contacts=part.contacts, reason=reason, then="calls"
        )
        await self._store.note_reason(part, reason)
        await self._store.release_leaving(self._settings.name, part)
        self._note_released(part)

    async def _release(self, part: ImportPart) -> None:
        await self._store.release(self._settings.name, part)
        self._note_released(part)

    def _note_released(self, part: ImportPart) -> None:
        self._is_complete = False
        for segment_id in self._open.segment_ids if self._open else ():
            self._released[segment_id] += part.contacts

    def _fall_back(self, reason: str) -> None:
        self._resting_until = asyncio.get_running_loop().time() + _REST_SECONDS
        self._rest = Rest(datetime.now(UTC) + timedelta(seconds=_REST_SECONDS), reason)
        self._observer.fell_back()
        log.error("import.fell_back", account=self._settings.name, reason=reason, hint="single calls do the work")
