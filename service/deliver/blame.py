"""Whose fault a failure is (R7): a change's own only while others of its kind pass. Pure, no I/O.

docs/evidence.md has the rule. A pass proves something about a failure only if its call began after the failure.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from service.deliver.circuit import Circuit

# A timeout or a 5xx is a change's own only if, since its last one, this many others passed and hardly any failed.
_PASSES_TO_BLAME = 10
_PASSES_PER_FAILURE = 9
_MAX_SUSPECTS = 10_000


class Kind(NamedTuple):
    """What calls have in common that Cordial takes or refuses alike: creating or not, the list, joining or not."""

    method: str
    segment_id: int
    wanted: bool


@dataclass
class _Seen:
    """What is known of a kind: its latest pass, and up to two contacts that failed since."""

    passed: int = 0
    passed_for: str = ""
    failed_for: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Moment:
    passes: int
    failures: int
    openings: int


class Blame:
    """Tells a change that cannot be served from an account, or a kind of call, that cannot."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._now = 0
        self._kinds: dict[Kind, _Seen] = {}
        self._moments: OrderedDict[str, _Moment] = OrderedDict()
        self._marks: OrderedDict[tuple[str, Kind], None] = OrderedDict()

    def moment(self) -> int:
        """Return a number for this moment; later ones are greater."""
        self._now += 1
        return self._now

    def passed(self, kind: Kind, contact: str, began: int) -> None:
        """Note that a call for the contact passed, which began at the moment `began`."""
        seen = self._kinds.setdefault(kind, _Seen())
        seen.failed_for.clear()
        if began > seen.passed:
            seen.passed, seen.passed_for = began, contact

    def failed(self, kind: Kind, contact: str) -> None:
        """Note that a call for the contact failed."""
        seen = self._kinds.setdefault(kind, _Seen())
        if len(seen.failed_for) < 2:  # noqa: PLR2004  more is not asked for
            seen.failed_for.add(contact)

    def passed_since(self, kind: Kind | None, contact: str, moment: int) -> bool:
        """Return whether a call of the kind, or of any, passed for somebody else, which began after the moment."""
        seen = self._kinds.values() if kind is None else filter(None, (self._kinds.get(kind),))
        return any(each.passed > moment and each.passed_for != contact for each in seen)

    def found_since(self, contact: str, moment: int) -> bool:
        """Return whether Cordial found somebody else, to whom nothing is created, by a call that began after the moment."""
        return any(self.passed_since(kind, contact, moment) for kind in self._kinds if kind.method == "PUT")

    def is_alone(self, kind: Kind, contact: str) -> bool:
        """Return whether no other contact failed since the kind's latest pass."""
        seen = self._kinds.get(kind)
        return seen is None or seen.failed_for <= {contact}

    def latest(self) -> list[Kind]:
        """Return the kinds that ever passed, the latest first."""
        passed = [(seen.passed, kind) for kind, seen in self._kinds.items() if seen.passed]
        return [kind for _, kind in sorted(passed, reverse=True)]

    def latest_contact(self, kind: Kind) -> str:
        """Return whom the latest pass of the kind was for, by whatever method; "" where none passed."""
        alike = [(seen.passed, seen.passed_for) for each, seen in self._kinds.items() if each[1:] == kind[1:]]
        return max(alike, default=(0, ""))[1]

    def is_to_blame(self, contact: str) -> bool | None:
        """Note a call for the contact that was not served; return whether the contact itself caused the failure before.

        It did if, between the two failures, the account was never paused and almost all other calls passed. None: too few
        calls passed to tell.
        """
        now = _Moment(self._circuit.passes, self._circuit.failures, self._circuit.openings)
        then = self._moments.pop(contact, None)
        self._moments[contact] = now
        if len(self._moments) > _MAX_SUSPECTS:
            self._moments.popitem(last=False)
        if then is None or then.openings != now.openings:
            return False
        passes = now.passes - then.passes
        # The failure noted now is the contact's own and is not counted among the others'.
        failures = max(0, now.failures - then.failures - 1)
        if passes < _PASSES_TO_BLAME:
            return None
        return passes >= failures * _PASSES_PER_FAILURE

    def mark(self, contact: str, kind: Kind) -> None:
        """Note that calls of the kind passed for others after the contact's failed: if it fails again, it is to blame."""
        self._marks[contact, kind] = None
        if len(self._marks) > _MAX_SUSPECTS:
            self._marks.popitem(last=False)

    def take_mark(self, contact: str, kind: Kind) -> bool:
        """Return whether the contact's previous failure was marked, and remove the mark."""
        return self._marks.pop((contact, kind), True) is None

    def clear(self, contact: str) -> None:
        """Forget a contact whose call was served."""
        self._moments.pop(contact, None)
