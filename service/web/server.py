"""The HTTP server: aiohttp's, within our bounds on connections, and answering errors of its own as we answer ours.

aiohttp unfolds no body, or it would do so for whoever is refused as well: a body is unfolded where it is read.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from service import supervision
from service.config.settings import ServerSettings
from service.errors import ErrorCode, ServiceError
from service.flood import BoundedLog
from service.supervision import Supervisor
from service.web.connections import ConnectionGuard
from service.web.errors import error_response, from_http_exception

# Names no version, of which strangers could look up the faults.
_SERVER_NAME = "heap-cordial"


class _Http(web.RequestHandler):
    """aiohttp's side of a connection."""

    __slots__ = ("_tell_unreadable",)

    def __init__(self, server: web.Server, tell_unreadable: Callable[[str], None]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None is how aiohttp itself is told to write none
            auto_decompress=False,
            logger=logging.getLogger(__name__),
        )
        self._tell_unreadable = tell_unreadable

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  aiohttp's signature
    ) -> web.StreamResponse:
        """Answer what reaches no handler or leaves one as an exception; it always closes the connection."""
        if isinstance(exc, ConnectionError):
            # The client has gone, which anybody can do as often as he likes: no fault, and nobody to answer.
            raise exc
        if not isinstance(exc, HttpProcessingError):
            self.log_exception("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, HttpProcessingError):
            # By its type: the message quotes the request, which may hold a key.
            self._tell_unreadable(type(exc).__name__)
            answer = error_response(ServiceError(ErrorCode.HEADER_UNREADABLE, "the request is not readable HTTP"))
        else:
            answer = error_response(ServiceError(ErrorCode.INTERNAL, "the service failed; see its log"))
        answer.headers["Server"] = _SERVER_NAME
        answer.force_close()
        return answer


class GuardedRunner(web.AppRunner):
    """Runs an application whose connections are guarded.

    `on_unreadable` is told of each request that is not readable HTTP, and so reaches no handler.
    """

    __slots__ = ("_bounded_log", "_guard", "_on_unreadable", "_supervisor")

    def __init__(
        self,
        app: web.Application,
        settings: ServerSettings,
        supervisor: Supervisor,
        *,
        shutdown_timeout: float,
        on_unreadable: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout, access_log=None)
        self._on_unreadable = on_unreadable
        self._bounded_log = BoundedLog()
        self._guard = ConnectionGuard(settings, self._tell_unreadable)
        app.on_response_prepare.append(_name_server)
        self._supervisor = supervisor
        app.cleanup_ctx.append(self._run_guard)

    @property
    def accepted_at_once(self) -> int:
        """The `backlog` for a site of this runner."""
        return self._guard.accepted_at_once

    @property
    def server(self) -> Any:
        """What a site takes as the maker of protocols."""
        server = super().server
        return None if server is None else lambda: self._guard.protocol(_Http(server, self._tell_unreadable))

    async def _run_guard(self, _app: web.Application) -> AsyncIterator[None]:
        task = self._supervisor.start("connections", self._guard.look_after(self._supervisor), beats=True)
        yield
        await supervision.stop(task)
        self._guard.close()
        self._bounded_log.tell()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        handle = server.request_handler

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await self._answer(request, handle)

        server.request_handler = answer
        return server

    async def _answer(
        self, request: web.BaseRequest, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with self._guard.handling(request) as connection:
            try:
                response = await handle(request)
            except web.HTTPException as error:
                # Raised before any middleware of ours: an `Expect` that cannot be met.
                response = from_http_exception(error)
            if connection is not None:
                if not request.content.is_eof():
                    # Nobody reads the rest of this body, not even to take its chunks apart.
                    response.force_close()
                    connection.discard_the_rest()
                elif connection.has_sent_all or self._guard.is_waited_for(connection):
                    response.force_close()
            return response

    def _tell_unreadable(self, reason: str) -> None:
        self._bounded_log.warning("request.unreadable", kind=reason, reason=reason)
        if self._on_unreadable is not None:
            self._on_unreadable()


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = _SERVER_NAME
