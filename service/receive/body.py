"""Reading request bodies within bounds, whatever a client claims, compresses or delays."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator

import msgspec
from aiohttp import web

from service.errors import ErrorCode, ServiceError

_LEAST_BYTES_PER_SECOND = 16_384
_HELD_BODIES = 4
_RETRY_AFTER_SECONDS = 5

# The container formats of zlib, by the `Content-Encoding` they go with.
_ZLIB_FORMATS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_MAX_UNFOLDED_AT_ONCE = 262_144
# Whose body it is shows only once it is unfolded, because Heap signs the JSON. Pages become some 10 to 20 times smaller; what
# claims more is refused before it costs much.
_MAX_RATIO = 50
_MAX_UNFOLDED_ANYWAY = 1_048_576


class Timings(msgspec.Struct, frozen=True):
    """How long a body may take, in seconds: `first` at least, more for what has come, `longest` at most.

    Heap has its page ready when it connects; who needs longer occupies a connection and sends no page.
    """

    first: float = 10.0
    longest: float = 60.0


class _Reading:
    """One body on its way."""

    def __init__(self, deadline: asyncio.Timeout, timings: Timings) -> None:
        self._deadline = deadline
        self._timings = timings
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._body_bytes = 0
        self.held_bytes = 0
        self.has_given_way = False

    def took(self, chunk: bytes) -> None:
        """Count a piece, and give the next ones the time that they have earned."""
        self._body_bytes += len(chunk)
        self.held_bytes += len(chunk)
        self.allow_time()

    def allow_time(self) -> None:
        """Set the deadline by what has come so far."""
        seconds = min(self._timings.longest, self._timings.first + self._body_bytes / _LEAST_BYTES_PER_SECOND)
        self._deadline.reschedule(self._began_at + seconds)

    def give_way(self) -> None:
        """End the reading; it is answered that it may come again."""
        self.has_given_way = True
        self.held_bytes = 0
        self._deadline.reschedule(self._loop.time())

    def bytes_per_second(self) -> float:
        """Return how fast it has come so far."""
        return self._body_bytes / max(self._loop.time() - self._began_at, 0.001)


class BodyReader:
    """Reads bodies of at most `max_body_bytes`, and holds at most four times as much at once, finished or not.

    Who sends slowest gives way when there are more: a body half sent and left hanging would otherwise keep others out.
    Compressed bodies are unfolded on another thread, one at a time, and no further than `max_body_bytes`.
    """

    def __init__(self, max_body_bytes: int, timings: Timings | None = None) -> None:
        self.max_body_bytes = max_body_bytes
        self._timings = timings or Timings()
        self._whole_bytes = 0
        self._readings: set[_Reading] = set()
        self._unfolding = asyncio.Lock()

    def check_declared_length(self, request: web.BaseRequest) -> None:
        """Refuse a body that says itself that it is too large, before any of it is read.

        Raises `ServiceError` (`BODY_TOO_LARGE`).
        """
        if (request.content_length or 0) > self.max_body_bytes:
            raise _too_large(self.max_body_bytes)

    @contextlib.asynccontextmanager
    async def body(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """Give the whole body, decompressed, which counts as held until the block ends.

        Raises `ServiceError`: `BODY_TOO_LARGE`, `BODY_UNREADABLE` when it is cut short, badly compressed, takes longer
        than a minute or less than 16 KiB a second after the first ten seconds, `NOT_READY` when too many large bodies
        are held at once and this one is the slowest of those on their way.
        """
        self.check_declared_length(request)
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _ZLIB_FORMATS and encoding not in {"identity", ""}:
            raise ServiceError(
                ErrorCode.BODY_UNREADABLE, "the body's Content-Encoding is not supported; send gzip, deflate or none"
            )
        try:
            at_hand = request.content.is_eof()
            body = self._read_at_hand(request) if at_hand else await self._read_as_it_comes(request)
        except web.RequestPayloadError as error:
            raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is incomplete or badly encoded") from error
        with contextlib.ExitStack() as held:
            held.enter_context(self._holding(len(body)))
            if encoding in _ZLIB_FORMATS:
                async with self._unfolding:
                    max_bytes = min(self.max_body_bytes, max(_MAX_UNFOLDED_ANYWAY, _MAX_RATIO * len(body)))
                    body = await asyncio.to_thread(_unfold, body, encoding, max_bytes)
                held.enter_context(self._holding(len(body)))
            yield body

    @contextlib.contextmanager
    def _holding(self, body_bytes: int) -> Iterator[None]:
        self._whole_bytes += body_bytes
        try:
            if self._held_bytes() > self._max_held_bytes():
                raise _crowded()
            yield
        finally:
            self._whole_bytes -= body_bytes

    def _held_bytes(self) -> int:
        return self._whole_bytes + sum(reading.held_bytes for reading in self._readings)

    def _max_held_bytes(self) -> int:
        return _HELD_BODIES * self.max_body_bytes

    def _read_at_hand(self, request: web.BaseRequest) -> bytes:
        body = request.content.read_nowait()
        if len(body) > self.max_body_bytes:
            raise _too_large(self.max_body_bytes)
        return body

    async def _read_as_it_comes(self, request: web.BaseRequest) -> bytes:
        deadline = asyncio.timeout(None)
        reading = _Reading(deadline, self._timings)
        chunks: list[bytes] = []
        self._readings.add(reading)
        try:
            async with deadline:
                reading.allow_time()
                while chunk := await request.content.readany():
                    if reading.has_given_way:
                        break
                    chunks.append(chunk)
                    reading.took(chunk)
                    if reading.held_bytes > self.max_body_bytes:
                        raise _too_large(self.max_body_bytes)
                    self._make_room()
        except TimeoutError:
            if not reading.has_given_way:
                raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body arrived too slowly") from None
        finally:
            self._readings.discard(reading)
        if reading.has_given_way:
            raise _crowded()
        return b"".join(chunks)

    def _make_room(self) -> None:
        while self._held_bytes() > self._max_held_bytes():
            candidates = (reading for reading in self._readings if not reading.has_given_way)
            min(candidates, key=_Reading.bytes_per_second).give_way()


def _unfold(body: bytes, encoding: str, max_bytes: int) -> bytes:
    unfolder = zlib.decompressobj(wbits=_ZLIB_FORMATS[encoding])
    pieces: list[bytes] = []
    unfolded_bytes = 0
    folded = body
    try:
        while not unfolder.eof:
            piece = unfolder.decompress(folded, _MAX_UNFOLDED_AT_ONCE)
            folded = unfolder.unconsumed_tail
            if not piece and not folded:
                break
            pieces.append(piece)
            unfolded_bytes += len(piece)
            if unfolded_bytes > max_bytes:
                raise _too_large(max_bytes)
    except zlib.error:
        raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is badly compressed") from None
    if not unfolder.eof or unfolder.unused_data:
        raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is incomplete or badly compressed")
    return b"".join(pieces)


def _too_large(max_bytes: int) -> ServiceError:
    return ServiceError(ErrorCode.BODY_TOO_LARGE, f"the body is larger than {max_bytes} bytes")


def _crowded() -> ServiceError:
    return ServiceError(
        ErrorCode.NOT_READY,
        "too many large bodies arrive at once; send again soon",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )
