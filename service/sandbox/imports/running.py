"""How one import goes, from Scheduled to its end."""

import asyncio
import random
import tempfile
import time
from collections.abc import Collection
from typing import IO

from service.sandbox.imports.columns import find_list, resolve_columns
from service.sandbox.imports.failure import ImportFailedError
from service.sandbox.imports.job import ImportJob, JobStatus
from service.sandbox.imports.options import ImportOptions
from service.sandbox.imports.records import Part, Splitter, rows_of
from service.sandbox.imports.rows import RowOutcome, RowWriter
from service.sandbox.imports.source import download, tell
from service.sandbox.state import AccountList, SandboxState

# One or two milliseconds of work: calls are answered between two parts.
_RECORDS_PER_PART = 200


class ImportRun:
    """Carries out one job; `draw` decides the order of its rows and which of them meet a fault.

    Rows whose first cell is among `refused` are rejected.
    """

    def __init__(
        self,
        job: ImportJob,
        state: SandboxState,
        options: ImportOptions,
        draw: random.Random,
        refused: Collection[str],
    ) -> None:
        self._refused = refused
        self._job = job
        self._state = state
        self._options = options
        self._draw = draw

    async def run(self) -> None:
        """Take the job to its end and tell who asked to be told."""
        job = self._job
        await asyncio.sleep(self._options.delay_seconds)
        if job.fault.throttled_seconds:
            job.status = JobStatus.THROTTLED
            await asyncio.sleep(job.fault.throttled_seconds)
        job.status = JobStatus.PENDING
        await asyncio.sleep(self._options.delay_seconds)
        job.status = JobStatus.PROCESSING
        job.started_at_seconds = time.time()
        try:
            await self._process()
            job.status = JobStatus.DONE
        except ImportFailedError as failure:
            job.failure = str(failure)
            job.status = JobStatus.FAILED
        job.ended_at_seconds = time.time()
        if job.request.status_webhook_url is not None:
            # The contract leaves the body open: the job as GET answers it, and its id.
            await tell(job.request.status_webhook_url, {"jobId": job.id, **job.document()})

    async def _process(self) -> None:
        request = self._job.request
        with tempfile.TemporaryFile() as file:
            splitter = Splitter(_RECORDS_PER_PART, has_header=request.has_header)
            await download(request.url, file, splitter)
            self._job.total_items = splitter.records
            await asyncio.sleep(self._job.fault.held_seconds)
            writer = self._writer(file, splitter)
            # Cordial divides files and keeps no order, neither of the parts nor within them.
            self._draw.shuffle(splitter.parts)
            await self._carry_out_parts(file, splitter.parts, writer)
        await self._meet_end()

    def _writer(self, file: IO[bytes], splitter: Splitter) -> RowWriter:
        request = self._job.request
        for_all = [
            *((self._list(name), True) for name in request.add_to),
            *((self._list(name), False) for name in request.remove_from),
        ]
        columns = resolve_columns(
            self._state,
            request.columns or self._header(file, splitter),
            [account_list for account_list, _ in for_all],
            by_secondary_key=self._options.by_secondary_key,
        )
        return RowWriter(self._state, request, self._options, columns, for_all)

    def _header(self, file: IO[bytes], splitter: Splitter) -> list[str]:
        if splitter.header is None:
            raise ImportFailedError("the file has no header")
        return _read(file, splitter.header, self._job.request.delimiter)[0]

    def _list(self, name: str) -> AccountList:
        account_list = find_list(self._state, name)
        if account_list is None:
            raise ImportFailedError(f"list {name} does not exist")
        return account_list

    async def _carry_out_parts(self, file: IO[bytes], parts: list[Part], writer: RowWriter) -> None:
        job = self._job
        share = 1.0 if job.fault.ends == "done" else job.fault.after_share
        last_row = int(share * job.total_items)
        begun_at = time.monotonic()
        for part in parts:
            rows = _read(file, part, job.request.delimiter)
            self._draw.shuffle(rows)
            self._carry_out(rows[: last_row - job.completed_items], writer)
            await self._rest(begun_at)

    async def _meet_end(self) -> None:
        if self._job.fault.ends == "failed":
            raise ImportFailedError("told to fail")
        if self._job.fault.ends == "never":
            await asyncio.Event().wait()

    def _carry_out(self, rows: list[list[str]], writer: RowWriter) -> None:
        fault, job = self._job.fault, self._job
        joined_at = int(time.time())
        for row in rows:
            is_refused = bool(self._refused) and row[0] in self._refused
            if is_refused or (fault.reject_share and self._draw.random() < fault.reject_share):
                outcome = RowOutcome.REJECTED
            elif fault.lose_share and self._draw.random() < fault.lose_share:
                outcome = RowOutcome.UPDATED
            else:
                outcome = writer.write(row, joined_at)
            job.outcomes[outcome] += 1
        job.completed_items += len(rows)

    async def _rest(self, begun_at: float) -> None:
        due_seconds = 0.0
        if self._options.rows_per_second:
            due_seconds = begun_at + self._job.completed_items / self._options.rows_per_second - time.monotonic()
        await asyncio.sleep(max(0.0, due_seconds))


def _read(file: IO[bytes], part: Part, delimiter: str) -> list[list[str]]:
    file.seek(part.start_bytes)
    return rows_of(file.read(part.length_bytes), delimiter, part.records)
