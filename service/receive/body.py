"""Reading request bodies within bounds, whatever a client claims, compresses or delays."""

import asyncio

from aiohttp import web

from service.errors import ErrorCode, ServiceError

# Heap has its page ready when it connects; who needs longer than this is holding a connection, not sending a page.
_MAX_READING_SECONDS = 60.0
_HELD_BODIES = 4
_RETRY_AFTER_SECONDS = 5


class BodyReader:
    """Reads bodies of at most `max_body_bytes`, and holds at most four times as much in unfinished ones together.

    Compressed bodies are decompressed piece by piece by aiohttp, and it is the decompressed bytes that count, so a
    small body that would unfold without end stops at the same bound.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = _HELD_BODIES * max_body_bytes
        self._held_bytes = 0

    def check_declared_length(self, request: web.BaseRequest) -> None:
        """Refuse a body that says itself that it is too large, before any of it is read.

        Raises `ServiceError` (`BODY_TOO_LARGE`).
        """
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large()

    async def read(self, request: web.BaseRequest) -> bytes:
        """Return the whole body, decompressed.

        Raises `ServiceError`: `BODY_TOO_LARGE`, `BODY_UNREADABLE` when it is cut short, badly compressed or takes longer
        than a minute, `NOT_READY` when too many large bodies are on their way at once.
        """
        self.check_declared_length(request)
        try:
            if request.content.is_eof():
                return self._read_at_hand(request)
            async with asyncio.timeout(_MAX_READING_SECONDS):
                return await self._read_as_it_comes(request)
        except TimeoutError:
            raise ServiceError(
                ErrorCode.BODY_UNREADABLE, f"the body did not arrive within {_MAX_READING_SECONDS:.0f} s"
            ) from None
        except web.RequestPayloadError as error:
            raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is cut short or badly encoded") from error

    def _read_at_hand(self, request: web.BaseRequest) -> bytes:
        body = request.content.read_nowait()
        if len(body) > self._max_body_bytes:
            raise self._too_large()
        return body

    async def _read_as_it_comes(self, request: web.BaseRequest) -> bytes:
        chunks: list[bytes] = []
        body_bytes = 0
        try:
            while chunk := await request.content.readany():
                chunks.append(chunk)
                body_bytes += len(chunk)
                self._held_bytes += len(chunk)
                if body_bytes > self._max_body_bytes:
                    raise self._too_large()
                if self._held_bytes > self._max_held_bytes:
                    raise ServiceError(
                        ErrorCode.NOT_READY,
                        "too many large bodies are on their way; send again shortly",
                        retry_after_seconds=_RETRY_AFTER_SECONDS,
                    )
            return b"".join(chunks)
        finally:
            self._held_bytes -= body_bytes

    def _too_large(self) -> ServiceError:
        return ServiceError(ErrorCode.BODY_TOO_LARGE, f"the body is larger than {self._max_body_bytes} bytes")
