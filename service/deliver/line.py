"""One account's line to Cordial: every call passes here, and here it shows whether the account can be served (R7).

A call needs permission, and needs it at the moment it is written to the network (R5): the account is not paused, not
stopped and can be served, Cordial's `Retry-After` is over, a dry run writes nothing, and nobody has asked for the
contact's erasure. Whatever a call waits for, it is asked once more afterwards; `_may_write` is the one answer to that.
"""

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Protocol

import msgspec
import structlog

from service.deliver.blame import Blame, Kind
from service.deliver.circuit import Circuit
from service.deliver.cordial.answers import MAX_WAIT_SECONDS, NO_LIMITS, WITHHELD, Answer, AnswerKind, Limits, no_answer
from service.deliver.cordial.client import CordialClient, NotPermittedError
from service.deliver.cordial.requests import Request, find_lists
from service.deliver.observing import NOT_OBSERVED, CallObserver
from service.deliver.rate.limiter import Limiter, Ticket
from service.deliver.rate.own_limits import OwnLimits
from service.deliver.retry import Timings
from service.model.accounts import DRY_RUN_REASON, PAUSED_BY_OPERATOR, AccountState, AccountStatus, CallsBefore
from service.model.stopped import stop_of

log = structlog.get_logger()

# Longer than that, nobody waits for the answer to a side question.
_MAX_SIDE_WAIT_SECONDS = 5.0

# The fault of the account, never of the contact or list that the call was about.
_ACCOUNT_FAULTS = {AnswerKind.UNAUTHORIZED, AnswerKind.MISCONFIGURED}
# Of these, what no contact can be the reason of.
KEY_FAULTS = {"unauthorized", "no_api_key"}
_SLOWED_FROM_SECONDS = 1.0
SLOWED_BY_LIMIT = "Cordial's rate limit is reached"
LIMIT_CUT = f"{SLOWED_BY_LIMIT}; Cordial asked for more than six hours, and the service waits six"
# A shorter wait costs others less than telling whose it is.
_OWN_LIMIT_FROM_SECONDS = 2.0
_MAX_OWN_ANSWERS = 10_000
_DRY_RUN_HINT = (
    "see what would be sent with `heap-cordial preview`; to send it, set dry_run = false in the configuration, "
    "then `heap-cordial reload`"
)
# So much later who has failed already asks for a probe.
_PRECEDENCE_SECONDS = 0.1


class Permit:
    """Permission to make calls about a contact, if they are about one; once withdrawn, none of them is made any more.

    It also ends by itself when `is_current` says that what is to be sent is out of date.
    """

    __slots__ = ("_is_current", "_is_withdrawn", "contact")

    def __init__(self, is_current: Callable[[], bool] | None = None, contact: str = "") -> None:
        self.contact = contact
        self._is_current = is_current
        self._is_withdrawn = False

    def withdraw(self) -> None:
        """Let no call be made any more."""
        self._is_withdrawn = True

    @property
    def is_withdrawn(self) -> bool:
        """Whether no call may be made any more."""
        return self._is_withdrawn or (self._is_current is not None and not self._is_current())


class _Call:
    """One call on its way to the network; what the client asks at the moment of writing."""

    __slots__ = ("_line", "_permit", "has_begun", "is_probe", "ticket")

    def __init__(self, line: "AccountLine", permit: Permit, ticket: Ticket, *, is_probe: bool) -> None:
        self._line = line
        self._permit = permit
        self.ticket = ticket
        self.is_probe = is_probe
        self.has_begun = False

    def is_open(self) -> bool:
        """Return whether the call may still be made."""
        return self._line._may_write(self._permit, is_probe=self.is_probe)  # noqa: SLF001  a part of the line

    def begins(self) -> None:
        """Note that the request is about to be written: from now on Cordial may carry it out."""
        self.has_begun = True

    def written(self) -> None:
        """Note that the request has been written: from now on it counts."""
        self._line._limiter.written(self.ticket)  # noqa: SLF001  a part of the line


class Proof(Protocol):
    """Asks what happens to others than a contact, by calls that began after the moment `since`."""

    async def passes(self, kind: Kind | None, apart_from: str, since: int, *, is_probe: bool = False) -> bool | None:
        """Return whether calls of a kind, or any, pass for them; None where that cannot be told."""

    async def finds(self, segment_id: int, apart_from: str, since: int) -> bool:
        """Return whether Cordial finds those that it has confirmed, or there are none."""

    async def refuses_whatever_the_list(self, request: Request) -> bool:
        """Return whether Cordial refuses a contact's request without its lists too, but takes the same for somebody else."""


class AccountLine:
    """Makes an account's calls: one at a time while the account is paused, freely otherwise."""

    def __init__(
        self,
        name: str,
        client: CordialClient,
        limiter: Limiter,
        on_resume: Callable[[], Awaitable[None]],
        *,
        dry_run: bool = False,
        observer: CallObserver = NOT_OBSERVED,
        on_lost_answer: Callable[[str], None] = lambda _contact: None,
        on_throttled: Callable[[], None] = lambda: None,
        timings: Timings | None = None,
    ) -> None:
        self.name = name
        self.client = client
        self.circuit = Circuit(time.monotonic, random.random, timings)
        self.blame = Blame(self.circuit)
        self._proof: Proof | None = None
        self._own_limits = OwnLimits()
        # What was said of an operation for one contact alone, and until when that is to be kept to.
        self._own_answers: OrderedDict[tuple[str, str], tuple[float, Answer]] = OrderedDict()
        self._has_told_cut = False
        self._limiter = limiter
        self._on_resume = on_resume
        self._is_dry_run = dry_run
        self._observer = observer
        # Told of a contact when a call that writes it ended without a word on whether it was carried out.
        self._on_lost_answer = on_lost_answer
        # Told when Cordial has asked to wait.
        self._on_throttled = on_throttled
        self._probe_turn = asyncio.Lock()
        self._probe_asked = asyncio.Event()
        self._is_paused = False
        self._is_closed = False
        # Set while neither an operator nor a stop forbids calls.
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._last_message = ""
        # Until then no call is made: those of whoever called before still count in our own rate.
        self._begins_at = float("-inf")
        self._called_at = float("-inf")
        self._permits: set[Permit] = set()
        self._calling: set[asyncio.Task[Any] | None] = set()
        self.calls = 0

    @contextlib.contextmanager
    def permit(self, contact: str, is_current: Callable[[], bool] | None = None) -> Iterator[Permit]:
        """Give the permit for all calls about a contact that are made in the block; `withdraw` ends it."""
        permit = Permit(is_current, contact)
        self._permits.add(permit)
        try:
            yield permit
        finally:
            self._permits.remove(permit)

    def withdraw(self, contacts: Collection[str]) -> None:
        """Make no call for these contacts that is not written yet: what was to be sent of them is no longer so."""
        withdrawn = set(contacts)
        for permit in self._permits:
            if permit.contact in withdrawn:
                permit.withdraw()

    async def call(
        self,
        request: Request,
        permit: Permit | None = None,
        *,
        forgive_forbidden: bool = False,
        returns_own_limit: bool = False,
    ) -> Answer:
        """Make a call and return its answer, which is no 429: those are waited out and repeated.

        With `returns_own_limit`, a 429 that is about the contact alone is returned, and the caller waits as it says.

        While the account is paused, callers take turns as its probe. In a dry run, a call that would write never
        returns: its caller waits until it is cancelled, holding up nobody else. The answer is `withheld` when the permit
        was withdrawn before the call was made. `forgive_forbidden`: a 403 is about what this call asks for, a permission
        that the account can do without, and nothing else is paused for it.
        """
        if self._is_dry_run and request.writes:
            # Here, where every call passes, and not where calls are decided on: no way of writing is forgotten.
            await _wait_for_ever()
        permit = permit or Permit()
        while not permit.is_withdrawn:
            await self._allowed.wait()
            if (wait := self._begins_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
                continue
            if self.circuit.is_open:
                await self._let_others_probe(request)
                async with self._probe_turn:
                    # While another probed, the time of the next one may have moved.
                    if self._seconds_to_let_others(request) > 0:
                        continue
                    if not await self._is_probe_due() or await self._has_probed():
                        continue
                    answer = await self._try(request, permit, is_probe=True, forgive_forbidden=forgive_forbidden)
            else:
                answer = await self._try(request, permit, is_probe=False, forgive_forbidden=forgive_forbidden)
            if answer is not None and answer.is_own and not returns_own_limit:
                await asyncio.sleep(answer.limits.wait_seconds)
            elif answer is not None and (answer.is_own or answer.kind is not AnswerKind.THROTTLED):
                return answer
        return WITHHELD

    def prove_with(self, proof: Proof) -> None:
        """Have proof calls made by `proof`; without it, none are."""
        self._proof = proof

    async def passes(self, kind: Kind | None, apart_from: str, since: int, *, is_probe: bool = False) -> bool | None:
        """Return whether calls pass for others than the contact `apart_from`; None where that cannot be told."""
        return None if self._proof is None else await self._proof.passes(kind, apart_from, since, is_probe=is_probe)

    async def finds_others(self, segment_id: int, apart_from: str, since: int) -> bool:
        """Return whether Cordial finds others than the contact `apart_from` that it has confirmed, or there are none."""
        return self._proof is None or await self._proof.finds(segment_id, apart_from, since)

    async def refuses_whatever_the_list(self, request: Request) -> bool:
        """Return whether Cordial refuses a contact's request without its lists too, but takes the same for somebody else."""
        return self._proof is not None and await self._proof.refuses_whatever_the_list(request)

    async def prove(self, request: Request, permit: Permit, *, is_probe: bool) -> Answer | None:
        """Make a proof call; None if it was not permitted any more."""
        return await self._try(request, permit, is_probe=is_probe, is_proof=True)

    async def can_read(self, request: Request) -> bool:
        """Return whether Cordial can say at the moment whether there is a list that a contact's request names."""
        found = [await self.ask(find_lists(name)) for name in request.lists[:1]]
        return any(answer.kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND} for answer in found)

    async def ask(self, request: Request, permit: Permit | None = None) -> Answer:
        """Ask a side question once, and return the answer whatever it is; unavailable while no call may be made.

        Nothing is concluded from it about the account: what the key may not ask, or Cordial cannot answer, keeps no
        other call waiting.
        """
        # It has an end: only a short wait that Cordial has told is waited for here.
        permit = permit or Permit()
        waits = self._limiter.waits.get(request.operation, 0.0) <= _MAX_SIDE_WAIT_SECONDS
        may_ask = waits and self._may_write(permit, is_probe=False)
        answer = await self._make(request, permit, is_probe=False) if may_ask else None
        return answer or no_answer("paused", "no call is allowed now")

    def pause(self) -> None:
        """Make no further call until `resume`: an operator wants it so."""
        self._is_paused = True
        self._allowed.clear()

    def resume(self) -> None:
        """Go on calling, try at once where the account could not be served, and wait no longer where Cordial asked to."""
        self._is_paused = False
        self._has_told_cut = False
        self._limiter.forget_waits()
        self._own_answers.clear()
        if not self._is_closed:
            self._allowed.set()
        self._probe_asked.set()

    def close(self) -> None:
        """Make no further call, ever: the account's sending ends. Calls on their way go on."""
        self._is_closed = True
        self._allowed.clear()

    @property
    def is_paused_by_operator(self) -> bool:
        """Whether an operator has paused the account."""
        return self._is_paused

    def is_calling(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether the task has a request on its way, as opposed to waiting for permission to make one."""
        return task in self._calling

    def status(self) -> AccountStatus:
        """Return what the account's sending is doing now, and the rates found for it."""
        return msgspec.structs.replace(self._doing(), found_rates=self._limiter.found_rates)

    def _doing(self) -> AccountStatus:
        if self._is_paused:
            return AccountStatus(AccountState.PAUSED, PAUSED_BY_OPERATOR)
        wait = self._seconds_to_probe()
        if wait is not None:
            return AccountStatus(AccountState.PAUSED, self._stopped, wait, stop_of(self.circuit.reason).what_to_do)
        if self._is_dry_run:
            return AccountStatus(AccountState.DRY_RUN, DRY_RUN_REASON, hint=_DRY_RUN_HINT)
        slowed = self.slowed_seconds
        if slowed >= _SLOWED_FROM_SECONDS:
            return AccountStatus(AccountState.SLOWED, LIMIT_CUT if self._has_told_cut else SLOWED_BY_LIMIT, slowed)
        self._has_told_cut = False
        return AccountStatus(AccountState.SENDING)

    @property
    def _stopped(self) -> str:
        """Why the account cannot be served; empty where it can."""
        return f"{self.circuit.reason}: {self._last_message}" if self.circuit.is_open else ""

    @property
    def slowed_seconds(self) -> float:
        """For how much longer Cordial's word keeps some or all calls from being made; 0 if none."""
        return max(self._limiter.waits.values(), default=0.0)

    def is_slowed(self, operation: str) -> bool:
        """Return whether Cordial's word keeps this operation from being called now."""
        return operation in self._limiter.waits

    @property
    def handover(self) -> CallsBefore:
        """What whoever calls next must keep to; a call on its way counts as made now."""
        since_seconds = 0.0 if self._calling else time.monotonic() - self._called_at
        return CallsBefore(self._limiter.waits, since_seconds, self._stopped)

    def wait_first(self, before: CallsBefore) -> None:
        """Keep to what Cordial told whoever called before, and let our own rate's window pass since their last call (R8).

        An account that they could not serve is stopped until an answer of Cordial shows otherwise.

        An operator's `resume` ends what Cordial has told, and nothing else.
        """
        for operation, seconds in before.waits.items():
            self._limiter.wait(operation, min(seconds, MAX_WAIT_SECONDS))
        if before.stopped:
            reason, _, self._last_message = before.stopped.partition(": ")
            self.circuit.stay_open(reason)
        # Whoever comes next keeps to it too, though this one may make no call.
        self._called_at = time.monotonic() - before.since_seconds
        self._begins_at = self._called_at + self._limiter.window_seconds

    def _may_write(self, permit: Permit, *, is_probe: bool) -> bool:
        """Return whether a call may be written to the network at this moment."""
        return (
            self._allowed.is_set()
            and not permit.is_withdrawn
            and (is_probe or not self.circuit.is_open)
            and self._begins_at <= time.monotonic()
        )

    async def _is_probe_due(self) -> bool:
        """Wait until it is time for a probe; return False if the account can be served or is to be left alone."""
        wait = self._seconds_to_probe()
        if wait is None:
            return False
        await _wait(self._probe_asked, wait)
        return self._allowed.is_set() and self._seconds_to_probe() is not None

    async def _let_others_probe(self, request: Request) -> None:
        """Leave the next probe to who has not failed yet, if there is somebody: who is refused for their own sake shows nothing."""
        if (wait := self._seconds_to_let_others(request)) > 0:
            await _wait(self._probe_asked, wait + _PRECEDENCE_SECONDS)

    def _seconds_to_let_others(self, request: Request) -> float:
        is_asked = self._probe_asked.is_set() or not self.circuit.has_failed(request.subject)
        return 0.0 if is_asked else self._seconds_to_probe() or 0.0

    def _seconds_to_probe(self) -> float | None:
        """Return in how many seconds the next probe is due, None if none is needed."""
        return max(0.0, self.circuit.next_probe_at - time.monotonic()) if self.circuit.is_open else None

    async def _has_probed(self) -> bool:
        """Make a proof call as the probe, every other time: then neither it nor a bad change keeps the account paused."""
        if self._is_dry_run or self.circuit.probes % 2:
            return False
        return await self.passes(None, "", self.blame.moment(), is_probe=True) is not None

    async def _try(
        self,
        request: Request,
        permit: Permit,
        *,
        is_probe: bool,
        forgive_forbidden: bool = False,
        is_proof: bool = False,
    ) -> Answer | None:
        """Make a call and learn from its answer about the account; None if it was not permitted any more.

        Where Cordial has asked to wait with this contact alone, that answer is returned again, with the time that is left.
        """
        if (told := self._told_of_contact(request)) is not None:
            return told
        answer = await self._make(request, permit, is_probe=is_probe)
        if answer is None or answer.kind is AnswerKind.THROTTLED:
            return answer
        if forgive_forbidden and answer.reason == "forbidden":
            return answer
        if answer.kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND} or answer.unknown_keys:
            await self._passed(request)
        elif answer.kind is not AnswerKind.REFUSED or request.contact or is_probe:
            # That a list cannot be made under a name says nothing of other calls.
            await self._failed(request, answer, is_probe=is_probe, is_proof=is_proof)
        return answer

    async def _passed(self, request: Request) -> None:
        if self.circuit.passed(writes=request.writes):
            log.info("account.resumed", account=self.name)
            # Whoever waits to be the next probe need not any more.
            self._probe_asked.set()
            await self._on_resume()

    async def _make(self, request: Request, permit: Permit, *, is_probe: bool) -> Answer | None:
        """Make a call, once more where a kept connection was closed instead of an answer; None if it is not permitted."""
        answer = await self._make_once(request, permit, is_probe=is_probe)
        if answer is not None and answer.is_cut and request.is_repeatable:
            answer = await self._make_once(request, permit, is_probe=is_probe, is_repeated=True)
        return answer

    async def _make_once(
        self, request: Request, permit: Permit, *, is_probe: bool, is_repeated: bool = False
    ) -> Answer | None:
        """Wait for the rate, then make the call if it is still permitted; return None if not."""
        asked_at = time.perf_counter()
        call = _Call(self, permit, await self._limiter.acquire(request.operation), is_probe=is_probe)
        if not call.is_open():
            self._limiter.returned(call.ticket)
            return None
        allowed_at = time.perf_counter()
        self._observer.waited(allowed_at - asked_at)
        answer: Answer | None = no_answer("cancelled", "the call was cancelled")
        task = asyncio.current_task()
        self._calling.add(task)
        number = self._own_limits.begins(request.operation)
        try:
            answer = await self.client.send(request, call, is_repeated=is_repeated)
            self.calls += 1
        except NotPermittedError:
            answer = None
        finally:
            self._calling.discard(task)
            self._called_at = time.monotonic()
            if answer is None:
                self._own_limits.ended(request.operation, number, passed=False)
                self._limiter.returned(call.ticket)
            else:
                answer = self._ended(request, number, call.ticket, answer)
                self._observer.called(request.operation, answer.kind, answer.status, time.perf_counter() - allowed_at)
                if call.has_begun and request.writes and request.contact and answer.may_still_act:
                    self._on_lost_answer(request.contact)
        if answer is not None and answer.kind is AnswerKind.THROTTLED:
            until = time.monotonic() + answer.limits.wait_seconds
            if not answer.is_own:
                answer = await self._told_apart(request, number, answer)
            if answer.is_own:
                self._own_answers[request.operation, request.contact] = until, answer
                if len(self._own_answers) > _MAX_OWN_ANSWERS:
                    self._own_answers.popitem(last=False)
        return answer

    def _ended(self, request: Request, number: int, ticket: Ticket, answer: Answer) -> Answer:
        """Note a call's answer where limits are kept; return it, marked where the limit is known to be the contact's own."""
        if _may_be_own(request, answer) and self._own_limits.is_known(request.operation, request.contact):
            answer = msgspec.structs.replace(answer, is_own=True)
        throttled = answer.kind is AnswerKind.THROTTLED and not answer.is_own
        if not throttled:
            passed = answer.kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND, AnswerKind.REFUSED}
            self._own_limits.ended(request.operation, number, passed=passed)
        self._limiter.answered(ticket, NO_LIMITS if answer.is_own else answer.limits, throttled=throttled)
        if throttled:
            self._on_throttled()
        if answer.limits.is_cut and not self._has_told_cut:
            self._has_told_cut = True
            log.warning(
                "account.limit_cut", account=self.name, operation=request.operation, waits_seconds=MAX_WAIT_SECONDS
            )
        return answer

    def _told_of_contact(self, request: Request) -> Answer | None:
        until, answer = self._own_answers.get((request.operation, request.contact), (0.0, None))
        left = until - time.monotonic()
        if answer is None or left <= 0:
            return None
        return msgspec.structs.replace(answer, limits=Limits(retry_after_seconds=left))

    async def _told_apart(self, request: Request, number: int, answer: Answer) -> Answer:
        """Wait for the calls on their way; if they pass, the limit is the contact's own and slows nobody else (R8)."""
        if not _may_be_own(request, answer):
            self._own_limits.refused(request.operation, number, None)
            return answer
        decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def decide(is_own: bool) -> None:
            if not decided.done():
                decided.set_result(is_own)

        self._own_limits.refused(request.operation, number, decide)
        if not await decided:
            return answer
        self._limiter.forget_wait(request.operation)
        return msgspec.structs.replace(answer, is_own=True)

    async def _failed(self, request: Request, answer: Answer, *, is_probe: bool, is_proof: bool) -> None:
        decisive = answer.kind in _ACCOUNT_FAULTS and (answer.reason in KEY_FAULTS or not request.contact)
        if answer.kind in _ACCOUNT_FAULTS:
            self.client.renew_key()
        if not decisive and not is_proof and self.circuit.is_near and await self._do_others_pass(request):
            self.circuit.failures += 1
            return
        self._last_message = answer.message_without(request.contact)
        began = self.circuit.failed(
            answer.reason, decisive=decisive, probe=is_probe, subject=request.subject, writes=request.writes
        )
        if began or is_probe:
            # Only this answers who asked for a probe: a call whose permit the `resume` itself withdrew is not made, and one
            # that only reads does not show whether Cordial takes changes.
            self._probe_asked.clear()
        if began:
            log.error(
                "account.stopped",
                account=self.name,
                reason=answer.reason,
                status=answer.status,
                message=self._last_message if decisive else None,
                hint=stop_of(answer.reason).what_to_do,
            )

    async def _do_others_pass(self, request: Request) -> bool:
        """Return whether the account can be served, although calls for contacts fail, one after the other."""
        if not request.contact:
            return False
        passes = await self.passes(None, request.contact, self.blame.moment())
        if passes is not None:
            return passes
        return self.circuit.is_alone(request.subject) and await self.can_read(request)


def _may_be_own(request: Request, answer: Answer) -> bool:
    """Return whether a 429 may be about the contact alone, and names a time that is worth telling that."""
    is_long = answer.limits.wait_seconds > _OWN_LIMIT_FROM_SECONDS
    return answer.kind is AnswerKind.THROTTLED and request.writes and bool(request.contact) and is_long


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()
