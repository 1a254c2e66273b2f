"""What is wrong with the store, as far as reads and writes have shown."""

import sqlite3
import time

import structlog

log = structlog.get_logger()

_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DAMAGE_ADVICE = "stop the service and restore the file from a backup; nothing more is taken until then"
# A full disk lets small writes pass while pages fail: only some time without a failure means that it is over.
_CALM_SECONDS = 3.0


class Trouble:
    """Remembers the last failure until others have succeeded for a while; damage to the file is never over."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_damage = False
        self._failed_at = float("-inf")

    def note_failure(self, error: sqlite3.Error) -> None:
        """Note a read or write that failed."""
        self._failed_at = time.monotonic()
        if self.is_damage:
            return
        before = self.reason
        self.is_damage = is_damage(error)
        self.reason = f"{error}; {_DAMAGE_ADVICE}" if self.is_damage else str(error)
        if self.is_damage:
            log.error("store.damaged", reason=self.reason)
        elif before is None:
            log.error("store.failed", reason=self.reason)

    def note_success(self) -> None:
        """Note a write that is on disk."""
        is_over = not self.is_damage and time.monotonic() - self._failed_at >= _CALM_SECONDS
        if is_over and self.reason is not None:
            log.info("store.recovered", after=self.reason)
            self.reason = None


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the file itself is damaged, as opposed to locked, full or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE_CODES
