"""One account's line to Cordial: every call passes here, and here it shows whether the account can be served (R7)."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.client import CordialClient
from service.deliver.rate.limiter import Limiter
from service.deliver.retry import Circuit, Suspicion
from service.model.accounts import AccountState, AccountStatus

log = structlog.get_logger()

# The fault of the account, never of the contact or list that the call was about.
_ACCOUNT_FAULTS = {AnswerKind.UNAUTHORIZED, AnswerKind.MISCONFIGURED}
_SLOWED_FROM_SECONDS = 1.0
PAUSED_BY_OPERATOR = "paused by an operator"
DRY_RUN = "dry run: nothing is written to Cordial"
SLOWED_BY_LIMIT = "Cordial's rate limit is reached"


class AccountLine:
    """Makes an account's calls: one at a time while the account is paused, freely otherwise."""

    def __init__(
        self,
        name: str,
        client: CordialClient,
        limiter: Limiter,
        on_resume: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = name
        self.client = client
        self.circuit = Circuit(time.monotonic, random.random)
        self.suspicion = Suspicion(self.circuit)
        self._limiter = limiter
        self._on_resume = on_resume
        self._probe_turn = asyncio.Lock()
        self._probe_asked = asyncio.Event()
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._last_message = ""
        self._held_until = float("-inf")
        self.calls = 0

    async def call(self, make: Callable[[], Awaitable[Answer]], *, forgive_forbidden: bool = False) -> Answer:
        """Make a call and return its answer, which is never a 429: those are waited out and repeated.

        While the account is paused, callers take turns as its probe. In a dry run, a call that would write never
        returns: its caller waits until it is cancelled, holding up nobody else. `forgive_forbidden`: a 403 is about what
        this call asks for, a permission that the account can do without, and nothing else is paused for it.
        """
        while True:
            await self._allowed.wait()
            if (held := self._held_until - time.monotonic()) > 0:
                await asyncio.sleep(held)
                continue
            if self.circuit.is_open:
                async with self._probe_turn:
                    if not await self._is_probe_due():
                        continue
                    answer = await self._call_once(make, forgive_forbidden=forgive_forbidden)
            else:
                answer = await self._call_once(make, forgive_forbidden=forgive_forbidden)
            if answer.kind is AnswerKind.WITHHELD:
                await _wait_for_ever()
            if answer.kind is not AnswerKind.THROTTLED:
                return answer

    def pause(self) -> None:
        """Make no further call until `resume`: an operator wants it so."""
        self._allowed.clear()

    def resume(self) -> None:
        """Go on calling, and try at once where the account could not be served."""
        self._allowed.set()
        self._probe_asked.set()

    @property
    def is_paused_by_operator(self) -> bool:
        """Whether an operator has paused the account."""
        return not self._allowed.is_set()

    def status(self) -> AccountStatus:
        """Return what the account's sending is doing now, and the rates found for it."""
        return msgspec.structs.replace(self._doing(), found_rates=self._limiter.found_rates)

    def _doing(self) -> AccountStatus:
        if self.is_paused_by_operator:
            return AccountStatus(AccountState.PAUSED, PAUSED_BY_OPERATOR)
        wait = self._seconds_to_probe()
        if wait is not None:
            reason = f"{self.circuit.reason}: {self._last_message}"
            return AccountStatus(AccountState.PAUSED, reason, wait, _HINTS.get(self.circuit.reason, ""))
        if self.client.is_dry_run:
            return AccountStatus(AccountState.DRY_RUN, DRY_RUN, hint=_HINTS["dry_run"])
        slowed = self.slowed_seconds
        if slowed >= _SLOWED_FROM_SECONDS:
            return AccountStatus(AccountState.SLOWED, SLOWED_BY_LIMIT, slowed)
        return AccountStatus(AccountState.SENDING)

    @property
    def slowed_seconds(self) -> float:
        """For how much longer Cordial's word keeps some or all calls from being made; 0 if none."""
        return max(0.0, self._limiter.slowed_seconds, self._held_until - time.monotonic())

    def hold(self, seconds: float) -> None:
        """Make no call for so long: the process before this one was told so (R8)."""
        self._held_until = time.monotonic() + seconds

    async def _is_probe_due(self) -> bool:
        """Wait until it is time for a probe; return False if the account can be served or is to be left alone."""
        wait = self._seconds_to_probe()
        if wait is None:
            return False
        self._probe_asked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._probe_asked.wait()
        return self._allowed.is_set() and self._seconds_to_probe() is not None

    def _seconds_to_probe(self) -> float | None:
        """Return how long the next probe is away, None if none is needed."""
        return max(0.0, self.circuit.next_probe_at - time.monotonic()) if self.circuit.is_open else None

    async def _call_once(self, make: Callable[[], Awaitable[Answer]], *, forgive_forbidden: bool) -> Answer:
        probe = self.circuit.is_open
        answer = await make()
        if answer.kind is AnswerKind.WITHHELD:
            return answer
        self.calls += 1
        if answer.kind is AnswerKind.THROTTLED or (forgive_forbidden and answer.reason == "forbidden"):
            return answer
        if answer.kind in _ACCOUNT_FAULTS or answer.kind is AnswerKind.UNAVAILABLE:
            self._failed(answer, probe=probe)
        elif self.circuit.passed():
            log.info("account.resumed", account=self.name)
            # Whoever waits to be the next probe need not any more.
            self._probe_asked.set()
            await self._on_resume()
        return answer

    def _failed(self, answer: Answer, *, probe: bool) -> None:
        decisive = answer.kind in _ACCOUNT_FAULTS
        if decisive:
            self.client.renew_key()
        self._last_message = answer.message
        if self.circuit.failed(answer.reason, decisive=decisive, probe=probe):
            log.error(
                "account.paused",
                account=self.name,
                reason=answer.reason,
                status=answer.status,
                message=answer.message if decisive else None,
                hint=_HINTS.get(answer.reason),
            )


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


_HINTS = {
    "dry_run": "see what would be sent with `heap-cordial preview`; dry_run = false in the configuration sends it",
    "unauthorized": "Cordial refuses the API key, or does not allow this host's IP address; see Administration > API keys",
    "forbidden": "the API key lacks a permission, or Cordial does not allow this host's IP address",
    "no_api_key": "set cordial_api_key_file or cordial_api_key_env to a readable, non-empty secret",
    "not_a_secondary_key": "identify_by names a key that is not a unique secondary key in Cordial",
}
