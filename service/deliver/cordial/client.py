"""Carrying a request to Cordial and its answer back, over HTTP; no exception for a status."""

import asyncio
import base64
import zlib
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from service.clock import wall_ms
from service.config.secrets import CachedSecret
from service.deliver.cordial.answers import Answer, AnswerKind, no_answer
from service.deliver.cordial.evidence import read_answer
from service.deliver.cordial.requests import VERSION_PATH, Request

# What is read of an answer; Cordial's are small, and a proxy's page may be anything.
_MAX_ANSWER_BYTES = 16_777_216
_encode = msgspec.json.Encoder().encode


class NotPermittedError(Exception):
    """The permission for a call ended before anything of it was written; no call was made."""


class Gate(Protocol):
    """What a call passes at the moment it is written to the network."""

    def is_open(self) -> bool:
        """Return whether the call may still be made."""

    def begins(self) -> None:
        """Note that the request is about to be written: from now on Cordial may carry it out."""

    def written(self) -> None:
        """Note that the request has been written: from now on it counts."""


_gate: ContextVar[Gate] = ContextVar("gate")
# Whether the request was written to a connection that had carried another before.
_is_reused: ContextVar[bool] = ContextVar("is_reused", default=False)
_used_transports: WeakSet[asyncio.BaseTransport] = WeakSet()


class _CountedBody(aiohttp.BytesPayload):
    """A body that tells when it and the headers before it have been written: only then a call counts.

    aiohttp's tracing tells it too, for a tenth to a fifth of what a call costs.
    """

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await super().write_with_length(writer, content_length)
        _gate.get().written()


class _GuardedRequest(aiohttp.ClientRequest):
    """A request that asks for permission when its connection is there and nothing of it is written yet."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        gate = _gate.get()
        if not gate.is_open():
            raise NotPermittedError
        transport = conn.transport
        _is_reused.set(transport in _used_transports)
        if transport is not None:
            _used_transports.add(transport)
        gate.begins()
        response = await super().send(conn)
        if not self.body:
            gate.written()
        return response


class Sessions:
    """The HTTP sessions that all accounts share; each account bounds its own concurrency.

    `kept` keeps its connections for later requests, `fresh` opens one for each.
    """

    def __init__(self) -> None:
        self.kept = _make_session(aiohttp.TCPConnector(limit=0, keepalive_timeout=60))
        self.fresh = _make_session(aiohttp.TCPConnector(limit=0, force_close=True))

    async def close(self) -> None:
        """Close all connections."""
        await self.kept.close()
        await self.fresh.close()


def _make_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=connector,
        request_class=_GuardedRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    # aiohttp would repeat a PUT by itself when a connection it reused turns out to be cut: a call that the limiter
    # never allowed, and two at a time for one contact. There is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


class CordialClient:
    """One account's way to Cordial. When a call may be made is decided by `AccountLine`."""

    def __init__(self, sessions: Sessions, *, base_url: str, api_key: CachedSecret, timeout_seconds: float) -> None:
        self._sessions = sessions
        self._root = f"{base_url}{VERSION_PATH}"
        self._api_key = api_key
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._authorization_of = ("", "")

    def renew_key(self) -> None:
        """Read the API key anew at the next call: Cordial has refused the one in use."""
        self._api_key.forget()

    async def send(self, request: Request, gate: Gate, *, is_repeated: bool = False) -> Answer:
        """Make a call and return what the answer means.

        A server may close a connection that it promised to keep while the next request is on its way. So what must not
        be sent twice, and what is repeated for that reason, gets a connection of its own.

        Raises `NotPermittedError` if the gate is closed when the request is about to be written.
        """
        try:
            headers = {"Authorization": self._authorization(), "Accept-Encoding": "identity"}
        except (OSError, LookupError) as error:
            return Answer(AnswerKind.UNAUTHORIZED, None, "no_api_key", f"the Cordial API key cannot be read: {error}")
        _gate.set(gate)
        _is_reused.set(False)
        data = None
        if request.body is not None:
            data = _CountedBody(_encode(request.body), content_type="application/json")
        try:
            is_fresh = is_repeated or not request.is_repeatable
            session = self._sessions.fresh if is_fresh else self._sessions.kept
            async with session.request(
                request.method,
                URL(self._root + request.path, encoded=True),
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                raw = await _read(response)
                return read_answer(request, response.status, response.headers, raw, wall_ms())
        except TimeoutError:
            return no_answer("timeout", f"no answer within {self._timeout.total:g} seconds")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            answer = no_answer("unreachable", str(error) or type(error).__name__)
            return msgspec.structs.replace(answer, is_cut=_is_reused.get() and _nothing_came(error))

    def _authorization(self) -> str:
        key = self._api_key.get()
        if self._authorization_of[0] != key:
            token = base64.b64encode(f"{key}:".encode()).decode("ascii")
            self._authorization_of = (key, f"Basic {token}")
        return self._authorization_of[1]


def _nothing_came(error: Exception) -> bool:
    """Return whether a connection was closed before anything of an answer came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Otherwise it holds the part that came.
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError | ConnectionError)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, cut where it is larger than any answer of Cordial's (and so no JSON any more).

    It is unfolded here if it came compressed although that was not asked for: a few bytes may unfold to gigabytes.
    """
    parts: list[bytes] = []
    size_bytes = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size_bytes += len(part)
        if size_bytes >= _MAX_ANSWER_BYTES:
            break
    raw = b"".join(parts)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    return raw if encoding == "identity" else _unfold(raw, encoding)


def _unfold(raw: bytes, encoding: str) -> bytes:
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return b""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(raw, _MAX_ANSWER_BYTES)
    except zlib.error:
        return b""
