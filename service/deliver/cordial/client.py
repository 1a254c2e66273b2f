"""Carrying a request to Cordial and its answer back, over HTTP; no exception for a status."""

import asyncio
import base64
import zlib
from collections.abc import Mapping
from typing import Protocol
from weakref import WeakSet

import aiohttp
import msgspec
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from service.clock import wall_ms
from service.config.secrets import CachedSecret
from service.deliver.cordial.answers import Answer, AnswerKind, no_answer
from service.deliver.cordial.evidence import read_answer
from service.deliver.cordial.requests import VERSION_PATH, Request
from service.errors import in_words

# What is read of an answer; Cordial's are small, and a proxy's page may be anything.
_MAX_ANSWER_BYTES = 16_777_216
# HTTP's informational answers, which come before the one that counts; after 101 it would be HTTP no more.
_INTERIM = frozenset({100, *range(102, 200)})
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


class Connections:
    """The connections that all accounts share; each account bounds its own concurrency.

    `kept` keeps its connections for later requests, `fresh` opens one for each.
    """

    def __init__(self) -> None:
        self.kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        self.fresh = aiohttp.TCPConnector(limit=0, force_close=True)
        self._used: WeakSet[asyncio.BaseProtocol] = WeakSet()

    def is_reused(self, connection: Connection) -> bool:
        """Return whether a connection has been given to a request before; from now on it has."""
        protocol = connection.protocol
        if protocol in self._used:
            return True
        if protocol is not None:
            self._used.add(protocol)
        return False

    async def close(self) -> None:
        """Close all connections."""
        await self.kept.close()
        await self.fresh.close()


class _Deadlines:
    """Cuts the connections of calls that take too long. One timer serves all: setting one a call costs more than the call's JSON."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection, ends_at: float) -> None:
        """Cut the connection at that moment of the loop's clock, unless it is removed before."""
        self._ends[connection] = ends_at
        if self._timer is None or ends_at < self._timer.when():
            self._plan(ends_at)

    def remove(self, connection: Connection) -> bool:
        """Cut the connection no more; return whether it was cut."""
        return self._ends.pop(connection, None) is None

    def _plan(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._cut)

    def _cut(self) -> None:
        self._timer = None
        now = self._loop.time()
        for connection in [each for each, ends_at in self._ends.items() if ends_at <= now]:
            del self._ends[connection]
            if connection.transport is not None:
                connection.transport.abort()
        if self._ends:
            self._plan(min(self._ends.values()))


class CordialClient:
    """One account's way to Cordial. When a call may be made is decided by `AccountLine`.

    Connections and the parser of answers are aiohttp's, and the request is written here: aiohttp's own request takes half of
    a call's processor time, hides the moment of writing, and repeats a PUT by itself where a kept connection was cut.
    """

    def __init__(
        self, connections: Connections, *, base_url: str, api_key: CachedSecret, timeout_seconds: float
    ) -> None:
        self._connections = connections
        root = URL(f"{base_url}{VERSION_PATH}", encoded=True)
        self._root_path = root.raw_path
        # Says where to connect, and gives the headers that never change; it is not sent itself.
        self._peer = aiohttp.ClientRequest("GET", root, headers={"Accept-Encoding": "identity"})
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in self._peer.headers.items())
        self._api_key = api_key
        self._head_of = ("", "")
        self._timeout_seconds = timeout_seconds
        self._connect_timeout = aiohttp.ClientTimeout(connect=timeout_seconds)
        self._loop = asyncio.get_running_loop()
        self._deadlines = _Deadlines(self._loop)

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
            message = self._message(request)
        except (OSError, LookupError) as error:
            return Answer(
                AnswerKind.UNAUTHORIZED, None, "no_api_key", f"the Cordial API key cannot be read: {in_words(error)}"
            )
        is_fresh = is_repeated or not request.is_repeatable
        connector = self._connections.fresh if is_fresh else self._connections.kept
        ends_at = self._loop.time() + self._timeout_seconds
        is_reused = is_late = False
        try:
            connection = await connector.connect(self._peer, [], self._connect_timeout)
            is_reused = self._connections.is_reused(connection)
            self._deadlines.add(connection, ends_at)
            try:
                status, headers, raw = await _exchange(connection, message, gate)
            except BaseException:
                connection.close()
                raise
            finally:
                is_late = self._deadlines.remove(connection)
            # Closed instead if something of the answer is still to come.
            connection.release()
            if not is_late:
                return read_answer(request, status, headers, raw, wall_ms())
        except (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.IncompleteReadError) as error:
            if not is_late and not isinstance(error, TimeoutError):
                answer = no_answer("unreachable", fault_in_words(error))
                return msgspec.structs.replace(answer, is_cut=is_reused and _nothing_came(error))
        return no_answer("timeout", f"no answer within {self._timeout_seconds:g} seconds")

    def _message(self, request: Request) -> bytes:
        """Return the request as HTTP/1.1 has it. Raises `OSError` or `LookupError` if the API key cannot be read."""
        head = f"{request.method} {self._root_path}{request.path} HTTP/1.1\r\n{self._head()}"
        if request.body is None:
            return f"{head}\r\n".encode()
        body = _encode(request.body)
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _head(self) -> str:
        key = self._api_key.get()
        if self._head_of[0] != key:
            token = base64.b64encode(f"{key}:".encode()).decode("ascii")
            self._head_of = (key, f"{self._headers}Authorization: Basic {token}\r\n")
        return self._head_of[1]


async def _exchange(connection: Connection, message: bytes, gate: Gate) -> tuple[int, Mapping[str, str], bytes]:
    """Write a request if the gate is open, and return its answer's status, headers and body."""
    protocol = connection.protocol
    # `should_close`: something came that nobody had asked for, and would be taken for this request's answer.
    if protocol is None or protocol.transport is None or protocol.transport.is_closing() or protocol.should_close:
        raise aiohttp.ClientConnectionResetError("the connection was closed")
    if not gate.is_open():
        raise NotPermittedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    gate.begins()
    protocol.transport.write(message)
    gate.written()
    answer, content = await protocol.read()
    while answer.code in _INTERIM:
        answer, content = await protocol.read()
    return answer.code, answer.headers, await _read(content, answer.headers)


def fault_in_words(error: Exception) -> str:
    """Return in words what broke a call; never empty."""
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return in_words(error.os_error, f"{error.host}:{error.port}")
    words = str(error) if isinstance(error, aiohttp.ClientSSLError) else in_words(error)
    return words or type(error).__name__


def _nothing_came(error: Exception) -> bool:
    """Return whether a connection was closed before anything of an answer came."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Otherwise it holds the part that came.
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError | ConnectionError)


async def _read(content: aiohttp.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Return the body, cut where it is larger than any answer of Cordial's (and so no JSON any more).

    It is unfolded here if it came compressed although that was not asked for: a few bytes may unfold to gigabytes.
    """
    raw = await content.readany()
    if not content.is_eof():
        parts, size_bytes = [raw], len(raw)
        while size_bytes < _MAX_ANSWER_BYTES and (part := await content.readany()):
            parts.append(part)
            size_bytes += len(part)
        raw = b"".join(parts)
    encoding = headers.get("Content-Encoding", "identity").lower()
    return raw if encoding == "identity" else _unfold(raw, encoding)


def _unfold(raw: bytes, encoding: str) -> bytes:
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return b""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(raw, _MAX_ANSWER_BYTES)
    except zlib.error:
        return b""
