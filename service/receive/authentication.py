"""Deciding which account a delivery belongs to and whether it is authentic."""

import asyncio
import contextlib
import hmac
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec
import structlog

from service.config.secrets import CachedSecret
from service.config.secrets import Timings as SecretTimings
from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.flood import BoundedLog, Budget
from service.receive.signature import SignatureHeader, Verdict, verify

_Seen = TypeVar("_Seen")

_log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 30
# A larger body is looked at elsewhere, so that the small ones beside it are not held up.
MAX_BYTES_ON_LOOP = 262_144

# Why a delivery is refused is found out for the operator's sake, at a cost that a flood of refused ones must not have.
_CAUSES_AT_ONCE = 10
_SECONDS_PER_CAUSE = 1.0

_STALE_TO_SUSPECT = 3
_MAX_KEPT = 100
# While a load balancer keeps deliveries away because of the suspicion, none can come that would end it.
_FORGET_AFTER_MS = 3_600_000


class Refusal(StrEnum):
    """Why a delivery is not let in: for the operator's log, never for the sender."""

    UNKNOWN_ACCOUNT = "unknown account"
    UNKNOWN_ID_TOKEN = "no account has this id_token"  # noqa: S105  a sentence, not a secret
    WRONG_ID_TOKEN = "id_token is not that of the account"  # noqa: S105  a sentence, not a secret
    WRONG_SIGNATURE = "wrong signature"
    REFORMATTED = "body was reformatted on the way; look at your proxy"
    STALE = "stale signature"


class AuthenticationError(ServiceError):
    """A delivery that is not authentic; whatever the reason, the answer is the same, so that nothing can be probed."""

    def __init__(self, refusal: Refusal, account: str | None = None, detail: str | None = None) -> None:
        super().__init__(ErrorCode.FORBIDDEN, "the delivery is not authentic")
        self.refusal = refusal
        self.account = account
        self.detail = detail

    @property
    def reason(self) -> str:
        """The reason as a sentence for the log."""
        return str(self.refusal) if self.detail is None else f"{self.refusal}: {self.detail}"


def _stale(header: SignatureHeader, now_ms: int, account: str | None = None) -> AuthenticationError:
    """Return the refusal of a stale signature, with the direction in which it is off."""
    age_seconds = header.age_seconds(now_ms)
    direction = "old" if age_seconds > 0 else "ahead of this machine's clock"
    detail = f"{abs(age_seconds):.1f} s {direction}"
    if unit := header.wrong_unit(now_ms):
        detail = f"the timestamp seems to be in {unit}; it must be in milliseconds"
    return AuthenticationError(Refusal.STALE, account, detail)


class ClockSuspicion:
    """Tells that this host's clock is wrong, from deliveries whose signature is right and whose time is not.

    Suspects the clock after three stale deliveries in a row without a valid one between them. Only what nobody can have
    recorded and sent again counts: a delivery signed later than every one of its account that was seen before, valid or
    stale, or signed in the future. The suspicion ends with a valid delivery, when the clock is put right, or after an
    hour without another stale one.

    `wall_ms` is the host's clock, `steady_ms` one that no correction moves; both in milliseconds. `last_received_ms` says
    when the last page of each account came before the start.
    """

    def __init__(
        self, wall_ms: Callable[[], int], steady_ms: Callable[[], int], last_received_ms: Mapping[str, int]
    ) -> None:
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms
        # The latest time that a delivery of each account was signed at, by the sender's clock.
        self._latest_signed_ms = dict(last_received_ms)
        # Signed at, by the sender's clock: arrived at, by the steady one, and the tolerance that was exceeded.
        self._stale: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def note_valid(self, account: str, signed_at_ms: int) -> None:
        """Note a delivery that was signed at about the time it came."""
        self._note_signed(account, signed_at_ms)
        self._stale.clear()

    def note_stale(self, account: str, signed_at_ms: int, tolerance_seconds: float) -> bool:
        """Note a delivery with a right signature and a wrong time; return whether it raised the suspicion."""
        before = self.off_seconds()
        is_ahead = signed_at_ms > self._wall_ms()
        if not is_ahead and signed_at_ms <= self._latest_signed_ms.get(account, -1):
            return False
        if not is_ahead:
            self._note_signed(account, signed_at_ms)
        self._stale.setdefault(signed_at_ms, (self._steady_ms(), tolerance_seconds))
        if len(self._stale) > _MAX_KEPT:
            self._stale.popitem(last=False)
        return before is None and self.off_seconds() is not None

    def _note_signed(self, account: str, signed_at_ms: int) -> None:
        self._latest_signed_ms[account] = max(signed_at_ms, self._latest_signed_ms.get(account, -1))

    def off_seconds(self) -> float | None:
        """Return how far the clock is likely ahead (negative: behind) as it stands now; None without suspicion."""
        if len(self._stale) < _STALE_TO_SUSPECT:
            return None
        latest_ms = max(arrived_at_ms for arrived_at_ms, _ in self._stale.values())
        if self._steady_ms() - latest_ms > _FORGET_AFTER_MS:
            return None
        correction_ms = self._wall_ms() - self._steady_ms()
        # A delivery can be late, never early: the youngest tells most of the clock.
        age_ms, tolerance_seconds = min(
            (arrived_at_ms + correction_ms - signed_at_ms, tolerance_seconds)
            for signed_at_ms, (arrived_at_ms, tolerance_seconds) in self._stale.items()
        )
        return age_ms / 1000 if abs(age_ms) > tolerance_seconds * 1000 else None

    def fault(self) -> str | None:
        """Return what is wrong, in words for the operator, or None."""
        off_seconds = self.off_seconds()
        if off_seconds is None:
            return None
        direction = "ahead of" if off_seconds > 0 else "behind"
        return (
            f"deliveries have a valid signature but another time: the clock of this machine is probably {abs(off_seconds):.0f} s "
            f"{direction} Heap's; check the time synchronisation"
        )


class Authenticator:
    """Holds the accounts and their webhook secrets, which may change at any time without a restart.

    All that changes here is used on the event loop alone; another thread gets only values that nobody changes.
    """

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        clock_suspicion: ClockSuspicion,
        bounded_log: BoundedLog,
        secret_timings: SecretTimings | None = None,
    ) -> None:
        self._log = bounded_log
        self._accounts = accounts
        self._clock_suspicion = clock_suspicion
        self._account_by_id_token = {
            account.heap_id_token: account for account in accounts.values() if account.heap_id_token
        }
        self._only_account = next(iter(accounts.values())) if len(accounts) == 1 else None
        self._secrets_by_account = {
            name: [CachedSecret(reference, timings=secret_timings) for reference in account.heap_secrets]
            for name, account in accounts.items()
        }
        # Every delivery is checked against as many secrets, so that the time taken tells of no account.
        max_secrets = max((len(account.heap_secrets) for account in accounts.values()), default=1)
        self._decoys = [secrets.token_hex() for _ in range(max_secrets)]
        self._widest_tolerance_seconds = max(
            (account.timestamp_tolerance_seconds for account in accounts.values()), default=0.0
        )
        self._causes = Budget(_CAUSES_AT_ONCE, _SECONDS_PER_CAUSE)

    def addressed(self, account_name: str | None) -> str | None:
        """Return the account that a request's address names, or the only one; None if that is no account of ours, or unclear."""
        if account_name is None:
            return None if self._only_account is None else self._only_account.name
        return account_name if account_name in self._accounts else None

    def refuse_by_header(self, header: SignatureHeader, now_ms: int) -> None:
        """Refuse what is stale for every account before its body is read, save for a few each minute.

        Those few are read and verified, because authentic ones among them tell of a wrong clock. The sender's choice of
        account plays no part, so that nothing can be probed. Raises `AuthenticationError`.
        """
        if abs(header.age_seconds(now_ms)) > self._widest_tolerance_seconds and not self._causes.is_left():
            raise _stale(header, now_ms)

    async def authenticate(
        self, account_name: str | None, header: SignatureHeader, body: bytes, now_ms: int
    ) -> AccountSettings:
        """Return the account that `body` is meant for, once its signature holds.

        Without `account_name` the page's `id_token` names the account, or there is only one. Raises
        `AuthenticationError`, or `ServiceError` (`NOT_READY`) when the signature fits no secret that can be read while
        another cannot.
        """
        account, doubt = await self._find(account_name, body)
        readable, all_readable = self._read_secrets(account)
        candidates = readable + self._decoys[len(readable) :]
        tolerance_seconds = account.timestamp_tolerance_seconds if account else 0.0
        find_cause = self._causes.is_left()
        verdict = await _look_at(
            body, lambda: verify(header, body, candidates, now_ms, tolerance_seconds, find_cause=find_cause)
        )
        if verdict is not Verdict.VALID and self._causes.is_left():
            self._causes.spend()
        if account is None:
            raise AuthenticationError(doubt)
        if verdict is Verdict.VALID:
            self._clock_suspicion.note_valid(account.name, header.timestamp_ms)
            return account
        if verdict is Verdict.STALE:
            self._note_stale(account, header, now_ms)
            raise _stale(header, now_ms, account.name)
        if not all_readable:
            raise ServiceError(
                ErrorCode.NOT_READY,
                "a webhook secret cannot be read now; send again later",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        is_reformatted = verdict is Verdict.REFORMATTED
        raise AuthenticationError(Refusal.REFORMATTED if is_reformatted else Refusal.WRONG_SIGNATURE, account.name)

    def _note_stale(self, account: AccountSettings, header: SignatureHeader, now_ms: int) -> None:
        if header.wrong_unit(now_ms):
            return
        if self._clock_suspicion.note_stale(account.name, header.timestamp_ms, account.timestamp_tolerance_seconds):
            _log.error("clock.suspected", account=account.name, reason=self._clock_suspicion.fault())

    async def _find(self, account_name: str | None, body: bytes) -> tuple[AccountSettings | None, Refusal]:
        if account_name is not None:
            return self._accounts.get(account_name), Refusal.UNKNOWN_ACCOUNT
        if self._only_account is not None:
            return self._only_account, Refusal.UNKNOWN_ACCOUNT
        accounts = self._account_by_id_token
        named = await _look_at(body, lambda: next(filter(None, map(accounts.get, _id_tokens_in(body))), None))
        return named, Refusal.UNKNOWN_ID_TOKEN

    def _read_secrets(self, account: AccountSettings | None) -> tuple[list[str], bool]:
        """Return the secrets that can be read now, and whether those are all."""
        readable: list[str] = []
        if account is None:
            return readable, True
        cached = self._secrets_by_account[account.name]
        for secret, reference in zip(cached, account.heap_secrets, strict=True):
            try:
                readable.append(secret.get())
            except (OSError, LookupError, ValueError) as error:
                # By its type: the message of a decoding error quotes what it could not decode.
                self._log.error(
                    "webhook_secret.unreadable",
                    kind=reference.place,
                    account=account.name,
                    place=reference.place,
                    fault=type(error).__name__,
                )
        return readable, len(readable) == len(cached)


async def _look_at(body: bytes, look: Callable[[], _Seen]) -> _Seen:
    """Look at a body whose sender is not known yet: at a large one on another thread, so that others need not wait."""
    return await asyncio.to_thread(look) if len(body) > MAX_BYTES_ON_LOOP else look()


def check_id_token(account: AccountSettings, id_token: str | None) -> None:
    """Hold a page's `id_token` against the one configured, if one is. Raises `AuthenticationError`."""
    expected = account.heap_id_token
    if expected and not hmac.compare_digest(_as_bytes(expected), _as_bytes(id_token or "")):
        raise AuthenticationError(Refusal.WRONG_ID_TOKEN, account.name)


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class _OnlyIdToken(msgspec.Struct):
    id_token: str = ""


_id_token_decoder = msgspec.json.Decoder(_OnlyIdToken)

# For bodies that hold broken text somewhere. Parsing them forgivingly takes a hundred times as long, which is too much to
# do for a sender not known yet; whether the token stands where it belongs is checked once the signature holds.
_ID_TOKEN_TEXT = re.compile(rb'"id_token"\s{0,100}:\s{0,100}("(?:[^"\\]|\\.){0,1000}+")')


def _id_tokens_in(body: bytes) -> Iterator[str]:
    """Give what may be the `id_token` of a body whose origin is not known yet; nothing where there is none to read."""
    try:
        yield _id_token_decoder.decode(body).id_token
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        for found in _ID_TOKEN_TEXT.finditer(body):
            with contextlib.suppress(ValueError):
                yield json.loads(found[1])
