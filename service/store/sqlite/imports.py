"""Imports: begun, gathered, cut into parts, settled or released step by step, and shown; durable at every step.

An import ends with its last part; what it says of a contact stands in `import_change` until the part is settled or
released. Each step is one transaction, short enough for deliveries not to wait long behind it, and may be repeated:
whoever does not know whether it was done reads `current` and goes on from there.
"""

import asyncio
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from service.clock import SteadyClock
from service.model.changes import MemberState
from service.model.imports import (
    DELIMITER,
    NULL_MARKER,
    DoubtEnd,
    EndedImport,
    Expected,
    ImportFile,
    ImportPart,
    ImportPartView,
    ImportState,
    ImportView,
    Journey,
    OpenImport,
    PartState,
    StepResult,
    Strategy,
    file_size_bytes,
    status_cell,
)
from service.store.sqlite import auditing, queries
from service.store.sqlite.arrivals import Arrivals
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.ledger import LedgerTransaction, LedgerWriter
from service.store.sqlite.rows import as_views, named_rows, one_moment
from service.store.sqlite.writer import Writer

Result = TypeVar("Result")

# The contacts of e-mail addresses lie between these in the ledger's order; no other key is sure to be taken in a file.
_BEFORE_FIRST, _BEHIND_LAST = "email:", "email;"
_MEMBERS_PER_STEP = 10_000
# Few enough that the several writes it takes to send a change that comes meanwhile do not wait long, each behind a step.
_CHANGES_PER_STEP = 1_000
_LINES_PER_STEP = 4_000
# Of 250 contacts at most, each looked at whenever the backlog changes.
_MAX_LATE_PIECES = 80

_SQL = queries.load("imports")
# The part was in another state than it was seen in: nothing is done, and the next step reads where it stands.
_OVERTAKEN = StepResult(0, more=True)
_PART_FIELDS = ImportPart.__struct_fields__


class Imports:
    """The imports of one store.

    `read` runs a function on a connection that only reads.
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

    def arriving_users(self, account: str, segment_id: int) -> int:
        """Return about how many users are still to come of syncs whose pages are arriving or being folded."""
        return self.arrivals.users_to_come(account, segment_id, self._backlog.unfolded_of(account))

    def inbox_users(self, account: str) -> int:
        """Return how many users of the account wait to be folded."""
        return self._backlog.unfolded_of(account)

    async def current(self, account: str) -> OpenImport | None:
        """Return the account's import as it stands, or None."""
        account_id = self._account_ids[account]
        found: OpenImport | None = await self._read(lambda connection: _read_open(connection, account_id))
        return found

    async def outcome(self, import_id: int) -> EndedImport:
        """Return what came of an import that is over."""
        found: EndedImport = await self._read(
            lambda connection: EndedImport(*connection.execute(_SQL["outcome"], {"import_id": import_id}).fetchone())
        )
        return found

    async def held_back(self, account: str) -> dict[int, int]:
        """Return how many pending changes of each segment wait for the account's import to be over."""
        account_id = self._account_ids[account]
        found: dict[int, int] = await self._read(lambda connection: _read_held_back(connection, account_id))
        return found

    async def late_changes(self, import_id: int) -> dict[int, int]:
        """Return how many pending changes of each segment have come since the import began and do not travel with it.

        None are counted where there are very many: they suit a file.
        """
        values = {"import_id": import_id, "max_pieces": _MAX_LATE_PIECES}

        def read(connection: sqlite3.Connection) -> dict[int, int]:
            if connection.execute(_SQL["many_late"], values).fetchone()[0]:
                return {}
            return dict(connection.execute(_SQL["late"], values).fetchall())

        found: dict[int, int] = await self._read(read)
        return found

    async def names_erased(self, account: str, part: ImportPart) -> bool:
        """Return whether somebody is being erased whose change travels in the part."""
        values = {
            "account_id": self._account_ids[account],
            "after": part.after_contact,
            "last": part.last_contact,
        }
        found = await self._read(lambda connection: connection.execute(_SQL["names_erased"], values).fetchone())
        return bool(found[0])

    async def begin(self, account: str, segment_ids: Sequence[int]) -> None:
        """Begin to gather the segments' changes, unless an import of the account is under way."""
        values = {
            "account_id": self._account_ids[account],
            "segments": json.dumps(list(segment_ids)),
            "gathered_to": _BEFORE_FIRST,
            "told_ms": self._clock.wall_ms(),
        }
        await self._writer.run(lambda connection: connection.execute(_SQL["begin"], values).rowcount)

    async def gather_some(self, account: str, claimed: Collection[str], max_contacts: int) -> None:
        """Take the next pending changes into the import that gathers, but for contacts that calls have claimed.

        The last step cuts it into parts of at most so many contacts, or ends it if nothing suits a file.
        """
        account_id, told_ms = self._account_ids[account], self._clock.wall_ms()
        # A copy: the set of those claimed changes on the loop while the writer's thread reads.
        busy = frozenset(claimed)
        await self._step(lambda connection: _gather_some(connection, account_id, busy, max_contacts, told_ms))

    async def take_back_some(self, account: str, reason: str) -> None:
        """Take back the next of what an import has gathered, of which nothing was sent; the last step ends it."""
        account_id, told_ms = self._account_ids[account], self._clock.wall_ms()
        await self._step(lambda connection: _take_back_some(connection, account_id, reason, told_ms))

    async def set_posting(self, part: ImportPart, name_digest: bytes) -> None:
        """Note that the part is about to be given to Cordial, its file under a name of that digest."""
        await self._write("set_posting", id=part.id, name_digest=name_digest)

    async def set_running(self, part: ImportPart, name_digest: bytes, job_id: str) -> None:
        """Note which job Cordial says the part is whose file has a name of that digest."""
        values = {"id": part.id, "name_digest": name_digest, "job_id": job_id}

        def note(connection: sqlite3.Connection) -> None:
            if connection.execute(_SQL["set_running"], values).rowcount:
                connection.execute(_SQL["count_job"], {"import_id": part.import_id})

        await self._writer.run(note)

    async def take_name_back(self, part: ImportPart) -> bool:
        """Make the part ready again unless its file was fetched; return whether it is: its file never will be fetched."""
        return bool(await self._write("take_name_back", id=part.id))

    async def set_in_doubt(self, part: ImportPart, doubt: str, limit_seconds: float) -> None:
        """Note why it is not known whether Cordial carries the part out, which it can so long after the fetch."""
        limit_ms = int(limit_seconds * 1000)
        await self._write("set_in_doubt", id=part.id, doubt=doubt, limit_ms=limit_ms, now_ms=self._clock.now_ms())

    async def end_doubt(self, import_id: int, said: DoubtEnd, reason: str, actor: str) -> int:
        """Leave the parts in doubt to single calls, because of what a person says of their jobs; return how many contacts."""
        at_ms, action = self._clock.wall_ms(), f"import.end_doubt.{said.value}"

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute(_SQL["end_doubt"], {"import_id": import_id}).fetchall()
            total: int = sum(contacts for (contacts,) in rows)
            if rows:
                connection.execute(_SQL["note_reason"], {"import_id": import_id, "reason": reason})
                auditing.write(
                    connection, at_ms=at_ms, actor=actor, action=action, target=str(import_id), changes=total
                )
            return total

        return await self._writer.run(work)

    async def send_again(
        self, part: ImportPart, strategy: Strategy, *, missing: int = 0, refused: int = 0, failed: bool = False
    ) -> None:
        """Have the part sent (again) as a job of that strategy."""
        await self._write(
            "repeat_part",
            id=part.id,
            seen=part.state.value,
            strategy=strategy.value,
            missing=missing,
            refused=refused,
            tries=part.tries + failed,
        )

    async def note_reason(self, part: ImportPart, reason: str) -> None:
        """Note why contacts of the import are left to single calls."""
        await self._write("note_reason", import_id=part.import_id, reason=reason)

    async def settle_some(self, account: str, part: ImportPart) -> StepResult:
        """Settle the next of a part's changes, where still wanted as they were sent (R5)."""
        return await self._end_some(account, part, _settle_some)

    async def release_some(self, account: str, part: ImportPart) -> StepResult:
        """Leave the next of a part's changes to single calls."""
        return await self._end_some(account, part, _release_some)

    async def release_removals(self, account: str, part: ImportPart) -> int:
        """Leave those of a part's changes to single calls that take contacts off lists; return how many."""
        account_id, total = self._account_ids[account], 0
        while released := await self._step(lambda connection: _release_removals(connection, account_id, part)):
            total += released
        return total

    async def expected_counts(self, account: str) -> list[Expected]:
        """Return what each list of the account's import must hold once all of it took effect."""
        account_id = self._account_ids[account]
        found: list[Expected] = await self._read(lambda connection: _read_expected(connection, account_id))
        return found

    async def file(self, name_digest: bytes) -> ImportFile | None:
        """Return the file whose name has that digest, while it may be fetched."""
        found: ImportFile | None = await self._read(lambda connection: _read_file(connection, name_digest))
        return found

    async def note_fetched(self, file: ImportFile) -> bool:
        """Note that the file begins to be fetched; return whether it still may be."""
        part = file.part
        noted = await self._write("note_fetched", id=part.id, name_digest=part.name_digest, now_ms=self._clock.now_ms())
        return bool(noted)

    async def lines(self, file: ImportFile) -> AsyncIterator[str]:
        """Yield the rows of a file, some thousands at a time, each ended by a line feed."""
        account_id, after = self._account_ids[file.account], file.part.after_contact
        while (found := await self._read_lines(account_id, file, after)) is not None:
            after, lines = found
            yield lines

    async def _read_lines(self, account_id: int, file: ImportFile, after: str) -> tuple[str, str] | None:
        found: tuple[str, str] | None = await self._read(
            lambda connection: _read_lines(connection, account_id, file, after)
        )
        return found

    async def _end_some(
        self,
        account: str,
        part: ImportPart,
        step: Callable[[LedgerTransaction, int, ImportPart], StepResult],
    ) -> StepResult:
        account_id = self._account_ids[account]
        return await self._in_turn(self._ledger.change(lambda ledger: step(ledger, account_id, part), alone=True))

    async def _step(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        return await self._in_turn(self._writer.run(work, alone=True))

    async def _in_turn(self, step: Coroutine[Any, Any, Result]) -> Result:
        """Take a long step in its turn. Cancelled, it ends only when the step is done: others then know what it did."""
        async with self._turn:
            task = asyncio.ensure_future(step)
            try:
                return await asyncio.shield(task)
            finally:
                await asyncio.wait({task})
                task.exception()

    async def _write(self, statement: str, **values: Any) -> int:
        return await self._writer.run(lambda connection: connection.execute(_SQL[statement], values).rowcount)


def _read_open(connection: sqlite3.Connection, account_id: int) -> OpenImport | None:
    row = connection.execute(_SQL["open_import"], {"account_id": account_id}).fetchone()
    if row is None:
        return None
    import_id, state, segments, _, contacts, released, unnamed_id = row
    parts = [_part(values) for values in connection.execute(_SQL["parts"], {"import_id": import_id})]
    return OpenImport(import_id, ImportState(state), json.loads(segments), contacts, released, unnamed_id, parts)


def _gather_some(
    connection: sqlite3.Connection, account_id: int, claimed: Collection[str], max_contacts: int, told_ms: int
) -> None:
    row = connection.execute(_SQL["gathering"], {"account_id": account_id}).fetchone()
    if row is None:
        return
    import_id, segments, after, gather_end = row
    values = {
        "account_id": account_id,
        "after": after,
        # A space comes before whatever an address may go on with.
        "before": f"{gather_end} " if gather_end else _BEHIND_LAST,
        "state": MemberState.SETTLED.value if gather_end else MemberState.PENDING.value,
        "wanted_from": int(bool(gather_end)),
        "limit": _MEMBERS_PER_STEP,
        "segments": segments,
        "claimed": json.dumps(list(claimed)),
    }
    last = connection.execute(_SQL["end_of_step"], values).fetchone()
    values["end"] = last[0] if last else gather_end or _BEHIND_LAST
    connection.execute(_SQL["gather"], values)
    (contacts,) = connection.execute(_SQL["count_gathered"], values).fetchone()
    gathered = {"id": import_id, "gathered_to": values["end"], "contacts": contacts}
    connection.execute(_SQL["set_gathered"], gathered)
    if last is not None:
        return
    if _cut(connection, account_id, import_id, (_BEFORE_FIRST, _BEHIND_LAST), max_contacts):
        connection.execute(_SQL["start_sending"], {"id": import_id})
    else:
        _end_unsent(connection, import_id, "none of the contacts suits a file", told_ms)


def _cut(
    connection: sqlite3.Connection, account_id: int, import_id: int, between: tuple[str, str], max_contacts: int
) -> int:
    """Add parts for the contacts after the first of `between` up to the second; return how many parts."""
    after, last = between
    parts = 0
    while True:
        measured = {"account_id": account_id, "after": after, "last": last, "limit": max_contacts}
        contacts, joining, contacts_bytes, joining_bytes, end = connection.execute(_SQL["measure"], measured).fetchone()
        if not contacts:
            return parts
        values = {
            "import_id": import_id,
            "after": after,
            "last": end,
            "contacts": contacts,
            "joining": joining,
            "contacts_bytes": contacts_bytes,
            "joining_bytes": joining_bytes,
        }
        connection.execute(_SQL["add_part"], values)
        after = end
        parts += 1


def _read_file(connection: sqlite3.Connection, name_digest: bytes) -> ImportFile | None:
    """Return the part whose file has a name of that digest, if it may be fetched."""
    row = connection.execute(_SQL["file"], {"name_digest": name_digest}).fetchone()
    if row is None:
        return None
    part = _part(row[: len(_PART_FIELDS)])
    contacts_bytes, joining_bytes, segments, account = row[len(_PART_FIELDS) :]
    segment_ids = json.loads(segments)
    joining_only = part.strategy is Strategy.INSERT_ONLY
    size_bytes = file_size_bytes(
        part.strategy,
        rows=part.joining if joining_only else part.contacts,
        addresses_bytes=joining_bytes if joining_only else contacts_bytes,
        lists=len(segment_ids),
    )
    return ImportFile(account, part, segment_ids, size_bytes)


def _read_lines(
    connection: sqlite3.Connection, account_id: int, file: ImportFile, after_contact: str
) -> tuple[str, str] | None:
    """Return the next rows of a file after a contact, and the last one's contact; None at the end."""
    values = {
        "account_id": account_id,
        "segments": json.dumps(file.segment_ids),
        "after": after_contact,
        "last": file.part.last_contact,
        "joining_only": file.part.strategy is Strategy.INSERT_ONLY,
        "status": status_cell(file.part.strategy),
        "delimiter": DELIMITER,
        "null_marker": NULL_MARKER,
        "limit": _LINES_PER_STEP,
    }
    end, lines = connection.execute(_SQL["lines"], values).fetchone()
    return (end, lines) if end is not None else None


def _stands(connection: sqlite3.Connection, part: ImportPart) -> bool:
    """Tell whether a part is in the state in which it was seen."""
    return connection.execute(_SQL["part_stands"], {"id": part.id, "seen": part.state.value}).fetchone() is not None


def _take_to(connection: sqlite3.Connection, part: ImportPart, state: PartState) -> bool:
    """Take a part from the state in which it was seen to another; return whether it still was in that state."""
    values = {"id": part.id, "seen": part.state.value, "state": state.value}
    return bool(connection.execute(_SQL["end_part"], values).rowcount)


def _settle_some(ledger: LedgerTransaction, account_id: int, part: ImportPart) -> StepResult:
    """Settle the next changes of a part, where still wanted as they were sent; at its end the part is gone."""
    connection = ledger.connection
    if not _take_to(connection, part, PartState.SETTLING):
        return _OVERTAKEN
    values, rows = _next_changes(connection, account_id, part)
    together: dict[tuple[int, int], list[str]] = defaultdict(list)
    for contact, segment_id, wanted in rows:
        together[segment_id, wanted].append(contact)
    for (segment_id, wanted), contacts in together.items():
        ledger.settle(account_id, segment_id, contacts, wanted=bool(wanted))
    more = _remove_changes(connection, values, rows, part)
    counted = {"settled": len({row[0] for row in rows}), "released": 0, "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    _end_if_over(connection, part, ledger.told_ms, more=more)
    return StepResult(len(rows), more)


def _release_some(ledger: LedgerTransaction, account_id: int, part: ImportPart) -> StepResult:
    """Leave the next changes of a part to single calls; at its end the part is gone."""
    connection = ledger.connection
    if not _take_to(connection, part, PartState.RELEASING):
        return _OVERTAKEN
    values, rows = _next_changes(connection, account_id, part)
    more = _remove_changes(connection, values, rows, part)
    counted = {"settled": 0, "released": len({row[0] for row in rows}), "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    _end_if_over(connection, part, ledger.told_ms, more=more)
    return StepResult(len(rows), more)


def _release_removals(connection: sqlite3.Connection, account_id: int, part: ImportPart) -> int:
    """Leave the next of a part's changes that take contacts off lists to single calls; return how many."""
    if not _stands(connection, part):
        return 0
    released = _remove_some(connection, account_id, part.after_contact, part.last_contact, removals_only=True)
    counted = {"settled": 0, "released": released, "import_id": part.import_id}
    connection.execute(_SQL["count_settled"], counted)
    return released


def _take_back_some(connection: sqlite3.Connection, account_id: int, reason: str, told_ms: int) -> None:
    """Take back the next of what an import gathered whose gathering was cut short.

    Nothing of it was sent. The last step ends the import.
    """
    row = connection.execute(_SQL["gathering"], {"account_id": account_id}).fetchone()
    if row is not None and not _remove_some(connection, account_id, _BEFORE_FIRST, _BEHIND_LAST, removals_only=False):
        _end_unsent(connection, row[0], reason, told_ms)


def _read_held_back(connection: sqlite3.Connection, account_id: int) -> dict[int, int]:
    held_back: Counter[int] = Counter()
    with one_moment(connection):
        for segment_id, changes in _in_steps(connection, "held_back", account_id):
            held_back[segment_id] += changes
    return dict(held_back)


def _read_expected(connection: sqlite3.Connection, account_id: int) -> list[Expected]:
    changes: Counter[int] = Counter()
    joining: Counter[int] = Counter()
    with one_moment(connection):
        for segment_id, of_step, joining_of_step in _in_steps(connection, "travelling", account_id):
            changes[segment_id] += of_step
            joining[segment_id] += joining_of_step
        return [
            Expected(*connection.execute(_SQL["expected"], values).fetchone())
            for values in (
                {"segment_id": segment_id, "changes": number, "joining": joining[segment_id]}
                for segment_id, number in sorted(changes.items())
            )
        ]


def _in_steps(connection: sqlite3.Connection, statement: str, account_id: int) -> Iterator[tuple[int, ...]]:
    """Give what a statement says of each step of what an import of the account carries."""
    values: dict[str, Any] = {"account_id": account_id, "after": _BEFORE_FIRST, "limit": _MEMBERS_PER_STEP}
    last = False
    while not last:
        found = connection.execute(_SQL["end_of_changes"], values).fetchone()
        last = found is None
        values["end"] = _BEHIND_LAST if found is None else found[0]
        yield from connection.execute(_SQL[statement], values)
        values["after"] = values["end"]


def _part(values: Sequence[Any]) -> ImportPart:
    return msgspec.convert(dict(zip(_PART_FIELDS, values, strict=True)), ImportPart)


def _next_changes(
    connection: sqlite3.Connection, account_id: int, part: ImportPart
) -> tuple[dict[str, Any], list[tuple[str, int, int]]]:
    """Return whole contacts only: the last one of a full step is left to the next, unless it is alone."""
    values: dict[str, Any] = {
        "account_id": account_id,
        "after": part.after_contact,
        "last": part.last_contact,
        "limit": _CHANGES_PER_STEP,
    }
    rows = connection.execute(_SQL["next_changes"], values).fetchall()
    if len(rows) == _CHANGES_PER_STEP:
        rows = [row for row in rows if row[0] != rows[-1][0]]
    return values, rows


def _remove_changes(
    connection: sqlite3.Connection, values: dict[str, Any], rows: list[tuple[str, int, int]], part: ImportPart
) -> bool:
    """Remove what a step has dealt with; return whether anything of the part is left."""
    if rows:
        connection.execute(_SQL["remove_changes"], {**values, "last": rows[-1][0]})
    left = connection.execute(_SQL["next_changes"], {**values, "limit": 1}).fetchone()
    if left is None:
        connection.execute(_SQL["remove_part"], {"id": part.id})
    return left is not None


def _end_unsent(connection: sqlite3.Connection, import_id: int, reason: str, told_ms: int) -> None:
    connection.execute(_SQL["note_reason"], {"import_id": import_id, "reason": reason})
    connection.execute(_SQL["end_import"], {"id": import_id, "told_ms": told_ms})


def _remove_some(connection: sqlite3.Connection, account_id: int, after: str, last: str, *, removals_only: bool) -> int:
    """Remove one step's share of what stands between two contacts; return how many changes that were."""
    values = {
        "account_id": account_id,
        "after": after,
        "last": last,
        "removals_only": removals_only,
        "limit": _CHANGES_PER_STEP,
    }
    return connection.execute(_SQL["remove_some"], values).rowcount


def _end_if_over(connection: sqlite3.Connection, part: ImportPart, told_ms: int, *, more: bool) -> None:
    if not more and not connection.execute(_SQL["parts"], {"import_id": part.import_id}).fetchone():
        connection.execute(_SQL["end_import"], {"id": part.import_id, "told_ms": told_ms})


def read_imports(
    connection: sqlite3.Connection, values: Mapping[str, Any], statement: str = "imports"
) -> list[ImportView]:
    """Return the imports that `values` asks for, each with the parts that are still to come of it; the newest first, unless another `statement` sorts them."""
    rows = named_rows(connection.execute(_SQL[statement], values))
    return as_views(
        [
            {
                **row,
                "lists": json.loads(row["lists"]),
                "parts": _part_views(connection, {**values, "import_id": row["id"]}),
            }
            for row in rows
        ],
        ImportView,
    )


def read_journey(connection: sqlite3.Connection, values: Mapping[str, Any]) -> Journey | None:
    """Return the import in which a contact of a list's account travels, if any."""
    found = as_views(named_rows(connection.execute(_SQL["journey"], values)), Journey)
    return found[0] if found else None


def _part_views(connection: sqlite3.Connection, values: Mapping[str, Any]) -> list[ImportPartView]:
    return as_views(named_rows(connection.execute(_SQL["part_views"], values)), ImportPartView)
