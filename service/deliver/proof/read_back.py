"""Reading contacts back from Cordial, one at a time, and having sent again what it holds otherwise (R5, R11).

A reading counts only if no call for the contact was on its way and the ledger stayed as it was: the contact is kept from
calls while it is read, and the ledger is compared again where the reading is kept. A difference is believed when a second
reading some time later shows it too, because nobody says how soon Cordial shows what it has confirmed. Reading is a side
question: what goes wrong with it keeps no change waiting.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

import msgspec
import structlog

from service import supervision
from service.backoff import backoff_seconds
from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.line import AccountLine, Permit
from service.deliver.lists.keeper import ListKeeper
from service.deliver.proof.doubts import Doubts
from service.errors import StoreFaultError, StoreUnavailableError
from service.log import mask
from service.model.accounts import AccountState
from service.model.changes import MemberState
from service.model.lists import Segment
from service.model.proof import DueReadBack, Finding, LedgerContact, ReadBackReason
from service.store.port import Store
from service.supervision import Supervisor

log = structlog.get_logger()

_AT_ONCE = 100
_HOUR_SECONDS = 3_600.0
# After so many readings that all differ, a person has to look. The contact was sent again after the second and each later one.
_MAX_TRIES = 6
_BACKOFF_FIRST_SECONDS = 5.0
_BACKOFF_LAST_SECONDS = 600.0
_NAMES_SECONDS = 10.0
# The key may not read contacts.
_MAY_NOT_READ = frozenset({"unauthorized", "forbidden"})


class Timings(msgspec.Struct, frozen=True):
    """`look_seconds`: between two looks for contacts that are due. `again_seconds`: between two readings of a contact."""

    look_seconds: float = 1.0
    again_seconds: float = 10.0


class ReadBack:
    """Reads back the contacts of one account.

    `reading` keeps every call and file from a contact while it is read, and tells whether that could be done. `is_busy`
    tells whether changes wait to be sent. `take_samples` has contacts of syncs that have drained read back.
    """

    def __init__(
        self,
        settings: AccountSettings,
        store: Store,
        line: AccountLine,
        lists: ListKeeper,
        *,
        doubts: Doubts,
        reading: Callable[[str], AbstractContextManager[bool]],
        is_busy: Callable[[], bool],
        take_samples: Callable[[], Awaitable[None]],
        now_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self._name = settings.name
        self._settings = settings
        self._store = store.proofs
        self._segments = store.segments
        self._line = line
        self._lists = lists
        self._doubts = doubts
        self._reading = reading
        self._is_busy = is_busy
        self._take_samples = take_samples
        self._now_ms = now_ms
        self._timings = timings
        self._failures = 0
        self._backoff_until = 0.0
        self._next_walk_at = time.monotonic()
        # An answer that names no lists means "on none" only where other answers do name some.
        self._has_seen_lists = False
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to read what is due."""
        self._task = supervisor.start(f"{self._name} read-back", self._run())

    async def stop(self) -> None:
        """End; what is due stays so."""
        await supervision.stop(self._task)

    def read_again(self) -> None:
        """Read again now, although readings failed lately: Cordial serves the account, or the operator has changed something."""
        self._failures = 0
        self._backoff_until = 0.0

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._timings.look_seconds)
            try:
                await self._look()
            except (StoreUnavailableError, StoreFaultError) as error:
                self._back_off("store", error.message)
            except Exception as error:
                log.exception("read_back.failed", account=self._name)
                self._back_off("fault", str(error))

    async def _look(self) -> None:
        """Read what is due, those in doubt first, then the next contacts of the ledger if it is time for them."""
        await self._take_samples()
        for only_doubts in (True, False):
            found = await self._store.due(self._name, _AT_ONCE, only_doubts=only_doubts)
            readable = [due for due in found if self._may_read(due.reason)]
            if not readable:
                continue
            # Known for all of them: a look at the lists for each would take seconds.
            with self._lists.names.keeping([each.id for each in await self._own_segments()]):
                for due in readable:
                    if self._may_read(due.reason):
                        await self._read(due)
        for _ in range(_AT_ONCE):
            if not self._is_walk_due() or not self._may_read(ReadBackReason.SAMPLE):
                return
            contact = await self._store.next_contact(self._name)
            if contact is not None:
                await self._store.set_walked_to(self._name, contact)
                await self._read(DueReadBack(contact, ReadBackReason.SAMPLE, self._now_ms(), 0))
            self._next_walk_at = max(self._next_walk_at, time.monotonic() - self._timings.look_seconds)
            self._next_walk_at += _HOUR_SECONDS / self._settings.proof_reads_per_hour

    def _is_walk_due(self) -> bool:
        return self._settings.proof_reads_per_hour > 0 and time.monotonic() >= self._next_walk_at

    def _may_read(self, reason: ReadBackReason) -> bool:
        """Tell whether a contact may be read now: after changes, unless it is in doubt."""
        if time.monotonic() < self._backoff_until or self._line.status().state is AccountState.PAUSED:
            return False
        return reason.is_doubt or not self._is_busy()

    async def _read(self, due: DueReadBack) -> None:
        with self._reading(due.contact) as is_free, self._line.permit(due.contact) as permit:
            before = await self._store.contact(self._name, due.contact) if is_free else None
            if before is None or before.travels:
                await self._put_off(due)
                return
            is_named = due.reason is ReadBackReason.NAMED
            segments: list[Segment] = []
            if not before.memberships and not is_named:
                await self._store.conclude(self._name, Finding(due.contact, due.reason, before), due.due_at_ms)
                return
            segment_ids = [each.segment_id for each in before.memberships]
            if is_named:
                segments = await self._own_segments()
                segment_ids = [each.id for each in segments]
            began = self._line.blame.moment()
            with self._lists.names.keeping(segment_ids):
                names = await self._names(segment_ids)
                answer = await self._line.ask(requests.get_contact(due.contact), permit) if names else None
                if not self._lists.names.are_current(names) and names != await self._names(segment_ids):
                    # A list was renamed meanwhile.
                    answer = None
            # Whose erasure was asked for meanwhile is another matter now: read anew, if still anybody's.
            finding = None if answer is None or permit.is_withdrawn else self._judge(due, before, names, answer)
            if answer is not None and finding is not None and finding.mend and answer.kind is AnswerKind.NOT_FOUND:
                # Cordial may say so of everybody for a while, and then it must not look as if nobody had been confirmed.
                finds = await self._line.finds_others(finding.differing[0], due.contact, began)
                finding = msgspec.structs.replace(finding, mend=finds)
            if finding is None or not await self._store.conclude(self._name, finding, due.due_at_ms):
                await self._put_off(due)
                return
            if answer is not None and (removable := self._removable(segments, before)):
                await self._remove_stranger(due.contact, removable, names, self._lists_in(answer), permit)
        self._tell(due, finding, names)

    def _removable(self, segments: Sequence[Segment], before: LedgerContact) -> set[int]:
        """Return the segments from whose lists a contact is taken that the ledger has never had there."""
        known = {each.segment_id for each in before.memberships}
        settings = self._settings
        return {
            each.id
            for each in segments
            if each.id not in known and settings.strangers_of.get(each.heap_id, settings.strangers) == "remove"
        }

    async def _remove_stranger(
        self,
        contact: str,
        segment_ids: Collection[int],
        names: Mapping[int, str],
        on: frozenset[str] | None,
        reading: Permit,
    ) -> None:
        """Take a contact off those of these lists that it is on."""
        strange = {
            name: False for segment_id, name in names.items() if segment_id in segment_ids and name in (on or ())
        }
        if not strange or self._settings.dry_run or reading.is_withdrawn:
            return
        [request] = requests.contact_requests(self._settings, contact, strange)
        await self._doubts.note_claimed([contact])
        # The call may wait, and a name may pass on meanwhile (R10).
        written = {segment_id: names[segment_id] for segment_id in segment_ids if names.get(segment_id) in strange}
        permit = Permit(lambda: not reading.is_withdrawn and self._lists.names.are_current(written))
        answer = await self._line.ask(request, permit)
        await self._doubts.write()
        self._doubts.let_go([contact])
        log.warning(
            "stranger.removed" if answer.kind is AnswerKind.DONE else "stranger.not_removed",
            account=self._name,
            user=mask(contact.partition(":")[2]),
            lists=sorted(strange),
            message=answer.message_without(contact),
        )

    async def _own_segments(self) -> list[Segment]:
        """Return the account's segments that have a list."""
        return [each for each in await self._segments() if each.account == self._name and each.list_id]

    async def _names(self, segment_ids: Collection[int]) -> Mapping[int, str]:
        """Return the names of these segments' lists, as Cordial has them now; those that cannot be told are left out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NAMES_SECONDS):
                return dict(await self._lists.seen(segment_ids))
        return {}

    def _judge(
        self, due: DueReadBack, before: LedgerContact, names: Mapping[int, str], answer: Answer
    ) -> Finding | None:
        """Return what an answer comes to; None where it says nothing of the contact."""
        settled = {
            each.segment_id: each.wanted
            for each in before.memberships
            if each.state is MemberState.SETTLED and each.segment_id in names
        }
        is_absent = due.reason is ReadBackReason.ABSENT
        if (due.reason.is_doubt or is_absent) and answer.reason in _MAY_NOT_READ and not self._settings.dry_run:
            # What was confirmed is sent again instead: the old call is over, so this one is the last. Who is absent is on no
            # list, so that needs no call.
            self._back_off(answer.reason, answer.message_without(due.contact))
            again = tuple(segment_id for segment_id, wanted in settled.items() if wanted or not is_absent)
            return Finding(due.contact, due.reason, before, differing=again, mend=True)
        if due.reason is ReadBackReason.NAMED and answer.kind in {AnswerKind.REFUSED, AnswerKind.MISCONFIGURED}:
            # Nobody of that key can be in Cordial; people name what they like.
            return Finding(due.contact, due.reason, before)
        on = self._lists_in(answer)
        if on is None:
            said = answer.message_without(due.contact) or "the answer names no lists"
            self._back_off(answer.reason or "unexpected_answer", said)
            return None
        self._failures = 0
        differing = tuple(
            segment_id for segment_id, wanted in settled.items() if (names[segment_id] in on) is not wanted
        )
        if not differing:
            return Finding(due.contact, due.reason, before, tuple(settled))
        if due.tries + 1 >= _MAX_TRIES:
            return Finding(due.contact, due.reason, before, tuple(settled), differing)
        return Finding(
            due.contact,
            due.reason,
            before,
            tuple(settled) if due.tries else (),
            differing,
            mend=due.tries > 0 and not self._settings.dry_run,
            again_at_ms=self._now_ms() + int(self._timings.again_seconds * 1000),
            tries=due.tries + 1,
        )

    def _lists_in(self, answer: Answer) -> frozenset[str] | None:
        """Return the names of the lists that a contact is on; None where the answer does not prove any."""
        if answer.kind is AnswerKind.NOT_FOUND:
            return frozenset()
        if answer.kind is not AnswerKind.DONE or answer.contact is None:
            return None
        names = answer.contact.list_names
        if names is None:
            return frozenset() if self._has_seen_lists else None
        self._has_seen_lists = True
        return names

    async def _put_off(self, due: DueReadBack) -> None:
        """Read the contact later: a call or a file was on its way, Cordial did not say, or the ledger has changed."""
        if due.due_at_ms <= self._now_ms():
            await self._store.put_off(self._name, due, self._now_ms() + int(self._timings.again_seconds * 1000))

    def _back_off(self, reason: str, message: str) -> None:
        """Ask nothing for a time that grows with each failure in a row."""
        wait = backoff_seconds(self._failures, _BACKOFF_FIRST_SECONDS, _BACKOFF_LAST_SECONDS)
        self._failures += 1
        self._backoff_until = time.monotonic() + wait
        log.warning("contact.not_read", account=self._name, reason=reason, message=message, again_in_seconds=wait)

    def _tell(self, due: DueReadBack, finding: Finding, names: Mapping[int, str]) -> None:
        if not finding.differing or (finding.again_at_ms is not None and not finding.mend):
            return
        wanted = {each.segment_id: each.wanted for each in finding.before.memberships}
        told = {
            "account": self._name,
            "user": mask(due.contact.partition(":")[2]),
            "because": due.reason.value,
            "missing_on": [names[each] for each in finding.differing if wanted[each]],
            "wrongly_on": [names[each] for each in finding.differing if not wanted[each]],
        }
        if finding.mend:
            log.warning("contact.mended", **told)
        else:
            log.error("contact.differs", tries=due.tries, **told)
