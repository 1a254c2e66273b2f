"""A network in memory: connections that delay, lose, cut and forget, and an observer who sees every call on the wire."""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.clocks import CLOCK

_LOSS_SECONDS = 0.001
# What of the requests may come twice; in this time all of one is written.
_DOUBLED = ("/webhooks/", "/v2/accountlists")
_WRITING_SECONDS = 0.001


@dataclass(frozen=True)
class Weather:
    """What may happen to a request on its way to one address; chances from 0 to 1.

    `lost_request`, `lost_answer`: nothing more comes through in that direction, and nobody is told (half open).
    `cut_answer`: the connection is reset when the answer should come. `slow`: the request arrives late, up to
    `slow_seconds`, which may be after its sender gave it up. `refused`: nobody listens. `doubled`: a page of Heap's, or the
    creation of a list, arrives once more, up to `slow_seconds` later; of other calls, only their sender could put in order
    what came twice.
    """

    delay_seconds: tuple[float, float] = (0.0005, 0.005)
    lost_request: float = 0.0
    lost_answer: float = 0.0
    cut_request: float = 0.0
    cut_answer: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 60.0
    refused: float = 0.0
    doubled: float = 0.0


@dataclass
class Call:
    """One request on the wire, as its sender sees it."""

    port: int
    life: str
    method: str
    path: str
    began_at: float
    number: int
    # When the sender got the first byte of the answer, or lost the connection; until then it is in flight.
    ended_at: float | None = None
    status: int | None = None
    head: bytes = b""
    body: bytes = b""
    answer: bytes = b""


@dataclass
class Observer:
    """Told of each call on the wire, and of each connection to a port that is refused."""

    began: Callable[[Call], None] = lambda _call: None
    ended: Callable[[Call], None] = lambda _call: None
    refused: Callable[[int], None] = lambda _port: None


class FakeSocket:
    """What is asked of a connection's socket beside reading and writing."""

    family = 2

    def __init__(self, name: tuple[str, int]) -> None:
        self._name = name

    def setsockopt(self, *_arguments: Any) -> None:
        pass

    def getsockopt(self, *_arguments: Any) -> int:
        return 0

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def fileno(self) -> int:
        return -1


class MemoryServer:
    """What `create_server` returns."""

    def __init__(self, network: "Network", port: int, name: tuple[str, int]) -> None:
        self._network = network
        self._port = port
        self.sockets = [FakeSocket(name)]

    def close(self) -> None:
        listener = self._network.listeners.get(self._port)
        if listener is not None and listener.server is self:
            del self._network.listeners[self._port]

    async def wait_closed(self) -> None:
        pass


@dataclass
class _Listener:
    make: Callable[[], Any]
    context: contextvars.Context
    life: str
    server: MemoryServer | None = None


@dataclass
class _Direction:
    """Bytes on their way to one end, in order."""

    to: "End | None" = None
    items: deque[bytes | Exception | None] = field(default_factory=deque)
    last_at: float = 0.0
    is_lost: bool = False


class End(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", protocol: Any, life: str, context: contextvars.Context) -> None:
        super().__init__()
        self._network = network
        self._protocol = protocol
        self.life = life
        self.context = context
        self.port = 0
        self.is_client = False
        self.is_open = False
        self.sends = _Direction()
        self.receives = _Direction()
        self.call: Call | None = None
        self._is_closing = False
        self._is_lost = False
        self._is_paused = False
        self._kept: deque[bytes | Exception | None] = deque()
        self._extra = {
            "peername": ("10.0.0.9", 50_000),
            "sockname": ("10.0.0.1", 1),
            "socket": FakeSocket(("10.0.0.1", 1)),
        }

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def is_closing(self) -> bool:
        return self._is_closing

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if self._kept:
                self._network.soon(self, self.catch_up)

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 65_536)

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        if self._is_closing or not data:
            return
        self._network.send(self, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._network.finish(self, None)
            self._network.later(self, self._lose, None)

    def abort(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._network.finish(self, ConnectionResetError("reset by peer"))
        self._network.later(self, self._lose, None)

    def arrive(self, item: "bytes | Exception | None") -> None:
        """Take what the other end sent: bytes, the end, or a reset."""
        if self._is_lost:
            return
        if self._is_paused or self._kept or not self.is_open:
            self._kept.append(item)
            return
        self._take(item)

    def catch_up(self) -> None:
        """Take what arrived while nothing was taken."""
        while self._kept and not self._is_paused and not self._is_lost:
            self._take(self._kept.popleft())

    def _take(self, item: "bytes | Exception | None") -> None:
        if isinstance(item, bytes):
            if not self._is_closing:
                self._network.note_arrival(self, item)
                self._protocol.data_received(item)
        elif item is None:
            if not self._is_closing and not self._protocol.eof_received():
                self.close()
        else:
            self._is_closing = True
            self._network.later(self, self._lose, item)

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._network.note_loss(self)
        self._protocol.connection_lost(error)


class Network:
    """All connections there are; each address has its weather."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.listeners: dict[int, _Listener] = {}
        self.weather: dict[int, Weather] = {}
        self.observer = Observer()
        self._ends: list[End] = []
        self._loop: Any = None
        self._calls = 0

    def attach(self, loop: Any) -> None:
        """Use this loop for what takes time."""
        self._loop = loop

    def listen(self, make: Callable[[], Any], host: str, port: int) -> MemoryServer:
        if port in self.listeners:
            raise OSError(98, "address in use")
        context = contextvars.copy_context()
        listener = _Listener(make, context, life_in(context))
        listener.server = MemoryServer(self, port, (host, port))
        self.listeners[port] = listener
        return listener.server

    async def dial(self, port: int) -> None:
        """Wait as long as a connection takes; raises `OSError` when nobody listens."""
        weather = self._weather(port)
        arrival = self._loop.create_future()
        self._loop.call_later(self.chance.uniform(*weather.delay_seconds), _arrived, arrival)
        await arrival
        if port not in self.listeners or self.chance.random() < weather.refused:
            self.observer.refused(port)
            raise ConnectionRefusedError(111, "connection refused")

    def connect(self, protocol: Any, port: int) -> tuple[End, Any]:
        if port not in self.listeners:
            self.observer.refused(port)
            raise ConnectionRefusedError(111, "connection refused")
        listener = self.listeners[port]
        here = contextvars.copy_context()
        client = End(self, protocol, life_in(here), here)
        server_protocol = listener.context.run(listener.make)
        server = End(self, server_protocol, listener.life, listener.context.copy())
        client.port = server.port = port
        client.is_client = client.is_open = True
        client.sends.to, server.sends.to = server, client
        client.receives, server.receives = server.sends, client.sends
        self._ends += [client, server]
        protocol.connection_made(client)
        self.soon(server, self._open, server)
        return client, protocol

    def soon(self, end: End, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something on behalf of an end's owner."""
        self._loop.call_soon(function, *arguments, context=end.context)

    def later(self, end: End, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something on behalf of an end's owner, once what it was called for before is most likely done."""
        self._loop.call_later(_LOSS_SECONDS, function, *arguments, context=end.context)

    def cut_off(self, life: str) -> None:
        """Reset the connections of a process that is gone, and listen for it no more."""
        self.listeners = {port: each for port, each in self.listeners.items() if each.life != life}
        for end in [end for end in self._ends if end.life == life]:
            self.finish(end, ConnectionResetError("reset by peer"))
            self.note_loss(end)

    def send(self, end: End, data: bytes) -> None:
        weather = self._weather(end.port)
        delay = self.chance.uniform(*weather.delay_seconds)
        if end.is_client:
            if _begins_request(data) and (end.call is None or end.call.ended_at is not None):
                delay += self._begin_call(end, data, weather)
            elif end.call is not None:
                end.call.body += data
        self._put(end, data, delay)

    def finish(self, end: End, item: "Exception | None") -> None:
        """Send the end of a connection, or a reset."""
        self._put(end, item, self.chance.uniform(*self._weather(end.port).delay_seconds))

    def note_arrival(self, end: End, data: bytes) -> None:
        """Note that the sender of a call has got something of the answer."""
        call = end.call
        if not end.is_client or call is None:
            return
        call.answer += data
        if call.ended_at is None:
            call.ended_at = CLOCK.now
            call.status = int(data[9:12]) if data[:5] == b"HTTP/" else None
            self.observer.ended(call)

    def note_loss(self, end: End) -> None:
        """Note that a connection is gone for one of its ends."""
        call = end.call
        if end.is_client and call is not None and call.ended_at is None:
            call.ended_at = CLOCK.now
            self.observer.ended(call)
        if end in self._ends:
            self._ends.remove(end)

    def _open(self, server: End) -> None:
        server.is_open = True
        server.get_protocol().connection_made(server)
        server.catch_up()

    def _begin_call(self, end: End, data: bytes, weather: Weather) -> float:
        """Note a call, and draw what becomes of it; return by how much it is late."""
        head, _, body = data.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        self._calls += 1
        call = end.call = Call(end.port, end.life, method, path, CLOCK.now, self._calls, head=head, body=body)
        draw = self.chance.random
        if weather.doubled and path.startswith(_DOUBLED) and method == "POST" and draw() < weather.doubled:
            self._loop.call_later(_WRITING_SECONDS + draw() * weather.slow_seconds, self._send_again, call)
        if draw() < weather.lost_request:
            end.sends.is_lost = True
        if draw() < weather.lost_answer:
            end.receives.is_lost = True
        if draw() < weather.cut_request:
            self._loop.call_later(draw() * 0.002, self._cut, end)
        elif draw() < weather.cut_answer and end.receives.to is not None:
            end.receives.items.append(ConnectionResetError("reset by peer"))
            end.receives.is_lost = True
            self._loop.call_later(draw() * 2, self._deliver, end.receives, context=end.context)
        self.observer.began(call)
        return draw() * weather.slow_seconds if draw() < weather.slow else 0.0

    def _send_again(self, call: Call) -> None:
        """Send a request on a connection of its own, as a proxy does that tries again; nobody hears the answer."""
        if call.port in self.listeners:
            context = self.listeners[call.port].context.copy()
            end, _ = context.run(self.connect, asyncio.Protocol(), call.port)
            self._put(end, call.head + b"\r\n\r\n" + call.body, _FAIR.delay_seconds[1])

    def _cut(self, end: End) -> None:
        for direction in (end.sends, end.receives):
            if direction.to is not None:
                direction.items.clear()
                direction.items.append(ConnectionResetError("reset by peer"))
                direction.is_lost = True
                self._loop.call_soon(self._deliver, direction, context=direction.to.context)

    def _put(self, end: End, item: "bytes | Exception | None", delay: float) -> None:
        direction = end.sends
        if direction.is_lost or direction.to is None:
            return
        direction.items.append(item)
        direction.last_at = max(direction.last_at, CLOCK.now + delay)
        self._loop.call_at(direction.last_at, self._deliver, direction, context=direction.to.context)

    def _deliver(self, direction: _Direction) -> None:
        if direction.items and direction.to is not None:
            direction.to.arrive(direction.items.popleft())

    def _weather(self, port: int) -> Weather:
        return self.weather.get(port, _FAIR)


_FAIR = Weather()


def _arrived(arrival: "asyncio.Future[None]") -> None:
    if not arrival.done():
        arrival.set_result(None)


def life_in(context: contextvars.Context) -> str:
    for variable, value in context.items():
        if variable.name == "LIFE":
            return str(value)
    return ""


def _begins_request(data: bytes) -> bool:
    return data[:4] in {b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"PATC"}
