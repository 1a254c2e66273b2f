"""Secrets held in memory for a moment, so that a replaced file takes effect by itself and reading costs nothing."""

import time
from collections.abc import Callable

import msgspec

from service.config.settings import SecretReference


class Timings(msgspec.Struct, frozen=True):
    """How long a secret is kept, in seconds.

    `max_age`: before its place is read again. `max_unreadable`: while its place cannot be read: a file being replaced is
    missing for an instant, and a mounted one for some seconds.
    """

    max_age: float = 5.0
    max_unreadable: float = 10.0


class CachedSecret:
    """A secret read again at most every five seconds, or at once after `forget`."""

    def __init__(
        self,
        reference: SecretReference,
        clock: Callable[[], float] = time.monotonic,
        timings: Timings | None = None,
    ) -> None:
        self._reference = reference
        self._clock = clock
        self._timings = timings or Timings()
        self._value = ""
        self._looked_at = float("-inf")
        self._read_at = float("-inf")

    def get(self) -> str:
        """Return the secret as it stands now.

        While the place cannot be read, the last value seen is kept for ten seconds and no longer: whoever removes a secret
        wants it to open nothing. Then raises `OSError` or `LookupError`, as at once if it was never read.
        """
        now = self._clock()
        if self._value and now - self._looked_at < self._timings.max_age:
            return self._value
        try:
            self._value = self._reference.read()
        except (OSError, LookupError):
            if now - self._read_at >= self._timings.max_unreadable:
                self._value = ""
                raise
        else:
            self._read_at = now
        self._looked_at = now
        return self._value

    def forget(self) -> None:
        """Read the place again at the next `get`: Cordial has just refused the value we hold."""
        self._looked_at = float("-inf")
