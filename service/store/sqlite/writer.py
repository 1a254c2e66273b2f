"""The one writer: transactions given as functions, many of them sharing one commit (R1)."""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from service import supervision
from service.errors import StoreUnavailableError
from service.store.sqlite.opening import Connection
from service.store.sqlite.trouble import Trouble
from service.supervision import Supervisor

Result = TypeVar("Result")
_Work = Callable[[sqlite3.Connection], Any]

_MOST_PER_COMMIT = 256
_MOST_BYTES_PER_COMMIT = 16_777_216
_MOST_WAITING = 4_096
_MOST_WAITING_BYTES = 268_435_456

log = structlog.get_logger()


class _Request:
    """One transaction-to-be: its work, what to do in the event loop once it is durable, and who waits for it."""

    __slots__ = ("alone", "future", "on_commit", "size_bytes", "work")

    def __init__(
        self,
        work: _Work,
        on_commit: Callable[[Any], None] | None,
        size_bytes: int,
        *,
        alone: bool,
        future: asyncio.Future[Any],
    ) -> None:
        self.work = work
        self.on_commit = on_commit
        self.size_bytes = size_bytes
        self.alone = alone
        self.future = future


class Writer:
    """Runs functions on the writer's thread, all that wait in one transaction, each undone by itself if it fails.

    A function's effect is durable when `run` returns. Cancelling the caller neither stops nor undoes it, so what must
    follow a commit in memory is given as `on_commit`.
    """

    def __init__(self, connection: Connection, trouble: Trouble) -> None:
        self._connection = connection
        self._trouble = trouble
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.commits = 0

    def start(self, supervisor: Supervisor) -> None:
        """Begin to write."""
        self._task = supervisor.start("store writer", self._work(), may_end=lambda: self._closing)
        self._task.add_done_callback(self._refuse_waiting)

    async def run(
        self,
        work: Callable[[sqlite3.Connection], Result],
        *,
        size_bytes: int = 0,
        alone: bool = False,
        on_commit: Callable[[Result], None] | None = None,
    ) -> Result:
        """Return what `work` returns, once it is committed and synced to disk.

        `alone` gives it a transaction of its own, which suits large ones: nobody's answer waits for them to commit, and
        SQLite keeps no copy of each page they touch, as it does where one of several may have to be undone.

        Raises `StoreUnavailableError` when it could not be made durable, and whatever `work` itself raised.
        """
        if self._closing:
            raise StoreUnavailableError("it is closing")
        if self._task is None or self._task.done():
            raise StoreUnavailableError("its writer does not run")
        if self._trouble.is_damage:
            raise StoreUnavailableError(self._trouble.reason or "")
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_WAITING_BYTES:
            raise StoreUnavailableError("too much waits to be written")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(work, on_commit, size_bytes, alone=alone, future=future))
        self._waiting_bytes += size_bytes
        self._arrived.set()
        # Shielded: a caller that goes away must not make the writer believe its transaction is void.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Write what waits, fold the WAL back into the database and close the connection."""
        if self._closing:
            return
        self._closing = True
        self._arrived.set()
        await supervision.ended(self._task)
        with contextlib.suppress(sqlite3.Error):
            await self._connection.run(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        await self._connection.close()

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take_batch()
            if not batch:
                if self._closing:
                    return
                self._arrived.clear()
                continue
            try:
                results = await self._connection.run(lambda connection: _commit(connection, batch))  # noqa: B023
            except Exception as error:  # noqa: BLE001  the writer outlives any fault: each is told to those who wait
                results = [error] * len(batch)
            self.commits += 1
            self._settle(batch, results)

    def _refuse_waiting(self, _task: asyncio.Task[None]) -> None:
        for request in self._waiting:
            if not request.future.done():
                request.future.set_exception(StoreUnavailableError("its writer has ended"))
                request.future.exception()

    def _take_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size_bytes = 0
        while self._waiting and len(batch) < _MOST_PER_COMMIT and size_bytes < _MOST_BYTES_PER_COMMIT:
            if batch and (batch[0].alone or self._waiting[0].alone):
                break
            request = self._waiting.popleft()
            size_bytes += request.size_bytes
            batch.append(request)
        self._waiting_bytes -= size_bytes
        return batch

    def _settle(self, batch: list[_Request], results: list[Any]) -> None:
        failure: sqlite3.Error | None = None
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, sqlite3.Error):
                failure = result
                if not request.future.done():
                    request.future.set_exception(StoreUnavailableError(str(result)))
                    request.future.exception()
            elif isinstance(result, Exception):
                if not request.future.done():
                    request.future.set_exception(result)
                    request.future.exception()
            else:
                self._conclude(request, result)
        if failure is None:
            self._trouble.note_success()
        else:
            self._trouble.note_failure(failure)

    @staticmethod
    def _conclude(request: _Request, result: Any) -> None:
        try:
            if request.on_commit is not None:
                request.on_commit(result)
        except Exception as error:  # the writer outlives this as well: nobody could write any more without it
            log.exception("store.on_commit_failed")
            if not request.future.done():
                request.future.set_exception(error)
                request.future.exception()
        else:
            if not request.future.done():
                request.future.set_result(result)


def _commit(connection: sqlite3.Connection, batch: list[_Request]) -> list[Any]:
    """Run the batch in one transaction; return each one's result or exception."""
    try:
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
        return [error] * len(batch)
    return results


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
