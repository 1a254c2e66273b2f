"""Whole tables as files: `?format=csv` or `ndjson` answers every row that matches the filters, streamed as it is read.

A file is read batch by batch, each after the key of the row before, and not as of one moment: a reader who takes an hour would
hold up the store's checkpoints. So whatever is there all the while is in it once, as it was when it was read.
"""

import asyncio
import contextlib
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from service.errors import ErrorCode, ServiceError
from service.model.views import FailureView, MemberRow
from service.observe.api.paging import Item
from service.observe.api.requests import ExportQuery, FailureQuery, Format, MembersQuery, given_filters
from service.store.port import Reading

_log = structlog.get_logger()

_BATCH_ROWS = 1_000
_MAX_AT_ONCE = 4
_RETRY_AFTER_SECONDS = 30
# Who does not read for so long keeps the place of others.
_WRITE_SECONDS = 60.0
# What a spreadsheet takes for a formula. Visitors choose their ids, and a file of them is opened by people.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


Batch = TypeVar("Batch", bound=Sequence[msgspec.Struct])

_CONTENT_TYPES = {Format.CSV: "text/csv", Format.NDJSON: "application/x-ndjson"}


async def every_row(read: Callable[..., Awaitable[list[Item]]], query: ExportQuery) -> AsyncIterator[list[Item]]:
    """Read all rows that a query's filters let through, in batches, each after the last row of the one before."""
    filters, after = {**given_filters(query), "limit": _BATCH_ROWS}, None
    while True:
        rows = await read(**{**filters, "after": after})
        if rows:
            yield rows
        if len(rows) < _BATCH_ROWS:
            return
        after = rows[-1].id


async def every_failure(reader: Reading, query: FailureQuery) -> AsyncIterator[list[FailureView]]:
    """Read all failures that a query's filters let through, by account, contact and list.

    Not by their ids: a change that is made again while the file is read, and fails again, has another.
    """
    filters = {name: value for name, value in given_filters(query).items() if name not in {"after", "limit"}}
    last = None
    while True:
        rows = await reader.failures_after(last, **filters, limit=_BATCH_ROWS)
        if rows:
            yield rows
        if len(rows) < _BATCH_ROWS:
            return
        last = rows[-1]


async def every_member(reader: Reading, list_id: int, query: MembersQuery) -> AsyncIterator[list[MemberRow]]:
    """Read all members of a list that a query's filters let through."""
    filters, after = given_filters(query), ""
    while True:
        found = await reader.members(list_id, **filters, after=after)
        if found.members:
            yield found.members
        if found.after is None:
            return
        after = found.after


class Exports:
    """Sends tables as files, a few at once, so that those who ask short questions are not kept waiting."""

    def __init__(self, is_still_valid: Callable[[web.Request], bool]) -> None:
        """`is_still_valid` tells whether the key of a request still opens what it opened."""
        self._is_still_valid = is_still_valid
        self._running = 0

    async def send(
        self,
        request: web.Request,
        name: str,
        row: type[msgspec.Struct],
        batches: AsyncIterator[Sequence[msgspec.Struct]],
        chosen: Format,
    ) -> web.StreamResponse:
        """Answer with a file called after `name` and today; the first line of CSV holds the names of `row`'s fields.

        Raises `ServiceError` (503) when too many are under way, or when the first rows cannot be read. When later rows
        cannot be read the connection is cut, so that a part is never taken for the whole.
        """
        with self._place():
            first: Sequence[msgspec.Struct] = await anext(batches, [])
            file = f"{name}-{datetime.now(UTC):%Y-%m-%d}.{chosen}"
            response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{file}"'})
            response.content_type = _CONTENT_TYPES[chosen]
            response.charset = "utf-8"
            await response.prepare(request)
            columns = [field.encode_name for field in msgspec.structs.fields(row)]
            if chosen is Format.CSV:
                await response.write(_csv([columns]))
            rows = 0
            try:
                async for batch in _with_first(first, batches):
                    self._check_key(request)
                    async with asyncio.timeout(_WRITE_SECONDS):
                        await response.write(_encoded(batch, columns, chosen))
                    rows += len(batch)
            except (ServiceError, TimeoutError) as error:
                reason = error.message if isinstance(error, ServiceError) else "it was not read"
                _log.warning("export.cut", export=name, rows=rows, reason=reason)
                if request.transport is not None:
                    request.transport.abort()
                return response
            _log.info("export.sent", export=name, format=chosen.value, rows=rows)
            await response.write_eof()
            return response

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= _MAX_AT_ONCE:
            raise ServiceError(
                ErrorCode.STORE_UNAVAILABLE,
                f"{_MAX_AT_ONCE} exports are already running; ask again later",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _check_key(self, request: web.Request) -> None:
        if not self._is_still_valid(request):
            raise ServiceError(ErrorCode.UNAUTHORIZED, "the API key is no longer valid")


async def _with_first(first: Batch, others: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    yield first
    async for batch in others:
        yield batch


def _encoded(batch: Sequence[msgspec.Struct], columns: list[str], chosen: Format) -> bytes:
    if chosen is Format.NDJSON:
        return msgspec.json.Encoder().encode_lines(batch)
    return _csv([[_cell(row[column]) for column in columns] for row in map(msgspec.to_builtins, batch)])


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return str(value)
