"""Beginning and ending the trials of one account, one at a time, and telling what they showed; `trying.py` does them."""

import asyncio
from collections.abc import Sequence

from service import supervision
from service.config.settings import AccountSettings
from service.deliver.imports.files import SmallFiles
from service.deliver.line import AccountLine
from service.deliver.trial.trying import Subjects, Timings, Trial
from service.errors import ErrorCode, ServiceError
from service.model.accounts import AccountState
from service.model.trial import TrialPoint, TrialProgress, TrialResult, TrialState
from service.store import port
from service.supervision import Supervisor


class Trials:
    """Begins trials, and tells what they show."""

    def __init__(
        self,
        settings: AccountSettings,
        store: port.Trials,
        line: AccountLine,
        small_files: SmallFiles,
        *,
        supervisor: Supervisor,
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._small_files = small_files
        self._supervisor = supervisor
        self._timings = timings
        self._trial: Trial | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, contacts: Sequence[str], subscribed: str, actor: str) -> None:
        """Begin a trial with these addresses, after it is in the audit; `shown` tells how far it is.

        `subscribed` is one that is subscribed in Cordial, or empty. Raises `ServiceError` CONFLICT while the account is
        paused, in a dry run or in a trial, or where Heap sends one of the contacts.
        """
        self._check_may_begin()
        subjects = Subjects(contacts, subscribed)
        keys = [f"email:{address}" for address in subjects.addresses]
        if await self._store.begin(self._settings.name, keys, actor):
            raise ServiceError(
                ErrorCode.CONFLICT,
                "one of these contacts is or was in a segment; name contacts that Heap does not send",
            )
        # Again after the wait: another may have begun one, or paused the account, meanwhile.
        self._check_may_begin()
        self._trial = Trial(self._settings, subjects, self._store, self._line, self._small_files, timings=self._timings)
        # It ends by itself.
        self._task = self._supervisor.start(f"{self._settings.name} trial", self._trial.run(), may_end=lambda: True)

    def _check_may_begin(self) -> None:
        if self._settings.dry_run:
            raise ServiceError(ErrorCode.CONFLICT, "the account is in a dry run, but a trial writes")
        status = self._line.status()
        if status.state is AccountState.PAUSED:
            raise ServiceError(ErrorCode.CONFLICT, status.why_paused)
        if self._trial is not None and self._trial.progress.state is TrialState.RUNNING:
            raise ServiceError(ErrorCode.CONFLICT, "a trial of this account is running")

    async def shown(self) -> tuple[TrialProgress | None, Sequence[TrialResult]]:
        """Return how far the last trial of this run of the service is, and all that trials have shown so far."""
        results = await self._store.results(self._settings.name, self._settings.cordial_base_url)
        progress = self._trial.progress if self._trial is not None else None
        return progress, [results[point] for point in TrialPoint if point in results]

    async def stop(self) -> None:
        """End a trial that is under way."""
        await supervision.stop(self._task)
