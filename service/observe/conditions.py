"""Conditions while the service runs: facts become conditions in this one place, and are over when they are no more (R16)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog

from service.clock import wall_ms
from service.config.settings import AccountSettings
from service.errors import StoreUnavailableError
from service.model.conditions import (
    CATALOGUE,
    Condition,
    ConditionKey,
    Fact,
    RecordedCondition,
    Severity,
    to_condition,
    worst_first,
)
from service.supervision import Supervisor

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
# Facts that the store has to be asked for.
_ASK_SECONDS = 5.0
_MAX_HISTORY = 200
# So many are told one by one, and kept; more of them say nothing new.
_MAX_TOLD = 1_000


class Lasting(NamedTuple):
    """What lasts, by one look: at most 1,000 conditions, the worst first, and how many last of each kind and account."""

    conditions: list[Condition]
    numbers: Mapping[tuple[str, str], int]

    def by_kind(self) -> dict[str, int]:
        """Return how many last of each kind, the worst that is told first."""
        found = dict.fromkeys((each.id for each in self.conditions), 0)
        for (kind, _), number in self.numbers.items():
            found[kind] = found.get(kind, 0) + number
        return found

    def by_account(self) -> dict[str, dict[str, int]]:
        """Return how many last of each kind, by account."""
        found: dict[str, dict[str, int]] = {}
        for (kind, account), number in self.numbers.items():
            found.setdefault(kind, {})[account] = number
        return found


class ConditionLog(Protocol):
    """What is needed of the store."""

    async def lasting(self) -> list[RecordedCondition]:
        """Return the conditions that have not ended."""

    async def history(
        self,
        limit: int,
        *,
        kind: str | None = None,
        account: str | None = None,
        subject: str | None = None,
        list_id: int | None = None,
    ) -> list[RecordedCondition]:
        """Return the conditions that are over, the latest begun first."""

    async def record(
        self,
        begun: Sequence[RecordedCondition],
        ended: Sequence[RecordedCondition],
        changed: Sequence[RecordedCondition],
    ) -> None:
        """Write what has begun, what has ended, and what is different by now; raises `StoreUnavailableError`."""

    async def facts(self, accounts: Mapping[str, AccountSettings]) -> list[Fact]:
        """Return what is so of lists and syncs; raises `StoreUnavailableError`."""


class Conditions:
    """Knows what lasts now. `facts_now` gives the facts that can be told without waiting; `accounts` those being served.

    `now_ms` is the time that people read, `steady_ms` one that does not jump when the machine's clock is set.
    As long as `is_starting`, nothing is kept as begun or over: what the accounts are doing is not known yet.
    """

    def __init__(
        self,
        store: ConditionLog,
        facts_now: Callable[[], Iterable[Fact]],
        accounts: Callable[[], Mapping[str, AccountSettings]],
        now_ms: Callable[[], int] = wall_ms,
        *,
        steady_ms: Callable[[], int] | None = None,
        is_starting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._facts_now = facts_now
        self._accounts = accounts
        self._now_ms = now_ms
        self._steady_ms = steady_ms or now_ms
        self._is_starting = is_starting
        self._asked: list[Fact] = []
        # By key: the fact as it is now, and when it was first seen, by both clocks, whether its patience is over or not.
        self._facts: dict[ConditionKey, tuple[Fact, int, int]] = {}
        self._recorded: dict[ConditionKey, RecordedCondition] = {}
        # What somebody was told of before it was written down.
        self._shown: dict[ConditionKey, RecordedCondition] = {}
        self._is_read = False
        self._looking = asyncio.Lock()
        self._asking = asyncio.Lock()
        # The numbers of the last question to the store that began, and of the last that was answered.
        self._begun = self._answered = 0

    def lasting(self) -> Lasting:
        """Return what lasts at this moment."""
        found = self._lasting()
        told = self._told(found)
        for fact, began_at_ms in told:
            if self._is_known and fact.key not in self._recorded and len(self._shown) < _MAX_TOLD:
                self._shown[fact.key] = _of_fact(fact, began_at_ms)
        conditions = worst_first([to_condition(fact, began_at_ms) for fact, began_at_ms in told])
        return Lasting(conditions, Counter((fact.id, fact.account) for fact, _ in found))

    def current(self) -> list[Condition]:
        """Return what lasts at this moment and is told one by one, the worst first."""
        return self.lasting().conditions

    def kept(self) -> list[Condition] | None:
        """Return what is kept as lasting, None as long as the service starts or the store has not been asked.

        Whoever is told of it and of its end is told by this: what is not kept would be over after a crash, and begin again.
        """
        if not self._is_known:
            return None
        return worst_first([each.as_condition() for each in self._recorded.values() if each.id in CATALOGUE])

    async def history(
        self,
        *,
        kind: str | None = None,
        account: str | None = None,
        subject: str | None = None,
        list_id: int | None = None,
    ) -> list[Condition]:
        """Return what is over, the latest first, only what is about these; raises `StoreUnavailableError`."""
        asked = {"id": kind, "account": account, "subject": subject, "list_id": list_id}
        filters = {name: value for name, value in asked.items() if value is not None}
        # Who asks after the end of one and before it is written down must not be told that there was none.
        ended = self._ended({fact.key for fact, _ in self._lasting()}) if self._is_known else []
        found = await self._store.history(_MAX_HISTORY, kind=kind, account=account, subject=subject, list_id=list_id)
        kept = {(each.key, each.began_at_ms) for each in found}
        fresh = [
            each
            for each in ended
            if (each.key, each.began_at_ms) not in kept
            and all(getattr(each, name) == value for name, value in filters.items())
        ]
        return [each.as_condition() for each in (*fresh, *found)[:_MAX_HISTORY] if each.id in CATALOGUE]

    async def run(self, supervisor: Supervisor) -> None:
        """Look once a second, and keep what begins and what ends, and now and then what has changed."""
        looks = 0
        while True:
            supervisor.beat()
            async with self._looking:
                if is_time_to_ask := looks % round(_ASK_SECONDS / _LOOK_SECONDS) == 0:
                    await self._ask()
                await self._record(with_changes=is_time_to_ask)
            looks += 1
            await asyncio.sleep(_LOOK_SECONDS)

    async def ask(self) -> None:
        """Ask the store anew, for somebody who is shown its figures too: both must say the same."""
        if self._is_read:
            await self._ask()

    async def look(self) -> None:
        """Look at once: somebody has just done something about one, and must not be told of it any more."""
        async with self._looking:
            await self._ask()
            await self._record(with_changes=True)

    async def _ask(self) -> None:
        """Ask the store, unless a question that began later than this was wanted has been answered meanwhile."""
        wanted = self._begun + 1
        async with self._asking:
            if self._answered >= wanted:
                return
            self._begun = number = self._begun + 1
            try:
                if not self._is_read:
                    # What lasted before the restart and still does began then.
                    self._recorded = {each.key: each for each in await self._store.lasting()}
                self._asked = await self._store.facts(self._accounts())
                self._is_read = True
                self._answered = number
            except StoreUnavailableError as error:
                log.warning("conditions.unreadable", reason=error.message)

    @property
    def _is_known(self) -> bool:
        """Whether the store was asked, and the start is over: before, what does not last may not be known yet."""
        return self._is_read and not self._is_starting()

    def _ended(self, lasting: Collection[ConditionKey]) -> list[RecordedCondition]:
        """Return what is kept as lasting, or was told, and does not last any more."""
        now_ms = self._now_ms()
        return [
            msgspec.structs.replace(each, ended_at_ms=now_ms)
            for key, each in (self._shown | self._recorded).items()
            if key not in lasting
        ]

    def _lasting(self) -> list[tuple[Fact, int]]:
        """Return what has lasted for as long as its kind needs, and since when, and is no mere consequence."""
        self._take(self._facts_now())
        steady_ms = self._steady_ms()
        lasting = [
            (fact, recorded.began_at_ms if recorded else began_at_ms)
            for fact, began_at_ms, since_ms in self._facts.values()
            if (recorded := self._recorded.get(fact.key))
            or steady_ms - since_ms >= CATALOGUE[fact.id].patience_seconds * 1000
        ]
        found = {(fact.id, fact.account) for fact, _ in lasting}
        return [
            (fact, began_at_ms)
            for fact, began_at_ms in lasting
            if not any({(reason, fact.account), (reason, "")} & found for reason in CATALOGUE[fact.id].explained_by)
        ]

    def _take(self, now: Iterable[Fact]) -> None:
        found = {fact.key: fact for fact in (*now, *self._asked)}
        seen = self._now_ms(), self._steady_ms()
        self._facts = {
            key: (fact, *(self._facts[key][1:] if key in self._facts else seen)) for key, fact in found.items()
        }

    def _told(self, lasting: list[tuple[Fact, int]]) -> list[tuple[Fact, int]]:
        """Return those for which there is room."""
        if len(lasting) <= _MAX_TOLD:
            return lasting
        return sorted(lasting, key=lambda each: self._urgency(each[0]))[:_MAX_TOLD]

    def _urgency(self, fact: Fact) -> tuple[bool, bool, int]:
        """Return the order in which facts are told: what is told already stays, but for what is critical."""
        severity = CATALOGUE[fact.id].severity
        return severity is not Severity.CRITICAL, fact.key not in self._recorded, severity.rank

    async def _record(self, *, with_changes: bool) -> None:
        lasting = self._lasting()
        keys = {fact.key for fact, _ in lasting}
        told = {fact.key: _of_fact(fact, began_at_ms) for fact, began_at_ms in self._told(lasting)}
        if not self._is_known:
            return
        # Somebody who was told of one that was over before it was written down must find it afterwards.
        begun = [each for key, each in (self._shown | told).items() if key not in self._recorded]
        ended = self._ended(keys)
        changed = [each for key, each in told.items() if with_changes and each != self._recorded.get(key, each)]
        if not begun and not ended and not changed:
            return
        try:
            await self._store.record(begun, ended, changed)
        except StoreUnavailableError:
            # Told again at the next look; the store's own trouble is a condition.
            return
        for each in begun:
            log.info("condition.began", condition=each.id, account=each.account, subject=each.subject)
            self._shown.pop(each.key, None)
        self._recorded.update({each.key: each for each in (*begun, *changed)})
        for each in ended:
            log.info("condition.ended", condition=each.id, account=each.account, subject=each.subject)
            del self._recorded[each.key]


def _of_fact(fact: Fact, began_at_ms: int) -> RecordedCondition:
    return RecordedCondition(
        fact.id, fact.account, fact.subject, fact.detail, fact.people, fact.list_id, began_at_ms, None
    )
