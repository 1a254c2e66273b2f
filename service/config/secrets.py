"""Secrets held in memory for a moment, so that a replaced file takes effect by itself and reading costs nothing."""

import time
from collections.abc import Callable

from service.config.settings import SecretReference

_MAX_AGE_SECONDS = 5.0
# A file being replaced is missing for an instant, and a mounted one for some seconds.
_MAX_UNREADABLE_SECONDS = 10.0


class CachedSecret:
    """A secret read again at most every five seconds, or at once after `forget`."""

    def __init__(self, reference: SecretReference, clock: Callable[[], float] = time.monotonic) -> None:
        self._reference = reference
        self._clock = clock
        self._value = ""
        self._looked_at = float("-inf")
        self._read_at = float("-inf")

    def get(self) -> str:
        """Return the secret as it stands now.

        While the place cannot be read, the last value seen is kept for ten seconds and no longer: whoever removes a secret
        wants it to open nothing. Then raises `OSError` or `LookupError`, as at once if it was never read.
        """
        now = self._clock()
        if self._value and now - self._looked_at < _MAX_AGE_SECONDS:
            return self._value
        try:
            self._value = self._reference.read()
        except (OSError, LookupError):
            if now - self._read_at >= _MAX_UNREADABLE_SECONDS:
                self._value = ""
                raise
        else:
            self._read_at = now
        self._looked_at = now
        return self._value

    def forget(self) -> None:
        """Read the place again at the next `get`: Cordial has just refused the value we hold."""
        self._looked_at = float("-inf")
