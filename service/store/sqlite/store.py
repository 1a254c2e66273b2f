"""The store as the stages see it: accept, fold, claim, settle, and what is known of lists and accounts.

Every method speaks in terms of `service/model`; nothing of SQLite shows in a signature, so that another implementation can
take this one's place (the same tests are to hold it).
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from service.clock import SteadyClock
from service.errors import StoreFaultError, StoreUnavailableError
from service.model.accounts import AccountState, CallsBefore
from service.model.changes import ClaimCursor, Claimed, Outcome
from service.model.deliveries import Delivery, FoldProgress, Receipt
from service.model.guard import RemovalGuard
from service.model.lists import Segment
from service.store.sqlite import accepting, calls, claiming, folding, loading, opening, queries, rescheduling, settling
from service.store.sqlite.backlog import Backlog
from service.store.sqlite.conditions import ConditionLog
from service.store.sqlite.confirmed import ConfirmedContacts, Way
from service.store.sqlite.erasure import Erasures
from service.store.sqlite.files import StoreFiles, StoreOpenError, has_wal_reset_fault, make_folder
from service.store.sqlite.fold_size import FoldSize
from service.store.sqlite.guarding import Guard
from service.store.sqlite.history import History
from service.store.sqlite.imports import Imports
from service.store.sqlite.ledger import Figures, LedgerWriter
from service.store.sqlite.notices import Notices
from service.store.sqlite.opening import Connection, Result
from service.store.sqlite.read_backs import Proofs
from service.store.sqlite.retention import Retention
from service.store.sqlite.steering import Steering
from service.store.sqlite.trials import Trials
from service.store.sqlite.unnamed import UnnamedRanges
from service.store.sqlite.writer import Timings, Writer
from service.supervision import Supervisor

log = structlog.get_logger()

_LISTS = queries.load("lists")

# A delivery that waits longer than this is answered 503; should it be written after all, Heap's repeat is a duplicate.
_ACCEPT_TIMEOUT_SECONDS = 8.0
_BYTES_PER_USER = 40

_PAGES_MISSING_ADVICE = (
    "the store ends before pages that were answered 200: its WAL was removed, or an older file replaced it without "
    "`restore`; press Sync now in Heap for each segment"
)

# Who did it, where the service repaired something by itself.
_SERVICE = "the service"

# Rows come in no order, so a fold dirties about a page a user, and each page is written once a commit: large folds are
# several times cheaper. Larger ones could make more of a WAL than there may be.
_MAX_USERS_PER_FOLD = 20_000


class SqliteStore:
    """The store on one SQLite file; made by `SqliteStore.open`."""

    def __init__(
        self,
        connection: Connection,
        checkpoints: sqlite3.Connection,
        reader: Connection,
        files: StoreFiles,
        *,
        path: Path,
        max_backlog: int,
        clock: SteadyClock,
        timings: Timings,
    ) -> None:
        self._files = files
        self._reader = reader
        self._writer = Writer(
            connection,
            checkpoints,
            files,
            read_memory=loading.read_backlog,
            set_memory=self._set_backlog,
            timings=timings,
        )
        self._clock = clock
        self._account_ids: dict[str, int] = {}
        self._account_of_segment: dict[int, str] = {}
        self._fold_size = FoldSize(_MAX_USERS_PER_FOLD)
        self._accepted_at = float("-inf")
        self._accepting = 0
        # How many have come since the start.
        self.deliveries = 0
        self.backlog = Backlog(max_backlog)
        # When the last page of each account came, as the file had it at the start.
        self.last_received_ms: dict[str, int] = {}
        # Set when there is something to fold.
        self.inbox_grew = asyncio.Event()
        self._confirmed = ConfirmedContacts(self._read)
        self._ledger = LedgerWriter(self._writer, clock, self._apply, self._confirmed.note, self.inbox_grew)
        self.steering = Steering(self._writer, clock, self._account_ids, ledger=self._ledger)
        self.erasures = Erasures(self._writer, clock, self._ledger, self.backlog, self._read)
        self.imports = Imports(
            self._writer, clock, self._account_ids, read=self._read, ledger=self._ledger, backlog=self.backlog
        )
        self.guard = Guard(
            path,
            self._ledger,
            clock,
            backlog=self.backlog,
            trouble=self._writer.trouble,
            read=self._read,
            inbox_grew=self.inbox_grew,
        )
        self.history = History(self._writer)
        self.unnamed = UnnamedRanges(self._writer, self._ledger, self._account_ids, self.backlog, self._read)
        self.trials = Trials(self._writer, clock, self._account_ids, read=self._read)
        self.conditions = ConditionLog(self._writer, self._reader, clock)
        self.notices = Notices(self._writer, clock.now_ms, self._read)
        self.proofs = Proofs(self._writer, clock, self._account_ids, read=self._read, ledger=self._ledger)
        self._retention: Retention | None = None
        # Accounts for which calls may have been made since the start.
        self._called_for: set[str] = set()

    @classmethod
    async def open(
        cls,
        path: Path,
        accounts: Collection[str],
        *,
        max_backlog: int,
        retention_days: int = 90,
        clock: SteadyClock | None = None,
        supervisor: Supervisor | None = None,
        timings: Timings | None = None,
    ) -> "SqliteStore":
        """Open or make the store at `path` for the accounts named, and start its tasks.

        Raises `StoreOpenError` saying what to do: in use by another process, newer schema, not ours, no access.
        """
        async with contextlib.AsyncExitStack() as opened:
            try:
                make_folder(path.parent)
                files = StoreFiles(path)
            except OSError as error:
                raise StoreOpenError(f"{path} cannot be opened: {error.strerror}") from error
            opened.callback(files.close)
            connection = await opening.open_writer(path)
            opened.push_async_callback(connection.close)
            await connection.run(folding.prepare)
            checkpoints = await connection.run(lambda _: opening.connect_to_checkpoint(path))
            opened.push_async_callback(connection.run, lambda _: checkpoints.close())
            reader = await opening.open_reader(path)
            opened.push_async_callback(reader.close)
            files.watch()
            # From here on the store closes them.
            opened.pop_all()
        clock = clock or SteadyClock()
        store = cls(
            connection,
            checkpoints,
            reader,
            files,
            path=path,
            max_backlog=max_backlog,
            clock=clock,
            timings=timings or Timings(),
        )
        supervisor = supervisor or Supervisor()
        store._writer.start(supervisor)
        try:
            await store._load(list(accounts), max_backlog)
        except BaseException as error:
            await store.close()
            if isinstance(error, StoreUnavailableError):
                raise StoreOpenError(f"{path} cannot be used: {error.message}") from error
            raise
        store._retention = Retention(store._writer, clock, retention_days)
        await store._retention.begin()
        store._retention.start(supervisor)
        return store

    async def close(self) -> None:
        """Write what waits, checkpoint, close."""
        if self._retention is not None:
            await self._retention.stop()
        # The writer's connection last: only one that may write takes the WAL's files away.
        await self._reader.close()
        await self._writer.close()
        self._files.close()

    async def empty_wal(self) -> bool:
        """Bring all of the WAL into the database and cut it off; return whether that could be done now."""
        return await self._writer.empty_wal()

    async def add_accounts(self, accounts: Collection[str]) -> None:
        """Make accounts known that may be new. Raises `StoreUnavailableError`."""
        if not self._account_ids.keys() >= set(accounts):
            self._account_ids |= await self._writer.run(lambda connection: loading.add_accounts(connection, accounts))

    def serve(
        self,
        accounts: Mapping[str, int],
        *,
        max_backlog: int,
        retention_days: int,
        guards: Mapping[str, RemovalGuard] | None = None,
    ) -> None:
        """Count the backlog of these accounts from now on, each known already, and keep to these bounds.

        Each account has the bound of its own, 0 for none. `guards`: whose syncs are judged before they are folded (R17).
        """
        self.backlog.serve(accounts, max_backlog)
        self.guard.serve(guards or {})
        if self._retention is not None:
            self._retention.retention_days = retention_days

    @property
    def is_damaged(self) -> bool:
        """Whether the file is damaged."""
        return self._writer.trouble.is_damage

    @property
    def has_wal_reset_fault(self) -> bool:
        """Whether this SQLite has the WAL-reset bug."""
        return has_wal_reset_fault()

    @property
    def fault(self) -> str | None:
        """What is wrong with the store, or None."""
        return self._writer.trouble.reason

    @property
    def waiting_changes(self) -> int:
        """How many changes wait for their next call."""
        return self.backlog.waiting_total

    async def accept(self, delivery: Delivery) -> Receipt:
        """Keep a delivery; it is durable when this returns (R1).

        Raises `BacklogFullError`, `ForgottenDeliveryError` and `StoreUnavailableError`.
        """
        self.backlog.check_room(delivery.account)
        self.deliveries += 1
        account_id = self._account_ids[delivery.account]
        users, steady_ms = len(delivery.add) + len(delivery.remove), self._clock.now_ms()

        def on_commit(receipt: Receipt) -> None:
            self._account_of_segment[receipt.segment_id] = delivery.account
            if not receipt.is_duplicate:
                self.backlog.add_unfolded(delivery.account, users)
                self.imports.arrivals.note(receipt, delivery)
                self.inbox_grew.set()

        self._accepting += 1
        try:
            async with asyncio.timeout(_ACCEPT_TIMEOUT_SECONDS):
                return await self._writer.run(
                    lambda connection: accepting.append_delivery(connection, account_id, delivery, steady_ms),
                    size_bytes=users * _BYTES_PER_USER,
                    on_disk=lambda receipt: self._files.acknowledge(receipt.delivery_id),
                    on_commit=on_commit,
                )
        except TimeoutError:
            raise StoreUnavailableError("it did not answer in time") from None
        finally:
            self._accepting -= 1
            self._accepted_at = asyncio.get_running_loop().time()

    @property
    def seconds_since_accept(self) -> float:
        """How many seconds ago the last delivery was kept; 0 while one waits for that."""
        return 0.0 if self._accepting else asyncio.get_running_loop().time() - self._accepted_at

    async def fold_next(self, *, small: bool = False) -> FoldProgress:
        """Move the oldest deliveries from the inbox into the ledger: one piece if `small`, else as many as is quickly done."""

        def on_commit(folded: folding.Folded) -> None:
            if not small:
                self._fold_size.note(folded.progress.users, time.monotonic() - folded.began_at)
            for segment_id, users in folded.taken_users.items():
                self.backlog.add_unfolded(self._account_of_segment[segment_id], -users)
            for segment_id, users in folded.guarded_users.items():
                self.backlog.add_unfolded(self._account_of_segment[segment_id], -users)
                self.backlog.add_guarded(self._account_of_segment[segment_id], users)
            self.guard.woken.set()
            for account in {
                self._account_of_segment[segment_id] for segment_id in {**folded.taken_users, **folded.guarded_users}
            }:
                if not self.backlog.unfolded_of(account):
                    self.imports.arrivals.forget_folded(account)

        max_users = 1 if small else self._fold_size.users
        guarded = {self._account_ids[account] for account in self.guard.accounts}
        folded = await self._ledger.change(
            lambda ledger: folding.fold_next(ledger, max_users, guarded), alone=True, on_commit=on_commit
        )
        return folded.progress

    async def put_off_first(self) -> tuple[int, bool] | None:
        """Fold what other segments have in the inbox before what the next one's has, which cannot be folded now.

        Return that segment, and whether there are others; None where the inbox is empty.
        """
        return await self._writer.run(folding.put_off_first)

    def pending_segments(self, account: str) -> dict[int, int]:
        """Return how many changes may be sent now, for each segment of the account that has any."""
        return self.backlog.pending_segments(account)

    def is_drained(self, segment_id: int) -> bool:
        """Tell whether every change of the segment is settled or dead."""
        return self.backlog.is_drained(segment_id)

    def owing_segments(self, account: str) -> list[int]:
        """Return the segments of the account of which a change is pending, or waits for its next call."""
        return self.backlog.owing_segments(account)

    async def claim(self, account: str, segment_id: int, cursor: ClaimCursor, limit: int) -> Claimed:
        """Return the next contacts of the segment that have a pending change, with all their pending ones.

        Nothing is marked: what is in flight lives in the caller's memory, so a crash leaves nothing to clean up (R6).
        """
        account_id = self._account_ids[account]
        return await self._read(lambda connection: claiming.claim(connection, account_id, segment_id, cursor, limit))

    async def settled_contacts(
        self, account: str, segment_id: int, *, wanted: bool, near: str, apart_from: str, or_in_import: bool = False
    ) -> list[str]:
        """Return a few contacts but `apart_from` whose wanted state in a segment is this and confirmed."""
        return await self._confirmed.find(
            self._account_ids[account],
            Way(segment_id, wanted),
            near=near,
            apart_from=apart_from,
            or_in_import=or_in_import,
        )

    async def settle(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int] = ()) -> None:
        """Write a batch of results and drop pieces that have no contact left to send; durable when this returns."""
        pairs = [(self._account_ids[outcome.account], outcome) for outcome in outcomes]
        await self._ledger.change(lambda ledger: settling.settle(ledger, pairs, spent_pieces))

    async def make_due_pending(self) -> int | None:
        """Make waiting changes pending whose time has come; return when the next one's comes (Unix ms), if any."""
        try:
            return await self._ledger.change(settling.send_due)
        except StoreFaultError:
            return await self._make_pending_one_by_one()

    async def _make_pending_one_by_one(self) -> int | None:
        """Make pending what can be, and put off by an hour what breaks a rule of the database."""
        now_ms = self._clock.now_ms()
        for account_id, segment_id, contact in await self._writer.run(lambda each: settling.due(each, now_ms)):
            try:
                await self._ledger.change(lambda ledger: ledger.send_due(account_id, segment_id, [contact]))  # noqa: B023
            except StoreFaultError:
                await self._writer.run(
                    lambda each: settling.put_off(each, account_id, segment_id, contact, now_ms)  # noqa: B023
                )
        return None

    async def hasten(self, account: str) -> None:
        """Send soon whatever waits through no fault of its own."""
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        await self._writer.run(lambda connection: settling.hasten(connection, account_id, now_ms))

    async def segments(self) -> list[Segment]:
        """Return every segment with its list and counters."""
        return await self._read(loading.read_segments)

    async def list_name_taken(self, segment_id: int, list_name: str) -> str | None:
        """Return Heap's id of another segment of the account that owns this list name, letter case aside."""
        values = {"segment_id": segment_id, "list_name": list_name}
        row = await self._read(lambda connection: connection.execute(_LISTS["list_name_taken"], values).fetchone())
        return row[0] if row else None

    async def set_list(self, segment: Segment) -> None:
        """Record what `segment` says of its list."""
        await self._execute(_LISTS["set_list"], loading.list_values(segment))

    async def approve_lists(self, segment_id: int, approved: Sequence[Segment], actor: str) -> None:
        """Record what the lists are after a person approved one of them, and that in the audit, in one transaction."""
        await self.steering.approve_lists(segment_id, approved, actor)

    async def take_list(self, segment: Segment) -> str | None:
        """Record `segment`'s list, which it did not create, unless it is another segment's; return that one's account."""
        values = loading.list_values(segment)

        def take(connection: sqlite3.Connection) -> str | None:
            owner = connection.execute(_LISTS["list_owner"], values).fetchone()
            if owner is not None:
                return str(owner[0])
            connection.execute(_LISTS["set_list"], values)
            return None

        return await self._writer.run(take)

    async def set_list_count(self, segment_id: int, count: int, confirmed: int) -> None:
        """Record how many contacts Cordial counts on the segment's list, and how many were confirmed before it was asked."""
        values = {"segment_id": segment_id, "count": count, "confirmed": confirmed}
        values |= {"now_ms": self._clock.now_ms(), "told_ms": self._clock.wall_ms()}
        await self._execute(_LISTS["set_list_count"], values)

    async def repeat_members(self, segment_id: int) -> int:
        """Send every membership of the segment again, those of people who have left too; return how many."""
        return await self.steering.rebuild(segment_id, include_removed=True, actor=_SERVICE)

    async def take_back(self, segment_id: int, other_id: int, within_seconds: float) -> int:
        """Undo what calls for a segment may have done to another one's list in that time; return how many memberships."""
        since_ms = self._clock.now_ms() - int(within_seconds * 1000)
        return await self.steering.take_back(segment_id, other_id, since_ms=since_ms, actor=_SERVICE)

    async def take_over_calls(self, account: str) -> CallsBefore:
        """Return what whoever called before for the account leaves, and note that calls may be made from now on."""
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        # Whoever crashed had the files before us, and so made no call since. In this life calls may have been made a moment ago.
        seconds = 0.0 if account in self._called_for else self._files.seconds_open
        before = await self._writer.run(lambda connection: calls.take_over(connection, account_id, now_ms, seconds))
        self._called_for.add(account)
        return before

    async def end_calls(self, account: str, left: CallsBefore) -> None:
        """Note that no call is made for the account any more, and what that leaves to whoever calls next."""
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        await self._writer.run(lambda connection: calls.end(connection, account_id, left, now_ms))

    async def set_account_state(
        self,
        account: str,
        state: AccountState,
        reason: str,
        next_call_at_ms: int = 0,
        waits: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Record what the account's sending is doing, for those who look from outside, and for how long Cordial lets it wait."""
        account_id, now_ms = self._account_ids[account], self._clock.now_ms()
        values = {
            "account": account,
            "state": state.value,
            "reason": reason,
            "next_call_at_ms": next_call_at_ms,
            "told_ms": self._clock.wall_ms(),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_LISTS["set_account_state"], values)
            calls.set_waits(connection, account_id, waits, now_ms)

        await self._writer.run(work)

    async def _execute(self, statement: str, values: Mapping[str, Any]) -> None:
        await self._writer.run(lambda connection: connection.execute(statement, values).rowcount)

    async def _read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return await self._reader.run(function)
        except sqlite3.Error as error:
            raise self._writer.trouble.unavailable(error) from error

    async def _load(self, accounts: list[str], max_backlog: int) -> None:
        await self.add_accounts(accounts)
        now_ms, boot = self._clock.now_ms(), self._clock.boot()
        if moved_ms := await self._writer.run(lambda connection: rescheduling.reschedule(connection, now_ms, boot)):
            log.info("store.rescheduled", moved_seconds=moved_ms / 1000)
        await self._writer.run(loading.read_backlog, on_commit=self._set_backlog)
        self.backlog.serve(dict.fromkeys(accounts, 0), max_backlog)
        self.last_received_ms = dict(await self._read(lambda each: each.execute(_LISTS["last_received"]).fetchall()))
        await self._tell_missing()
        log.info("store.opened", sqlite=sqlite3.sqlite_version, has_wal_reset_fault=has_wal_reset_fault())

    async def _tell_missing(self) -> None:
        last = await self._read(loading.last_delivery)
        missing = self._files.last_acknowledged - last
        if missing > 0:
            log.error("store.pages_missing", missing=missing, what_to_do=_PAGES_MISSING_ADVICE)
            await self.steering.record(_SERVICE, "store.pages_missing", "", missing)
            self._files.set_last_acknowledged(last)

    def _set_backlog(self, owed: list[loading.Owed]) -> None:
        self._account_of_segment.update((each.segment_id, each.account) for each in owed)
        self.backlog.set(owed)

    def _apply(self, segments: Mapping[int, Figures]) -> None:
        for segment_id, figures in segments.items():
            account = self._account_of_segment[segment_id]
            self.backlog.change(account, segment_id, figures["pending"], figures["waiting"])
