"""Proof calls: what Cordial has confirmed is sent once more, to see whether it still takes calls of that kind (R7).

Such a call changes nothing: the contact is where it is put. Only so can a quiet account tell a change that cannot succeed
from an account that cannot be served.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from service.config.settings import AccountSettings
from service.deliver.blame import Kind
from service.deliver.cordial.answers import AnswerKind
from service.deliver.cordial.requests import repeated_request
from service.deliver.line import AccountLine
from service.errors import StoreFaultError, StoreUnavailableError

# Of how many lists a confirmed membership is looked for.
_MAX_KINDS = 8


class Confirmed(NamedTuple):
    """A membership that Cordial has confirmed, and the name of its list."""

    contact: str
    kind: Kind
    list_name: str


Holding = Callable[[Sequence[Kind], str], AbstractAsyncContextManager[Confirmed | None]]


class ProofCalls:
    """Makes one account's proof calls, one at a time; whoever waits meanwhile shares what the one before showed."""

    def __init__(
        self, settings: AccountSettings, line: AccountLine, hold: Holding, ready: Callable[[], Sequence[int]]
    ) -> None:
        self._settings = settings
        self._line = line
        self._hold = hold
        self._ready = ready
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
            kinds = [kind] if kind else blame.latest() or [Kind("", segment_id, True) for segment_id in self._ready()]
            try:
                async with self._hold(kinds[:_MAX_KINDS], apart_from) as found:
                    return await self._repeat(found, is_probe=is_probe) if found else None
            except (StoreUnavailableError, StoreFaultError):
                return None

    async def _repeat(self, found: Confirmed, *, is_probe: bool) -> bool | None:
        began = self._line.blame.moment()
        kind = found.kind
        memberships = {found.list_name: kind.wanted}
        request = repeated_request(self._settings, found.contact, memberships, kind.method)
        with self._line.permit(found.contact) as permit:
            answer = await self._line.prove(request, permit, is_probe=is_probe)
        if answer is None or answer.kind in {AnswerKind.THROTTLED, AnswerKind.NOT_FOUND, AnswerKind.WITHHELD}:
            return None
        if answer.kind is not AnswerKind.DONE:
            return False
        self._line.blame.passed(kind._replace(method=request.method), found.contact, began)
        return True
