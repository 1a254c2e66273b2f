"""The store's files: who has them, whether they are still the ones that were opened, and how far they were acknowledged.

Everything here goes by the inode, never by a name: one file may have many names (links), and a name may come to mean
another file.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import structlog

log = structlog.get_logger()

_MARK_BYTES = 8


class StoreOpenError(Exception):
    """The store cannot be opened; the message says why and what to do."""


class StoreMovedError(Exception):
    """The path of the store does not name the files that were opened; the message says which, and what to do."""


def beside(database: Path, suffix: str) -> Path:
    """Return the file that belongs to a database, such as its WAL (`-wal`); SQLite names it after the real path."""
    real = Path(os.path.realpath(database))
    return real.with_name(real.name + suffix)


def sync_to_disk(path: Path) -> None:
    """Return when a file, or the names in a folder, would survive a power cut; raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none; each is safe from a power cut on return. Raises `OSError`.

    The names in a folder are no safer than the folder's own: without its sync, all that was ever acknowledged can vanish
    with it.
    """
    if folder.exists():
        return
    make_folder(folder.parent)
    # Somebody else may have made it meanwhile.
    folder.mkdir(exist_ok=True)
    sync_to_disk(folder.parent)


class ProcessLock:
    """Keeps a second process from the same store; the operating system lifts it when the process ends, however.

    It lies on the database file itself, so that no link, no removed file and no other user gets around it. To be taken
    before SQLite opens the file and released after it closed it: closing any descriptor of a file would end the locks
    that SQLite holds on it.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock; makes the file where there is none. Raises `StoreOpenError` and `OSError`."""
        while True:
            # For its owner alone: the ledger is a list of people; SQLite would let everybody read it, and gives its other
            # files the same rights.
            self._descriptor = os.open(database, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between the two, a restore may have put another file there.
                if os.path.samestat(os.fstat(self._descriptor), database.stat()):
                    return
            except BlockingIOError:
                self.release()
                raise StoreOpenError(
                    f"{database} is in use by another process, perhaps under another name; only one service can use a store"
                ) from None
            except FileNotFoundError:
                pass
            except BaseException:
                self.release()
                raise
            self.release()

    def release(self) -> None:
        """Let another process have the store; once is enough."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Identity(NamedTuple):
    """What a file is, whatever its name; `links` are its names."""

    device: int
    inode: int
    links: int


class StoreFiles:
    """The files of an open store: locked, watched, and with a mark beside them of what was acknowledged.

    SQLite goes on with a file that was deleted or replaced, and every commit succeeds; at the next start all of it is
    gone. So the files are looked at around each commit. The mark tells a start whether acknowledged deliveries are
    missing: it is written after the commit and before the answer, to the system's memory only. It survives what a process
    can suffer; after a power cut it may be behind, but is never ahead of the store.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock and open the mark, before SQLite opens anything. Raises `StoreOpenError` and `OSError`."""
        self._database = database
        # The names do not change while the store is open, and finding the real ones takes longer than the looks at them.
        self._wal_path, self._mark_path = beside(database, "-wal"), mark_file(database)
        self._known: list[tuple[Path, _Identity]] = []
        self._linked: set[Path] = set()
        self._lock = ProcessLock(database)
        self._locked_at = time.monotonic()
        try:
            _require_one_name(database)
            self._mark = _open_mark(self._mark_path)
        except BaseException:
            self._lock.release()
            raise
        found = os.pread(self._mark, _MARK_BYTES + 1, 0)
        if found and len(found) != _MARK_BYTES:
            log.warning("store.mark_damaged", file=str(self._mark_path))
            os.ftruncate(self._mark, 0)
        # The id of the last delivery that was acknowledged; ids only grow.
        self.last_acknowledged = int.from_bytes(found, "little") if len(found) == _MARK_BYTES else 0

    def watch(self) -> None:
        """Remember the files as they are, once SQLite has them open and has read or written."""
        paths = [self._database, self._wal_path, beside(self._database, "-shm")]
        self._known = [(path, _identity(path)) for path in paths]

    def check(self) -> None:
        """Raise `StoreMovedError` unless each path names the file that was opened; takes microseconds."""
        for path, known in self._known:
            try:
                found = _identity(path)
            except OSError as error:
                raise StoreMovedError(_moved(path, error.strerror or str(error))) from None
            if found[:2] != known[:2]:
                raise StoreMovedError(_moved(path, "another file has replaced it"))
            if found.links > known.links and path not in self._linked:
                self._linked.add(path)
                log.warning("store.linked", file=str(path), names=found.links)
        self._keep_mark()

    @property
    def seconds_open(self) -> float:
        """For how many seconds no other process can have had the store."""
        return time.monotonic() - self._locked_at

    @property
    def wal_bytes(self) -> int:
        """How large the WAL's file is."""
        try:
            return self._wal_path.stat().st_size
        except OSError:
            return 0

    def acknowledge(self, delivery_id: int) -> None:
        """Remember that a delivery is durable."""
        if delivery_id > self.last_acknowledged:
            self.set_last_acknowledged(delivery_id)

    def set_last_acknowledged(self, delivery_id: int) -> None:
        """Remember this one, and nothing later."""
        self.last_acknowledged = delivery_id
        # A disk in trouble fails the commits as well, and it is those that are told.
        with contextlib.suppress(OSError):
            os.pwrite(self._mark, delivery_id.to_bytes(_MARK_BYTES, "little"), 0)

    def _keep_mark(self) -> None:
        """Put the mark back where it was removed or replaced: it is known here, and no reason to take no page."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._mark), self._mark_path.stat()):
                return
        try:
            mark = _open_mark(self._mark_path)
        except OSError:
            # Tried again before the next commit.
            return
        # Under the number that other threads may be writing to.
        os.dup2(mark, self._mark, inheritable=False)
        os.close(mark)
        os.ftruncate(self._mark, 0)
        self.set_last_acknowledged(self.last_acknowledged)
        log.warning("store.mark_replaced", file=str(self._mark_path))

    def close(self) -> None:
        """Let another process have the store, once SQLite has closed all of it."""
        os.close(self._mark)
        self._lock.release()


def _open_mark(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _require_one_name(database: Path) -> None:
    """Raise `StoreOpenError` if the file has several names: its WAL has but one, and by another it would not be found."""
    for aside in database.parent.iterdir():
        # A restore gives the old file a second name before it replaces the first, and may have been killed in between.
        if aside.name.startswith(f"{database.name}.replaced-") and aside.samefile(database):
            aside.unlink()
            beside(aside, "-wal").unlink(missing_ok=True)
    names = database.stat().st_nlink
    if names > 1:
        raise StoreOpenError(
            f"{database} has {names} names (hard links), and a program that opens it by another name does not find its WAL; "
            "remove the other names"
        )


def _identity(path: Path) -> _Identity:
    found = path.stat()
    return _Identity(found.st_dev, found.st_ino, found.st_nlink)


def _moved(path: Path, why: str) -> str:
    return (
        f"{path} is not the file that was opened ({why}): put it back, or stop the service before you replace it; until "
        "then, no page is accepted"
    )


def mark_file(database: Path) -> Path:
    """Return where the mark of a store lies."""
    return beside(database, ".acknowledged")


# Fixed in 3.51.3, and in 3.50.7 and 3.44.6 for those who stay on these (https://sqlite.org/wal.html#walresetbug).
_WAL_RESET_FIXED = (3, 51, 3)
_WAL_RESET_BACKPORTS = {(3, 50): 7, (3, 44): 6}


def has_wal_reset_fault(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite can lose commits when a checkpoint and a commit meet; the service never lets them meet."""
    backport = _WAL_RESET_BACKPORTS.get(version[:2])
    is_fixed = version >= _WAL_RESET_FIXED or (backport is not None and version[2] >= backport)
    return version >= (3, 7, 0) and not is_fixed


def describe_sqlite() -> str:
    """Say which SQLite is used, and what its version means for the store."""
    if has_wal_reset_fault():
        return (
            f"SQLite {sqlite3.sqlite_version} has the WAL-reset bug (fixed in 3.51.3); this service avoids it, but no other "
            "program may write to the store"
        )
    return f"SQLite {sqlite3.sqlite_version}"
