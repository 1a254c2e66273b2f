"""Bounds on connections, so that idle, dripping and unread ones never keep a delivery out.

aiohttp bounds neither the number of connections nor the time a request's head may take. The guard stands between the
transport and aiohttp's protocol, counts, and knows of each connection whether it waits for its client. Only those are
ever closed: at their deadline, or earlier to make room for who comes next, the one that has waited longest first. A
client that has its request ready is in and served before its turn would come.
"""

import asyncio
import logging
import resource
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from service import supervision
from service.config.settings import ServerSettings
from service.supervision import Supervisor
from service.web.addresses import origin_of

_log = structlog.get_logger()

_MAX_HEAD_BYTES = 32_768
_HEAD_END = b"\r\n\r\n"
_MAX_UNREAD_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 60.0
# Files of the store, calls to Cordial, and what a turn of the event loop accepts before it is counted.
_RESERVED_FILES = 400
_FEWEST_CONNECTIONS = 16


class _Connection(asyncio.Protocol):
    """One connection: hands everything on to aiohttp's protocol and notes for whom it waits."""

    def __init__(self, guard: "ConnectionGuard", http: asyncio.Protocol) -> None:
        self.origin = ""
        self._guard = guard
        self._http = http
        self._transport: asyncio.Transport | None = None
        self._is_served = False
        self._served_before = False
        self._body: StreamReader | None = None
        self._head_began_at: float | None = None
        self._head_bytes = 0
        self._head_tail = b""
        self._is_head_complete = False
        self._waiting_since = guard.now()
        self._unread_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a server for streams makes no other
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.origin = origin_of(str(peer[0])) if isinstance(peer, tuple) else ""
        if self._guard.admit(transport, self):
            self._http.connection_made(transport)
        else:
            self._transport = None
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._guard.forget(self._transport)
            self._transport = None
            self._http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_served and not self._has_unread_body() and not self._is_head_complete:
            self._note_head(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self.abort()
        else:
            self._http.data_received(data)

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._unread_since = self._guard.now()
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        self._http.resume_writing()

    def begin_request(self, body: StreamReader) -> None:
        """Note that a request's head is complete and a handler is at work on it."""
        self._is_served = True
        self._body = body

    def end_request(self) -> None:
        """Note that the handler is done, and the next request is waited for."""
        self._is_served = False
        self._served_before = True
        self._head_began_at = None
        self._head_bytes = 0
        self._head_tail = b""
        self._is_head_complete = False
        self._waiting_since = self._guard.now()

    def waits_for_client(self) -> bool:
        """Whether nothing can go on before the client sends or reads."""
        return self._unread_since is not None or not self._is_served or self._has_unread_body()

    def is_overdue(self, now: float, settings: ServerSettings) -> bool:
        """Whether the client has been waited for longer than it may be.

        A body has a deadline of its own where it is read.
        """
        if self._unread_since is not None:
            return now - self._unread_since > _MAX_UNREAD_SECONDS
        if self._is_served or self._has_unread_body() or self._is_head_complete:
            return False
        if self._head_began_at is not None:
            return now - self._head_began_at > settings.header_timeout_seconds
        if self._served_before:
            return now - self._waiting_since > settings.keepalive_timeout_seconds
        return now - self._waiting_since > settings.header_timeout_seconds

    def abort(self) -> None:
        """Close the connection at once; what was not sent yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _has_unread_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _note_head(self, data: bytes) -> None:
        if self._head_began_at is None:
            self._head_began_at = self._guard.now()
        seen = self._head_tail + data
        if _HEAD_END in seen:
            self._is_head_complete = True
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            self._head_tail = seen[1 - len(_HEAD_END) :]


class ConnectionGuard:
    """Admits connections up to the bounds of `[server]`, and closes those whose clients keep it waiting."""

    def __init__(self, settings: ServerSettings, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._settings = settings
        self._most = _most_connections(settings.max_connections)
        # In the order in which they were last heard of: the first has waited longest.
        self._connections: OrderedDict[asyncio.BaseTransport, _Connection] = OrderedDict()
        self._count_of_origin: Counter[str] = Counter()
        self._displaced = 0
        self._told_at = float("-inf")

    def protocol(self, http: asyncio.Protocol) -> asyncio.Protocol:
        """Return the protocol to give to the transport in place of `http`."""
        return _Connection(self, http)

    def admit(self, transport: asyncio.BaseTransport, connection: _Connection) -> bool:
        """Take a connection in, closing the one that has waited longest if there is no room; False if none waits."""
        if self._count_of_origin[connection.origin] >= self._settings.max_connections_per_address:
            is_admitted = self._displace_one(connection.origin)
        elif len(self._connections) >= self._most:
            is_admitted = self._displace_one(None)
        else:
            is_admitted = True
        if is_admitted:
            self._connections[transport] = connection
            self._count_of_origin[connection.origin] += 1
        return is_admitted

    def forget(self, transport: asyncio.BaseTransport) -> None:
        """Let go of a connection that is closed."""
        connection = self._connections.pop(transport, None)
        if connection is not None:
            self._count_of_origin[connection.origin] -= 1
            if not self._count_of_origin[connection.origin]:
                del self._count_of_origin[connection.origin]

    @web.middleware
    async def note_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note, around everything else, that the connection's request is being handled."""
        transport = request.transport
        connection = None if transport is None else self._connections.get(transport)
        if transport is None or connection is None:
            return await handler(request)
        connection.begin_request(request.content)
        self._connections.move_to_end(transport)
        try:
            return await handler(request)
        finally:
            connection.end_request()
            if transport in self._connections:
                self._connections.move_to_end(transport)

    async def look_after(self, supervisor: Supervisor) -> None:
        """Close what is overdue, once a second."""
        while True:
            supervisor.beat()
            await asyncio.sleep(_LOOK_SECONDS)
            now = self.now()
            for connection in [each for each in self._connections.values() if each.is_overdue(now, self._settings)]:
                connection.abort()
            if self._displaced and now - self._told_at > _TELL_SECONDS:
                self._tell_of_crowd(now)

    def _displace_one(self, origin: str | None) -> bool:
        self._displaced += 1
        for transport, connection in self._connections.items():
            if origin in {None, connection.origin} and connection.waits_for_client():
                self.forget(transport)
                connection.abort()
                return True
        return False

    def _tell_of_crowd(self, now: float) -> None:
        [(origin, from_it)] = self._count_of_origin.most_common(1) or [("", 0)]
        _log.warning(
            "connections.crowded",
            displaced=self._displaced,
            open=len(self._connections),
            most_from=origin,
            from_it=from_it,
        )
        self._displaced = 0
        self._told_at = now


class _WithoutGarbage(logging.Filter):
    """Leaves out the traceback that aiohttp logs for every request that it cannot read and answers 400."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_WITHOUT_GARBAGE = _WithoutGarbage()


class GuardedRunner(web.AppRunner):
    """Runs an application whose connections are guarded."""

    __slots__ = ("_guard", "_supervisor")

    def __init__(self, app: web.Application, settings: ServerSettings, supervisor: Supervisor, **options: Any) -> None:
        logger = logging.getLogger(__name__)
        logger.addFilter(_WITHOUT_GARBAGE)
        super().__init__(app, logger=logger, **options)
        self._guard = ConnectionGuard(settings)
        self._supervisor = supervisor
        app.middlewares.insert(0, self._guard.note_request)
        app.cleanup_ctx.append(self._run_guard)

    async def _run_guard(self, _app: web.Application) -> AsyncIterator[None]:
        task = self._supervisor.start("connections", self._guard.look_after(self._supervisor), beats=True)
        yield
        await supervision.stop(task)

    @property
    def server(self) -> Any:
        """What a site takes as the maker of protocols."""
        server = super().server
        return None if server is None else lambda: self._guard.protocol(server())


def _most_connections(wanted: int) -> int:
    """Return how many connections there may be without running out of file descriptors."""
    allowed_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed_files == resource.RLIM_INFINITY or wanted + _RESERVED_FILES <= allowed_files:
        return wanted
    fitting = max(_FEWEST_CONNECTIONS, allowed_files - _RESERVED_FILES)
    _log.warning("connections.limited", wanted=wanted, fitting=fitting, allowed_files=allowed_files)
    return fitting
