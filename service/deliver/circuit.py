"""Whether an account can be served, and when that is asked next (R7). Pure: the clock and chance are given."""

from collections.abc import Callable

from service.backoff import backoff_seconds
from service.deliver.retry import Timings

# So many failures in a row, with no success between them, are the account's trouble and nobody's in particular.
_FAILURES_TO_OPEN = 5
_MAX_SUBJECTS = 1_000


class Circuit:
    """Whether an account can be served.

    It opens on one refusal of the key, or on several failures in a row; while open only one call at a time is made, a
    probe, at growing intervals. The first call that Cordial answers closes it.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float], timings: Timings | None = None) -> None:
        self._clock = clock
        self._random = random
        self._timings = timings or Timings()
        self._failures_in_a_row = 0
        self._subjects: set[str] = set()
        self._fails_to_write = False
        self.is_open = False
        # How many probes have failed since the pause began.
        self.probes = 0
        self.reason = ""
        self.next_probe_at = 0.0
        self.openings = 0
        self.passes = 0
        self.failures = 0

    def passed(self, *, writes: bool = True) -> bool:
        """Note a call that Cordial answered; return whether this ended a pause.

        That something can be read does not end a pause that began with what cannot be written.
        """
        self.passes += 1
        if self._fails_to_write and not writes:
            return False
        self._failures_in_a_row = 0
        self._subjects.clear()
        self._fails_to_write = False
        was_open, self.is_open = self.is_open, False
        return was_open

    def stay_open(self, reason: str) -> None:
        """Begin with the pause of whoever called before: only an answer of Cordial ends it, which is asked for at once."""
        self.is_open = True
        self.reason = reason
        # As nobody knows what kind of call failed, something written shows that it is over.
        self._fails_to_write = True
        self.next_probe_at = self._clock()

    @property
    def ends_by_reading(self) -> bool:
        """Whether it is open, and an answer to a question closes it."""
        return self.is_open and not self._fails_to_write

    def forget_writes(self) -> None:
        """Let whatever passes close it: what could not be written is owed no longer."""
        self._fails_to_write = False

    @property
    def is_near(self) -> bool:
        """Whether one more failure would begin a pause."""
        return not self.is_open and self._failures_in_a_row + 1 >= _FAILURES_TO_OPEN

    def is_alone(self, subject: str) -> bool:
        """Return whether all failures in a row were met by this subject."""
        return self._subjects <= {subject}

    def has_failed(self, subject: str) -> bool:
        """Return whether the subject met one of the failures in a row."""
        return subject in self._subjects

    def failed(self, reason: str, *, decisive: bool, probe: bool, subject: str = "", writes: bool = True) -> bool:
        """Note a call that could not be served; `decisive` opens at once. Return whether this began a pause.

        `probe`: the call was made because a probe was due. Others that were on their way when the pause began do not
        make it longer. `subject`: whom or what the call was about.
        """
        self.failures += 1
        self._fails_to_write = self._fails_to_write or (writes and not decisive)
        if len(self._subjects) < _MAX_SUBJECTS:
            self._subjects.add(subject)
        if self.is_open:
            if probe:
                self.probes += 1
                self.reason = reason
                self._plan_probe()
            return False
        self._failures_in_a_row += 1
        if not decisive and self._failures_in_a_row < _FAILURES_TO_OPEN:
            return False
        self.is_open = True
        self.reason = reason
        self.openings += 1
        self.probes = 0
        self._plan_probe()
        return True

    def _plan_probe(self) -> None:
        # Half the interval is certain, half is chance: accounts that failed together do not return together.
        interval = backoff_seconds(self.probes, self._timings.probe_base, self._timings.probe_cap)
        self.next_probe_at = self._clock() + interval / 2 + self._random() * interval / 2
