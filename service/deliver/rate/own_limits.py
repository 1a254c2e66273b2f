"""Telling one contact's 429 from the account's: the account's is met by others as well (R8). Pure, no I/O.

After a 429 that names a time, no call of its (method, endpoint) can pass before then if the limit is the account's. So if
calls pass that were made after the refused one, or between two refusals of one contact, the limit is the contact's own.
Of several that are refused at once, calls have to pass that were made after the last.
"""

from collections import OrderedDict
from collections.abc import Callable

# So many later calls must pass: one or two may have overtaken the refused one on their way.
_PASSES_TO_TELL = 3
_MAX_CONTACTS = 10_000


class _Refusals:
    """429s of one operation while calls are on their way that were made by then.

    They are told together what they met: what one of them asked for is not to be forgotten because of another.
    """

    def __init__(self) -> None:
        self.decide: list[Callable[[bool], None]] = []
        self.on_their_way: set[int] = set()
        self.latest = 0
        # Calls that were made after the latest of those that were refused, and passed since.
        self.passes: int
        self.is_accounts = False

    def tell(self) -> None:
        """Tell each whether the limits were their contacts' own."""
        for decide in self.decide:
            decide(not self.is_accounts and self.passes >= _PASSES_TO_TELL)


class OwnLimits:
    """What is known of 429s, for each operation. Calls are told by their ticket's number, in the order of being made."""

    def __init__(self) -> None:
        self._numbers = 0
        self._on_their_way: dict[str, set[int]] = {}
        self._refusals: dict[str, _Refusals] = {}
        self._passes: dict[str, int] = {}
        # Contacts that were refused with a time, and how many calls of the operation had passed by then.
        self._refused: OrderedDict[tuple[str, str], int] = OrderedDict()

    def begins(self, operation: str) -> int:
        """Note that a call is made; return its number."""
        self._numbers += 1
        self._on_their_way.setdefault(operation, set()).add(self._numbers)
        return self._numbers

    def ended(self, operation: str, number: int, *, passed: bool) -> None:
        """Note that a call ended otherwise than with a 429, and whether it passed."""
        self._on_their_way[operation].discard(number)
        self._passes[operation] = self._passes.get(operation, 0) + passed
        if (refusals := self._refusals.get(operation)) is not None:
            refusals.on_their_way.discard(number)
            refusals.passes += passed and number > refusals.latest
            self._tell_if_over(operation)

    def refused(self, operation: str, number: int, decide: Callable[[bool], None] | None) -> None:
        """Note that a call ended with a 429; call `decide`, later or now, with whether that was a limit of its contact's own.

        Without `decide` it is the account's.
        """
        self._on_their_way[operation].discard(number)
        refusals = self._refusals.setdefault(operation, _Refusals())
        refusals.on_their_way = set(self._on_their_way[operation])
        refusals.latest, refusals.passes = max(refusals.latest, number), 0
        if decide is None:
            refusals.is_accounts = True
        else:
            refusals.decide.append(decide)
        self._tell_if_over(operation)

    def _tell_if_over(self, operation: str) -> None:
        if not self._refusals[operation].on_their_way:
            self._refusals.pop(operation).tell()

    def is_known(self, operation: str, contact: str) -> bool:
        """Note that a contact was refused with a time; return whether others passed since it was refused before."""
        passes = self._passes.get(operation, 0)
        before = self._refused.pop((operation, contact), passes)
        self._refused[operation, contact] = passes
        if len(self._refused) > _MAX_CONTACTS:
            self._refused.popitem(last=False)
        return passes > before
