"""Faults planted into the service, which a simulation must find: what it cannot find, it does not hold."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from service.clock import Boot
from service.config.settings import AccountSettings
from service.deliver import line, settler
from service.deliver.lists import keeper
from service.store.sqlite import ledger, rescheduling


def check_before_the_wait() -> None:
    """Ask for permission before the wait for the rate, and not at the moment of the call."""
    line._Call.is_open = lambda self: True  # type: ignore[method-assign]  # noqa: ARG005  a method's name


def release_when_the_call_ends() -> None:
    """Let a contact's next call go before the result of this one is committed."""
    add = settler.Settler.add

    async def add_and_release(self: settler.Settler, outcomes: Sequence[Any], on_committed: Callable[[], None]) -> None:
        await add(self, outcomes, lambda: None)
        on_committed()

    settler.Settler.add = add_and_release  # type: ignore[method-assign]


def retain_by_the_clock() -> None:
    """Tell what is old by the wall clock, wherever it may have been set."""

    def move_nothing(connection: sqlite3.Connection, now_ms: int, boot: Boot | None) -> int:
        del connection, now_ms, boot
        return 0

    rescheduling.reschedule = move_nothing


def let_the_settler_die() -> None:
    """Have the task end that commits results."""
    commit, commits = settler.Settler._commit, 0

    async def commit_twice(self: settler.Settler, results: Sequence[Any], spent_pieces: Sequence[int]) -> None:
        nonlocal commits
        commits += 1
        if commits > 2:
            raise RuntimeError("planted")
        await commit(self, results, spent_pieces)

    settler.Settler._commit = commit_twice  # type: ignore[method-assign]


def settle_without_comparing() -> None:
    """Settle a change whatever is wanted by now."""
    settle = ledger.LedgerTransaction.settle

    def settle_whatever(
        self: ledger.LedgerTransaction, account_id: int, segment_id: int, contacts: Sequence[str], *, wanted: bool
    ) -> None:
        for either in (wanted, not wanted):
            settle(self, account_id, segment_id, contacts, wanted=either)

    ledger.LedgerTransaction.settle = settle_whatever  # type: ignore[method-assign]


def own_by_name() -> None:
    """Take the list that has a segment's name for the segment's own, whoever made it."""
    begin = keeper.ListKeeper.__init__

    def begin_taking_over(self: keeper.ListKeeper, settings: AccountSettings, *others: Any, **options: Any) -> None:
        begin(self, msgspec.structs.replace(settings, adopt_existing_lists=True), *others, **options)

    keeper.ListKeeper.__init__ = begin_taking_over  # type: ignore[method-assign]


PLANTED: dict[str, Callable[[], None]] = {
    "permission-before-wait": check_before_the_wait,
    "release-at-end-of-call": release_when_the_call_ends,
    "permission-by-name": own_by_name,
    "retention-by-clock": retain_by_the_clock,
    "settler-dies": let_the_settler_die,
    "no-compare-and-set": settle_without_comparing,
}
