"""The closed list of error codes and the one JSON shape in which every error leaves the service."""

import errno
import os
import re
import ssl
from enum import StrEnum

import msgspec

_RESET = {errno.ECONNRESET, errno.EPIPE}
_NUMBER = re.compile(r"\[Errno -?\d+\] ")


class ErrorCode(StrEnum):
    """Every code an answer of ours can carry; stable, so that clients may branch on it."""

    HEADER_UNREADABLE = "header_unreadable"
    BODY_UNREADABLE = "body_unreadable"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    BODY_TOO_LARGE = "body_too_large"
    NOT_JSON = "not_json"
    UNKNOWN_SHAPE = "unknown_shape"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_REQUEST = "invalid_request"
    BACKLOG_FULL = "backlog_full"
    STORE_UNAVAILABLE = "store_unavailable"
    STOPPING = "stopping"
    NOT_READY = "not_ready"
    INTERNAL = "internal"


STATUS_OF: dict[ErrorCode, int] = {
    ErrorCode.HEADER_UNREADABLE: 400,
    ErrorCode.BODY_UNREADABLE: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.CONFLICT: 409,
    ErrorCode.BODY_TOO_LARGE: 413,
    ErrorCode.NOT_JSON: 415,
    ErrorCode.UNKNOWN_SHAPE: 422,
    ErrorCode.UNKNOWN_ACTION: 422,
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.BACKLOG_FULL: 429,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.STOPPING: 503,
    ErrorCode.NOT_READY: 503,
    ErrorCode.INTERNAL: 500,
}


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: a stable code, a sentence for people, and where in the body, if anywhere."""

    code: str
    message: str
    path: str | None = None


class ErrorDocument(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class ServiceError(Exception):
    """A failure with a place in the closed list.

    `path` is a JSON path such as `$.data.add[3].id`. `retry_after_seconds` becomes the `Retry-After` header.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, path: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.retry_after_seconds = retry_after_seconds

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return STATUS_OF[self.code]

    def document(self) -> ErrorDocument:
        """Return the body to answer with."""
        return ErrorDocument(ErrorDetail(self.code.value, self.message, self.path))


class BacklogFullError(ServiceError):
    """The backlog is full, as `reason` says: Heap is asked to come back later, nothing accepted is hurt."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            ErrorCode.BACKLOG_FULL, f"the backlog is full: {reason}; send again later", retry_after_seconds=60
        )


class ForgottenDeliveryError(ServiceError):
    """A delivery signed no later than one that retention has forgotten: nobody can tell any more whether it is a repeat."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.FORBIDDEN,
            "the signature is older than the history that this service keeps, so it cannot tell whether it accepted the page "
            "before; sign it again",
        )


class StoreUnavailableError(ServiceError):
    """The store could not make something durable (disk full, locked by another program, read-only)."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.STORE_UNAVAILABLE, f"the store cannot write: {reason}", retry_after_seconds=10)


class StoreFaultError(ServiceError):
    """What was to be written broke a rule of the database: a fault of the program, and nothing of it was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            ErrorCode.INTERNAL,
            f"the store refused what the service tried to write: {reason}; this is a fault in the service",
        )


class StoppingError(ServiceError):
    """The service is on its way out; whoever asked should ask again in a moment."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.STOPPING, "the service is stopping; send again soon", retry_after_seconds=5)


class StartingError(ServiceError):
    """The start of the service is not over, although it takes pages already; whoever asked should ask again in a moment."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_READY, "the service is still starting; try again in a moment", retry_after_seconds=1
        )


class ConfigurationError(Exception):
    """The configuration cannot be used; `faults` holds one line for each fault, all found at once."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def in_words(error: Exception, about: object = None) -> str:
    """Return what an error says and what it is about, an error of the system without its number in brackets."""
    if not isinstance(error, OSError):
        return str(error) if about is None else f"{about}: {error}"
    # The numbers of TLS and of name servers are not those of the system.
    is_of_system = isinstance(error.errno, int) and error.errno > 0 and not isinstance(error, ssl.SSLError)
    if isinstance(error, ConnectionResetError | BrokenPipeError) or (is_of_system and error.errno in _RESET):
        words = "the connection was reset"
    else:
        words = os.strerror(error.errno) if is_of_system and error.errno is not None else error.strerror or str(error)
        # Several that differ are told in one text.
        words = _NUMBER.sub("", words)
    about = error.filename if about is None else about
    return words if about is None else f"{about}: {words}"
