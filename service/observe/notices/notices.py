"""Tells people of conditions: puts what is to be told into the outbox, and sends it, each target by itself."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec
import structlog

from service import supervision
from service.backoff import backoff_seconds
from service.config.settings import NoticeSettings
from service.errors import StoreFaultError, StoreUnavailableError
from service.model.conditions import Condition, ConditionKey, Fact, Severity
from service.model.notices import Told, WaitingNotice
from service.observe.notices.message import Message
from service.observe.notices.targets import NoticeError, Target, make_target
from service.supervision import Supervisor

log = structlog.get_logger()

_SUMMARY = "summary"
# Everything that sending one message takes.
_MAX_SECONDS = 30.0
# For how long a stop waits for the answer to a message that is on its way.
_LAST_SECONDS = 1.0
# A summary that is later than this is left out: the next one comes soon.
_SUMMARY_LATENESS = timedelta(hours=6)
# For so many days it is known that there was a summary: the machine's clock may be set back.
_SUMMARIES_KNOWN = 7


class Outbox(Protocol):
    """What is needed of the store; every method may raise `StoreUnavailableError` and `StoreFaultError`."""

    async def told(self, target: str) -> list[Told]:
        """Return what the target was told and not yet that it is over."""

    async def put(self, target: str, message: bytes, begun: Sequence[Told], ended: Sequence[Told]) -> None:
        """Keep a message to be sent, and what it tells: both or nothing."""

    async def waiting(self, target: str) -> int:
        """Return how many messages the target is still to get."""

    async def first(self, target: str) -> WaitingNotice | None:
        """Return the oldest message that the target is still to get."""

    async def remove(self, notice_id: int) -> None:
        """Forget a message that was sent."""

    async def take_back(self, target: str, notice_id: int, begun: Sequence[Told], ended: Sequence[Told]) -> None:
        """Forget a message that was not sent, and that it was told: of what began, and of what is over."""

    async def put_off(self, notice_id: int, next_try_at_ms: int) -> None:
        """Note that a message did not get through."""

    async def keep_only(self, targets: Sequence[str]) -> None:
        """Forget targets that are not configured any more."""


class Timings(msgspec.Struct, frozen=True):
    """How often is looked and tried, in seconds. `max_age`: what did not get through for so long is told anew, as it is by then."""

    look: float = 5.0
    first_wait: float = 15.0
    longest_wait: float = 3_600.0
    max_age: float = 3 * 86_400.0
    max_waiting: int = 100


class Notices:
    """Sends notices to the targets it serves. `conditions` gives what lasts, None while that is not known yet.

    `now_ms` is the time that people read, `steady_ms` the store's, by which is waited.
    """

    def __init__(
        self,
        outbox: Outbox,
        conditions: Callable[[], Sequence[Condition] | None],
        dashboard: Callable[[], str],
        *,
        now_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        supervisor: Supervisor,
        timings: Timings | None = None,
    ) -> None:
        self._outbox = outbox
        self._conditions = conditions
        self._dashboard = dashboard
        self._now_ms = now_ms
        self._steady_ms = steady_ms
        self._supervisor = supervisor
        self._timings = timings or Timings()
        self._couriers: dict[str, tuple[_Courier, asyncio.Task[None]]] = {}

    def facts(self) -> Iterator[Fact]:
        """Give a fact for each target that does not take its notices."""
        for name, (courier, _) in self._couriers.items():
            if courier.fault:
                waiting = f"{courier.waiting:,} {'message waits' if courier.waiting == 1 else 'messages wait'}"
                yield Fact("notices_fail", subject=name, detail=f"{courier.fault}; {waiting}")

    async def serve(self, targets: Mapping[str, NoticeSettings]) -> None:
        """Send to these targets from now on, and to no others. What they did not take is tried at once: they may be mended."""
        changed = [name for name, (courier, _) in self._couriers.items() if targets.get(name) != courier.settings]
        await supervision.stop(*(self._couriers.pop(name)[1] for name in changed))
        for courier, _ in self._couriers.values():
            courier.tries_at_once = True
        with contextlib.suppress(StoreUnavailableError, StoreFaultError):
            await self._outbox.keep_only(list(targets))
        for name in targets.keys() - self._couriers.keys():
            courier = _Courier(
                targets[name],
                self._outbox,
                self._conditions,
                self._dashboard,
                now_ms=self._now_ms,
                steady_ms=self._steady_ms,
                timings=self._timings,
            )
            self._couriers[name] = courier, self._supervisor.start(f"notices to {name}", courier.run())

    async def stop(self) -> None:
        """End; what was not sent is sent after the next start."""
        await supervision.stop(*(task for _, task in self._couriers.values()))


class _Courier:
    """Tells one target, one message after the other.

    `fault`: why the last message did not get through. `waiting`: how many messages there are for the target. `tries_at_once`:
    the next try is not waited for.
    """

    def __init__(
        self,
        settings: NoticeSettings,
        outbox: Outbox,
        conditions: Callable[[], Sequence[Condition] | None],
        dashboard: Callable[[], str],
        *,
        now_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self.settings = settings
        self.fault = ""
        self.waiting = 0
        self.tries_at_once = True
        self._name = settings.name
        self._target = make_target(settings)
        self._outbox = outbox
        self._conditions = conditions
        self._dashboard = dashboard
        self._now_ms = now_ms
        self._steady_ms = steady_ms
        self._timings = timings
        self._told_severities = [each for each in Severity if each.rank <= Severity(settings.severity).rank]
        self._patience_ms = settings.patience_minutes * 60_000
        # Since when what was told is over, by the steady clock.
        self._over_since: dict[ConditionKey, int] = {}
        # Known here too, for the store may be unable to keep it: a message that is not to be sent again, and when (by the
        # steady clock) the next one may be.
        self._done_id = 0
        self._next_try_at_ms = 0

    async def run(self) -> None:
        """Look and send until cancelled."""
        while True:
            try:
                await self._plan()
                await self._send_due()
            except (StoreUnavailableError, StoreFaultError) as error:
                log.warning("notices.delayed", target=self._name, reason=error.message)
            await asyncio.sleep(self._timings.look)

    async def _plan(self) -> None:
        conditions = self._conditions()
        self.waiting = await self._outbox.waiting(self._name)
        if conditions is None or self.waiting >= self._timings.max_waiting:
            # What changes meanwhile is told in one message when there is room.
            return
        now_ms = self._now_ms()
        told = {each.key: each for each in await self._outbox.told(self._name)}
        # That a target does not take its notices is told to the others.
        lasting = [each for each in conditions if (each.id, each.subject) != ("notices_fail", self._name)]
        keys = {_told(each).key for each in lasting}
        begun = [
            each
            for each in lasting
            if _told(each).key not in told
            and each.severity in self._told_severities
            # Where the clock was set back, it began in what is now the future.
            and abs(now_ms - _ms(each.since)) >= self._patience_ms
        ]
        over = [each for key, each in told.items() if each.kind != _SUMMARY and self._is_over(key, key in keys)]
        if begun or over:
            ended = [condition for each in over if (condition := each.ended(now_ms)) is not None]
            await self._put(self._message("conditions", begun, ended), [_told(each) for each in begun], over)
        if self.settings.summary_at:
            await self._plan_summary(lasting, told, now_ms)

    def _is_over(self, key: ConditionKey, lasts: bool) -> bool:
        """Tell whether what was told has been over for as long as one must last to be told: flapping is not told."""
        if lasts:
            self._over_since.pop(key, None)
            return False
        now_ms = self._steady_ms()
        over_since_ms = self._over_since.setdefault(key, now_ms)
        return now_ms - over_since_ms >= self._patience_ms

    async def _plan_summary(self, lasting: Sequence[Condition], told: Mapping[ConditionKey, Told], now_ms: int) -> None:
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        hour, minute = map(int, self.settings.summary_at.split(":"))
        due = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        today = Told(_SUMMARY, "", f"{due:%Y-%m-%d}", None, now_ms)
        if due <= now < due + _SUMMARY_LATENESS and today.key not in told:
            known = [f"{due + timedelta(days=days):%Y-%m-%d}" for days in range(-_SUMMARIES_KNOWN, 2)]
            old = [each for each in told.values() if each.kind == _SUMMARY and each.subject not in known]
            await self._put(self._message("summary", lasting, []), [today], old)

    def _message(
        self, kind: Literal["conditions", "summary"], begun: Sequence[Condition], ended: Sequence[Condition]
    ) -> Message:
        at = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
        return Message(kind, at, list(begun), list(ended), self._dashboard())

    async def _put(self, message: Message, begun: Sequence[Told], ended: Sequence[Told]) -> None:
        await self._outbox.put(self._name, msgspec.json.encode(message), begun, ended)
        for each in ended:
            self._over_since.pop(each.key, None)

    async def _send_due(self) -> None:
        while (waiting := await self._outbox.first(self._name)) is not None:
            if waiting.tries:
                # As before a restart, which changed nothing.
                self.fault = self.fault or "the last try failed"
            if not self.tries_at_once and max(waiting.next_try_at_ms, self._next_try_at_ms) > self._steady_ms():
                return
            self.tries_at_once = False
            sending = asyncio.ensure_future(self._send(waiting))
            try:
                if not await asyncio.shield(sending):
                    return
            except asyncio.CancelledError:
                # The target may have taken it just now: unless that is noted, it is told the same again after the next start.
                with contextlib.suppress(TimeoutError, StoreUnavailableError, StoreFaultError):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await sending
                raise

    async def _send(self, waiting: WaitingNotice) -> bool:
        """Send one message and note what came of it; return whether it got through."""
        if waiting.id != self._done_id:
            message = msgspec.json.decode(waiting.message, type=Message)
            # The same key each time: the receiver can tell a message that was sent again.
            fault = await try_to_send(self._target, f"heap-cordial-{waiting.created_at_ms}-{waiting.id}", message)
            if fault:
                await self._failed(waiting, message, fault)
                return False
            self.fault = ""
            log.info("notice.sent", target=self._name, type=message.type, conditions=len(message.begun))
        await self._remove(waiting)
        return True

    async def _remove(self, waiting: WaitingNotice) -> None:
        self._done_id = waiting.id
        await self._outbox.remove(waiting.id)

    async def _failed(self, waiting: WaitingNotice, message: Message, fault: str) -> None:
        self.fault = fault
        now_ms = self._steady_ms()
        if now_ms - waiting.created_at_ms > self._timings.max_age * 1000:
            log.error("notice.dropped", target=self._name, reason=fault)
            told = message.type == "conditions"
            begun, ended = ([_told(each) for each in found if told] for found in (message.begun, message.ended))
            await self._outbox.take_back(self._name, waiting.id, begun, ended)
            return
        log.warning("notice.not_sent", target=self._name, reason=fault, tries=waiting.tries + 1)
        wait = backoff_seconds(waiting.tries, self._timings.first_wait, self._timings.longest_wait)
        # Between half and all of it, so that targets that failed together are not tried together.
        wait_ms = wait * 1000 * random.uniform(0.5, 1.0)  # noqa: S311  no secret depends on it
        self._next_try_at_ms = now_ms + round(wait_ms)
        await self._outbox.put_off(waiting.id, self._next_try_at_ms)


async def try_to_send(target: Target, key: str, message: Message) -> str:
    """Send one message; return why it did not get through, or an empty text."""
    try:
        async with asyncio.timeout(_MAX_SECONDS):
            await target.send(key, message)
    except NoticeError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_MAX_SECONDS:.0f} s"
    except Exception as error:
        # Whatever a target or a library makes of it, the other targets and the service go on.
        log.exception("notice.failed")
        return f"a fault of the service: {type(error).__name__}"
    return ""


def _told(condition: Condition) -> Told:
    return Told(condition.id, condition.account, condition.subject, condition.list_id, _ms(condition.since))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
