"""Imports as the sender sees them: begun, gathered, cut into parts, followed and ended; durable at every step."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from service.clock import SteadyClock
from service.model.imports import Expected, ImportFile, ImportPart, OpenImport, PartState, Strategy
from service.store.sqlite import importing, queries
from service.store.sqlite.arrivals import Arrivals
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.importing import Stepped
from service.store.sqlite.ledger import LedgerTransaction, LedgerWriter
from service.store.sqlite.writer import Writer

Result = TypeVar("Result")
_SQL = queries.load("imports")


class Imports:
    """The imports of one store.

    `read` runs a function on a connection that only reads. All methods raise `StoreUnavailableError` where the store cannot be used.
    """

    def __init__(
        self,
        writer: Writer,
        clock: SteadyClock,
        account_ids: Mapping[str, int],
        *,
        read: Callable[..., Any],
        ledger: LedgerWriter,
        backlog: Backlog,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._account_ids = account_ids
        self._read = read
        self._ledger = ledger
        self._backlog = backlog
        self.arrivals = Arrivals()
        # Of all accounts one step of an import waits for the writer at a time: a hundred of them would be before each
        # page that is to be answered and before each fold.
        self._turn = asyncio.Lock()

    def arriving_users(self, segment_id: int) -> int:
        """Return about how many users are still to come of syncs whose pages are arriving or being folded."""
        return self.arrivals.users_to_come(segment_id, self._backlog.unfolded_users)

    def inbox_users(self) -> int:
        """Return how many users wait to be folded."""
        return self._backlog.unfolded_users

    async def open(self, account: str) -> OpenImport | None:
        """Return the account's import after a start; one whose gathering was cut short is taken back."""
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        is_left = True
        while is_left:
            async with self._turn:
                is_left = await self._writer.run(
                    lambda connection: importing.take_back_some(connection, account_id, now_ms), alone=True
                )
        return await self.current(account)

    async def current(self, account: str) -> OpenImport | None:
        """Return the account's import as it stands."""
        account_id = self._account_ids[account]
        found: OpenImport | None = await self._read(lambda connection: importing.read_open(connection, account_id))
        return found

    async def gather(
        self,
        account: str,
        segment_ids: Sequence[int],
        between_claims: Callable[[], AbstractAsyncContextManager[Collection[str]]],
        most_contacts: int,
    ) -> OpenImport | None:
        """Take all pending changes of the segments into an import of parts of at most so many contacts.

        `between_claims` keeps calls from being claimed while a step is taken and gives the contacts that calls hold.
        Returns None when nothing suits a file.
        """
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        await self._writer.run(lambda connection: importing.begin(connection, account_id, segment_ids, now_ms))
        more = True
        while more:
            async with self._turn, between_claims() as held:
                # A copy: the set of those held changes on the loop while the writer's thread reads.
                more = await self._gather_some(account_id, frozenset(held))
        await self._writer.run(lambda connection: importing.cut_whole(connection, account_id, most_contacts, now_ms))
        return await self.current(account)

    async def _gather_some(self, account_id: int, held: frozenset[str]) -> bool:
        return await self._writer.run(lambda connection: importing.gather(connection, account_id, held), alone=True)

    async def cut(self, account: str, part: ImportPart, most_contacts: int) -> None:
        """Cut a part into smaller ones, to be sent after all others."""
        account_id = self._account_ids[account]
        await self._writer.run(lambda connection: importing.cut_part(connection, account_id, part, most_contacts))

    async def set_posting(self, part: ImportPart, name_digest: bytes) -> None:
        """Note that the part is about to be given to Cordial, its file under a name of that digest."""
        await self._write("set_posting", id=part.id, name_digest=name_digest)

    async def set_running(self, part: ImportPart, job_id: str) -> None:
        """Note which job Cordial says the part is."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute(_SQL["set_running"], {"id": part.id, "job_id": job_id})
            connection.execute(_SQL["count_job"], {"import_id": part.import_id})

        await self._writer.run(note)

    async def void_name(self, part: ImportPart) -> None:
        """Let nobody fetch the part's file any more."""
        await self._write("void_name", id=part.id)

    async def send_again(self, part: ImportPart, strategy: Strategy, *, missing: int = 0, failed: bool = False) -> None:
        """Have the part sent (again) as a job of that strategy."""
        await self._write("repeat_part", id=part.id, strategy=strategy.value, missing=missing, failed=failed)

    async def note_reason(self, part: ImportPart, reason: str) -> None:
        """Note why contacts of the import are left to single calls."""
        await self._write("note_reason", import_id=part.import_id, reason=reason)

    async def settle(self, account: str, part: ImportPart, on_settled: Callable[[int], None]) -> None:
        """Settle a part's changes, where still wanted as they were sent (R5); say after each step how many."""
        await self._end(account, part, PartState.SETTLING, importing.settle_some, on_settled)

    async def release(self, account: str, part: ImportPart) -> None:
        """Leave a part's changes to single calls."""
        await self._end(account, part, PartState.RELEASING, importing.release_some, lambda _changes: None)

    async def release_leaving(self, account: str, part: ImportPart) -> None:
        """Leave those of a part's changes to single calls that take contacts off lists."""
        account_id = self._account_ids[account]
        released = 1
        while released:
            async with self._turn:
                released = await self._writer.run(
                    lambda connection: importing.release_leaving(connection, account_id, part), alone=True
                )

    async def expected_counts(self, account: str) -> list[Expected]:
        """Return what each list of the account's import must hold at least once all of it took effect."""
        account_id = self._account_ids[account]
        found: list[Expected] = await self._read(lambda connection: importing.expected_counts(connection, account_id))
        return found

    async def file(self, name_digest: bytes) -> ImportFile | None:
        """Return the file whose name has that digest, while it may be fetched."""
        found: ImportFile | None = await self._read(lambda connection: importing.read_file(connection, name_digest))
        return found

    async def note_fetched(self, part: ImportPart, name_digest: bytes) -> None:
        """Note that the part's file has begun to be fetched."""
        await self._write("note_fetched", id=part.id, name_digest=name_digest, now_ms=self._clock.now_ms())

    async def lines(self, file: ImportFile) -> AsyncIterator[str]:
        """Yield the rows of a file, some thousands at a time, each ended by a line feed."""
        account_id, after = self._account_ids[file.account], file.part.after_contact
        while (found := await self._read_lines(account_id, file, after)) is not None:
            after, lines = found
            yield lines

    async def _read_lines(self, account_id: int, file: ImportFile, after: str) -> tuple[str, str] | None:
        found: tuple[str, str] | None = await self._read(
            lambda connection: importing.read_lines(connection, account_id, file, after)
        )
        return found

    async def _end(
        self,
        account: str,
        part: ImportPart,
        state: PartState,
        step: Callable[[LedgerTransaction, int, ImportPart], Stepped],
        on_step: Callable[[int], None],
    ) -> None:
        account_id = self._account_ids[account]
        await self._write("end_part", id=part.id, state=state.value)
        more = True
        while more:
            async with self._turn:
                stepped = await self._ledger.change(lambda ledger: step(ledger, account_id, part), alone=True)
            on_step(stepped.changes)
            more = stepped.more

    async def _write(self, statement: str, **values: Any) -> None:
        await self._writer.run(lambda connection: connection.execute(_SQL[statement], values).rowcount)
