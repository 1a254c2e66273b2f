"""Conditions while the service runs: facts become conditions in this one place, and are over when they are no more (R16)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from service.clock import wall_ms
from service.errors import StoreUnavailableError
from service.model.conditions import CATALOGUE, Condition, Fact, RecordedCondition, runbook, worst_first
from service.supervision import Supervisor

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
# Facts that the store has to be asked for.
_ASK_SECONDS = 5.0
_MAX_HISTORY = 200
# What one look may find; more of them say nothing new, and metrics have a series for each.
_MAX_FACTS = 1_000


class ConditionLog(Protocol):
    """What is needed of the store."""

    async def lasting(self) -> list[RecordedCondition]:
        """Return the conditions that have not ended."""

    async def history(self, limit: int) -> list[RecordedCondition]:
        """Return the conditions that are over, the latest begun first."""

    async def record(self, begun: Sequence[RecordedCondition], ended: Sequence[RecordedCondition]) -> None:
        """Write what has begun and what has ended; raises `StoreUnavailableError`."""

    async def facts(self, accounts: Sequence[str]) -> list[Fact]:
        """Return what is so of lists and syncs; raises `StoreUnavailableError`."""


class Conditions:
    """Knows what lasts now. `facts_now` gives the facts that can be told without waiting; `accounts` those being served."""

    def __init__(
        self,
        store: ConditionLog,
        facts_now: Callable[[], Iterable[Fact]],
        accounts: Callable[[], Sequence[str]],
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._store = store
        self._facts_now = facts_now
        self._accounts = accounts
        self._now_ms = now_ms
        self._asked: list[Fact] = []
        # By key: the fact as it is now, and since when (Unix ms), whether its patience is over or not.
        self._facts: dict[tuple[str, str, str], tuple[Fact, int]] = {}
        self._recorded: dict[tuple[str, str, str], RecordedCondition] = {}
        self._is_read = False

    def current(self) -> list[Condition]:
        """Return what lasts at this moment, the worst first."""
        self._take(self._facts_now())
        now_ms = self._now_ms()
        return worst_first(
            [
                _condition(fact, began_at_ms)
                for fact, began_at_ms in self._facts.values()
                if now_ms - began_at_ms >= CATALOGUE[fact.id].patience_seconds * 1000
            ]
        )

    async def history(self) -> list[Condition]:
        """Return what is over, the latest first; raises `StoreUnavailableError`."""
        return [
            _condition(Fact(each.id, each.account, each.subject, each.detail), each.began_at_ms, each.ended_at_ms)
            for each in await self._store.history(_MAX_HISTORY)
            if each.id in CATALOGUE
        ]

    async def run(self, supervisor: Supervisor) -> None:
        """Look once a second, and keep what begins and what ends."""
        looks = 0
        while True:
            supervisor.beat()
            if looks % round(_ASK_SECONDS / _LOOK_SECONDS) == 0:
                await self._ask()
            looks += 1
            await self._record()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _ask(self) -> None:
        try:
            if not self._is_read:
                # What lasted before the restart and still does began then.
                for each in await self._store.lasting():
                    fact = Fact(each.id, each.account, each.subject, each.detail)
                    self._recorded[fact.key] = each
                self._is_read = True
            self._asked = await self._store.facts(self._accounts())
        except StoreUnavailableError as error:
            log.warning("conditions.unreadable", reason=error.message)

    def _take(self, now: Iterable[Fact]) -> None:
        found = {fact.key: fact for fact in [*now, *self._asked][:_MAX_FACTS]}
        now_ms = self._now_ms()
        self._facts = {key: (fact, self._since(key, now_ms)) for key, fact in found.items()}

    def _since(self, key: tuple[str, str, str], now_ms: int) -> int:
        if key in self._recorded:
            return self._recorded[key].began_at_ms
        return self._facts[key][1] if key in self._facts else now_ms

    async def _record(self) -> None:
        lasting = self.current()
        if not self._is_read:
            return
        keys = {(each.id, each.account, each.subject) for each in lasting}
        begun = [
            RecordedCondition(each.id, each.account, each.subject, each.detail, _ms(each.since), None)
            for each in lasting
            if (each.id, each.account, each.subject) not in self._recorded
        ]
        now_ms = self._now_ms()
        ended = [
            RecordedCondition(each.id, each.account, each.subject, each.detail, each.began_at_ms, now_ms)
            for key, each in self._recorded.items()
            if key not in keys
        ]
        if not begun and not ended:
            return
        try:
            await self._store.record(begun, ended)
        except StoreUnavailableError:
            # Told again at the next look; the store's own trouble is a condition.
            return
        for each in begun:
            log.info("condition.began", condition=each.id, account=each.account, subject=each.subject)
            self._recorded[each.id, each.account, each.subject] = each
        for each in ended:
            log.info("condition.ended", condition=each.id, account=each.account, subject=each.subject)
            del self._recorded[each.id, each.account, each.subject]


def _condition(fact: Fact, began_at_ms: int, ended_at_ms: int | None = None) -> Condition:
    kind = CATALOGUE[fact.id]
    return Condition(
        fact.id,
        kind.severity,
        fact.account,
        fact.subject,
        fact.detail,
        _moment(began_at_ms),
        None if ended_at_ms is None else _moment(ended_at_ms),
        kind.meaning,
        kind.what_to_do,
        runbook(kind),
    )


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
