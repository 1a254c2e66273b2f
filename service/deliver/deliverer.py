"""The stage that delivers: a pool for each account, and what all of them share."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from service import supervision
from service.clock import SteadyClock
from service.config.settings import AccountSettings, StoreSettings
from service.deliver import settler
from service.deliver.account import SendingAccount
from service.deliver.cordial import client
from service.deliver.imports.files import SmallFiles
from service.deliver.imports.importer import Importer
from service.deliver.observing import NOT_OBSERVED, Observer
from service.deliver.timings import Timings
from service.errors import ErrorCode, ServiceError, StoreFaultError, StoreUnavailableError
from service.model.accounts import AccountStatus, CallsBefore
from service.model.imports import DoubtEnd, ImportsStatus
from service.store.port import Store
from service.supervision import Supervisor

_TICK_SECONDS = 0.5
_FAULT_SECONDS = 5.0
_SHORTEST_RELEASE_WAIT_SECONDS = 0.02

# What only the receiving side reads of an account.
_NOT_ABOUT_SENDING = (
    "heap_secrets",
    "heap_id_token",
    "timestamp_tolerance_seconds",
    "identities",
    "allow_drain",
    "expect_sync_hours",
)


class Deliverer:
    """Sends what the store owes to Cordial, for all accounts being served."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        store: Store,
        store_settings: StoreSettings,
        clock: SteadyClock,
        *,
        supervisor: Supervisor,
        observer: Observer = NOT_OBSERVED,
        timings: Timings | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._observer = observer
        self.timings = timings or Timings()
        self._connections = client.Connections()
        self.small_files = SmallFiles()
        self._states_changed = asyncio.Event()
        self._settler = settler.Settler(
            store.settle,
            batch_results=store_settings.settle_batch_results,
            interval_seconds=store_settings.settle_interval_seconds,
            on_settled=observer.settled,
        )
        self._accounts = {name: self._make(settings) for name, settings in accounts.items()}
        # No longer served, or not with these settings, and still finishing.
        self._ending: list[SendingAccount] = []
        self._past_calls: Counter[str] = Counter()
        self._past_pauses: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, paused: Collection[str] = ()) -> None:
        """Take up whatever is pending, and go on; accounts in `paused` wait for an operator."""
        self._settler.start(self._supervisor)
        for account in self._accounts.values():
            if account.name in paused:
                account.line.pause()
            await account.start(await self._store.take_over_calls(account.name))
        self._tasks = [
            self._supervisor.start("due changes", self._make_pending_when_due(), beats=True),
            self._supervisor.start("account states", self._record_states(), beats=True),
        ]

    async def apply(
        self,
        accounts: Mapping[str, AccountSettings],
        store_settings: StoreSettings,
        *,
        paused: Collection[str] = (),
        grace_seconds: float,
    ) -> None:
        """Send for these accounts from now on, each with its settings; those in `paused` wait for an operator.

        Results are gathered into commits as `store_settings` has it, from the next batch on.

        Where nothing changed about sending, an account goes on undisturbed, and reads its API key anew. Elsewhere calls
        on their way finish within the grace, their results are committed, and only then sending goes on with the new
        settings (R5), or ends. Returns when all that is done; cancelled in between, it can be followed by `stop` alone. Raises
        `BaseExceptionGroup` with what kept accounts from being changed over; the others have been.
        """
        self._settler.set_batching(store_settings.settle_batch_results, store_settings.settle_interval_seconds)
        before = self._accounts
        kept = {
            name: account
            for name, account in before.items()
            if name in accounts and _sending_part(account.settings) == _sending_part(accounts[name])
        }
        for account in kept.values():
            account.line.client.renew_key()
        ending = [account for name, account in before.items() if name not in kept]
        self._accounts = {name: kept.get(name) or self._make(settings) for name, settings in accounts.items()}
        self._ending += ending
        for account in ending:
            self._past_calls[account.name] += account.line.calls
            self._past_pauses[account.name] += account.line.circuit.openings
            if account.name in self._accounts and account.line.is_paused_by_operator:
                self._accounts[account.name].line.pause()
        added = [account for name, account in self._accounts.items() if name not in before]
        for account in added:
            if account.name in paused:
                account.line.pause()
        ended = await asyncio.gather(
            *(self._change_over(account, self._accounts.get(account.name), grace_seconds) for account in ending),
            *(self._begin(account) for account in added),
            return_exceptions=True,
        )
        if failures := [failure for failure in ended if isinstance(failure, BaseException)]:
            raise BaseExceptionGroup("not every account could be changed to the new configuration", failures)

    async def _change_over(self, old: SendingAccount, new: SendingAccount | None, grace_seconds: float) -> None:
        await old.stop(grace_seconds)
        await self._settler.flush()
        await old.doubts.end()
        if new is None:
            await old.record_end()
        self._ending.remove(old)
        if new is not None:
            new.verifier.take_over(old.verifier)
            await self._begin(new, old.line.handover)

    async def _begin(self, account: SendingAccount, before: CallsBefore | None = None) -> None:
        """Start an account while others run; wait while the store has trouble."""
        while True:
            try:
                before = before or await self._store.take_over_calls(account.name)
                await account.start(before)
            except (StoreUnavailableError, StoreFaultError) as error:
                await asyncio.sleep(_wait_after(error))
            else:
                return

    def _make(self, settings: AccountSettings) -> SendingAccount:
        return SendingAccount(
            settings,
            self._store,
            self._connections,
            self._settler,
            self._clock,
            supervisor=self._supervisor,
            observer=self._observer.for_account(settings.name),
            import_observer=self._observer.for_imports(settings.name),
            timings=self.timings,
            small_files=self.small_files,
            on_throttled=self._states_changed.set,
        )

    def wake(self) -> None:
        """Look for work in all accounts."""
        for account in self._accounts.values():
            account.pool.wake()

    def withdraw(self, account: str, contacts: Collection[str]) -> None:
        """Make no call for these contacts with what was wanted until now, because they are to be erased (R5)."""
        for sending in (self._accounts.get(account), *self._ending):
            if sending is not None and sending.name == account:
                sending.withdraw(contacts)

    def importer(self, account: str) -> Importer | None:
        """Return what sends an account's imports, None where there is no such account."""
        found = self._accounts.get(account)
        return found.importer if found else None

    async def end_doubt(self, import_id: int, said: DoubtEnd, actor: str) -> int:
        """Let single calls send what is in doubt of an import, because a person says how it ended; return how many contacts.

        Raises `ServiceError`: NOT_FOUND where no such import is under way.
        """
        for account in list(self._accounts.values()):
            ended = await account.importer.end_doubt(import_id, said, actor)
            if ended is not None:
                return ended
        raise ServiceError(ErrorCode.NOT_FOUND, "there is no import with this id, or it is over")

    def account(self, name: str) -> SendingAccount:
        """Return what sends for an account. Raises `ServiceError` NOT_FOUND."""
        if name not in self._accounts:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no account {name}")
        return self._accounts[name]

    def statuses(self) -> dict[str, AccountStatus]:
        """Return what each account's sending is doing."""
        return {name: account.line.status() for name, account in self._accounts.items()}

    def still_seconds(self) -> dict[str, float]:
        """Return for how long each account has had changes that it may send, without a result."""
        return {name: account.pool.still_seconds for name, account in self._accounts.items()}

    def imports_statuses(self) -> dict[str, ImportsStatus]:
        """Return what each account's imports are doing."""
        return {name: account.importer.status() for name, account in self._accounts.items()}

    def calls(self) -> dict[str, int]:
        """Return how many calls each account has made since the start."""
        return {name: account.line.calls + self._past_calls[name] for name, account in self._accounts.items()}

    def pauses(self) -> dict[str, int]:
        """Return how often each account has been paused since the start because it could not be served."""
        return {
            name: account.line.circuit.openings + self._past_pauses[name] for name, account in self._accounts.items()
        }

    async def stop(self, grace_seconds: float) -> None:
        """Let calls in flight finish within `grace_seconds`, then commit all results (R13)."""
        accounts = [*self._accounts.values(), *self._ending]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(account.stop(grace_seconds) for account in accounts))
        await supervision.stop(*self._tasks)
        await self._settler.stop()
        for account in accounts:
            await account.doubts.end()
            await account.record_end()
        await self._connections.close()

    async def _make_pending_when_due(self) -> None:
        while True:
            self._supervisor.beat()
            wait = _TICK_SECONDS
            if self._store.waiting_changes:
                try:
                    next_due = await self._store.make_due_pending()
                except (StoreUnavailableError, StoreFaultError) as error:
                    wait = _wait_after(error)
                else:
                    if next_due is not None:
                        wait = min(wait, (next_due - self._clock.now_ms()) / 1000)
            await asyncio.sleep(max(_SHORTEST_RELEASE_WAIT_SECONDS, wait))

    async def _record_states(self) -> None:
        while True:
            self._supervisor.beat()
            for account in list(self._accounts.values()):
                await account.record_state()
            self._states_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._states_changed.wait()


def _wait_after(error: StoreUnavailableError | StoreFaultError) -> float:
    """Return in how many seconds to ask the store again; a fault of the program lasts longer."""
    return _FAULT_SECONDS if isinstance(error, StoreFaultError) else _TICK_SECONDS


def _sending_part(settings: AccountSettings) -> dict[str, object]:
    fields = msgspec.structs.asdict(settings)
    return {name: value for name, value in fields.items() if name not in _NOT_ABOUT_SENDING}
