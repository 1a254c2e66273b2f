"""API keys: HTTP Basic with the key as user name, as Cordial's own API has it."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from service.config.secrets import CachedSecret
from service.config.settings import SecretReference
from service.errors import ErrorCode, ServiceError
from service.web.addresses import origin_of

log = structlog.get_logger()

ACTOR = web.RequestKey("actor", str)

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 3.0
_FORGIVEN_AFTER_SECONDS = 300.0
_MOST_ADDRESSES = 1_000
_MOST_DELAYED = 200


class Delays:
    """How long the answer to a wrong key is held back, growing with each from one address; bounded in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def next_seconds(self, address: str) -> float:
        """Note a wrong key from an address; return for how long to hold back the answer."""
        now = self._clock()
        origin = origin_of(address)
        count, last = self._failures.pop(origin, (0, now))
        if now - last > _FORGIVEN_AFTER_SECONDS:
            count = 0
        self._failures[origin] = (count + 1, now)
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        # Past sixteen doublings every delay is the longest.
        return min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** min(count, 16))


class ApiKeys:
    """Knows who asks: each configured key is valid, so that one can be replaced while the other is in use."""

    def __init__(self, references: Sequence[SecretReference], delays: Delays | None = None) -> None:
        self.accept(references)
        self._delays = delays or Delays()
        self._delayed = 0

    def accept(self, references: Sequence[SecretReference]) -> None:
        """Let in who holds one of these keys, read anew, and nobody else."""
        self._keys = [(reference.place, CachedSecret(reference)) for reference in references]

    async def authenticate(self, request: web.Request) -> str:
        """Return who asks, named by the place of the key: the audit's actor.

        Raises `ServiceError` (401) for a key that is missing or wrong. A wrong key's answer is held back; a right key
        never waits.
        """
        if not self._keys:
            raise ServiceError(
                ErrorCode.UNAUTHORIZED, "no API key is configured; set server.api_key_file or server.api_key_env"
            )
        given = _given_key(request)
        if given is None:
            raise ServiceError(
                ErrorCode.UNAUTHORIZED, "an API key is needed, as the user name of HTTP Basic authentication"
            )
        place = self._place_of(given)
        if place is None:
            await self._hold_back(request)
            raise ServiceError(ErrorCode.UNAUTHORIZED, "this API key is not valid")
        return f"API key of {place}"

    def _place_of(self, given: str) -> str | None:
        found = None
        digest = _digest(given)
        for place, secret in self._keys:
            try:
                key = secret.get()
            except (OSError, LookupError) as error:
                log.warning("api_key.unreadable", place=place, fault=str(error))
                continue
            # Every key is compared, in constant time, so that time tells nothing.
            if hmac.compare_digest(_digest(key), digest):
                found = place
        return found

    async def _hold_back(self, request: web.Request) -> None:
        address = request.remote or ""
        delay = self._delays.next_seconds(address)
        log.warning("api_key.wrong", address=address)
        if self._delayed >= _MOST_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._delayed -= 1


def require_api_key(keys: ApiKeys) -> Middleware:
    """Return a middleware that lets only holders of a key pass, and notes who they are under `ACTOR`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[ACTOR] = await keys.authenticate(request)
        return await handler(request)

    return middleware


def _given_key(request: web.Request) -> str | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, encoded = header.strip().partition(" ")
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""
    return credentials.partition(":")[0]


def _digest(key: str) -> bytes:
    # Of one length whatever the key's, for a comparison in constant time tells lengths apart.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
