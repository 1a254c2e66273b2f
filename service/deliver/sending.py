"""Sending one contact's changes, and judging what the answer means for each of them."""

import random
from collections.abc import Callable, Container, Mapping
from typing import Any

from service.config.settings import AccountSettings
from service.deliver.blame import Kind
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import Request, contact_requests
from service.deliver.line import KEY_FAULTS, AccountLine, Permit
from service.deliver.lists.keeper import ListKeeper
from service.deliver.retry import Timings
from service.model.changes import CONTACT_NOT_FOUND, Change, ContactWork, Failure, Outcome, OutcomeKind


class Verdict:
    """What came of a contact's calls: outcomes to settle, and the name used for each segment whose list was unknown.

    Changes that appear in no outcome are to be sent again as they are: nothing was learned about them.
    """

    __slots__ = ("lost_lists", "outcomes")

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.lost_lists: dict[int, str] = {}


class Sender:
    """Sends contacts of one account; `on_absent` is told of each that Cordial does not have."""

    def __init__(
        self,
        settings: AccountSettings,
        line: AccountLine,
        lists: ListKeeper,
        *,
        on_absent: Callable[[str], None],
        now_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._line = line
        self._lists = lists
        self._on_absent = on_absent
        self._now_ms = now_ms
        self._timings = timings

    async def send(self, work: ContactWork) -> Verdict:
        """Make the calls for a contact, as far as its lists may be written to."""
        verdict = Verdict()
        # The keeper's names change while a call is on its way; an answer speaks of the ones that were sent.
        names = self._lists.names.current()
        sent = {change.segment_id: names[change.segment_id] for change in work.changes if change.segment_id in names}
        lost = self._lists.names.times_lost(sent)
        with self._line.permit(work.contact, lambda: self._lists.names.are_current(sent)) as permit:
            for changes in changes_of_calls(work, sent):
                memberships = {sent[change.segment_id]: change.wanted for change in changes}
                began = self._line.blame.moment()
                request, answer = await self._call(work.contact, memberships, permit)
                if answer.kind is AnswerKind.WITHHELD:
                    break
                now_lost = self._lists.names.times_lost(sent)
                if any(now_lost[each.segment_id] != lost[each.segment_id] for each in changes):
                    # What was written by a name that has passed on says nothing of the segment's own list.
                    continue
                if answer.kind is AnswerKind.DONE:
                    for change in changes:
                        self._line.blame.passed(_kind(request, change), work.contact, began)
                await self._judge(work.contact, changes, request, answer, sent, began=began, verdict=verdict)
        return verdict

    async def _call(self, contact: str, memberships: dict[str, bool], permit: Permit) -> tuple[Request, Answer]:
        """Make the calls for memberships of a contact; return the last one and its answer."""
        request, *others = contact_requests(self._settings, contact, memberships)
        answer = await self._line.call(request, permit, returns_own_limit=True)
        for other in others:
            if answer.kind is AnswerKind.NOT_FOUND:
                request, answer = other, await self._line.call(other, permit, returns_own_limit=True)
        return request, answer

    async def _judge(
        self,
        contact: str,
        changes: list[Change],
        request: Request,
        answer: Answer,
        lists: Mapping[int, str],
        *,
        began: int,
        verdict: Verdict,
    ) -> None:
        if answer.kind is not AnswerKind.UNAVAILABLE:
            self._line.blame.clear(contact)
        if answer.kind is AnswerKind.DONE:
            verdict.outcomes += [self._outcome(contact, change, OutcomeKind.SETTLED) for change in changes]
        elif answer.kind is AnswerKind.THROTTLED:
            verdict.outcomes += [self._failed(contact, change, answer, blamed=False) for change in changes]
        elif answer.kind is AnswerKind.NOT_FOUND:
            verdict.outcomes += [await self._judge_absent(contact, change, answer, began) for change in changes]
        elif answer.unknown_keys:
            names = {change.segment_id: lists[change.segment_id] for change in changes}
            lost = {segment_id: name for segment_id, name in names.items() if name in answer.unknown_keys}
            verdict.lost_lists |= lost
        elif answer.reason not in KEY_FAULTS:
            blamed = await self._is_to_blame(contact, changes, request, answer)
            # While the account cannot be served, nothing is learned about a change.
            if not self._line.circuit.is_open:
                verdict.outcomes += [self._failed(contact, change, answer, blamed=blamed) for change in changes]

    async def _is_to_blame(self, contact: str, changes: list[Change], request: Request, answer: Answer) -> bool:
        """Return whether the change itself caused its previous failure.

        It did if other changes of its kind passed after that failure (docs/evidence.md).
        """
        blame = self._line.blame
        if answer.kind is AnswerKind.UNAVAILABLE:
            verdict = blame.is_to_blame(contact)
            if verdict is not None:
                return verdict
        if len(changes) > 1 or self._line.circuit.is_open:
            # Which of several was refused shows when each is sent alone.
            return False
        kind = _kind(request, changes[0])
        blame.failed(kind, contact)
        previous_was_own = blame.take_mark(contact, kind)
        if await self._do_others_pass(kind, request):
            blame.mark(contact, kind)
        return previous_was_own

    async def _do_others_pass(self, kind: Kind, request: Request) -> bool:
        contact = request.contact
        passes = await self._line.passes(kind, contact, self._line.blame.moment())
        if passes is not None:
            return passes
        # Nothing of this kind has ever passed that could be repeated. So a failure counts only against one that is alone
        # with it, while the account can be served and the list can be asked for; or whom Cordial refuses without the list too.
        if not self._line.blame.is_alone(kind, contact):
            return await self._line.refuses_whatever_the_list(request)
        serves = await self._line.passes(None, contact, self._line.blame.moment())
        return serves is not False and await self._line.can_read(request)

    async def _judge_absent(self, contact: str, change: Change, answer: Answer, began: int) -> Outcome:
        """Believe that there is no such contact when two looks say so and Cordial found others after each of them (R7)."""
        if not await self._line.finds_others(change.segment_id, contact, began):
            words = "Cordial finds neither this contact nor others that it has confirmed; the service asks again"
            failure = Failure("nobody_found", f"{words}: {answer.message}", answer.status)
            delay_seconds = self._timings.retry_delay(change.failures, random.random)
            return self._retry(contact, change, failure, attempts=change.attempts, delay_seconds=delay_seconds)
        if not change.was_absent:
            words = "Cordial says that there is no such contact; the service asks again before it believes this"
            failure = Failure(CONTACT_NOT_FOUND, f"{words}: {answer.message}", answer.status)
            delay_seconds = self._timings.absent
            return self._retry(contact, change, failure, attempts=change.attempts, delay_seconds=delay_seconds)
        # Its other lists miss it too.
        self._on_absent(contact)
        if not change.wanted:
            # A contact that does not exist is on no list.
            return self._outcome(contact, change, OutcomeKind.SETTLED)
        words = "no such contact in Cordial, and this account does not create contacts (create_contacts = false)"
        failure = Failure(CONTACT_NOT_FOUND, f"{words}: {answer.message}", answer.status)
        return self._outcome(contact, change, OutcomeKind.DEAD, failure=failure, attempts=change.attempts + 1)

    def _failed(self, contact: str, change: Change, answer: Answer, *, blamed: bool) -> Outcome:
        attempts = change.attempts + blamed
        failure = Failure(answer.reason, answer.message, answer.status)
        if attempts >= self._settings.max_attempts:
            return self._outcome(contact, change, OutcomeKind.DEAD, failure=failure, attempts=attempts)
        delay_seconds = self._timings.retry_delay(change.failures, random.random)
        if answer.is_own:
            delay_seconds = max(delay_seconds, answer.limits.wait_seconds)
        return self._retry(contact, change, failure, attempts=attempts, delay_seconds=delay_seconds)

    def _retry(self, contact: str, change: Change, failure: Failure, *, attempts: int, delay_seconds: float) -> Outcome:
        retry_at_ms = self._now_ms() + int(1000 * delay_seconds)
        return self._outcome(
            contact, change, OutcomeKind.RETRY, failure=failure, attempts=attempts, retry_at_ms=retry_at_ms
        )

    def _outcome(self, contact: str, change: Change, kind: OutcomeKind, **details: Any) -> Outcome:
        return Outcome(
            account=self._settings.name,
            contact=contact,
            segment_id=change.segment_id,
            wanted=change.wanted,
            kind=kind,
            failures=change.failures,
            **details,
        )


def _kind(request: Request, change: Change) -> Kind:
    return Kind(request.method, change.segment_id, change.wanted)


def changes_of_calls(work: ContactWork, sendable: Container[int]) -> list[list[Change]]:
    """Return the changes of each call for a contact: one call for all, but each alone that has failed before.

    Only changes of `sendable` segments. A call is refused as a whole, so a change that cannot succeed must not take its
    neighbours along.
    """
    sent = [change for change in work.changes if change.segment_id in sendable]
    together = [change for change in sent if not change.failures]
    alone = [[change] for change in sent if change.failures]
    return ([together] if together else []) + alone
