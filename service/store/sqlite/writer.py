"""The one writer: transactions given as functions, many of them sharing one commit (R1), and all checkpoints.

Commits and checkpoints take turns. A checkpoint that runs while a commit resets the WAL loses commits in SQLite up to
3.51.2 (https://sqlite.org/wal.html#walresetbug), and one that never has the WAL to itself never lets it begin anew.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from service import supervision
from service.errors import StoreFaultError, StoreUnavailableError
from service.store.sqlite.files import StoreFiles, StoreMovedError
from service.store.sqlite.opening import MAX_WAL_BYTES, Connection
from service.supervision import Supervisor

Result = TypeVar("Result")
_Work = Callable[[sqlite3.Connection], Any]

_MAX_PER_COMMIT = 256
_MAX_BYTES_PER_COMMIT = 16_777_216
_MAX_WAITING = 4_096
_MAX_WAITING_BYTES = 268_435_456
# Writers wait while the WAL is cut off, and whoever reads the file for long must not make them wait for him too.
_CUT_OFF_PATIENCE_MS = 50

log = structlog.get_logger()

_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TROUBLE_CODES = _DAMAGE_CODES | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_DAMAGE_ADVICE = "stop the service and restore the file from a backup; no page is accepted until then"
_FAULT_ADVICE = "this is a fault in the program, not in the disk. It was not written. Please report it with this line"


class Timings(msgspec.Struct, frozen=True):
    """When the writer does what nobody asked for.

    `checkpoint_seconds`: between two checkpoints while there are commits; the shorter, the less each has to do, and the
    shorter whoever is to be answered waits behind it. `look_seconds`: between two looks at the files while nothing is
    written. `cut_off_seconds`: between two attempts to cut off a WAL of more than `max_wal_bytes`, for which all who read
    are waited for a moment. `large_wait_seconds`: how long a large transaction waits at most for the WAL to be cut off;
    somebody may read the file for hours. `calm_seconds`: a full disk lets small writes pass while large ones fail, so only
    so long without a failure means that it is over.
    """

    checkpoint_seconds: float = 0.2
    look_seconds: float = 1.0
    cut_off_seconds: float = 1.0
    max_wal_bytes: int = MAX_WAL_BYTES
    large_wait_seconds: float = 2.0
    calm_seconds: float = 3.0


class Trouble:
    """What is wrong with the store, as far as reads and writes have shown; damage to the file is never over."""

    def __init__(self, calm_seconds: float) -> None:
        self._calm_seconds = calm_seconds
        self._failure: str | None = None
        self._moved: str | None = None
        self._failed_at = float("-inf")
        self._faults: set[str] = set()
        self.is_damage = False

    @property
    def reason(self) -> str | None:
        """What is wrong, or None."""
        return self._moved or self._failure

    def unavailable(self, error: sqlite3.Error) -> StoreUnavailableError | StoreFaultError:
        """Note a read or write that failed; return what to tell whoever asked for it."""
        if not is_trouble(error):
            self.note_fault(error)
            return StoreFaultError(str(error))
        self._failed_at = time.monotonic()
        if not self.is_damage:
            before = self._failure
            self.is_damage = _code(error) in _DAMAGE_CODES
            self._failure = f"{error}; {_DAMAGE_ADVICE}" if self.is_damage else str(error)
            if self.is_damage:
                log.error("store.damaged", reason=self._failure)
            elif before is None:
                log.error("store.failed", reason=self._failure)
        return StoreUnavailableError(str(error))

    def moved(self, error: StoreMovedError) -> StoreUnavailableError:
        """Note that the files are not those that were opened; return what to tell whoever asked."""
        if self._moved is None:
            log.error("store.moved", reason=str(error))
        self._moved = str(error)
        return StoreUnavailableError(self._moved)

    def note_in_place(self) -> None:
        """Note that the files are those that were opened."""
        if self._moved is not None:
            log.info("store.recovered", after=self._moved)
            self._moved = None

    def note_success(self) -> None:
        """Note a write that is on disk."""
        self.note_in_place()
        is_over = not self.is_damage and time.monotonic() - self._failed_at >= self._calm_seconds
        if is_over and self._failure is not None:
            log.info("store.recovered", after=self._failure)
            self._failure = None

    def note_fault(self, error: sqlite3.Error | StoreFaultError) -> None:
        """Note something that the database, or the ledger's own rules, refused."""
        # Whoever caused it may try again for ever; it is the same fault.
        if str(error) not in self._faults:
            self._faults.add(str(error))
            log.error("store.fault", reason=str(error), what_to_do=_FAULT_ADVICE, exc_info=error)


def is_trouble(error: sqlite3.Error) -> bool:
    """Tell whether the disk, the file or another program is to blame (I/O, full, locked, read-only, damaged), not our SQL."""
    code = _code(error)
    # Without a code only where SQLite had no say: it rolled back by itself, and its own error was lost on the way.
    return code in _TROUBLE_CODES or (code is None and isinstance(error, sqlite3.OperationalError))


def _code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class _Request:
    """One transaction-to-be: its work, what is to follow the commit, and who waits for it."""

    __slots__ = ("alone", "future", "on_commit", "on_disk", "size_bytes", "work")

    def __init__(
        self,
        work: _Work,
        on_disk: Callable[[Any], None] | None,
        on_commit: Callable[[Any], None] | None,
        size_bytes: int,
        *,
        alone: bool,
        future: asyncio.Future[Any],
    ) -> None:
        self.work = work
        self.on_disk = on_disk
        self.on_commit = on_commit
        self.size_bytes = size_bytes
        self.alone = alone
        self.future = future

    def fail(self, error: Exception) -> None:
        """Tell whoever still waits."""
        if not self.future.done():
            self.future.set_exception(error)
            # Seen, even if nobody waits any more.
            self.future.exception()


class _Committed(NamedTuple):
    """Each request's result or exception, and, if the commit is in a file that the path does not name any more, why."""

    results: list[Any]
    moved: StoreMovedError | None = None


class Writer:
    """Runs functions on the writer's thread, all that wait in one transaction, each undone by itself if it fails.

    A function's effect is durable when `run` returns. Cancelling the caller neither stops nor undoes it, so what must
    follow a commit in memory is given as `on_commit`.
    """

    def __init__(
        self,
        connection: Connection,
        checkpoints: sqlite3.Connection,
        files: StoreFiles,
        *,
        read_memory: _Work,
        set_memory: Callable[[Any], None],
        timings: Timings,
    ) -> None:
        """`checkpoints` is another connection to the same file, made on the first one's thread.

        `read_memory` reads, and `set_memory` sets, what is held in memory beside the file: wherever following up a commit
        failed, the two have come apart.
        """
        self._connection = connection
        self._checkpoints = checkpoints
        self._files = files
        self._read_memory = read_memory
        self._set_memory = set_memory
        self._is_apart = False
        self._timings = timings
        self.trouble = Trouble(timings.calm_seconds)
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._turn = asyncio.Lock()
        self._closing = False
        self._is_checkpoint_owed = True
        self._checkpointed_at = time.monotonic()
        self._cut_off_at = float("-inf")
        self._checkpointed = asyncio.Event()
        self.commits = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to write."""
        self._task = supervisor.start("store writer", self._work(supervisor), beats=True, may_end=lambda: self._closing)
        self._task.add_done_callback(self._refuse_waiting)

    async def run(
        self,
        work: Callable[[sqlite3.Connection], Result],
        *,
        size_bytes: int = 0,
        alone: bool = False,
        on_disk: Callable[[Result], None] | None = None,
        on_commit: Callable[[Result], None] | None = None,
    ) -> Result:
        """Return what `work` returns, once it is committed and synced to disk.

        `alone` gives it a transaction of its own, which suits large ones: nobody's answer waits for them to commit, and
        SQLite keeps no copy of each page they touch, as it does where one of several may have to be undone. They wait
        while the WAL is too large, because what they add could be more than checkpoints bring back. `on_disk` is
        called on the writer's thread before anybody hears of the commit, `on_commit` in the event loop.

        Raises `StoreUnavailableError` when it could not be made durable, `StoreFaultError` when it broke a rule of the
        database, and whatever else `work` itself raised.
        """
        if alone:
            await self._until_wal_is_cut_off()
        if self._closing:
            raise StoreUnavailableError("it is closing")
        if self._task is None or self._task.done():
            raise StoreUnavailableError("its writer is not running")
        if self.trouble.is_damage:
            raise StoreUnavailableError(self.trouble.reason or "")
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES:
            raise StoreUnavailableError("too much is waiting to be written")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(work, on_disk, on_commit, size_bytes, alone=alone, future=future))
        self._waiting_bytes += size_bytes
        self._arrived.set()
        # Shielded: a caller that goes away must not make the writer believe its transaction is void.
        return await asyncio.shield(future)

    async def _until_wal_is_cut_off(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.large_wait_seconds):
                while self._is_wal_too_large() and not self._closing:
                    self._checkpointed.clear()
                    await self._checkpointed.wait()

    def _is_wal_too_large(self) -> bool:
        return self._files.wal_bytes > self._timings.max_wal_bytes

    async def empty_wal(self) -> bool:
        """Bring all of the WAL into the database and cut it off; return whether that could be done now.

        A program that reads the file for long prevents it, and is not waited for. Raises `StoreUnavailableError`.
        """
        async with self._turn:
            try:
                return await self._connection.run(lambda writer: _bring_back(writer, self._checkpoints, cut_off=True))
            except sqlite3.Error as error:
                raise StoreUnavailableError(str(error)) from error

    async def close(self) -> None:
        """Write what waits, bring the WAL back into the database and close the connections."""
        if self._closing:
            return
        self._closing = True
        self._arrived.set()
        await supervision.ended(self._task)
        with contextlib.suppress(StoreUnavailableError, StoreFaultError):
            await self.empty_wal()
        await self._connection.run(lambda _: self._checkpoints.close())
        await self._connection.close()

    async def _work(self, supervisor: Supervisor) -> None:
        while True:
            supervisor.beat()
            batch = self._take_batch()
            if batch:
                async with self._turn:
                    await self._write(batch)
            elif self._closing:
                return
            else:
                await self._wait()
            if self._is_apart:
                await self._read_memory_anew()
            if (
                self._is_checkpoint_owed
                and time.monotonic() >= self._checkpointed_at + self._timings.checkpoint_seconds
            ):
                async with self._turn:
                    await self._checkpoint()

    async def _wait(self) -> None:
        """Return when there is something to write, or a checkpoint is due; look at the files meanwhile."""
        self._arrived.clear()
        timings = self._timings
        wait = timings.checkpoint_seconds if self._is_checkpoint_owed else timings.look_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._arrived.wait()
                return
        try:
            await self._connection.run(lambda _: self._files.check())
        except StoreMovedError as error:
            self.trouble.moved(error)
        else:
            self.trouble.note_in_place()

    def _refuse_waiting(self, _task: asyncio.Task[None]) -> None:
        for request in self._waiting:
            request.fail(StoreUnavailableError("its writer has ended"))

    async def _read_memory_anew(self) -> None:
        try:
            read = await self._connection.run(self._read_memory)
        except sqlite3.Error as error:
            log.warning("store.memory_not_read", reason=str(error))
            return
        self._set_memory(read)
        self._is_apart = False

    def _take_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size_bytes = 0
        while self._waiting and len(batch) < _MAX_PER_COMMIT and size_bytes < _MAX_BYTES_PER_COMMIT:
            if batch and (batch[0].alone or self._waiting[0].alone):
                break
            request = self._waiting.popleft()
            size_bytes += request.size_bytes
            batch.append(request)
        self._waiting_bytes -= size_bytes
        return batch

    async def _write(self, batch: list[_Request]) -> None:
        try:
            committed = await self._connection.run(lambda connection: _commit(connection, batch, self._files))
        except Exception as error:  # noqa: BLE001  the writer outlives any fault: each is told to those who wait
            committed = _Committed([error] * len(batch))
        self.commits += 1
        self._is_checkpoint_owed = True
        is_troubled = False
        for request, result in zip(batch, committed.results, strict=True):
            match result:
                case sqlite3.Error():
                    is_troubled |= is_trouble(result)
                    told = self.trouble.unavailable(result)
                    told.__cause__ = result
                    request.fail(told)
                case StoreMovedError():
                    is_troubled = True
                    request.fail(self.trouble.moved(result))
                case StoreFaultError():
                    self.trouble.note_fault(result)
                    request.fail(result)
                case Exception():
                    request.fail(result)
                case _:
                    self._conclude(request, result, committed.moved)
        if not is_troubled and committed.moved is None:
            self.trouble.note_success()

    def _conclude(self, request: _Request, result: Any, moved: StoreMovedError | None) -> None:
        try:
            # Also of a file that has been moved away: should it come back, memory and disk are equal.
            if request.on_commit is not None:
                request.on_commit(result)
        except Exception as error:  # the writer outlives this as well: nobody could write any more without it
            log.exception("store.on_commit_failed")
            request.fail(error)
            self._is_apart = True
            return
        if moved is not None:
            request.fail(self.trouble.moved(moved))
        elif not request.future.done():
            request.future.set_result(result)

    async def _checkpoint(self) -> None:
        now = time.monotonic()
        cut_off = self._is_wal_too_large() and now >= self._cut_off_at + self._timings.cut_off_seconds
        if cut_off:
            self._cut_off_at = now
        try:
            is_whole = await self._connection.run(
                lambda writer: _bring_back(writer, self._checkpoints, cut_off=cut_off)
            )
        except sqlite3.Error as error:
            log.warning("checkpoint.failed", reason=str(error))
            is_whole = False
        # Where a reader held some of it up, it is tried again.
        self._is_checkpoint_owed = not is_whole or self._is_wal_too_large()
        self._checkpointed_at = time.monotonic()
        self._checkpointed.set()


def _bring_back(writer: sqlite3.Connection, checkpoints: sqlite3.Connection, *, cut_off: bool) -> bool:
    """Bring the WAL back into the database while nobody can commit; return whether all of it could be (and was cut off)."""
    # Held by the writer: no other program can commit either, and so nobody can reset the WAL under the checkpoint.
    writer.execute("BEGIN IMMEDIATE")
    try:
        _, frames, moved = checkpoints.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        writer.execute("ROLLBACK")
    if not cut_off:
        return bool(frames == moved)
    # This one takes the lock of writers itself, before it looks at the WAL.
    checkpoints.execute(f"PRAGMA busy_timeout = {_CUT_OFF_PATIENCE_MS}")
    busy, _, _ = checkpoints.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _commit(connection: sqlite3.Connection, batch: list[_Request], files: StoreFiles) -> _Committed:
    """Run the batch in one transaction."""
    try:
        files.check()
        connection.execute("BEGIN IMMEDIATE")
        if len(batch) == 1:
            # Without a savepoint, which keeps in memory how each page was: tens of MiB for a large fold.
            results = [batch[0].work(connection)]
        else:
            results = [_run_in_savepoint(connection, request.work) for request in batch]
        connection.execute("COMMIT")
    except Exception as error:  # noqa: BLE001  whatever a request raised is told to whoever asked for it
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return _Committed([error] * len(batch))
    for request, result in zip(batch, results, strict=True):
        if request.on_disk is not None and not isinstance(result, Exception):
            request.on_disk(result)
    try:
        files.check()
    except StoreMovedError as error:
        return _Committed(results, error)
    return _Committed(results)


def _run_in_savepoint(connection: sqlite3.Connection, work: _Work) -> Any:
    connection.execute("SAVEPOINT request")
    try:
        result = work(connection)
    except Exception as error:
        if not connection.in_transaction:
            # SQLite itself rolled everything back (disk full, I/O error): nothing of the batch stands.
            if isinstance(error, sqlite3.Error):
                raise
            raise sqlite3.OperationalError(str(error)) from error
        connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
        return error
    connection.execute("RELEASE request")
    return result
