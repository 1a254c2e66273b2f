"""Every error leaves the service as one JSON shape, whichever part of the service or of aiohttp it comes from."""

from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import ErrorCode, ErrorDetail, ErrorDocument, ServiceError

_log = structlog.get_logger()

_CHALLENGE = 'Basic realm="heap-cordial", charset="UTF-8"'
_SENTENCES: dict[int, tuple[ErrorCode, str]] = {
    400: (ErrorCode.INVALID_REQUEST, "the request is not readable"),
    401: (ErrorCode.UNAUTHORIZED, "an API key is needed"),
    403: (ErrorCode.FORBIDDEN, "this is not allowed"),
    404: (ErrorCode.NOT_FOUND, "there is nothing at this address"),
    405: (ErrorCode.METHOD_NOT_ALLOWED, "this method is not allowed here"),
    413: (ErrorCode.BODY_TOO_LARGE, "the body is too large"),
    415: (ErrorCode.NOT_JSON, "the body must be JSON"),
}
# What else aiohttp raises by itself is a fault of the request or of the service.
_OTHER_REQUEST_FAULT = (ErrorCode.INVALID_REQUEST, "the request cannot be served")
_SERVICE_FAULT = (ErrorCode.INTERNAL, "the service failed; see its log")
_FIRST_ERROR_STATUS = 400
_FIRST_SERVICE_FAULT_STATUS = 500
_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")


def error_response(error: ServiceError, *, is_script: bool = False) -> web.Response:
    """Return the answer that tells of `error`, with `Retry-After` or the challenge for an API key where they belong.

    `is_script`: a script of a page asks, which shows the way in itself; for the challenge the browser would open a window.
    """
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.code is ErrorCode.UNAUTHORIZED and not is_script:
        headers["WWW-Authenticate"] = _CHALLENGE
    return _response(error.status, error.document(), headers)


def raw_answer(status: int, error: ServiceError) -> bytes:
    """Return a whole answer as it goes over the wire, for a request that was not read; it closes the connection."""
    body = msgspec.json.encode(error.document())
    retry_after = "" if error.retry_after_seconds is None else f"Retry-After: {error.retry_after_seconds}\r\n"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n{retry_after}Connection: close\r\nServer: heap-cordial\r\n\r\n"
    )
    return head.encode() + body


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with an `ErrorDocument` whatever is raised.

    An exception that nobody foresaw is logged with its traceback and answered 500 without any detail. When the answer
    had already begun, or the client has gone, nothing more can be said and the connection is left to aiohttp.
    """
    try:
        return await handler(request)
    except ServiceError as error:
        is_script = request.headers.get("Sec-Fetch-Dest") == "empty" or "X-Requested-With" in request.headers
        return error_response(error, is_script=is_script)
    except web.HTTPException as error:
        if error.status < _FIRST_ERROR_STATUS:
            raise
        return from_http_exception(error)
    except ConnectionError:
        raise
    except Exception:
        _log.exception("request.failed", method=request.method, path=_path_pattern(request))
        if request.writer.output_size:
            raise
        return error_response(ServiceError(*_SERVICE_FAULT))


def _path_pattern(request: web.Request) -> str:
    """Return the address with its variable parts unnamed: a user's id may stand there, and is not for the log."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def from_http_exception(error: web.HTTPException) -> web.Response:
    """Return our answer in place of one that aiohttp makes by itself."""
    other = _OTHER_REQUEST_FAULT if error.status < _FIRST_SERVICE_FAULT_STATUS else _SERVICE_FAULT
    code, sentence = _SENTENCES.get(error.status, other)
    headers = {name: error.headers[name] for name in _KEPT_HEADERS if name in error.headers}
    return _response(error.status, ErrorDocument(ErrorDetail(code.value, sentence)), headers)


def _response(status: int, document: ErrorDocument, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document), headers=headers, content_type="application/json"
    )
