"""An event loop of virtual time: a seeded chance picks which ready callback runs next, and nothing ever waits for real.

Whoever runs belongs to a *life*: the service from one start to its end, the stand-in, the sender. A life that is cut off
never runs again: its callbacks are dropped, as those of a killed process are.
"""

import asyncio
import contextvars
import heapq
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.clocks import CLOCK
from tests.simulation.network import Network

LIFE: contextvars.ContextVar[str] = contextvars.ContextVar("LIFE", default="")

# What a callback costs. Without it, whoever waits in a loop of zero seconds would wait for ever.
_STEP_SECONDS = 0.00002
_DISK_SECONDS = (0.0001, 0.003)
# The callbacks of the wire and the disk.
_PROMPT = {"_arrived", "_deliver", "_lose", "_run_into", "_work"}


class StuckError(Exception):
    """Nothing is left to run."""


class SimulationLoop(asyncio.BaseEventLoop):
    """Runs everything in one thread; `coarseness` is how late a sleeper may wake where there is nothing else to do."""

    # The base class's: what is to run now, and later.
    _ready: deque[Any]
    _scheduled: list[Any]

    def __init__(self, chance: random.Random, network: Network, *, shuffles: bool) -> None:
        super().__init__()
        self.chance = chance
        self.network = network
        self.shuffles = shuffles
        self.coarseness = 0.0
        self.disk_factor = 1.0
        self.steps = 0
        # Called at each step with the number of steps so far.
        self.on_step: Callable[[], None] = lambda: None
        self._cut_off: set[str] = set()
        # Of what is scheduled, what is no sleeper; what has run since is left out when the next is looked for.
        self._prompt: list[Any] = []
        # Tasks of lives cut off: were they collected, their `finally` would run in a process that is gone.
        self._graveyard: list[Any] = []
        self._dialled: dict[socket.socket, tuple[str, int]] = {}
        network.attach(self)

    def time(self) -> float:
        return CLOCK.now

    # The base class's, without its generics.
    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = super().call_at(when, callback, *args, context=context)
        if _is_prompt(handle):
            heapq.heappush(self._prompt, handle)
        return handle

    def cut_off(self, life: str) -> None:
        """End a life as `kill -9` does."""
        self._cut_off.add(life)
        self._graveyard += [*asyncio.all_tasks(self), *self._ready, *self._scheduled]
        self.network.cut_off(life)

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._advance()
        self._collect_due()
        if not ready:
            return
        if self.shuffles and len(ready) > 1:
            position = self.chance.randrange(len(ready))
            handle = ready[position]
            del ready[position]
        else:
            handle = ready.popleft()
        if handle._cancelled or (self._cut_off and _life_of(handle) in self._cut_off):
            return
        CLOCK.now += _STEP_SECONDS
        self.steps += 1
        handle._run()
        self.on_step()

    def _advance(self) -> None:
        scheduled = self._scheduled
        while scheduled and (scheduled[0]._cancelled or _life_of(scheduled[0]) in self._cut_off):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
        if not scheduled:
            raise StuckError("nothing is left to run, and nothing is waited for")
        prompt = self._prompt
        while prompt and (prompt[0]._cancelled or not prompt[0]._scheduled):
            heapq.heappop(prompt)
        wakes_at = scheduled[0]._when + self.coarseness
        if self.coarseness and prompt:
            wakes_at = min(wakes_at, prompt[0]._when)
        CLOCK.now = max(CLOCK.now, wakes_at)

    def _collect_due(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._when <= CLOCK.now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)

    # What a selector would do.

    def _process_events(self, event_list: Any) -> None:
        """There are no events from a selector."""

    def _write_to_self(self) -> None:
        """Everybody is on this thread."""

    # Threads: work is done here, a little later, one piece after the other where it was given to one thread.

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]  # noqa: ARG002  the loop's signature
        future = self.create_future()
        self.call_later(self.disk_seconds(), _run_into, future, lambda: func(*args))
        return future

    def disk_seconds(self) -> float:
        """Draw how long a piece of work on the disk or on a thread takes."""
        return self.chance.uniform(*_DISK_SECONDS) * self.disk_factor

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    # The network.

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await self.network.dial(address[1])
        self._dialled[sock] = address

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,  # noqa: ARG002  the loop's signature
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        **_options: Any,
    ) -> Any:
        if sock is not None:
            _, port = self._dialled.pop(sock)
            sock.close()
        else:
            await self.network.dial(port or 0)
        return self.network.connect(protocol_factory(), port or 0)

    async def create_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        return self.network.listen(protocol_factory, host, port)


class InlineQueue:
    """In place of the queue between aiosqlite and its thread: the loop does the work, one piece after the other."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Callable[[], Any]]] = deque()
        self._is_working = False

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        self._waiting.append(item)
        if not self._is_working:
            self._is_working = True
            self._plan()

    def _plan(self) -> None:
        loop = asyncio.get_event_loop()
        assert isinstance(loop, SimulationLoop)
        loop.call_later(loop.disk_seconds(), self._work)

    def _work(self) -> None:
        future, function = self._waiting.popleft()
        _run_into(future, function)
        if self._waiting:
            self._plan()
        else:
            self._is_working = False


class NoThread:
    """In place of aiosqlite's thread."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


def _run_into(future: Any, function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  told to whoever waits, as aiosqlite and executors do
        if future is not None:
            # Told a step later, as a thread would: whatever comes in between may be a crash.
            future.get_loop().call_soon(_tell, future, None, error)
    else:
        if future is not None:
            future.get_loop().call_soon(_tell, future, result, None)


def _tell(future: Any, result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError(str(error)))
    else:
        future.set_exception(error)


def _is_prompt(handle: Any) -> bool:
    """Whether it is on its way on the wire or the disk, or no part of the service: none of these sleeps too long."""
    return getattr(handle._callback, "__name__", "") in _PROMPT or not _life_of(handle).startswith("service-")


def _life_of(handle: Any) -> str:
    life: str = handle._context.get(LIFE, "")
    return life
