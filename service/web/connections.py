"""Bounds on connections, so that idle, dripping and unread ones never keep a delivery out.

aiohttp bounds neither the number of connections nor the time a request's head may take. The guard stands between the
transport and aiohttp's protocol, counts, and knows of each connection whether it waits for its client. Only those are
ever closed: at their deadline, or earlier to make room, the one that has waited longest first. A request that was sent
whole is answered: where nobody can make room, a connection waits to be admitted, and where there is no room for that
either, it is answered 503 with `Retry-After`.
"""

import asyncio
import contextlib
import resource
import select
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

import structlog
from aiohttp import StreamReader, web

from service.config.settings import ServerSettings
from service.errors import ErrorCode, ServiceError
from service.supervision import Supervisor
from service.web.addresses import origin_of
from service.web.errors import raw_answer

_log = structlog.get_logger()

_MAX_HEAD_BYTES = 32_768
_HEAD_END = b"\r\n\r\n"
_MAX_UNREAD_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 60.0
# A client that has connected sends its request at once, and one in the middle of a body goes on with it.
_SILENT_SECONDS = 1.0
# Refused connections stay until their client has read the answer; beyond these they are cut.
_MAX_REFUSED = 32
# Files of the store, calls to Cordial, and what a turn of the event loop accepts before it is counted.
_RESERVED_FILES = 500
_FEWEST_CONNECTIONS = 16
_FEWEST_WAITING = 4
_MAX_ACCEPTED_AT_ONCE = 128

_HEAD_TOO_LARGE = raw_answer(431, ServiceError(ErrorCode.HEADER_UNREADABLE, "the request's head is too large"))
_CROWDED = raw_answer(
    503,
    ServiceError(ErrorCode.NOT_READY, "there are too many connections; send again soon", retry_after_seconds=1),
)


class _Connection(asyncio.Protocol):
    """One connection: hands everything on to aiohttp's protocol and notes for whom it waits."""

    def __init__(self, guard: "ConnectionGuard", http: asyncio.Protocol) -> None:
        self.origin = ""
        self._guard = guard
        self._http = http
        self._transport: asyncio.Transport | None = None
        self._is_admitted = False
        self._kept = b""
        self._is_discarding = False
        # The client has closed its side, so that this request is its last.
        self.has_sent_all = False
        self._is_served = False
        self._served_before = False
        self._body: StreamReader | None = None
        self._head_began_at: float | None = None
        self._head_bytes = 0
        self._head_tail = b""
        self._is_head_complete = False
        self._waiting_since = guard.now()
        self._heard_at = self._waiting_since
        self._unread_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a server for streams makes no other
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.origin = origin_of(str(peer[0])) if isinstance(peer, tuple) else ""
        self._guard.enter(transport, self)

    def admit(self) -> None:
        """Let aiohttp's protocol take the connection over, with what its client has sent until now."""
        transport = self._transport
        if transport is None:
            return
        self._is_admitted = True
        self._waiting_since = self._guard.now()
        self._http.connection_made(transport)
        if self._kept:
            kept, self._kept = self._kept, b""
            transport.resume_reading()
            self.data_received(kept)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        transport, self._transport = self._transport, None
        self._guard.forget(transport)
        if self._is_admitted:
            self._http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_discarding:
            return
        self._heard_at = self._guard.now()
        if not self._is_admitted:
            self._kept += data
            if self._transport is not None:
                self._transport.pause_reading()
            self._guard.admit_waiting()
            return
        if not self._is_served and not self._has_unread_body() and not self._is_head_complete:
            self._note_head(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._guard.tell_unreadable("head too large")
            self.refuse(_HEAD_TOO_LARGE)
        else:
            self._http.data_received(data)

    def eof_received(self) -> bool | None:
        """Keep the connection open for the answer where a client has sent its whole request and says that it sends no more."""
        is_whole = (self._is_served or self._is_head_complete) and not self._has_unread_body()
        if is_whole and self._transport is not None:
            self.has_sent_all = True
            # Over TLS there is no such half of a connection.
            return self._transport.get_extra_info("sslcontext") is None
        return self._http.eof_received() if self._is_admitted else None

    def pause_writing(self) -> None:
        self._unread_since = self._guard.now()
        if self._is_admitted:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        if self._is_admitted:
            self._http.resume_writing()

    @property
    def has_sent(self) -> bool:
        """Whether the client has sent something that was not handled yet, while the connection waits to be admitted."""
        return bool(self._kept)

    def begin_request(self, body: StreamReader) -> None:
        """Note that a request's head is complete and a handler is at work on it."""
        self._is_served = True
        self._body = body
        if self.has_sent_all and self._has_unread_body():
            # The head was whole, the body is not.
            self.abort()

    def end_request(self) -> None:
        """Note that the handler is done, and the next request is waited for."""
        self._is_served = False
        self._served_before = True
        self._head_began_at = None
        self._head_bytes = 0
        self._head_tail = b""
        self._is_head_complete = False
        self._waiting_since = self._guard.now()

    def discard_the_rest(self) -> None:
        """Throw away unseen whatever the client goes on to send."""
        self._is_discarding = True

    def refuse(self, answer: bytes) -> None:
        """Answer, and close once the client has had the time to read it."""
        self._is_discarding = True
        self._waiting_since = self._guard.now()
        if self._transport is not None:
            self._transport.resume_reading()
            self._transport.write(answer)
            self._guard.close_soon(self._transport)

    def can_make_room(self, now: float) -> bool:
        """Whether nothing goes on before the client sends or reads, and no request that was sent whole is lost."""
        if self._unread_since is not None:
            return True
        if self._has_unread_body():
            return now - self._heard_at > _SILENT_SECONDS
        if self._is_served or self._is_head_complete or self._kept:
            return False
        if self._head_began_at is None and not self._served_before and now - self._waiting_since <= _SILENT_SECONDS:
            return False
        return self._transport is None or not _has_unread_input(self._transport)

    def is_overdue(self, now: float, settings: ServerSettings) -> bool:
        """Whether the client has been waited for longer than it may be.

        A body has a deadline of its own where it is read.
        """
        if self._unread_since is not None:
            return now - self._unread_since > _MAX_UNREAD_SECONDS
        if self._is_served or self._has_unread_body() or self._is_head_complete or self._kept:
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
    """Admits connections up to the bounds of `[server]`, and closes those whose clients keep it waiting.

    `tell_unreadable` is told why a request could not be read.
    """

    def __init__(
        self,
        settings: ServerSettings,
        tell_unreadable: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.tell_unreadable = tell_unreadable
        self._settings = settings
        self._max_connections = _fitting_connections(settings.max_connections)
        # So many may wait beyond those admitted, for a place of their own address or of any.
        self._waiting_places = max(_FEWEST_WAITING, self._max_connections // 4)
        # In the order in which they were last heard of: the first has waited longest.
        self._admitted: OrderedDict[asyncio.BaseTransport, _Connection] = OrderedDict()
        self._waiting: OrderedDict[asyncio.BaseTransport, _Connection] = OrderedDict()
        self._max_refused = min(_MAX_REFUSED, self._max_connections // 2)
        self._refused: dict[asyncio.BaseTransport, float] = {}
        self._admitted_from: Counter[str] = Counter()
        self._waiting_from: Counter[str] = Counter()
        self._displaced = 0
        self._refusals = 0
        self._told_at = float("-inf")

    @property
    def accepted_at_once(self) -> int:
        """How many connections the event loop may accept in one turn, before any of them is counted."""
        return min(_MAX_ACCEPTED_AT_ONCE, self._max_connections // 2)

    def protocol(self, http: asyncio.Protocol) -> asyncio.Protocol:
        """Return the protocol to give to the transport in place of `http`."""
        return _Connection(self, http)

    def enter(self, transport: asyncio.BaseTransport, connection: _Connection) -> None:
        """Admit a new connection if there is room or one can make room; else let it wait, or refuse it."""
        if self._has_room_for(connection.origin):
            self._admit(transport, connection)
        elif self._may_wait(connection.origin):
            self._waiting[transport] = connection
            self._waiting_from[connection.origin] += 1
        else:
            self._refuse(connection)

    def forget(self, transport: asyncio.BaseTransport) -> None:
        """Stop counting a connection that is closed."""
        self._refused.pop(transport, None)
        self._remove(transport)
        self.admit_waiting()

    @contextlib.contextmanager
    def handling(self, request: web.BaseRequest) -> Iterator[_Connection | None]:
        """Note, around everything else, that the connection's request is being handled."""
        transport = request.transport
        connection = None if transport is None else self._admitted.get(transport)
        if transport is None or connection is None:
            yield None
            return
        connection.begin_request(request.content)
        self._admitted.move_to_end(transport)
        try:
            yield connection
        finally:
            connection.end_request()
            if transport in self._admitted:
                self._admitted.move_to_end(transport)

    def is_waited_for(self, connection: _Connection) -> bool:
        """Whether another connection waits for this one's place, so that it is to close after its answer."""
        return bool(self._waiting) and (
            self._waiting_from[connection.origin] > 0 or len(self._admitted) >= self._max_connections
        )

    def close_soon(self, transport: asyncio.Transport) -> None:
        """Close a connection that was refused, when its client has had the time to read why."""
        self._remove(transport)
        if len(self._refused) >= self._max_refused:
            transport.close()
        else:
            self._refused[transport] = self.now()
        self.admit_waiting()

    def close(self) -> None:
        """Close the connections that aiohttp does not know."""
        for transport in [*self._waiting, *self._refused]:
            transport.close()

    async def look_after(self, supervisor: Supervisor) -> None:
        """Close what is overdue, once a second."""
        while True:
            supervisor.beat()
            await asyncio.sleep(_LOOK_SECONDS)
            now = self.now()
            everyone = [*self._admitted.values(), *self._waiting.values()]
            for connection in [each for each in everyone if each.is_overdue(now, self._settings)]:
                connection.abort()
            for transport in [each for each, since in self._refused.items() if now - since > _SILENT_SECONDS]:
                transport.close()
            self.admit_waiting()
            if (self._displaced or self._refusals) and now - self._told_at > _TELL_SECONDS:
                self._tell_of_crowd(now)

    def _has_room_for(self, origin: str) -> bool:
        """Tell whether one more may be admitted, closing the one that has waited longest if that makes room."""
        if self._admitted_from[origin] >= self._settings.max_connections_per_address:
            return self._displace(self._admitted, origin)
        return len(self._admitted) < self._max_connections or self._displace(self._admitted, None)

    def _may_wait(self, origin: str) -> bool:
        if len(self._admitted) + len(self._waiting) < self._max_connections + self._waiting_places:
            return True
        if self._displace(self._waiting, None):
            return True
        bound = self._settings.max_connections_per_address
        if self._admitted_from[origin] < bound:
            # Who waits only for a place of its own address keeps no other address out.
            for connection in reversed(self._waiting.values()):
                if self._admitted_from[connection.origin] >= bound:
                    self._refuse(connection)
                    return True
        return False

    def _displace(self, among: OrderedDict[asyncio.BaseTransport, _Connection], origin: str | None) -> bool:
        now = self.now()
        for transport, connection in among.items():
            if origin in {None, connection.origin} and connection.can_make_room(now):
                self._displaced += 1
                self._remove(transport)
                connection.abort()
                return True
        return False

    def _refuse(self, connection: _Connection) -> None:
        self._refusals += 1
        connection.refuse(_CROWDED)

    def _admit(self, transport: asyncio.BaseTransport, connection: _Connection) -> None:
        self._admitted[transport] = connection
        self._admitted_from[connection.origin] += 1
        connection.admit()

    def admit_waiting(self) -> None:
        """Admit those that have sent something and now fit, the one that has waited longest first."""
        full: set[str] = set()
        for transport, connection in list(self._waiting.items()):
            if not connection.has_sent or connection.origin in full or transport not in self._waiting:
                continue
            if self._has_room_for(connection.origin):
                self._remove(transport)
                self._admit(transport, connection)
            else:
                full.add(connection.origin)

    def _remove(self, transport: asyncio.BaseTransport) -> None:
        for among, counts in ((self._admitted, self._admitted_from), (self._waiting, self._waiting_from)):
            connection = among.pop(transport, None)
            if connection is not None:
                counts[connection.origin] -= 1
                if not counts[connection.origin]:
                    del counts[connection.origin]

    def _tell_of_crowd(self, now: float) -> None:
        [(origin, from_it)] = self._admitted_from.most_common(1) or [("", 0)]
        _log.warning(
            "connections.crowded",
            displaced=self._displaced,
            refused=self._refusals,
            open=len(self._admitted),
            most_from=origin,
            from_it=from_it,
        )
        self._displaced = self._refusals = 0
        self._told_at = now


def _has_unread_input(transport: asyncio.BaseTransport) -> bool:
    """Whether the client has sent something that the event loop has not read yet."""
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN | select.POLLRDHUP)
    return any(events == select.POLLIN for _, events in poll.poll(0))


def _fitting_connections(wanted: int) -> int:
    """Return how many connections there may be without running out of file descriptors."""
    allowed_files, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed_files = wanted + _RESERVED_FILES
    if allowed_files not in {resource.RLIM_INFINITY, max_files} and allowed_files < needed_files:
        allowed_files = needed_files if max_files == resource.RLIM_INFINITY else min(needed_files, max_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed_files, max_files))
    if allowed_files == resource.RLIM_INFINITY or needed_files <= allowed_files:
        return wanted
    fitting = max(_FEWEST_CONNECTIONS, allowed_files - _RESERVED_FILES)
    _log.warning("connections.limited", wanted=wanted, fitting=fitting, allowed_files=allowed_files)
    return fitting
