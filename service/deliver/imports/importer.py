"""The imports of one account: takes large backlogs away from single calls, sends them as files, settles what came of it.

The states of a part are drawn in `service/model/imports.py`. While a contact's change travels in a file, nothing else is
sent for the contact (R5): the store leaves it out of claims until the part is settled or released. Whatever a file cannot
do ends with single calls, which give failures their names.

Where an import stands is read from the store before each step, and each step can be taken again: what fails half way, is
cancelled or loses its answer is simply gone on with. In memory are only plans: when to look, and what to try next.
"""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from service import supervision
from service.backoff import backoff_seconds
from service.config.settings import AccountSettings
from service.deliver.imports import files
from service.deliver.imports.choosing import Chooser
from service.deliver.imports.counting import ListCounter
from service.deliver.imports.jobs import Jobs, Posted
from service.deliver.imports.judging import Job, JobStatus, Judgement, NextStep, judge, rows_without_effect
from service.deliver.imports.permission import are_files_permitted
from service.deliver.imports.searching import Searcher
from service.deliver.line import AccountLine
from service.deliver.lists.keeper import ListKeeper
from service.deliver.observing import ImportObserver
from service.errors import StoreUnavailableError
from service.model.imports import (
    DoubtEnd,
    ImportPart,
    ImportsStatus,
    ImportState,
    ListTravel,
    OpenImport,
    PartState,
    Rest,
    Strategy,
)
from service.store.port import BetweenClaims, Imports, Trials
from service.supervision import Supervisor

log = structlog.get_logger()

# Of one file, so that whatever is wrong with some of its rows leaves other files alone.
_MAX_CONTACTS = 1_000_000
_MAX_POSTS = 5
_MAX_UNKNOWN = 5
_UNTESTED_HINT = "bulk_untested = true: no trial has shown that files subscribe nobody in this Cordial account; run `heap-cordial trial`"
_ERASED = "somebody in its file is to be erased; another file takes the others"
_TAKEN_BACK = "imports were switched off while its changes were collected"


_SAID = {
    DoubtEnd.OVER: "a person saw in Cordial that the job is over",
    DoubtEnd.NEVER_STARTED: "a person saw in Cordial that the job was never started",
}


class Timings(msgspec.Struct, frozen=True):
    """How long to wait for what, in seconds.

    `idle`: between two looks for work; `store_retry`: after trouble of the store; `repeat`: before a part is tried
    again. `max_repost`: at most between two posts of a part; the wait doubles from one second on. `rest`: after an import
    came to nothing, single calls do the work for so long before a file is tried again.
    `recount`: Cordial may count a little behind its writes, so a shortfall is believed once it has lasted.
    `first_look`, `max_look`: between two questions how a job is, doubled each time; `max_doubt_look` where a part is in
    doubt. A hint may be anybody's: it never makes us ask more often than each `min_look`. `patience_unfetched`,
    `patience_fetched`: for so long a job may stand still, before it has fetched its file and after.
    `throttle_patience`: for so long Cordial may tell us to wait before it takes a job. `doubt_limit`: Cordial keeps the
    files of imports for 30 days; after that it can carry none out.
    """

    idle: float = 1.0
    store_retry: float = 2.0
    repeat: float = 10.0
    max_repost: float = 30.0
    rest: float = 3_600.0
    recount: tuple[float, ...] = (0.0, 3.0, 15.0)
    first_look: float = 1.0
    max_look: float = 60.0
    max_doubt_look: float = 600.0
    min_look: float = 0.5
    patience_unfetched: float = 900.0
    patience_fetched: float = 3_600.0
    throttle_patience: float = 120.0
    doubt_limit: float = 30 * 86_400.0


class _Look:
    """When to ask for a part's job next, and what was seen of it so far."""

    def __init__(self, now: float, wait: float) -> None:
        self.asked_at = now
        self.next_at = now + wait
        self.wait = wait
        self.moved_at = now
        self.progress: tuple[str, int | None] | None = None
        self.unknown = 0


class Importer:
    """Sends one account's large backlogs by import. Without a `public_url` it leaves everything to single calls.

    So it does until a trial of the account has shown that files subscribe nobody, unless the operator does without one
    (R14).
    """

    def __init__(
        self,
        settings: AccountSettings,
        store: Imports,
        line: AccountLine,
        lists: ListKeeper,
        *,
        trials: Trials,
        searcher: Searcher,
        on_ended: Callable[[Collection[int]], None],
        observer: ImportObserver,
        now_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._name = settings.name
        self._store = store
        self._trials = trials
        self._line = line
        self._lists = lists
        self._searcher = searcher
        self._timings = timings
        self._counter = ListCounter(settings.name, store, lists)
        self._on_ended = on_ended
        self._observer = observer
        self._now_ms = now_ms
        self._jobs = Jobs(settings, store, line, throttle_patience_seconds=timings.throttle_patience)
        self._is_set_up = bool(settings.public_url) and not settings.dry_run
        # None until it is known.
        self._is_tested: bool | None = None
        self._rest: Rest | None = None
        self._resting_until = float("-inf")
        self._chooser = Chooser(settings.bulk_threshold, time.monotonic)
        # What the store said last; what calls may send is told from it.
        self._current: OpenImport | None = None
        # By segment: changes that wait for parts in doubt.
        self._held_back: dict[int, int] = {}
        # By segment: changes that came after the import began and do not travel; all pending changes when that was counted.
        self._late: dict[int, int] = {}
        self._late_of: dict[int, int] = {}
        self._looks: dict[int, _Look] = {}
        self._posts: Counter[int] = Counter()
        self._hinted_jobs: dict[bytes, str] = {}
        # How often somebody was to be erased since the start.
        self._withdrawals = 0
        # Parts that are taken back because of that: another file takes all the others.
        self._taken_back: set[int] = set()
        # By segment: at most so many changes were left to calls by imports; they are not tried in a file again.
        self._released: Counter[int] = Counter()
        # Segments whose changes wait for a file; those of them that the next import takes, once it may begin.
        self._waiting: frozenset[int] = frozenset()
        self._due: tuple[int, ...] = ()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, between_claims: BetweenClaims, supervisor: Supervisor) -> None:
        """Take up an import that is under way, then look for more; to be called before single calls are claimed."""
        await self._read()
        if self._is_set_up and self._settings.bulk_untested:
            log.warning("import.untested", account=self._name, hint=_UNTESTED_HINT)
        if self._is_set_up or self._current is not None or await self._searcher.is_needed():
            self._task = supervisor.start(f"{self._name} imports", self._run(between_claims))

    async def stop(self) -> None:
        """End; a job that Cordial has is followed on at the next start."""
        await supervision.stop(self._task)

    def sendable(self, segment_ids: Sequence[int], pending: Mapping[int, int]) -> dict[int, int]:
        """Return how many of their pending changes single calls may send; all others travel in files, now or soon."""
        self._released = Counter(
            {each: min(left, pending[each]) for each, left in self._released.items() if each in pending}
        )
        busy, held_back = self._kept_from_calls(pending)
        free = {
            segment_id: number
            for segment_id in segment_ids
            if segment_id not in busy and (number := pending[segment_id] - held_back.get(segment_id, 0)) > 0
        }
        # While the account cannot be served, no import begins, and only a change that is written shows that this is over.
        is_stopped = self._current is None and self._line.circuit.is_open
        if is_stopped or self._is_resting or (self._current is not None and self._current.is_in_doubt):
            self._waiting, self._due = frozenset(), ()
            return free
        self._waiting, self._due = self._chooser.choose(
            {segment_id: number - self._released[segment_id] for segment_id, number in free.items()},
            lambda segment_id: self._store.arriving_users(self._name, segment_id),
            self._store.inbox_users(self._name),
        )
        if self._due and self._current is None:
            self._wake.set()
        return {segment_id: number for segment_id, number in free.items() if segment_id not in self._waiting}

    def status(self) -> ImportsStatus:
        """Return which segments' changes travel as files or wait to, and why the account uses no files, if so."""
        lists = dict.fromkeys(self._waiting, ListTravel.WAITING)
        if self._current is not None and self._current.unnamed_id is None:
            lists |= dict.fromkeys(self._current.segment_ids, ListTravel.SENDING)
        rest = self._rest if self._is_on and self._is_resting else None
        return ImportsStatus(lists, rest, waits_for_trial=self._is_set_up and self._is_tested is False)

    def admits(self, authorization: str | None) -> bool:
        """Tell whether a request with that `Authorization` may fetch a file whose name it knows."""
        return files.admits(self._settings.import_passwords, authorization)

    def use_files_again(self) -> None:
        """Use files again now, although an import came to nothing lately: the operator may have changed something."""
        self._resting_until = float("-inf")
        self._released.clear()
        self._wake.set()

    def withdraw(self) -> None:
        """Ask for no file as it was cut until now: somebody is to be erased, and it is looked up whether in that file (R5)."""
        self._withdrawals += 1
        self._wake.set()

    def hint(self, name_digest: bytes, job_id: str) -> None:
        """Look at the job of that file soon: Cordial says that it is over, and perhaps its id."""
        for part in self._current.parts if self._current else ():
            if part.name_digest == name_digest and part.id in self._looks:
                look = self._looks[part.id]
                look.next_at = min(look.next_at, look.asked_at + self._timings.min_look)
                if job_id:
                    self._hinted_jobs[name_digest] = job_id
        self._wake.set()

    async def end_doubt(self, import_id: int, said: DoubtEnd, actor: str) -> int | None:
        """Have single calls send what is in doubt of an import, because of what a person says; return how many contacts.

        None where that import is not under way for this account.
        """
        if self._current is None or self._current.id != import_id:
            return None
        ended = await self._store.end_doubt(import_id, said, _SAID[said], actor)
        if ended:
            log.warning("import.doubt_ended", account=self._name, contacts=ended, reason=_SAID[said])
        self._wake.set()
        return ended

    async def find_late(self, pending: Mapping[int, int]) -> None:
        """Find what has come since an import began that is being written down: calls send it meanwhile."""
        current = self._current
        if current is None or current.unnamed_id is not None or not current.is_decided:
            self._late, self._late_of = {}, {}
            return
        pending_now = {segment_id: pending.get(segment_id, 0) for segment_id in current.segment_ids}
        if pending_now != self._late_of:
            self._late = await self._store.late_changes(current.id)
            self._late_of = pending_now

    def _kept_from_calls(self, pending: Mapping[int, int]) -> tuple[frozenset[int], Mapping[int, int]]:
        """Return the segments that calls keep off, and how many changes of the others wait for parts of an import."""
        if self._current is None:
            return frozenset(), {}
        if self._current.is_in_doubt:
            return frozenset(), self._held_back
        if self._current.unnamed_id is not None:
            return frozenset(), {}
        busy = frozenset(self._current.segment_ids) - self._late.keys()
        return busy, {segment_id: pending.get(segment_id, 0) - late for segment_id, late in self._late.items()}

    @property
    def _is_on(self) -> bool:
        """Whether files may be used (R14)."""
        return self._is_set_up and bool(self._is_tested)

    @property
    def _is_resting(self) -> bool:
        return not self._is_on or time.monotonic() < self._resting_until

    async def _run(self, between_claims: BetweenClaims) -> None:
        while True:
            self._wake.clear()
            try:
                wait = await self._step(between_claims)
            except StoreUnavailableError as error:
                log.warning("import.waits", account=self._name, reason=error.message)
                await asyncio.sleep(self._timings.store_retry)
            except Exception:
                log.exception("import.failed", account=self._name)
                await asyncio.sleep(self._timings.repeat)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()

    async def _read(self) -> None:
        """Read where the account's import stands, and tell of one that is over."""
        await self._read_trial()
        before, now = self._current, await self._store.current(self._name)
        if (before and before.id) != (now and now.id):
            # What was due before is in that import, or was.
            self._due = ()
        if before is not None and before.unnamed_id is not None and now is None:
            self._forget_plans()
        elif before is not None and (now is None or now.id != before.id):
            outcome = await self._store.outcome(before.id)
            is_complete = not outcome.released
            if outcome.settled or outcome.released:
                log.info("import.ended", account=self._name, contacts=outcome.contacts, is_complete=is_complete)
                self._observer.ended(is_complete=is_complete)
            else:
                log.info("import.not_begun", account=self._name, reason=outcome.reason)
            if not outcome.contacts:
                self._released.update(dict.fromkeys(before.segment_ids, sys.maxsize))
            self._forget_plans()
            self._on_ended(before.segment_ids)
        if (
            before is not None
            and now is not None
            and before.id == now.id
            and now.unnamed_id is None
            and (before.state, now.state) == (ImportState.GATHERING, ImportState.SENDING)
        ):
            log.info("import.begun", account=self._name, contacts=now.contacts, lists=len(now.segment_ids))
        if now is not None and now.is_in_doubt and not (before is not None and before.is_in_doubt):
            self._held_back = await self._store.held_back(self._name)
        self._current = now

    def _forget_plans(self) -> None:
        self._looks.clear()
        self._posts.clear()
        self._hinted_jobs.clear()
        self._taken_back.clear()

    async def _read_trial(self) -> None:
        if self._is_set_up:
            self._is_tested = await are_files_permitted(self._settings, self._trials)

    async def _step(self, between_claims: BetweenClaims) -> float:
        """Take the next step, whichever it is; return how many seconds to wait for the one after it."""
        await self._read()
        current = self._current
        if current is None:
            if self._settings.dry_run or self._line.is_paused_by_operator:
                return self._timings.idle
            is_stopped = self._line.circuit.is_open
            if is_stopped or not self._due or self._is_resting:
                may_use_files = self._is_on and not (self._is_resting or is_stopped)
                wait = await self._searcher.step(may_use_files=may_use_files, waits_for_files=self._is_on)
                return max(wait, self._timings.idle) if is_stopped else wait
            due, self._due = self._due, ()
            await self._store.begin(self._name, due)
        elif current.state is ImportState.GATHERING:
            await self._gather(between_claims)
        else:
            parts = [part for part in current.parts if not part.is_in_doubt] or current.parts
            return await self._take(current, parts[0] if not parts[0].is_in_doubt else self._next_in_doubt(parts))
        return 0.0

    async def _gather(self, between_claims: BetweenClaims) -> None:
        if not self._is_on:
            await self._store.take_back_some(self._name, _TAKEN_BACK)
            return
        async with between_claims() as claimed:
            await self._store.gather_some(self._name, claimed, _MAX_CONTACTS)

    def _next_in_doubt(self, parts: Sequence[ImportPart]) -> ImportPart:
        return min(parts, key=lambda part: self._looks[part.id].next_at if part.id in self._looks else 0.0)

    async def _take(self, current: OpenImport, part: ImportPart) -> float:
        """Take a part one step further; return how many seconds to wait for the next step."""
        match part.state:
            case PartState.SETTLING:
                self._observer.settled((await self._store.settle_some(self._name, part)).changes)
            case PartState.RELEASING:
                await self._release_some(part)
            case PartState.READY:
                withdrawals = self._withdrawals
                if not self._is_resting and await self._store.names_erased(self._name, part):
                    self._taken_back.add(part.id)
                    await self._store.note_reason(part, _ERASED)
                if self._is_resting or part.id in self._taken_back:
                    await self._release_some(part)
                else:
                    return await self._give(current, part, withdrawals)
            case PartState.POSTING:
                # A stop or a failed step came between: whether Cordial has it, the file tells.
                await self._resolve(part, Posted(is_running=False, reason="no answer to the request"))
            case PartState.RUNNING | PartState.IN_DOUBT:
                return await self._look(current, part)
        return 0.0

    async def _give(self, current: OpenImport, part: ImportPart, withdrawals: int) -> float:
        # Where refused rows are looked for, the lists owe nothing.
        with self._lists.names.keeping(current.segment_ids):
            return await self._give_to(current, part, withdrawals)

    async def _give_to(self, current: OpenImport, part: ImportPart, withdrawals: int) -> float:
        names = await self._lists.seen(current.segment_ids)
        columns = [names[segment_id] for segment_id in current.segment_ids if segment_id in names]
        if len(columns) != len(current.segment_ids):
            await self._fall_back(part, "one of the lists cannot be written now")
            return 0.0
        posted = await self._jobs.post(
            part, columns, lambda: self._withdrawals == withdrawals and self._lists.names.are_current(names)
        )
        if posted.is_running:
            self._posts.pop(part.id, None)
            return 0.0
        return await self._resolve(part, posted)

    async def _resolve(self, part: ImportPart, posted: Posted) -> float:
        """Find out what became of a request that no job came of: a file that nobody fetched never will be.

        A lost answer is not the end of the request (R5): Cordial may have the file, and carry it out in its own time.
        """
        if not await self._store.take_name_back(part):
            reason = f"{posted.reason}; its file was fetched"
            await self._doubt(part, reason)
            return 0.0
        if posted.is_withheld:
            return 0.0
        self._posts[part.id] += 1
        if posted.may_repeat and not part.tries:
            await self._repeat(part, posted.reason)
        elif posted.is_refusal or self._posts[part.id] >= _MAX_POSTS:
            await self._fall_back(part, posted.reason)
        else:
            return backoff_seconds(self._posts[part.id], 1.0, self._timings.max_repost)
        return 0.0

    async def _look(self, current: OpenImport, part: ImportPart) -> float:
        """Ask how a part's job is, when it is time to, and go on with the part once the job is over."""
        now = time.monotonic()
        look = self._looks.setdefault(part.id, _Look(now, self._timings.first_look))
        if (wait := look.next_at - now) > 0:
            return min(wait, self._timings.idle)
        longest = self._timings.max_doubt_look if part.is_in_doubt else self._timings.max_look
        look.wait = min(look.wait * 2, longest)
        seen = await self._jobs.see(part, self._hinted_jobs.get(part.name_digest or b"", ""))
        look.asked_at = time.monotonic()
        look.next_at = look.asked_at + look.wait
        if seen.job is not None and seen.job.is_over:
            await self._end(current, part, seen.job)
            self._looks.pop(part.id, None)
            return 0.0
        if part.is_in_doubt:
            await self._still_in_doubt(part)
            return 0.0
        look.unknown = look.unknown + 1 if seen.is_unknown else 0
        if seen.job is not None and seen.job.progress != look.progress:
            look.progress, look.moved_at = seen.job.progress, look.asked_at
        await self._find_stall(part, look, seen.reason)
        return 0.0

    async def _find_stall(self, part: ImportPart, look: _Look, said: str) -> None:
        """Do without a job that does not move or that Cordial does not know, unless Cordial has the file."""
        is_fetched = part.fetched_at_ms is not None
        if look.unknown >= _MAX_UNKNOWN and not is_fetched:
            reason, may_repeat = "Cordial does not know the job that it named", True
        else:
            patience = self._timings.patience_fetched if is_fetched else self._timings.patience_unfetched
            if look.asked_at - look.moved_at <= patience:
                return
            said = look.progress[0] if look.progress else said
            reason, may_repeat = f"the job has not moved for {patience / 60:.0f} minutes: {said}", False
        self._looks.pop(part.id, None)
        if not await self._store.take_name_back(part):
            if is_fetched:
                await self._doubt(part, reason)
        elif may_repeat and not part.tries:
            await self._repeat(part, reason)
        else:
            await self._fall_back(part, reason)

    async def _doubt(self, part: ImportPart, reason: str) -> None:
        log.error(
            "import.in_doubt",
            account=self._name,
            contacts=part.contacts,
            reason=reason,
            hint="its contacts wait until Cordial's job is over; see `heap-cordial imports`",
        )
        await self._store.set_in_doubt(part, reason, self._timings.doubt_limit)
        self._rest_from_imports(reason)

    async def _still_in_doubt(self, part: ImportPart) -> None:
        if part.doubt_ends_at_ms is not None and self._now_ms() >= part.doubt_ends_at_ms:
            await self._store.note_reason(part, f"{part.doubt}; Cordial can no longer run it")
            await self._release_some(part)
        else:
            self._held_back = await self._store.held_back(self._name)

    async def _end(self, current: OpenImport, part: ImportPart, job: Job) -> None:
        """Go on with a part whose job is over."""
        if job.status is JobStatus.FAILED:
            await self._repeat_or_fall_back(part, "Cordial says the job failed")
            return
        if current.unnamed_id is not None:
            await self._end_halving(current.unnamed_id, part, job)
            return
        judgement = judge(part, job, creates_contacts=self._settings.create_contacts)
        await self._follow_up(part, judgement, is_last=len(current.parts) == 1)

    async def _end_halving(self, range_id: int, part: ImportPart, job: Job) -> None:
        refused = rows_without_effect(part, job)
        if refused is None or not await self._searcher.halve(range_id, part, refused):
            await self._release_some(part)

    async def _follow_up(self, part: ImportPart, judgement: Judgement, *, is_last: bool) -> None:
        step, reason = judgement.step, judgement.reason
        if is_last and (step is NextStep.SETTLE or judgement.count_decides):
            found = await self._counter.compare(self._timings.recount)
            excess = "" if self._settings.adopt_existing_lists else found.excess
            if step is NextStep.SETTLE and (found.shortfall or (excess and not part.tries)):
                await self._repeat_or_fall_back(part, found.shortfall or excess)
                return
            if step is NextStep.SETTLE or found.proves_effect:
                step = NextStep.SETTLE
                if excess:
                    await self._release_removals(part, excess)
        if step is NextStep.SETTLE:
            self._observer.settled((await self._store.settle_some(self._name, part)).changes)
        elif step is NextStep.CREATE:
            await self._store.send_again(
                part, Strategy.INSERT_ONLY, missing=judgement.missing, refused=judgement.refused
            )
        else:
            log.warning("import.fell_short", account=self._name, contacts=part.contacts, reason=reason, then=step.value)
            await self._store.note_reason(part, reason)
            if step is NextStep.SEARCH:
                # Whom the file was to take off, the count of a list that lacks others cannot show.
                self._note_released(await self._store.release_removals(self._name, part))
                await self._searcher.keep(part, judgement.missing)
            else:
                await self._release_some(part)

    async def _repeat_or_fall_back(self, part: ImportPart, reason: str) -> None:
        if part.tries or not self._is_on:
            await self._fall_back(part, reason)
        else:
            await self._repeat(part, reason)

    async def _repeat(self, part: ImportPart, reason: str) -> None:
        log.warning("import.repeated", account=self._name, reason=reason)
        await asyncio.sleep(self._timings.repeat)
        await self._store.send_again(part, Strategy.UPDATE_ONLY, failed=True)

    async def _fall_back(self, part: ImportPart, reason: str) -> None:
        """Leave a part, and for a time all else, to single calls."""
        await self._store.note_reason(part, reason)
        self._rest_from_imports(reason)
        self._observer.fell_back()
        log.error("import.fell_back", account=self._name, reason=reason, hint="single calls do the work")
        await self._release_some(part)

    def _rest_from_imports(self, reason: str) -> None:
        self._resting_until = time.monotonic() + self._timings.rest
        self._rest = Rest(datetime.now(UTC) + timedelta(seconds=self._timings.rest), reason)

    async def _release_removals(self, part: ImportPart, reason: str) -> None:
        """Have calls take contacts off lists that two jobs did not take off: unless others put them there, they can."""
        log.warning("import.fell_short", account=self._name, contacts=part.contacts, reason=reason, then="calls")
        await self._store.note_reason(part, reason)
        self._note_released(await self._store.release_removals(self._name, part))

    async def _release_some(self, part: ImportPart) -> None:
        released = (await self._store.release_some(self._name, part)).changes
        if part.id not in self._taken_back:
            self._note_released(released)

    def _note_released(self, contacts: int) -> None:
        if self._current is not None and self._current.unnamed_id is not None:
            return
        for segment_id in self._current.segment_ids if self._current else ():
            self._released[segment_id] += contacts
