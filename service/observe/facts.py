"""What is so now and a person should know, as far as it can be told without waiting (R16)."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from service.clock import moment_in_words
from service.config.settings import Settings
from service.errors import ErrorCode
from service.model.accounts import AccountState, AccountStatus, limit_in_words
from service.model.conditions import Fact
from service.model.imports import ImportsStatus
from service.observe.metrics.files import store_files
from service.observe.metrics.loop_lag import LoopLag
from service.supervision import Supervisor

_HIGH_BACKLOG = 0.8
_LOW_DISK_BYTES = 536_870_912
_LARGE_WAL_BYTES = 268_435_456
_CERTIFICATE_NEARS_END = timedelta(days=14)
_RECENT_SECONDS = 600.0
_MAX_LAG_SECONDS = 0.5
_MAX_REASON = 200
# Shorter than the patience of the condition, so that it is told only where each look in a minute finds it so.
_STILL_SECONDS = 5.0
# At a low rate, the turn of the next change comes after so many calls: lists are looked at and counted too.
_STILL_CALLS = 5
# Told elsewhere, or no fault of sender or service: what was taken, back-pressure, a client that went away, a stop.
_NO_REFUSALS = {
    "accepted",
    "duplicate",
    "superseded",
    "dry_run",
    "client_gone",
    ErrorCode.BACKLOG_FULL.value,
    ErrorCode.STORE_UNAVAILABLE.value,
    ErrorCode.STOPPING.value,
}


class StoreHealth(Protocol):
    """What is needed of the store."""

    @property
    def fault(self) -> str | None:
        """What is wrong with the store, or None."""

    @property
    def is_damaged(self) -> bool:
        """Whether the file is damaged."""

    @property
    def has_wal_reset_fault(self) -> bool:
        """Whether this SQLite has the WAL-reset bug."""


class BacklogFigures(Protocol):
    """How much waits."""

    @property
    def total(self) -> int:
        """Everything accepted and not settled."""

    def total_of(self, account: str) -> int:
        """Everything of the account that was accepted and is not settled."""

    def max_of(self, account: str) -> int:
        """How many changes of the account may be kept unsettled, whatever the others have."""


class SendingHealth(Protocol):
    """What is needed of the stage that sends."""

    def statuses(self) -> Mapping[str, AccountStatus]:
        """Return what each account's sending is doing."""

    def still_seconds(self) -> Mapping[str, float]:
        """Return for how long each account has had changes that it may send, without a result."""

    def imports_statuses(self) -> Mapping[str, ImportsStatus]:
        """Return what each account's imports are doing."""


class Refusal(Protocol):
    """A request to the webhook and how it ended."""

    @property
    def outcome(self) -> str:
        """How it was answered, in one of few words."""

    @property
    def reason(self) -> str | None:
        """Why it was refused, beyond that word."""

    @property
    def account(self) -> str | None:
        """The account, if the request named one that exists."""


class ServedCertificate(Protocol):
    """What is needed of the certificate that connections are shown."""

    @property
    def expires_at(self) -> datetime:
        """When it ends (UTC)."""

    @property
    def fault(self) -> str:
        """Why what lies in its files now is not shown; empty where it is."""


class _Recent:
    """How often something was seen, as long as it was seen within the last ten minutes."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._number = 0
        self.last = ""

    def note(self, what: str) -> None:
        self._number = self.number + 1
        self._at = time.monotonic()
        self.last = what

    @property
    def number(self) -> int:
        return self._number if time.monotonic() - self._at < _RECENT_SECONDS else 0


def max_still_seconds(requests_per_second: float | str) -> float:
    """Return for how long an account that sends may be without a result, and nothing is wrong."""
    if isinstance(requests_per_second, str):
        return _STILL_SECONDS
    return max(_STILL_SECONDS, _STILL_CALLS / requests_per_second)


class Facts:
    """Gives the facts when it is called; `answered` tells it of each request to the webhook."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        store: StoreHealth,
        backlog: BacklogFigures,
        sending: SendingHealth,
        supervisor: Supervisor,
        *,
        clock_fault: Callable[[], str | None],
        lost_lines: Callable[[], int],
        loop_lag: LoopLag,
        certificate: ServedCertificate | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._backlog = backlog
        self._sending = sending
        self._supervisor = supervisor
        self._clock_fault = clock_fault
        self._count_lost_lines = lost_lines
        self._loop_lag = loop_lag
        self._certificate = certificate
        # Of the last reload that was asked for.
        self._reload_faults: Sequence[str] = ()
        self._needs_restart: Sequence[str] = ()
        # Of the whole process, which may have run another service before.
        self._lost_before = lost_lines()
        self._lost_lines = _Recent()
        # By account, "" where none is known.
        self._refused: dict[str, _Recent] = {}

    def answered(self, answered: Refusal) -> None:
        """Note how a request to the webhook was answered."""
        if answered.outcome not in _NO_REFUSALS:
            # What follows a colon may be the sender's own words, and anybody can send them.
            reason = (answered.reason or answered.outcome).partition(":")[0]
            self._refused.setdefault(answered.account or "", _Recent()).note(reason[:_MAX_REASON])

    def reload_refused(self, faults: Sequence[str]) -> None:
        """Note what kept a changed configuration from being taken up."""
        self._reload_faults = faults

    def reloaded(self, needs_restart: Sequence[str]) -> None:
        """Note that a configuration was taken up, but for these keys."""
        self._reload_faults, self._needs_restart = (), needs_restart

    def __call__(self) -> Iterator[Fact]:
        """Give what is so now."""
        yield from self._of_store()
        yield from self._of_tasks()
        yield from self._of_sending()
        yield from self._of_webhook()
        yield from self._of_configuration()
        yield from self._of_host()

    def _of_store(self) -> Iterator[Fact]:
        if fault := self._store.fault:
            yield Fact("store_damaged" if self._store.is_damaged else "store_trouble", detail=fault)
        if self._store.has_wal_reset_fault:
            yield Fact("sqlite_affected")
        limit = self._settings().store.max_backlog
        if self._backlog.total >= _HIGH_BACKLOG * limit:
            yield Fact("backlog_high", detail=f"{self._backlog.total:,} of {limit:,}")
        for account in self._settings().accounts:
            held, max_own = self._backlog.total_of(account), self._backlog.max_of(account)
            if max_own < limit and held >= _HIGH_BACKLOG * max_own:
                yield Fact("backlog_high", account, detail=f"{held:,} of {max_own:,}")
        files = store_files(Path(self._settings().store.path))
        if files is None:
            return
        if files.disk_free_bytes < _LOW_DISK_BYTES:
            yield Fact("disk_low", detail=f"{files.disk_free_bytes // 1_000_000:,} MB are free")
        if files.wal_bytes > _LARGE_WAL_BYTES:
            yield Fact("wal_large", detail=f"{files.wal_bytes // 1_000_000:,} MB")

    def _of_tasks(self) -> Iterator[Fact]:
        for name in self._supervisor.ended:
            yield Fact("task_ended", subject=name)
        for name, seconds in self._supervisor.silences().items():
            yield Fact("task_silent", subject=name, detail=f"for {seconds:.0f} s")

    def _of_sending(self) -> Iterator[Fact]:
        still = self._sending.still_seconds()
        for account, status in self._sending.statuses().items():
            people = self._backlog.total_of(account)
            if status.is_paused_by_person:
                yield Fact("account_paused", account, people=people)
            elif status.state is AccountState.PAUSED:
                yield Fact("account_stopped", account, detail=status.reason, people=people)
            elif status.state is AccountState.SLOWED:
                until = datetime.now(UTC) + timedelta(seconds=status.seconds)
                yield Fact("account_slowed", account, detail=limit_in_words(status.reason, until), people=people)
            elif status.state is AccountState.DRY_RUN:
                yield Fact("account_dry_run", account, people=people)
            elif still[account] > self._max_still_seconds(account):
                yield Fact("account_stuck", account, people=people)
        for account, imports in self._sending.imports_statuses().items():
            if imports.rest is not None:
                yield Fact("imports_rest", account, detail=imports.rest.reason)
            if imports.waits_for_trial:
                yield Fact("account_awaits_trial", account)

    def _max_still_seconds(self, account: str) -> float:
        settings = self._settings().accounts.get(account)
        return max_still_seconds("auto" if settings is None else settings.requests_per_second)

    def _of_webhook(self) -> Iterator[Fact]:
        if fault := self._clock_fault():
            yield Fact("clock_suspect", detail=fault)
        for account, refused in self._refused.items():
            if refused.number:
                whose = "" if account else ", to no account of ours"
                number = f"{refused.number:,} {'request' if refused.number == 1 else 'requests'}"
                yield Fact("deliveries_refused", account, detail=f"{number}{whose}; the last: {refused.last}")

    def _of_configuration(self) -> Iterator[Fact]:
        if self._reload_faults:
            more = len(self._reload_faults) - 1
            yield Fact("configuration_refused", detail=self._reload_faults[0] + (f" (and {more} more)" if more else ""))
        if self._needs_restart:
            yield Fact("restart_needed", detail=", ".join(self._needs_restart))
        if self._certificate is None:
            return
        if self._certificate.fault:
            yield Fact("certificate_refused", detail=self._certificate.fault)
        ends_at = self._certificate.expires_at
        if ends_at - datetime.now(UTC) < _CERTIFICATE_NEARS_END:
            yield Fact("certificate_ends", detail=f"at {moment_in_words(ends_at)}")

    def _of_host(self) -> Iterator[Fact]:
        lag = self._loop_lag.mean_seconds
        if lag > _MAX_LAG_SECONDS:
            yield Fact("loop_lag", detail=f"{lag:.1f} s")
        lost = self._count_lost_lines()
        if lost > self._lost_before:
            self._lost_before = lost
            self._lost_lines.note("")
        if self._lost_lines.number:
            yield Fact("log_lines_lost", detail=f"{lost:,} since the start")
