"""Telling one contact's 429 from the account's: the account's is met by others as well (R8). Pure, no I/O.

After a 429 that names a time, no call of its (method, endpoint) can pass before then if the limit is the account's. So if
calls pass that were made after the refused one, or between two refusals of one contact, the limit is the contact's own.
"""

from collections import OrderedDict
from collections.abc import Callable

# So many later calls must pass: one or two may have overtaken the refused one on their way.
_PASSES_TO_TELL = 3
_MAX_CONTACTS = 10_000


class _Refusal:
    """A 429 that may be the contact's own, for as long as calls are on their way that were made at the time."""

    def __init__(self, number: int, on_their_way: set[int], decide: Callable[[bool], None]) -> None:
        self.number = number
        self.on_their_way = on_their_way
        self.decide = decide
        self.passes = 0


class OwnLimits:
    """What is known of 429s, for each operation. Calls are told by their ticket's number, in the order of being made."""

    def __init__(self) -> None:
        self._numbers = 0
        self._on_their_way: dict[str, set[int]] = {}
        self._refusals: dict[str, list[_Refusal]] = {}
        self._passes: dict[str, int] = {}
        # Contacts that were refused with a time, and how many calls of the operation had passed by then.
        self._refused: OrderedDict[tuple[str, str], int] = OrderedDict()

    def begins(self, operation: str) -> int:
        """Note that a call is made; return its number."""
        self._numbers += 1
        self._on_their_way.setdefault(operation, set()).add(self._numbers)
        return self._numbers

    def ended(self, operation: str, number: int, *, passed: bool, throttled: bool) -> None:
        """Note how a call ended."""
        self._on_their_way[operation].discard(number)
        self._passes[operation] = self._passes.get(operation, 0) + passed
        for refusal in self._refusals.pop(operation, []):
            refusal.on_their_way.discard(number)
            refusal.passes += passed and number > refusal.number
            if throttled or not refusal.on_their_way:
                refusal.decide(not throttled and refusal.passes >= _PASSES_TO_TELL)
            else:
                self._refusals.setdefault(operation, []).append(refusal)

    def is_known(self, operation: str, contact: str) -> bool:
        """Note that a contact was refused with a time; return whether others passed since it was refused before."""
        passes = self._passes.get(operation, 0)
        before = self._refused.pop((operation, contact), passes)
        self._refused[operation, contact] = passes
        if len(self._refused) > _MAX_CONTACTS:
            self._refused.popitem(last=False)
        return passes > before

    def ask(self, operation: str, number: int, decide: Callable[[bool], None]) -> None:
        """Call `decide` with whether call `number`, which was refused, met a limit of its contact's own."""
        on_their_way = set(self._on_their_way.get(operation, ()))
        if on_their_way:
            self._refusals.setdefault(operation, []).append(_Refusal(number, on_their_way, decide))
        else:
            decide(False)
