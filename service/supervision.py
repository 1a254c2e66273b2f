"""The one place where long-lived tasks start: each has a name, and one that ends unasked is seen at once (R15)."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

log = structlog.get_logger()

# A loop that beats does so at least every ten seconds, busy or idle. After a minute it is reported.
MAX_SILENCE_SECONDS = 60.0
# Well within the `WatchdogSec` of docs/setups/heap-cordial.service.
_TELL_SECONDS = 2.0
_START_EXTENSION_MICROSECONDS = 30_000_000


class _Watch:
    """What is known of a task: when it last said that it works, if it ever does, and whether it may end now."""

    __slots__ = ("beat_at", "may_end", "name")

    def __init__(self, name: str, beat_at: float | None, may_end: Callable[[], bool]) -> None:
        self.name = name
        self.beat_at = beat_at
        self.may_end = may_end


class Supervisor:
    """Starts the long-lived tasks and watches them. `failed` is set when one has ended that nobody asked to end.

    Whoever cancels a task has asked it to end; `stop` does that and waits.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, max_silence_seconds: float = MAX_SILENCE_SECONDS
    ) -> None:
        self._clock = clock
        self._max_silence_seconds = max_silence_seconds
        self._watches: dict[asyncio.Task[None], _Watch] = {}
        self.failed = asyncio.Event()
        # The names of the tasks that ended unasked.
        self.ended: list[str] = []

    def start(
        self,
        name: str,
        work: Coroutine[Any, Any, None],
        *,
        beats: bool = False,
        may_end: Callable[[], bool] = lambda: False,
    ) -> asyncio.Task[None]:
        """Run `work` as a task until somebody cancels it.

        With `beats`, the work calls `beat` at each turn, at least every ten seconds, so that one that hangs is seen.
        `may_end` is true once the work has been asked to end by itself.
        """
        task = asyncio.create_task(work, name=name)
        self._watches[task] = _Watch(name, self._clock() if beats else None, may_end)
        task.add_done_callback(self._note_end)
        return task

    def beat(self) -> None:
        """Say that the task that calls this works."""
        task = asyncio.current_task()
        watch = self._watches.get(task) if task is not None else None
        if watch is not None:
            watch.beat_at = self._clock()

    @property
    def names(self) -> list[str]:
        """The tasks that run."""
        return [watch.name for watch in self._watches.values()]

    def silences(self) -> dict[str, float]:
        """Return the tasks that have not said for too long that they work, each with its seconds of silence."""
        now = self._clock()
        return {
            watch.name: now - watch.beat_at
            for watch in self._watches.values()
            if watch.beat_at is not None and now - watch.beat_at > self._max_silence_seconds
        }

    def _note_end(self, task: asyncio.Task[None]) -> None:
        watch = self._watches.pop(task)
        is_asked = bool(task.cancelling()) or watch.may_end()
        error = None if task.cancelled() else task.exception()
        if is_asked and error is None:
            return
        log.error("task.ended", task=watch.name, is_stopping=is_asked, exc_info=error)
        if not is_asked:
            self.ended.append(watch.name)
            self.failed.set()


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and return when they have ended, however that was; None stands for one that was never started."""
    started = [task for task in tasks if task is not None]
    for task in started:
        task.cancel()
    await ended(*started)


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Return when tasks have ended that end by themselves now, however that is; the supervisor tells what went wrong."""
    started = [task for task in tasks if task is not None]
    if started:
        await asyncio.wait(started)


class ServiceManager:
    """What systemd, or whoever speaks its protocol (`sd_notify(3)`), is told; nothing where `NOTIFY_SOCKET` is not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def tell(self, *states: str) -> None:
        """Send states such as `READY=1`; one that cannot be sent is lost, which the manager notices by itself."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(states).encode(), self._address)

    async def keep_telling(self, supervisor: Supervisor, is_started: Callable[[], bool]) -> None:
        """Say again and again that the event loop turns, as long as no task has ended unasked.

        A task that is merely silent may work on something large: a restart would have it begin again.

        While it starts, which may take long where the store is upgraded, more time to start is asked for instead.
        """
        while True:
            supervisor.beat()
            if not is_started():
                self.tell(f"EXTEND_TIMEOUT_USEC={_START_EXTENSION_MICROSECONDS}")
            elif not supervisor.ended:
                self.tell("WATCHDOG=1")
            await asyncio.sleep(_TELL_SECONDS)
