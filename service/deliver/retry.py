"""When to try again, and whose fault a failure is (R7). Pure: the clock and chance are given."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_PROBE_BASE_SECONDS = 1.0
_PROBE_CAP_SECONDS = 60.0
_RETRY_BASE_SECONDS = 1.0
_RETRY_CAP_SECONDS = 300.0

# So many failures in a row, with no success between them, are the account's trouble and nobody's in particular.
_FAILURES_TO_OPEN = 5

# A failure is a change's own only if, since the change's last one, this many others passed and hardly any failed.
_PASSES_TO_BLAME = 10
_PASSES_PER_FAILURE = 9
_MOST_SUSPECTS = 10_000


def backoff_seconds(failures: int, base_seconds: float, cap_seconds: float, random: Callable[[], float]) -> float:
    """Return how long to wait after the given number of failures: exponential, capped, with full jitter.

    `random` returns a number from 0 up to 1.
    """
    return random() * min(cap_seconds, base_seconds * 2.0 ** min(failures, 30))


def retry_delay_seconds(failures: int, random: Callable[[], float]) -> float:
    """Return how long a change that failed waits for its next call."""
    return backoff_seconds(failures, _RETRY_BASE_SECONDS, _RETRY_CAP_SECONDS, random)


class Circuit:
    """Whether an account can be served.

    It opens on one refusal of the key, or on several failures in a row; while open only one call at a time is made, a
    probe, at growing intervals. The first call that Cordial answers closes it.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._failures_in_a_row = 0
        self._probes = 0
        self.is_open = False
        self.reason = ""
        self.next_probe_at = 0.0
        self.openings = 0
        self.passes = 0
        self.failures = 0

    def passed(self) -> bool:
        """Note a call that Cordial answered; return whether this ended a pause."""
        self.passes += 1
        self._failures_in_a_row = 0
        was_open, self.is_open = self.is_open, False
        return was_open

    def failed(self, reason: str, *, decisive: bool, probe: bool) -> bool:
        """Note a call that could not be served; `decisive` opens at once. Return whether this began a pause.

        `probe`: the call was made because a probe was due. Others that were on their way when the pause began do not
        make it longer.
        """
        self.failures += 1
        if self.is_open:
            if probe:
                self._probes += 1
                self.reason = reason
                self._plan_probe()
            return False
        self._failures_in_a_row += 1
        if not decisive and self._failures_in_a_row < _FAILURES_TO_OPEN:
            return False
        self.is_open = True
        self.reason = reason
        self.openings += 1
        self._probes = 0
        self._plan_probe()
        return True

    def _plan_probe(self) -> None:
        # Half the interval is certain, half is chance: accounts that failed together do not return together.
        interval = min(_PROBE_CAP_SECONDS, _PROBE_BASE_SECONDS * 2.0 ** min(self._probes, 30))
        self.next_probe_at = self._clock() + interval / 2 + self._random() * interval / 2


@dataclass(frozen=True)
class _Moment:
    passes: int
    failures: int
    openings: int


class Suspicion:
    """Tells a change that cannot be served from an account that cannot.

    A timeout or a 5xx may be either's fault. It is held against the change only at the change's next failure, if all
    the while between the account was never paused and almost everything else passed.
    """

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._moments: OrderedDict[str, _Moment] = OrderedDict()

    def is_to_blame(self, contact: str) -> bool:
        """Note a failure of the contact's call; return whether its previous one was its own fault."""
        now = _Moment(self._circuit.passes, self._circuit.failures, self._circuit.openings)
        then = self._moments.pop(contact, None)
        self._moments[contact] = now
        if len(self._moments) > _MOST_SUSPECTS:
            self._moments.popitem(last=False)
        if then is None or then.openings != now.openings:
            return False
        passes = now.passes - then.passes
        # The failure noted now is the contact's own and is not counted among the others'.
        failures = max(0, now.failures - then.failures - 1)
        return passes >= _PASSES_TO_BLAME and passes >= failures * _PASSES_PER_FAILURE

    def clear(self, contact: str) -> None:
        """Forget a contact whose call passed."""
        self._moments.pop(contact, None)
