"""Imports, counted: how each ended, how often an account fell back to calls, and the changes that files settled."""

import functools
from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter

_COMPLETE, _INCOMPLETE = "complete", "incomplete"


class ImportCounting:
    """Counts the imports of all accounts; `count_settled` counts what files settle, where that of calls is counted."""

    def __init__(self, registry: CollectorRegistry, count_settled: Callable[[str, int], None]) -> None:
        self._count_settled = count_settled
        self._imports = Counter(
            "heap_cordial_imports",
            "Imports that are over: complete, or incomplete if single calls had to send some contacts.",
            ["account", "outcome"],
            registry=registry,
        )
        self._fall_backs = Counter(
            "heap_cordial_import_fall_backs",
            "How often an import failed, and single calls did the work for an hour.",
            ["account"],
            registry=registry,
        )

    def add(self, accounts: Collection[str]) -> None:
        """Count for these accounts as well; one that was counted before goes on from there."""
        for name in accounts:
            self._fall_backs.labels(name)
            for outcome in (_COMPLETE, _INCOMPLETE):
                self._imports.labels(name, outcome)

    def for_account(self, name: str) -> "AccountImports":
        """Return what counts an account's imports."""
        return AccountImports(
            count_settled=functools.partial(self._count_settled, name),
            complete=self._imports.labels(name, _COMPLETE),
            incomplete=self._imports.labels(name, _INCOMPLETE),
            fall_backs=self._fall_backs.labels(name),
        )


class AccountImports:
    """One account's imports."""

    def __init__(
        self, *, count_settled: Callable[[int], None], complete: Counter, incomplete: Counter, fall_backs: Counter
    ) -> None:
        self._count_settled = count_settled
        self._complete = complete
        self._incomplete = incomplete
        self._fall_backs = fall_backs

    def settled(self, changes: int) -> None:
        """Note how many changes that travelled in a file have become settled, durably."""
        self._count_settled(changes)

    def ended(self, *, is_complete: bool) -> None:
        """Note that an import is over."""
        (self._complete if is_complete else self._incomplete).inc()

    def fell_back(self) -> None:
        """Note that the account tries no import for a time."""
        self._fall_backs.inc()
