"""The stage that delivers: a pool for each account, and what all of them share."""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping
from typing import Protocol

import aiohttp
import structlog

from service.clock import SteadyClock
from service.deliver import cordial, lists, pool, settler, verifier
from service.deliver.account import SLOWED_BY_LIMIT, AccountLine
from service.deliver.cordial import CordialClient
from service.deliver.limiter import RateLimiter
from service.deliver.observing import NOT_OBSERVED, CallObserver, Observer
from service.deliver.verifier import ListVerifier
from service.errors import ErrorCode, ServiceError, StoreUnavailableError
from service.model import AccountState, AccountStatus, VerifyResult
from service.secrets import CachedSecret
from service.settings import AccountSettings, StoreSettings

log = structlog.get_logger()
_TICK_SECONDS = 0.5
_SHORTEST_RELEASE_WAIT_SECONDS = 0.02
# What Cordial asks for is far less; more would be a clock that was put right between two runs.
_LONGEST_HOLD_SECONDS = 3_600.0
_NOTEWORTHY_MS = 500


class Store(pool.Backlog, lists.Registry, verifier.Registry, settler.Ledger, Protocol):
    """All that delivering needs of the store."""

    @property
    def waiting_changes(self) -> int:
        """How many changes wait for their next call."""

    def is_drained(self, segment_id: int) -> bool:
        """Tell whether every change of the segment is settled or given up."""

    async def release_due(self) -> int | None:
        """Make waiting changes pending whose time has come; return when the next one's comes, if any."""

    async def hasten(self, account: str) -> None:
        """Send soon whatever waits through no fault of its own."""

    async def next_calls(self) -> dict[str, int]:
        """Return when each slowed account may be called again (Unix ms), as last recorded."""

    async def set_account_state(self, account: str, state: AccountState, reason: str, next_call_at_ms: int = 0) -> None:
        """Record what the account's sending is doing."""


class _Account:
    """One account's parts, wired together."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Store,
        session: aiohttp.ClientSession,
        results: settler.Settler,
        clock: SteadyClock,
        *,
        observer: CallObserver,
    ) -> None:
        limiter = RateLimiter(settings.requests_per_second)
        client = CordialClient(
            session,
            base_url=settings.cordial_base_url,
            api_key=CachedSecret(settings.cordial_api_key),
            limiter=limiter,
            timeout_seconds=settings.request_timeout_seconds,
            dry_run=settings.dry_run,
            observer=observer,
        )
        self._store = store
        self.name = settings.name
        self.line = AccountLine(settings.name, client, limiter, self._resumed)
        self.lists = lists.ListKeeper(settings, store, self.line, self._list_ready)
        self.verifier = ListVerifier(settings.name, store, self.line, store.is_drained)
        self.pool = pool.AccountPool(
            settings,
            store,
            self.line,
            self.lists,
            results,
            on_settled=self.verifier.touched,
            now_ms=clock.now_ms,
        )
        self.recorded: AccountStatus | None = None
        self.next_call_at_ms = 0

    def _list_ready(self) -> None:
        self.pool.wake()

    async def _resumed(self) -> None:
        with contextlib.suppress(StoreUnavailableError):
            await self._store.hasten(self.name)
        self.lists.retry_held()
        self.pool.refresh()


class Deliverer:
    """Sends what the store owes to Cordial, for all accounts."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        store: Store,
        store_settings: StoreSettings,
        clock: SteadyClock,
        observer: Observer = NOT_OBSERVED,
    ) -> None:
        self._store = store
        self._clock = clock
        self._session = cordial.make_session()
        self._settler = settler.Settler(
            store,
            batch_results=store_settings.settle_batch_results,
            interval_seconds=store_settings.settle_interval_seconds,
            on_settled=observer.settled,
        )
        self._accounts = [
            _Account(settings, store, self._session, self._settler, clock, observer=observer.for_account(name))
            for name, settings in accounts.items()
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, paused: Collection[str] = ()) -> None:
        """Take up whatever is pending, and go on; accounts in `paused` wait for an operator."""
        next_calls, now_ms = await self._store.next_calls(), self._clock.now_ms()
        for account in self._accounts:
            if account.name in paused:
                account.line.pause()
            wait = (next_calls.get(account.name, 0) - now_ms) / 1000
            account.line.hold(min(wait, _LONGEST_HOLD_SECONDS))
            await account.lists.start()
            account.pool.start()
        self._tasks = [
            asyncio.create_task(self._release_when_due(), name="releaser"),
            asyncio.create_task(self._record_states(), name="account states"),
        ]

    def wake(self) -> None:
        """Look for work in all accounts."""
        for account in self._accounts:
            account.pool.wake()

    def pause(self, name: str) -> None:
        """Stop calling for an account; calls on their way finish."""
        self._account(name).line.pause()

    def resume(self, name: str) -> None:
        """Call again for an account, and try at once where it could not be served."""
        account = self._account(name)
        account.line.resume()
        account.lists.retry_held()
        account.pool.refresh()

    async def verify(self, account: str, segment_id: int) -> VerifyResult:
        """Compare what should be on a list with what Cordial counts there, now (R11).

        Raises `ServiceError`: NOT_FOUND without such a list, CONFLICT while it cannot be counted.
        """
        found = self._account(account)
        if found.line.status().state is AccountState.PAUSED:
            raise ServiceError(ErrorCode.CONFLICT, f"the account is paused: {found.line.status().reason}")
        return await found.verifier.verify(segment_id)

    async def recreate_list(self, account: str, segment_id: int) -> None:
        """Let a list that was deleted in Cordial be created anew."""
        await self._account(account).lists.recreate(segment_id)

    def _account(self, name: str) -> _Account:
        for account in self._accounts:
            if account.name == name:
                return account
        raise ServiceError(ErrorCode.NOT_FOUND, f"there is no account {name}")

    def statuses(self) -> dict[str, AccountStatus]:
        """Return what each account's sending is doing."""
        return {account.name: account.line.status() for account in self._accounts}

    def calls(self) -> dict[str, int]:
        """Return how many calls each account has made since the start."""
        return {account.name: account.line.calls for account in self._accounts}

    def pauses(self) -> dict[str, int]:
        """Return how often each account has been paused since the start because it could not be served."""
        return {account.name: account.line.circuit.openings for account in self._accounts}

    def silences(self) -> dict[str, float]:
        """Return for how many seconds each account's feeder has not turned."""
        now = time.monotonic()
        return {account.name: now - account.pool.ticked_at for account in self._accounts}

    async def stop(self, grace_seconds: float) -> None:
        """Let calls on their way finish within the grace, commit all results (R13)."""
        for account in self._accounts:
            await account.lists.stop()
            await account.verifier.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(account.pool.stop(grace_seconds) for account in self._accounts))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._settler.stop()
        for account in self._accounts:
            await self._record_limit(account)
        await self._session.close()

    async def _release_when_due(self) -> None:
        while True:
            wait = _TICK_SECONDS
            if self._store.waiting_changes:
                with contextlib.suppress(StoreUnavailableError):
                    next_due = await self._store.release_due()
                    if next_due is not None:
                        wait = min(wait, (next_due - self._clock.now_ms()) / 1000)
            await asyncio.sleep(max(_SHORTEST_RELEASE_WAIT_SECONDS, wait))

    async def _record_states(self) -> None:
        while True:
            for account in self._accounts:
                await self._record_state(account)
            await asyncio.sleep(_TICK_SECONDS)

    async def _record_state(self, account: _Account) -> None:
        status = account.line.status()
        next_call_at_ms = self._clock.now_ms() + int(status.seconds * 1000)
        known = account.recorded
        is_known = known is not None and (known.state, known.reason) == (status.state, status.reason)
        is_later = status.seconds > 0 and next_call_at_ms > account.next_call_at_ms + _NOTEWORTHY_MS
        if is_known and not is_later:
            return
        with contextlib.suppress(StoreUnavailableError):
            await self._store.set_account_state(account.name, status.state.recorded, status.reason, next_call_at_ms)
            account.recorded, account.next_call_at_ms = status, next_call_at_ms

    async def _record_limit(self, account: _Account) -> None:
        """Leave to the next process what Cordial told this one: not before then (R8)."""
        seconds = account.line.slowed_seconds
        if seconds > 0 and account.line.status().state is not AccountState.PAUSED:
            next_call_at_ms = self._clock.now_ms() + int(seconds * 1000) + 1
            with contextlib.suppress(StoreUnavailableError):
                await self._store.set_account_state(account.name, AccountState.SLOWED, SLOWED_BY_LIMIT, next_call_at_ms)
