import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from datetime import datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service.config.settings import LogSettings
from service.log import configure, flush, lost_lines


@pytest.fixture(autouse=True)
def _standard_logging_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


class Log:
    """Everything logged since it was made, as text."""

    def __init__(self, **settings: str) -> None:
        self._stream = io.BytesIO()
        configure(LogSettings(**settings), self._stream)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        flush()
        return self._stream.getvalue().decode("utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        assert not self.text or self.text.endswith("\n")
        return [json.loads(line) for line in self.text.split("\n")[:-1]]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


def fail(message: str) -> None:
    raise ValueError(message)


def test_a_line_is_one_object_with_time_level_event_and_fields():
    log = Log()
    structlog.get_logger().info("delivery.accepted", account="acme", users=5)
    assert list(log.line) == ["time", "level", "event", "account", "users"]
    assert log.line["level"] == "info"
    assert log.line["event"] == "delivery.accepted"
    assert log.line["users"] == 5


def test_times_are_utc_with_milliseconds():
    log = Log()
    structlog.get_logger().info("x")
    time = log.line["time"]
    assert datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z").tzname() == "UTC"
    assert len(time) == len("2026-01-02T03:04:05.678Z")


def test_lines_below_the_level_are_left_out():
    log = Log(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.access").info("quiet")
    structlog.get_logger().warning("loud")
    assert log.line["event"] == "loud"


def test_the_standard_library_goes_the_same_way():
    log = Log()
    structlog.contextvars.bind_contextvars(request="r1")
    logging.getLogger("aiohttp.server").error("it failed: %s", "badly")
    assert log.line["event"] == "it failed: badly"
    assert log.line["logger"] == "aiohttp.server"
    assert log.line["level"] == "error"
    assert log.line["request"] == "r1"


@pytest.mark.parametrize(("number", "level"), [(21, "info"), (39, "warning"), (60, "critical")])
def test_levels_of_a_librarys_own_fall_to_the_level_below(number, level):
    log = Log()
    logging.getLogger("library").log(number, "x")
    assert log.line["level"] == level


def test_a_librarys_debug_lines_never_appear_because_they_hold_what_it_handles():
    log = Log(level="debug")
    logging.getLogger("aiosqlite").debug("executing INSERT jane@example.com")
    structlog.get_logger().debug("ours")
    assert log.line["event"] == "ours"


def test_a_librarys_wrong_arguments_lose_no_line(monkeypatch):
    log = Log()
    ours = logging.getLogger().handlers[-1]
    monkeypatch.setattr(logging.getLogger(), "handlers", [ours])  # pytest's own raise at such lines
    logging.getLogger("library").warning("%d users", "no number")
    assert log.line["event"] == "%d users"


def test_warnings_are_lines():
    log = Log()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("careful", stacklevel=1)
    assert "careful" in log.line["event"]


def test_an_exception_is_one_field():
    log = Log()
    try:
        fail("several\nlines")
    except ValueError:
        structlog.get_logger().exception("ours")
        logging.getLogger("library").exception("theirs")
    for line in log.lines:
        assert line["exception"].startswith("Traceback")
        assert "ValueError: several\nlines" in line["exception"]


def test_configuring_again_writes_each_line_once():
    Log()
    log = Log()
    logging.getLogger("library").error("once")
    assert log.line["event"] == "once"


def test_standard_error_is_the_default_and_gets_utf_8_whatever_the_locale():
    program = (
        "import structlog; from service.log import configure; from service.config.settings import LogSettings; "
        "configure(LogSettings()); structlog.get_logger().info('grüße')"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert ended.stdout == b""
    assert json.loads(ended.stderr)["event"] == "grüße"


# Secrets


@pytest.mark.parametrize(
    "key",
    ["heap_secret", "api_key", "apiKey", "Authorization", "password", "id_token", "Heap-Hash", "cookie", "hmac"],
)
def test_text_under_a_key_that_smells_of_a_secret_is_hidden_at_any_depth(key):
    log = Log()
    structlog.get_logger().info("x", **{key: "hush"}, nested={"deeper": [{key: ["hush"]}]})
    assert "hush" not in log.text
    assert log.line[key] == "***"


def test_places_and_figures_are_no_secrets():
    log = Log()
    structlog.get_logger().info("x", heap_secret_file="/run/secrets/heap", cordial_api_key_env="KEY", tokens=3)
    assert log.line["heap_secret_file"] == "/run/secrets/heap"
    assert log.line["cordial_api_key_env"] == "KEY"
    assert log.line["tokens"] == 3


# Hostile values


class Spiteful:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


HOSTILE = {
    "newline": "a\nb\r\n{}",
    "terminal": "\x1b[2J\x9b31m\x7f",
    "line separators": "a\u0085b\u2028c\u2029d",
    "nul": "\0",
    "surrogate": "\ud800",
    "bytes": b"\xff\n",
    "huge": 10**400,
    "not a number": float("nan"),
    "object": object(),
    "odd keys": {(1, 2): "x", "\ud800": "y"},
    "spiteful": Spiteful(),
    "endless": endless(),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_breaks_a_line_or_fails_the_caller(form, value):
    log = Log(format=form)
    structlog.get_logger().info("x", value=value)
    structlog.get_logger().info(value if isinstance(value, str) else "y")
    assert len(log.text.splitlines()) == 2
    assert not any(
        ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in log.text if character != "\n"
    )
    if form == "json":
        assert len(log.lines) == 2


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_texts_come_back_as_they_were(event, fields):
    log = Log()
    structlog.get_logger().info("x", text=event, fields={f"k{key}": value for key, value in fields.items()})
    line = log.line
    assert line["text"] == event
    assert line["fields"].keys() == {f"k{key}" for key in fields}


def test_a_stream_that_fails_fails_nobody():
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    closed = io.BytesIO()
    configure(LogSettings(), closed)
    closed.close()
    structlog.get_logger().info("x")
    configure(LogSettings(), Full())
    structlog.get_logger().info("x")
    logging.getLogger("library").error("x")


def test_lines_of_many_threads_stay_whole():
    log = Log()

    def chatter() -> None:
        for _ in range(100):
            structlog.get_logger().info("ours", filler="x" * 500)
            logging.getLogger("library").error("theirs %s", "y" * 500)

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.lines) == 800


def test_the_console_shows_event_and_fields_without_colours():
    log = Log(format="console")
    structlog.get_logger().warning("delivery.refused", account="acme")
    assert "delivery.refused" in log.text
    assert "account=acme" in log.text
    assert "\x1b" not in log.text


def test_the_console_shows_a_traceback_on_lines_of_its_own():
    log = Log(format="console")
    try:
        fail("\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("x")
    assert "\nTraceback" in log.text
    assert "\x1b" not in log.text


class Blocked(io.BytesIO):
    """A stream that takes nothing before its reader comes."""

    def __init__(self) -> None:
        super().__init__()
        self.reader_came = threading.Event()

    def write(self, data: Any) -> int:
        self.reader_came.wait(60)
        return super().write(data)


def test_lines_that_nobody_reads_are_bounded_and_counted_and_the_loss_is_told():
    stream = Blocked()
    configure(LogSettings(), stream)
    for _ in range(5_000):
        structlog.get_logger().info("x", filler="x" * 1_000)
    flush(0.01)
    lost = lost_lines()
    # How many are on their way to the stream by then depends on the machine.
    assert 1_000 < lost < 5_000
    stream.reader_came.set()
    flush()
    flush()
    lines = [json.loads(line) for line in stream.getvalue().decode().splitlines()]
    assert len([line for line in lines if line["event"] == "x"]) == 5_000 - lost
    assert [line["lines"] for line in lines if line["event"] == "log.lines_lost"] == [lost]


def test_a_stream_that_writes_in_parts_or_only_later_gets_whole_lines():
    class Slow(io.BytesIO):
        turn = 0

        def write(self, data: Any) -> int | None:  # type: ignore[override]
            self.turn += 1
            return super().write(data[:7]) if self.turn % 2 else None

    stream = Slow()
    configure(LogSettings(), stream)
    structlog.get_logger().info("x")
    flush(60)
    assert json.loads(stream.getvalue())["event"] == "x"


def test_lines_that_could_not_be_written_are_counted_once_and_told_when_writing_works_again():
    class Full(io.BytesIO):
        is_full = True

        def write(self, data: Any) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            return super().write(data)

    stream = Full()
    configure(LogSettings(), stream)
    structlog.get_logger().info("x")
    flush()
    assert lost_lines() == 1
    stream.is_full = False
    structlog.get_logger().info("y")
    flush()
    flush()
    events = [json.loads(line) for line in stream.getvalue().decode().splitlines()]
    assert [(line["event"], line.get("lines")) for line in events] == [("y", None), ("log.lines_lost", 1)]
