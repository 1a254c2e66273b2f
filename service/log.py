"""Logging: one line for each event, as a JSON object or for people, from structlog and the standard library alike."""

import atexit
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from service.config.settings import LogSettings

HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"secret|passw|api[-_]?key|token|authori[sz]ation|cookie|credential|hmac|heap[-_]?hash|signature", re.IGNORECASE
)
# Keys of the configuration that say where a secret stands, which is what an operator needs to see.
_PLACE_KEY = re.compile(r"_(file|env)\Z", re.IGNORECASE)
_DEEPEST = 8

# DEL, the C1 controls, Unicode's line breaks and its marks that turn text around are lawful in JSON, yet terminals obey
# them and viewers break lines there.
_UNSAFE = (*range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_ESCAPES_FOR_JSON = {code: f"\\u{code:04x}" for code in _UNSAFE}
_ESCAPES_FOR_CONSOLE = {code: f"\\u{code:04x}" for code in (*range(0x20), *_UNSAFE)}
_ESCAPES_FOR_TRACEBACK = {code: text for code, text in _ESCAPES_FOR_CONSOLE.items() if code != ord("\n")}

# Some thousand lines: minutes of a busy service.
_MAX_WAITING_BYTES = 2_097_152
_FULL_STREAM_SECONDS = 0.05
# Waking the thread that writes costs as much as making a line: while there are many, it takes them together.
_GATHER_SECONDS = 0.01

_SHORT_ID = 5
_SHORT_NAME = 3


def configure(settings: LogSettings, stream: BinaryIO | None = None) -> None:
    """Send every line of structlog and of the standard library's logging to `stream`, by default standard error.

    A thread writes the lines, so that nothing ever waits for whoever reads them. A line that cannot be written (disk
    full, pipe closed) is lost, and so is one that comes while too many wait. May be called again.
    """
    global _lines  # noqa: PLW0603  there is one log, as there is one logging in the standard library
    stream = _standard_error() if stream is None else stream
    if _lines is None or _lines.stream is not stream:
        if _lines is not None:
            _lines.end()
        _lines = _Lines(stream)
    lines = _lines
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_time,
            structlog.processors.format_exc_info,
            _hide_secrets,
            *_renderer(settings.format, colors=lines.is_terminal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
    )
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _StandardLibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StandardLibraryHandler())
    # Libraries write what they handle, user ids among it, into their debug lines: those are not for the log.
    root.setLevel(max(level, logging.INFO))
    logging.captureWarnings(capture=True)


def mask(user_id: str) -> str:
    """Return enough of a user id to recognise it beside the original, and too little to find the original.

    `jane@example.com` becomes `j***@e***.com`, `CUST-0042` becomes `C***2`, anything short becomes `***`; the length
    does not show.
    """
    local, at, domain = user_id.rpartition("@")
    if not at:
        ends = (user_id[0], user_id[-1]) if len(user_id) >= _SHORT_ID else ("", "")
        first, last = (end if end.isalnum() else "" for end in ends)
        return f"{first}***{last}"
    name, dot, suffix = domain.rpartition(".")
    public = f".{suffix}" if dot and suffix.isascii() and suffix.isalpha() else ""
    return f"{_initial(local)}***@{_initial(name if dot else domain)}***{public}"


def _initial(name: str) -> str:
    return name[0] if len(name) >= _SHORT_NAME and name[0].isalnum() else ""


def flush(seconds: float = 1.0) -> None:
    """Return when all lines are written, or after so long if nobody reads them."""
    if _lines is not None:
        _lines.flush(seconds)


def lost_lines() -> int:
    """Return how many lines were lost since the start because they could not be written in time."""
    return 0 if _lines is None else _lines.lost


def _standard_error() -> BinaryIO:
    # Without its buffer, whose lock the interpreter takes on its way out: a thread that still writes would have it.
    buffer = sys.stderr.buffer
    stream: BinaryIO = getattr(buffer, "raw", buffer)
    return stream


class _Lines:
    """Whole lines to one stream, from any thread; has a method for each level because structlog calls by level."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.lost = 0
        self._told_lost = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_writing = False
        self._is_ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="log", daemon=True).start()

    @property
    def is_terminal(self) -> bool:
        return self.stream.isatty()

    def write(self, line: str) -> None:
        encoded = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._waiting and self._waiting_bytes + len(encoded) > _MAX_WAITING_BYTES:
                self.lost += 1
            else:
                self._waiting.append(encoded)
                self._waiting_bytes += len(encoded)
                self._changed.notify_all()

    debug = info = warning = error = critical = write

    def flush(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, seconds)

    def end(self) -> None:
        """Have the thread end once everything is written."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_ended)
                if not self._waiting:
                    return
                self._is_writing = True
                lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            try:
                self._write(b"".join(lines))
            except (OSError, ValueError):
                # ValueError: the stream is closed, as it is while the interpreter goes down.
                with self._changed:
                    self.lost += len(lines)
            else:
                self._tell_lost()
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
            time.sleep(_GATHER_SECONDS)

    def _tell_lost(self) -> None:
        with self._changed:
            lines, self._told_lost = self.lost - self._told_lost, self.lost
        if lines:
            structlog.get_logger().warning("log.lines_lost", lines=lines)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self.stream.write(rest)
            if written is None:
                # The stream does not wait for its reader.
                time.sleep(_FULL_STREAM_SECONDS)
            else:
                rest = rest[written:]
        self.stream.flush()


_lines: _Lines | None = None
# The thread ends with the process, and what it has not written yet would be lost.
atexit.register(flush)


class _StandardLibraryHandler(logging.Handler):
    """Hands what libraries log to structlog, so that there is one form for all lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001  a library's arguments may not fit its format; the line is still wanted
            event = str(record.msg)
        # structlog knows the five levels of the standard library alone; libraries may define some between.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger().log(level, event, logger=record.name, exc_info=record.exc_info)


def _add_time(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    level, event = event_dict.pop("level"), event_dict.pop("event")
    return {"time": now, "level": level, "event": event} | dict(event_dict)


def _hide_secrets(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Hide text under a key that smells of a secret: a second line of defence, the first is not to log it."""
    return _without_secrets(dict(event_dict), _DEEPEST)


def _without_secrets(table: dict[Any, Any], depth: int) -> dict[Any, Any]:
    return {
        key: HIDDEN if _smells(str(key)) and _may_hold_text(value) else _searched(value, depth)
        for key, value in table.items()
    }


def _searched(value: object, depth: int) -> object:
    if isinstance(value, (dict, list, tuple)) and not depth:
        return "…"
    if isinstance(value, dict):
        return _without_secrets(value, depth - 1)
    if isinstance(value, (list, tuple)):
        return [_searched(item, depth - 1) for item in value]
    return value


@lru_cache(maxsize=1024)
def _smells(key: str) -> bool:
    return bool(_SECRET_KEY.search(key)) and not _PLACE_KEY.search(key)


def _may_hold_text(value: object) -> bool:
    return bool(value) and not isinstance(value, (bool, int, float))


def _renderer(form: str, *, colors: bool) -> list[structlog.typing.Processor]:
    if form == "json":
        return [_to_json]
    console = structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    return [_escape_for_console, console]


def _to_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    try:
        line = msgspec.json.encode(event_dict, enc_hook=repr).decode()
    except Exception:  # noqa: BLE001  a value that JSON cannot hold must not fail what is being logged
        line = msgspec.json.encode({_readable(key): _readable(value) for key, value in event_dict.items()}).decode()
    return line if line.isascii() else line.translate(_ESCAPES_FOR_JSON)


def _readable(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001  a value whose own description fails is named by its type
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def _escape_for_console(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Let no value break a line or steer the terminal; only tracebacks have lines of their own."""
    escaped: EventDict = {}
    for key, value in event_dict.items():
        escapes = _ESCAPES_FOR_TRACEBACK if key == "exception" else _ESCAPES_FOR_CONSOLE
        escaped[_readable(key).translate(_ESCAPES_FOR_CONSOLE)] = _readable(value).translate(escapes)
    return escaped
