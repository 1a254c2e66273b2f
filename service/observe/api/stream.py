"""The events of the last while, numbered, and those who watch: all bounded, so that nobody can make them grow."""

import asyncio
import contextlib
from collections import deque

import msgspec

from service.errors import ErrorCode, ServiceError

MAX_WATCHERS = 100
_MAX_EVENTS = 256
_MAX_BYTES = 4_194_304
_MAX_BEHIND = 32
_RETRY_AFTER_SECONDS = 30

_encode = msgspec.json.Encoder().encode


class Watcher:
    """One who watches: what is still to be sent to them. Whoever falls too far behind is dropped."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self.is_dropped = False

    def push(self, text: bytes) -> None:
        """Send this next, or drop the watcher."""
        if self.is_dropped:
            return
        if len(self._waiting) >= _MAX_BEHIND:
            self.drop()
        else:
            self._waiting.append(text)
            self._arrived.set()

    def drop(self) -> None:
        """Send nothing more."""
        self.is_dropped = True
        self._waiting.clear()
        self._arrived.set()

    async def next(self, timeout_seconds: float) -> bytes:
        """Return all that is to be sent, waiting for it at most so long; empty if there was nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._arrived.wait()
        text = b"".join(self._waiting)
        self._waiting.clear()
        self._arrived.clear()
        return text


class Stream:
    """Numbers events and hands them to every watcher; keeps the latest for those who come back.

    An event's id is `<run>-<number>`: `run` tells this start of the service from every other.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._number = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._watchers: set[Watcher] = set()

    @property
    def is_watched(self) -> bool:
        """Whether anyone watches."""
        return bool(self._watchers)

    def emit(self, kind: str, document: msgspec.Struct) -> None:
        """Send an event to all who watch, and keep it."""
        self._number += 1
        text = self._event(kind, _encode(document))
        self._kept.append((self._number, text))
        self._kept_bytes += len(text)
        while len(self._kept) > _MAX_EVENTS or self._kept_bytes > _MAX_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[1])
        for watcher in self._watchers:
            watcher.push(text)

    def add(self, last_id: str) -> Watcher:
        """Begin to watch after the event `last_id`, empty for a first time.

        The watcher is sent what it missed, or a `reset` event if that is not kept or not known: then everything is to be
        loaded anew. Raises `ServiceError` (503) when too many watch.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise ServiceError(
                ErrorCode.NOT_READY,
                f"{MAX_WATCHERS} programs watch already, and no more are allowed",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        watcher = Watcher()
        missed = self._missed_since(last_id)
        watcher.push(self._event("reset", b"{}") if missed is None else missed)
        self._watchers.add(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)

    def end(self) -> None:
        """Drop all who watch."""
        for watcher in self._watchers:
            watcher.drop()

    def _missed_since(self, last_id: str) -> bytes | None:
        """Return the events after one, None if not all of them are kept."""
        run, _, text = last_id.rpartition("-")
        if run != self._run or not (text.isascii() and text.isdigit()):
            return None
        number = int(text)
        oldest = self._kept[0][0] if self._kept else self._number + 1
        if not oldest - 1 <= number <= self._number:
            return None
        return b"".join(event for kept, event in self._kept if kept > number)

    def _event(self, kind: str, data: bytes) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._run.encode(), self._number, kind.encode(), data)
