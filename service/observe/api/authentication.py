"""API keys and what each may do: HTTP Basic with the key as user name, as Cordial's own API has it.

A browser that has signed in sends a cookie instead. It is made with the key itself, so nothing is kept of it, it survives a
restart, and it opens nothing any more once the key is replaced.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.backoff import backoff_seconds
from service.config.secrets import CachedSecret
from service.config.secrets import Timings as SecretTimings
from service.config.settings import ApiKeySettings, SecretReference
from service.errors import ErrorCode, ServiceError
from service.flood import BoundedLog
from service.web.addresses import origin_of

log = structlog.get_logger()

ACTOR = web.RequestKey("actor", str)
SESSION_COOKIE = "heap_cordial_session"
SESSION_SECONDS = 43_200

_MAX_ADDRESSES = 1_000
_MAX_DELAYED = 200
_MAX_EXPIRES_DIGITS = 12


class Role(IntEnum):
    """What the holder of a key may do; each may do what those before it may."""

    READ = 1
    OPERATE = 2
    ADMIN = 3


class Caller(NamedTuple):
    """Who asks, as the audit names them, and what they may do."""

    name: str
    role: Role


CALLER = web.RequestKey("caller", Caller)

# By default asking needs READ, and everything else OPERATE. Below the API's prefix.
_ROLE_OF = {
    ("POST", "/lists/{id}/members/find"): Role.READ,
    ("POST", "/failures/find"): Role.READ,
    ("POST", "/unusable/find"): Role.READ,
    ("POST", "/session"): Role.READ,
    ("POST", "/session/end"): Role.READ,
    ("POST", "/forget"): Role.ADMIN,
}
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def role_needed(method: str, path: str) -> Role:
    """Return the least role that may make a request; `path` is as the routes have it, below the API's prefix."""
    return _ROLE_OF.get((method, path), Role.READ if method in _SAFE_METHODS else Role.OPERATE)


class Timings(msgspec.Struct, frozen=True):
    """For how long the answer to a wrong key waits, in seconds: at first, at most, and after how long it is at first again."""

    first_delay: float = 0.1
    longest_delay: float = 3.0
    forgiven_after: float = 300.0


class Delays:
    """How long the answer to a wrong key waits, growing with each from one address; bounded in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, timings: Timings | None = None) -> None:
        self._clock = clock
        self._timings = timings or Timings()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def next_seconds(self, address: str) -> float:
        """Note a wrong key from an address; return for how many seconds the answer waits."""
        now = self._clock()
        origin = origin_of(address)
        count, last = self._failures.pop(origin, (0, now))
        if now - last > self._timings.forgiven_after:
            count = 0
        self._failures[origin] = (count + 1, now)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return backoff_seconds(count, self._timings.first_delay, self._timings.longest_delay)


class ApiKeys:
    """Knows who asks: each configured key is valid, so that one can be replaced while the other is in use."""

    def __init__(
        self,
        references: Sequence[SecretReference],
        named: Mapping[str, ApiKeySettings] | None = None,
        delays: Delays | None = None,
        secret_timings: SecretTimings | None = None,
    ) -> None:
        self._secret_timings = secret_timings
        self.accept(references, named or {})
        self._delays = delays or Delays()
        self._delayed = 0
        self._bounded_log = BoundedLog()

    def accept(self, references: Sequence[SecretReference], named: Mapping[str, ApiKeySettings]) -> None:
        """Let in who holds one of these keys, read anew, and nobody else; those without a name may do everything."""
        self._keys = [
            (Caller(f"API key of {reference.place}", Role.ADMIN), reference.place, self._cached(reference))
            for reference in references
        ] + [
            (Caller(f"API key {name}", Role[key.role.upper()]), key.key.place, self._cached(key.key))
            for name, key in named.items()
        ]

    def _cached(self, reference: SecretReference) -> CachedSecret:
        return CachedSecret(reference, timings=self._secret_timings)

    async def authenticate(self, request: web.Request) -> Caller:
        """Return who asks: the audit's actor, named by the key's name or its place.

        Raises `ServiceError` (401) for a key that is missing or wrong. The answer to a wrong key waits; a right
        key never does.
        """
        if not self._keys:
            raise ServiceError(
                ErrorCode.UNAUTHORIZED,
                "no API key is configured; set server.api_key_file or server.api_key_env, or add [api_keys.NAME]",
            )
        credentials = _given(request)
        if credentials is None:
            raise ServiceError(
                ErrorCode.UNAUTHORIZED, "an API key is needed, as the user name of HTTP Basic authentication"
            )
        caller = self._caller_with(credentials)
        if caller is None and isinstance(credentials, _Session):
            raise ServiceError(ErrorCode.UNAUTHORIZED, "this browser is no longer signed in")
        if caller is None:
            await self._delay(request)
            raise ServiceError(ErrorCode.UNAUTHORIZED, "this API key is not valid")
        return caller

    def is_still_valid(self, request: web.Request) -> bool:
        """Return whether what opened a request that goes on still opens the same."""
        credentials = _given(request)
        return credentials is not None and self._caller_with(credentials) == request[CALLER]

    def session_for(self, request: web.Request) -> str:
        """Return the cookie that stands for the key of an authenticated request."""
        expires = int(time.time()) + SESSION_SECONDS
        for caller, _, key in self._readable_keys():
            if caller == request[CALLER]:
                return f"{expires}.{_session_mac(key, expires)}"
        raise ServiceError(ErrorCode.UNAUTHORIZED, "this API key is no longer valid")

    def _caller_with(self, credentials: "_Key | _Session") -> Caller | None:
        # Every key is compared, in constant time, so that time tells nothing.
        fitting = [caller for caller, _, key in self._readable_keys() if credentials.fits(key)]
        # One key under two names: the lesser role, for that much is surely meant.
        return min(fitting, key=lambda caller: caller.role) if fitting else None

    def _readable_keys(self) -> Iterator[tuple[Caller, str, str]]:
        for caller, place, secret in self._keys:
            try:
                yield caller, place, secret.get()
            except (OSError, LookupError) as error:
                self._bounded_log.warning("api_key.unreadable", kind=place, place=place, fault=str(error))

    async def _delay(self, request: web.Request) -> None:
        address = request.remote or ""
        delay = self._delays.next_seconds(address)
        self._bounded_log.warning("api_key.wrong", address=address)
        if self._delayed >= _MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._delayed -= 1


def require_api_key(keys: ApiKeys, prefix: str) -> Middleware:
    """Return a middleware that lets only holders of a key pass whose role is enough, and notes who they are under `ACTOR`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        caller = request[CALLER] = await keys.authenticate(request)
        request[ACTOR] = caller.name
        resource = request.match_info.route.resource
        if resource is not None and request.match_info.http_exception is None:
            needed = role_needed(request.method, resource.canonical.removeprefix(prefix))
            if caller.role < needed:
                raise ServiceError(
                    ErrorCode.FORBIDDEN,
                    f"this needs an API key with the role {needed.name.lower()}; {caller.name} has {caller.role.name.lower()}",
                )
        return await handler(request)

    return middleware


class _Key(NamedTuple):
    """A key as the user name of HTTP Basic, or as a bearer token."""

    text: str

    def fits(self, key: str) -> bool:
        return hmac.compare_digest(_digest(key), _digest(self.text))


class _Session(NamedTuple):
    """A cookie: when it ends, in Unix seconds, and the proof that a key made it."""

    expires: int
    mac: str

    def fits(self, key: str) -> bool:
        return hmac.compare_digest(_session_mac(key, self.expires).encode(), self.mac.encode()) and self._is_in_time()

    def _is_in_time(self) -> bool:
        return 0 <= self.expires - time.time() <= SESSION_SECONDS


def _given(request: web.Request) -> _Key | _Session | None:
    """Return what a request brings; a key in the header comes before a cookie."""
    header = request.headers.get("Authorization")
    if header is None:
        return _session_in(request.cookies.get(SESSION_COOKIE, ""))
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return _Key(encoded.strip())
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return _Key("")
    return _Key(credentials.partition(":")[0])


def _session_in(cookie: str) -> _Session | None:
    expires, _, mac = cookie.partition(".")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= _MAX_EXPIRES_DIGITS):
        return None
    return _Session(int(expires), mac)


def _session_mac(key: str, expires: int) -> str:
    made_of = f"heap-cordial session until {expires}".encode()
    return hmac.new(key.encode("utf-8", "surrogatepass"), made_of, hashlib.sha256).hexdigest()


def _digest(key: str) -> bytes:
    # Of one length whatever the key's, for a comparison in constant time tells lengths apart.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
