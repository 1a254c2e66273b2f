"""One account's parts of the stage that delivers, wired together."""

import asyncio
import contextlib
from collections.abc import Callable, Collection

from service.clock import SteadyClock
from service.config.secrets import CachedSecret
from service.config.settings import AccountSettings
from service.deliver import pool, settler
from service.deliver.cordial.client import Connections, CordialClient
from service.deliver.imports.files import SmallFiles
from service.deliver.imports.importer import Importer
from service.deliver.imports.searching import Searcher
from service.deliver.line import AccountLine
from service.deliver.lists import keeper
from service.deliver.observing import CallObserver, ImportObserver
from service.deliver.previewing import Previewer
from service.deliver.proof.doubts import Doubts
from service.deliver.proof.members import MemberReader
from service.deliver.proof.read_back import ReadBack
from service.deliver.proof.samples import Samples
from service.deliver.proof.verifier import ListVerifier
from service.deliver.rate.limiter import make_limiter
from service.deliver.repeating import ProofCalls
from service.deliver.timings import Timings
from service.deliver.trial.starting import Trials
from service.errors import ErrorCode, ServiceError, StoreFaultError, StoreUnavailableError
from service.model.accounts import AccountState, AccountStatus, CallsBefore
from service.model.lists import VerifyResult
from service.store.port import Store
from service.supervision import Supervisor

_NOTEWORTHY_MS = 500


class SendingAccount:
    """Sends for one account, with the settings it was made with, from `start` until `stop`."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Store,
        connections: Connections,
        results: settler.Settler,
        clock: SteadyClock,
        *,
        supervisor: Supervisor,
        observer: CallObserver,
        import_observer: ImportObserver,
        timings: Timings,
        small_files: SmallFiles,
        on_throttled: Callable[[], None],
    ) -> None:
        limiter = make_limiter(settings.requests_per_second)
        api_key = CachedSecret(settings.cordial_api_key)
        client = CordialClient(
            connections,
            base_url=settings.cordial_base_url,
            api_key=api_key,
            timeout_seconds=settings.request_timeout_seconds,
        )
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self.settings = settings
        self.name = settings.name
        self.doubts = Doubts(settings.name, store.proofs, settings.in_doubt_seconds, clock.now_ms)
        self.line = AccountLine(
            settings.name,
            client,
            limiter,
            self._resumed,
            dry_run=settings.dry_run,
            observer=observer,
            on_lost_answer=self.doubts.lost,
            on_throttled=on_throttled,
            timings=timings.retry,
        )
        self.lists = keeper.ListKeeper(
            settings,
            store,
            self.line,
            api_key=api_key,
            on_ready=self._list_ready,
            flush=results.flush,
            now_ms=clock.now_ms,
            timings=timings.lists,
        )
        self.verifier = ListVerifier(settings.name, store, self.lists, store.is_drained, timings=timings.counts)
        self.importer = Importer(
            settings,
            store.imports,
            self.line,
            self.lists,
            trials=store.trials,
            searcher=Searcher(settings, store.unnamed, store, self.lists),
            on_ended=self._imported,
            observer=import_observer,
            now_ms=clock.now_ms,
            timings=timings.imports,
        )
        self.pool = pool.AccountPool(
            settings,
            store,
            self.line,
            self.lists,
            results,
            doubts=self.doubts,
            sendable=self.importer.sendable,
            find_late=self.importer.find_late,
            on_settled=self._settled,
            now_ms=clock.now_ms,
            timings=timings.retry,
        )
        self.members = MemberReader(settings, store, self.line, self.lists)
        self.samples = Samples(settings.name, store.proofs, settings.proof_sample, store.is_drained, clock.now_ms)
        self.read_back = ReadBack(
            settings,
            store,
            self.line,
            self.lists,
            doubts=self.doubts,
            reading=self.pool.reading,
            is_busy=self._is_busy,
            take_samples=self.samples.take,
            now_ms=clock.now_ms,
            timings=timings.proof,
        )
        self.previewer = Previewer(settings, store, self.line, self.lists.cordial)
        self.trials = Trials(
            settings, store.trials, self.line, small_files, supervisor=supervisor, timings=timings.trial
        )
        self.line.prove_with(ProofCalls(settings, self.line, self.pool, self.lists.names))
        self._answer_seconds = timings.counts.answer
        self._recorded: AccountStatus | None = None
        self._recorded_waits: dict[str, int] = {}

    async def start(self, before: CallsBefore) -> None:
        """Send what is pending, and keep to what Cordial told the previous caller.

        Raises `StoreUnavailableError` or `StoreFaultError` when lists or imports cannot be read; it can then be called again.
        """
        self.line.wait_first(before)
        await self.doubts.start()
        await self.lists.start(self._supervisor)
        try:
            await self.importer.start(self.pool.between_claims, self._supervisor)
        except BaseException:
            await self.lists.stop()
            raise
        self.verifier.start(self._supervisor)
        self.pool.start(self._supervisor)
        self.read_back.start(self._supervisor)

    async def stop(self, grace_seconds: float) -> None:
        """Let calls in flight finish within `grace_seconds`; can be called again if it was cancelled."""
        self.line.close()
        await self.trials.stop()
        await self.importer.stop()
        await self.lists.stop()
        await self.verifier.stop()
        await self.read_back.stop()
        await self.pool.stop(grace_seconds)

    def pause(self) -> None:
        """Make no more calls; calls in flight finish."""
        self.line.pause()
        self.lists.names.distrust()

    def resume(self) -> None:
        """Call again, and try at once where the account could not be served."""
        self.line.resume()
        self.importer.use_files_again()
        self._go_on()

    def withdraw(self, contacts: Collection[str]) -> None:
        """Send nothing of these contacts that was wanted until now and is not written yet: they are to be erased (R5)."""
        self.pool.withdraw(contacts)
        self.importer.withdraw()

    async def verify(self, segment_id: int) -> VerifyResult:
        """Compare what should be on a list with what Cordial counts there, now (R11).

        Raises `ServiceError`: NOT_FOUND without such a list, CONFLICT while it cannot be counted.
        """
        if self.line.status().state is AccountState.PAUSED:
            why = self.line.status().why_paused
            raise ServiceError(ErrorCode.CONFLICT, f"the list cannot be counted now: {why}")
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self.verifier.verify(segment_id)
        except TimeoutError:
            reason = self.line.status().reason or "Cordial does not answer"
            raise ServiceError(
                ErrorCode.CONFLICT, f"the list was not counted in {self._answer_seconds:.0f} s: {reason}"
            ) from None

    async def record_state(self) -> None:
        """Record what the sending does, if that is news; trouble of the store is passed over."""
        status = self.line.status()
        now_ms, handover = self._clock.now_ms(), self.line.handover
        next_call_at_ms = now_ms + int(status.seconds * 1000)
        # What the state is awaited for counts as well: the next probe of a paused account.
        waits = {operation: now_ms + int(seconds * 1000) for operation, seconds in handover.waits.items()}
        awaited = {**waits, "": next_call_at_ms} if status.seconds > 0 else waits
        known = self._recorded
        is_known = known is not None and (known.state, known.reason) == (status.state, status.reason)
        is_later = any(at > self._recorded_waits.get(each, 0) + _NOTEWORTHY_MS for each, at in awaited.items())
        if is_known and not is_later:
            return
        with contextlib.suppress(StoreUnavailableError):
            # What the store refused once, it would refuse again.
            with contextlib.suppress(StoreFaultError):
                await self._store.set_account_state(
                    self.name, status.state.recorded, status.reason, next_call_at_ms, handover.waits
                )
            self._recorded, self._recorded_waits = status, awaited

    async def record_end(self) -> None:
        """Record when the last call was made and what Cordial said of limits, for whoever sends next for the account (R8)."""
        with contextlib.suppress(StoreUnavailableError, StoreFaultError):
            await self._store.end_calls(self.name, self.line.handover)

    def _settled(self, segment_id: int, contact: str) -> None:
        self.verifier.touched(segment_id)
        self.samples.settled(segment_id, contact)

    def _imported(self, segment_ids: Collection[int]) -> None:
        for segment_id in segment_ids:
            self.verifier.touched(segment_id)
            self.samples.imported(segment_id)
        self.pool.refresh()

    def _is_busy(self) -> bool:
        """Tell whether changes wait to be sent: these go before any reading for proof."""
        return bool(self._store.pending_segments(self.name))

    def _list_ready(self) -> None:
        self.pool.wake()

    async def _resumed(self) -> None:
        with contextlib.suppress(StoreUnavailableError, StoreFaultError):
            await self._store.hasten(self.name)
        self._go_on()

    def _go_on(self) -> None:
        """Take up again what a pause has stopped: much may have changed in Cordial meanwhile."""
        self.lists.names.distrust()
        self.lists.retry_held()
        self.read_back.read_again()
        self.pool.refresh()
