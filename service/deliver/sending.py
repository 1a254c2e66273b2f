"""Sending one contact's changes, and judging what the answer means for each of them."""

import random
from collections.abc import Callable, Container, Mapping
from typing import Any

from service.config.settings import AccountSettings
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import contact_requests
from service.deliver.line import AccountLine, Permit
from service.deliver.lists.keeper import ListKeeper
from service.deliver.retry import retry_delay_seconds
from service.model.changes import Change, ContactWork, Failure, Outcome, OutcomeKind


class Verdict:
    """What came of a contact's calls: outcomes to settle, and the name used for each segment whose list was unknown.

    Changes that appear in no outcome are to be sent again as they are: nothing was learned about them.
    """

    __slots__ = ("lost_lists", "outcomes")

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.lost_lists: dict[int, str] = {}


class Sender:
    """Sends contacts of one account."""

    def __init__(
        self, settings: AccountSettings, line: AccountLine, lists: ListKeeper, now_ms: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._line = line
        self._lists = lists
        self._now_ms = now_ms

    async def send(self, work: ContactWork) -> Verdict:
        """Make the calls for a contact, as far as its lists may be written to."""
        verdict = Verdict()
        # The keeper's names change while a call is on its way; an answer speaks of the ones that were sent.
        names = self._lists.ready_names()
        sent = {change.segment_id: names[change.segment_id] for change in work.changes if change.segment_id in names}
        with self._line.permit(work.contact, lambda: self._lists.are_current(sent)) as permit:
            for changes in changes_of_calls(work, sent):
                memberships = {sent[change.segment_id]: change.wanted for change in changes}
                answer = await self._call(work.contact, memberships, permit)
                if answer.kind is AnswerKind.WITHHELD:
                    break
                self._judge(work.contact, changes, answer, sent, verdict)
        return verdict

    async def _call(self, contact: str, memberships: dict[str, bool], permit: Permit) -> Answer:
        first, *others = contact_requests(self._settings, contact, memberships)
        answer = await self._line.call(first, permit)
        for request in others:
            if answer.kind is AnswerKind.NOT_FOUND:
                answer = await self._line.call(request, permit)
        return answer

    def _judge(
        self, contact: str, changes: list[Change], answer: Answer, lists: Mapping[int, str], verdict: Verdict
    ) -> None:
        if answer.kind is AnswerKind.UNAVAILABLE:
            self._judge_unavailable(contact, changes, answer, verdict)
            return
        self._line.suspicion.clear(contact)
        if answer.kind is AnswerKind.DONE:
            verdict.outcomes += [self._outcome(contact, change, OutcomeKind.SETTLED) for change in changes]
        elif answer.kind is AnswerKind.NOT_FOUND:
            verdict.outcomes += [self._judge_not_found(contact, change, answer) for change in changes]
        elif answer.kind is AnswerKind.REFUSED:
            names = {change.segment_id: lists[change.segment_id] for change in changes}
            lost = {segment_id: name for segment_id, name in names.items() if name in answer.unknown_keys}
            if lost:
                verdict.lost_lists |= lost
            else:
                # Which of several was refused shows when each is sent alone.
                blamed = len(changes) == 1
                verdict.outcomes += [self._failed(contact, change, answer, blamed=blamed) for change in changes]

    def _judge_unavailable(self, contact: str, changes: list[Change], answer: Answer, verdict: Verdict) -> None:
        blamed = self._line.suspicion.is_to_blame(contact)
        if self._line.circuit.is_open:
            return
        verdict.outcomes += [self._failed(contact, change, answer, blamed=blamed) for change in changes]

    def _judge_not_found(self, contact: str, change: Change, answer: Answer) -> Outcome:
        if not change.wanted:
            # A contact that does not exist is on no list.
            return self._outcome(contact, change, OutcomeKind.SETTLED)
        words = "no such contact in Cordial, and this account does not create contacts (create_contacts = false)"
        failure = Failure("contact_not_found", f"{words}: {answer.message}", answer.status)
        return self._outcome(contact, change, OutcomeKind.DEAD, failure=failure, attempts=change.attempts + 1)

    def _failed(self, contact: str, change: Change, answer: Answer, *, blamed: bool) -> Outcome:
        attempts = change.attempts + blamed
        failure = Failure(answer.reason, answer.message, answer.status)
        if attempts >= self._settings.max_attempts:
            return self._outcome(contact, change, OutcomeKind.DEAD, failure=failure, attempts=attempts)
        delay_ms = int(1000 * retry_delay_seconds(change.failures, random.random))
        retry_at_ms = self._now_ms() + delay_ms
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


def changes_of_calls(work: ContactWork, sendable: Container[int]) -> list[list[Change]]:
    """Return the changes of each call for a contact: one call for all, but each alone that has failed before.

    Only changes of `sendable` segments. A call is refused as a whole, so a change that cannot succeed must not take its
    neighbours along.
    """
    sent = [change for change in work.changes if change.segment_id in sendable]
    together = [change for change in sent if not change.failures]
    alone = [[change] for change in sent if change.failures]
    return ([together] if together else []) + alone
