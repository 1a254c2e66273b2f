"""A terminal with a program in it: what it shows, and what is typed."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.command_fixtures import PATIENCE_SECONDS

_READ_BYTES = 65_536
# What a terminal obeys and does not show.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """Runs one program; ended with the block. Blocks the event loop while it waits."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, rows: int = 24, columns: int = 80
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            # Gives it the terminal as its own, so that Ctrl-C is for it, also where whoever started the tests ignores that.
            ["env", "--default-signal=INT", "setsid", "--ctty", *command],  # noqa: S607  as found
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "dumb"},
            cwd=folder,
        )
        os.close(theirs)
        # As it came, and as people see it.
        self.raw = ""

    @property
    def shown(self) -> str:
        """All that was shown."""
        return _CONTROL.sub("", self.raw)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode())

    def shows(self, expected: str, *, after: str = "") -> bool:
        """Wait until something is shown, behind the last of what must come before it; False if that takes too long."""
        return self.until(lambda: expected in (self.shown.rpartition(after)[2] if after else self.shown))

    def until(self, look: Callable[[], bool]) -> bool:
        """Read on until something is so; False if that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()) and time.monotonic() < deadline and self._read():
            pass
        return found

    def ended(self) -> int:
        """Wait for the end of the program and return its exit status. Raises `TimeoutExpired` if that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self._read():
            pass
        return self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return True
        with contextlib.suppress(OSError):
            # The terminal itself fails once nobody has it open.
            if read := os.read(self._ours, _READ_BYTES):
                self.raw += read.decode(errors="replace")
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
