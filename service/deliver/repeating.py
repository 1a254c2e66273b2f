"""Proof calls: what Cordial has confirmed is sent once more, to see whether it still takes calls of that kind (R7).

Such a call changes nothing: the contact is where it is put. Only so can a quiet account tell a change that cannot succeed
from an account that cannot be served. Whether lists are right is another question: that is the folder `proof`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from service.config.settings import AccountSettings
from service.deliver.blame import Kind
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import Request, repeated_request, update_contact, without_lists
from service.deliver.line import AccountLine
from service.deliver.lists.seen_names import SeenNames
from service.errors import StoreFaultError, StoreUnavailableError

# Of how many lists a confirmed membership is looked for.
_MAX_KINDS = 8


class Confirmed(NamedTuple):
    """A membership that Cordial has confirmed, and the name of its list."""

    contact: str
    kind: Kind
    list_name: str


class Members(Protocol):
    """What the account's ledger has confirmed."""

    def settled_contact(self, kinds: Sequence[Kind], apart_from: str) -> AbstractAsyncContextManager[Confirmed | None]:
        """Keep a contact but `apart_from` from other calls, until the block ends, whose state is confirmed in one of these ways."""

    async def has_settled(self, kinds: Sequence[Kind], apart_from: str) -> bool:
        """Return whether there is such a contact, claimed or not."""


class ProofCalls:
    """Makes one account's proof calls, one at a time; whoever waits meanwhile shares what the one before showed."""

    def __init__(self, settings: AccountSettings, line: AccountLine, members: Members, names: SeenNames) -> None:
        self._settings = settings
        self._line = line
        self._members = members
        self._names = names
        self._turn = asyncio.Lock()

    async def passes(self, kind: Kind | None, apart_from: str, since: int, *, is_probe: bool = False) -> bool | None:
        """Return whether calls of the kind, or any where it is None, pass for others than the contact `apart_from`.

        A pass that began after the moment `since` answers this without a call. None where nothing can be repeated, or
        the call told nothing.
        """
        blame = self._line.blame
        async with self._turn:
            if blame.passed_since(kind, apart_from, since):
                return True
            if self._line.circuit.is_open and not is_probe:
                return False
            kinds = [kind] if kind else self._any_kind()
            try:
                async with self._members.settled_contact(kinds[:_MAX_KINDS], apart_from) as found:
                    return await self._repeat(found, is_probe=is_probe) if found else None
            except (StoreUnavailableError, StoreFaultError):
                return None

    async def finds(self, segment_id: int, apart_from: str, since: int) -> bool:
        """Return whether Cordial finds others than the contact `apart_from` that it has confirmed, or there are none.

        A call that began after the moment `since` and found somebody answers this without another.
        """
        async with self._turn:
            if self._line.blame.found_since(apart_from, since):
                return True
            if self._line.circuit.is_open:
                return False
            lists = [segment_id, *(each for each in self._names.to_prove() if each != segment_id)]
            kinds = [Kind("PUT", each, True) for each in lists[:_MAX_KINDS]]
            try:
                async with self._members.settled_contact(kinds, apart_from) as found:
                    if found is None:
                        return not await self._members.has_settled(kinds, apart_from)
                    return bool(await self._repeat(found, is_probe=False, creates=False))
            except (StoreUnavailableError, StoreFaultError):
                return False

    async def refuses_whatever_the_list(self, request: Request) -> bool:
        """Return whether Cordial refuses a contact's request without its lists too, but takes the same for somebody else.

        Then it is the contact that Cordial refuses, though nobody may be on the list yet who could show that it takes others.
        """
        async with self._turn:
            answer = await self._ask_without_lists(request)
            if answer.kind is not AnswerKind.REFUSED:
                return False
            kinds = [Kind(request.method, segment_id, True) for segment_id in self._names.to_prove()]
            try:
                async with self._members.settled_contact(kinds[:_MAX_KINDS], request.contact) as found:
                    if found is None:
                        return False
                    same = self._same_request(request.method, found)
                    answer = await self._ask_without_lists(same)
            except (StoreUnavailableError, StoreFaultError):
                return False
            return answer.kind is AnswerKind.DONE

    def _same_request(self, method: str, found: Confirmed) -> Request:
        memberships = {found.list_name: found.kind.wanted}
        if method == "PUT":
            return update_contact(self._settings, found.contact, memberships)
        return repeated_request(self._settings, found.contact, memberships, method)

    async def _ask_without_lists(self, request: Request) -> Answer:
        with self._line.permit(request.contact) as permit:
            return await self._line.ask(without_lists(request), permit)

    def _any_kind(self) -> list[Kind]:
        """Return kinds of calls that may be repeated: those that passed last, then any addition."""
        names = self._names.to_prove()
        passed = [kind for kind in self._line.blame.latest() if kind.segment_id in names]
        return [*passed, *(Kind("", segment_id, True) for segment_id in names)]

    async def _repeat(self, found: Confirmed, *, is_probe: bool, creates: bool = True) -> bool | None:
        began = self._line.blame.moment()
        kind = found.kind
        request = self._same_request(kind.method if creates else "PUT", found)
        names = {kind.segment_id: found.list_name}
        # The call may wait for long, and its list's name pass on to another list meanwhile (R10).
        with self._line.permit(found.contact, lambda: self._names.may_prove(names)) as permit:
            self._names.give_out(names)
            answer = await self._line.prove(request, permit, is_probe=is_probe)
        if answer is None or answer.kind in {AnswerKind.THROTTLED, AnswerKind.NOT_FOUND, AnswerKind.WITHHELD}:
            return None
        if answer.kind is not AnswerKind.DONE:
            return False
        self._line.blame.passed(kind._replace(method=request.method), found.contact, began)
        return True
