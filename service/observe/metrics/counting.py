"""What is counted as it happens. Called on the way of every delivery and every call, so each method costs microseconds."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.model import Delivery, Outcome, OutcomeKind

_ACCEPTED = "accepted"
_DURABLE = (_ACCEPTED, "duplicate")
_USER_CHANGES = ("add", "remove", "rejected")
_NO_STATUS = "none"

# Heap is answered within milliseconds when all is well, and given up on after eight seconds.
_ACK_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALL_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT_BUCKETS_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Answered(Protocol):
    """A request to the webhook and how it ended; `outcome` is one of few words, `account` known or None."""

    @property
    def outcome(self) -> str:
        """`accepted`, `duplicate`, an error code, or `client_gone`."""

    @property
    def account(self) -> str | None:
        """The account, if the request named one that exists."""

    @property
    def delivery(self) -> Delivery | None:
        """The page, if it was understood."""

    @property
    def duration_seconds(self) -> float:
        """How long the answer took."""


class AccountCounting:
    """Counts one account's calls to Cordial."""

    def __init__(self, name: str, calls: Counter, call_seconds: Histogram, wait_seconds: Histogram) -> None:
        self._name = name
        self._calls = calls
        self._call_seconds = call_seconds
        self._wait = wait_seconds.labels(name)
        # To look a child up by its labels costs several times what counting does.
        self._counters: dict[tuple[str, str, int | None], Counter] = {}
        self._durations: dict[str, Histogram] = {}

    def waited(self, seconds: float) -> None:
        """Note for how long a call waited for the rate limiter's leave."""
        self._wait.observe(seconds)

    def called(self, operation: str, kind: str, status: int | None, seconds: float) -> None:
        """Note a call that is over: what it was, what its answer meant, and how long the answer took."""
        key = (operation, kind, status)
        counter = self._counters.get(key)
        if counter is None:
            shown = _NO_STATUS if status is None else str(status)
            counter = self._counters[key] = self._calls.labels(self._name, operation, kind, shown)
        counter.inc()
        duration = self._durations.get(operation)
        if duration is None:
            duration = self._durations[operation] = self._call_seconds.labels(self._name, operation)
        duration.observe(seconds)


class Counting:
    """Counts deliveries, calls and results.

    What can be foreseen is there from the start with 0: a series that begins with its first event shows no increase.
    """

    def __init__(self, registry: CollectorRegistry, accounts: Iterable[str]) -> None:
        self._deliveries = Counter(
            "heap_cordial_deliveries",
            "Requests to the webhook, by how they were answered; the account is empty where none was named.",
            ["account", "answer"],
            registry=registry,
        )
        self._ack_seconds = Histogram(
            "heap_cordial_delivery_ack_seconds",
            "How long a delivery took that was answered 200.",
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
            "Results of sending changes, once durable: settled, to be retried, or dead.",
            ["account", "result"],
            registry=registry,
        )
        calls = Counter(
            "heap_cordial_calls",
            "Calls to Cordial, by operation, by what the answer meant and by its HTTP status.",
            ["account", "operation", "answer", "status"],
            registry=registry,
        )
        call_seconds = Histogram(
            "heap_cordial_call_seconds",
            "How long Cordial took to answer, or until the call was given up.",
            ["account", "operation"],
            buckets=_CALL_BUCKETS_SECONDS,
            registry=registry,
        )
        wait_seconds = Histogram(
            "heap_cordial_limiter_wait_seconds",
            "How long a call waited for the rate limiter's leave.",
            ["account"],
            buckets=_WAIT_BUCKETS_SECONDS,
            registry=registry,
        )
        self._accounts = {name: AccountCounting(name, calls, call_seconds, wait_seconds) for name in accounts}
        for name in self._accounts:
            self._ack_seconds.labels(name)
            for answer in _DURABLE:
                self._deliveries.labels(name, answer)
            for change in _USER_CHANGES:
                self._users.labels(name, change)
            for kind in OutcomeKind:
                self._results.labels(name, kind.value)

    def for_account(self, name: str) -> AccountCounting:
        """Return what counts an account's calls."""
        return self._accounts[name]

    def answered(self, answered: Answered) -> None:
        """Note a request to the webhook."""
        account = answered.account or ""
        self._deliveries.labels(account, answered.outcome).inc()
        if answered.outcome in _DURABLE:
            self._ack_seconds.labels(account).observe(answered.duration_seconds)
        if answered.outcome == _ACCEPTED and answered.delivery is not None:
            delivery = answered.delivery
            numbers = (len(delivery.add), len(delivery.remove), delivery.rejected_count)
            for change, number in zip(_USER_CHANGES, numbers, strict=True):
                self._users.labels(account, change).inc(number)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Note a batch of results that has become durable."""
        for (account, kind), number in Tally((outcome.account, outcome.kind.value) for outcome in outcomes).items():
            self._results.labels(account, kind).inc(number)
