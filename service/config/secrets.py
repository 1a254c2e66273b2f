"""Secrets held in memory for a moment, so that a replaced file takes effect by itself and reading costs nothing."""

import time

from service.config.settings import SecretReference

_MAX_AGE_SECONDS = 5.0


class CachedSecret:
    """A secret read again at most every five seconds, or at once after `forget`."""

    def __init__(self, reference: SecretReference) -> None:
        self._reference = reference
        self._value = ""
        self._read_at = float("-inf")

    def get(self) -> str:
        """Return the secret as it stands now.

        While the place cannot be read, the last value seen is kept: a file being replaced is missing for an instant.
        Raises `OSError` or `LookupError` only if it was never read.
        """
        now = time.monotonic()
        if now - self._read_at < _MAX_AGE_SECONDS:
            return self._value
        try:
            self._value = self._reference.read()
        except (OSError, LookupError):
            if not self._value:
                raise
        self._read_at = now
        return self._value

    def forget(self) -> None:
        """Read the place again at the next `get`: Cordial has just refused the value we hold."""
        self._read_at = float("-inf")
