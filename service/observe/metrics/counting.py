"""What is counted as it happens: deliveries and their users, calls, imports, results."""

from collections import Counter as Tally
from collections.abc import Collection, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.model.changes import Outcome, OutcomeKind
from service.model.deliveries import Delivery
from service.observe.metrics.calls import AccountCalls, Calls
from service.observe.metrics.imports import AccountImports, ImportCounting

_ACCEPTED = "accepted"
_SUPERSEDED = "superseded"
_DURABLE = (_ACCEPTED, "duplicate", _SUPERSEDED)
_USER_CHANGES = ("add", "remove", "rejected")

# Heap is answered within milliseconds when all is well; the store gives a delivery up after eight seconds.
_ACK_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Answered(Protocol):
    """A request to the webhook and how it ended; `outcome` is one of few words, `account` known or None."""

    @property
    def outcome(self) -> str:
        """`accepted`, `duplicate`, `superseded`, an error code, or `client_gone`."""

    @property
    def account(self) -> str | None:
        """The account, if the request named one that exists."""

    @property
    def delivery(self) -> Delivery | None:
        """The page, if it was understood."""

    @property
    def duration_seconds(self) -> float:
        """How long the answer took."""


class Counting:
    """Counts deliveries, calls and results.

    What can be foreseen is there from the start with 0: a series that begins with its first event shows no increase.
    """

    def __init__(self, registry: CollectorRegistry, accounts: Collection[str]) -> None:
        self._deliveries = Counter(
            "heap_cordial_deliveries",
            "Requests to the webhook, by answer; the account is empty if the request names none.",
            ["account", "answer"],
            registry=registry,
        )
        self._ack_seconds = Histogram(
            "heap_cordial_delivery_ack_seconds",
            "How long deliveries took that were answered 200.",
            ["account"],
            buckets=_ACK_BUCKETS_SECONDS,
            registry=registry,
        )
        self._users = Counter(
            "heap_cordial_delivered_users",
            "Users in accepted deliveries: to be added, to be removed, and rejected as unusable.",
            ["account", "change"],
            registry=registry,
        )
        self._results = Counter(
            "heap_cordial_results",
            "Results of sending changes, when durable: settled, to be retried, or dead.",
            ["account", "result"],
            registry=registry,
        )
        self._unreadable_requests = Counter(
            "heap_cordial_unreadable_requests",
            "Requests that were not readable HTTP and reached no address of the service.",
            registry=registry,
        )
        # The same for the dashboard, by account.
        self.results: dict[str, Tally[OutcomeKind]] = {}
        self._imports = ImportCounting(registry, self._count_settled)
        self._calls = Calls(())
        registry.register(self._calls)
        self.add(accounts)

    def add(self, accounts: Collection[str]) -> None:
        """Count for these accounts as well; one that was counted before goes on from there."""
        self._calls.add(accounts)
        self._imports.add(accounts)
        for name in accounts:
            self.results.setdefault(name, Tally())
            self._ack_seconds.labels(name)
            for answer in _DURABLE:
                self._deliveries.labels(name, answer)
            for change in _USER_CHANGES:
                self._users.labels(name, change)
            for kind in OutcomeKind:
                self._results.labels(name, kind.value)

    def for_account(self, name: str) -> AccountCalls:
        """Return what counts an account's calls."""
        return self._calls.of[name]

    def for_imports(self, name: str) -> AccountImports:
        """Return what counts an account's imports."""
        return self._imports.for_account(name)

    def answered(self, answered: Answered) -> None:
        """Note a request to the webhook."""
        account = answered.account or ""
        self._deliveries.labels(account, answered.outcome).inc()
        if answered.outcome in _DURABLE:
            self._ack_seconds.labels(account).observe(answered.duration_seconds)
        if answered.outcome in {_ACCEPTED, _SUPERSEDED} and answered.delivery is not None:
            delivery = answered.delivery
            numbers = (len(delivery.add), len(delivery.remove), delivery.rejected_count)
            for change, number in zip(_USER_CHANGES, numbers, strict=True):
                self._users.labels(account, change).inc(number)

    def unreadable_request(self) -> None:
        """Note a request that is not readable HTTP."""
        self._unreadable_requests.inc()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Note a batch of results that has become durable."""
        for (account, kind), number in Tally((outcome.account, outcome.kind) for outcome in outcomes).items():
            self._count(account, kind, number)

    def _count_settled(self, account: str, changes: int) -> None:
        self._count(account, OutcomeKind.SETTLED, changes)

    def _count(self, account: str, kind: OutcomeKind, number: int) -> None:
        self._results.labels(account, kind.value).inc(number)
        self.results.setdefault(account, Tally())[kind] += number
