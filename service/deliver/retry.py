"""How long to wait before a call is made again. Pure: chance is given."""

from collections.abc import Callable

import msgspec

from service.backoff import backoff_seconds


class Timings(msgspec.Struct, frozen=True):
    """How long is waited, in seconds; a base doubles with each failure in a row, up to the cap.

    `probe`: between two probes of a paused account. `retry`: before the next call for a change that failed. `absent`: at
    least so long before Cordial is asked again about a contact that it says does not exist.
    """

    probe_base: float = 1.0
    probe_cap: float = 60.0
    retry_base: float = 1.0
    retry_cap: float = 300.0
    absent: float = 60.0

    def retry_delay(self, failures: int, random: Callable[[], float]) -> float:
        """Return for how many seconds a change that failed waits before its next call: by full jitter (R8).

        `random` returns a number from 0 up to 1.
        """
        return random() * backoff_seconds(failures, self.retry_base, self.retry_cap)
