"""What a process does to its files and on its connections, as system calls, recorded by strace."""

import contextlib
import heapq
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.command_fixtures import clean_environment

_CALLS = (
    "openat,mkdir,mkdirat,lseek,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "copy_file_range,sendfile,sendto,sendmsg,recvfrom"
)
# Longer than any page of the database and any delivery of the workloads.
_MAX_STRING_BYTES = 300_000
_STOP_SECONDS = 60.0

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)", re.DOTALL)
_RESULT = re.compile(r"\)\s*= (-?\d+)(?:<[^>]*>)?[^=]*\Z")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = " <unfinished ...>"


class SystemCall(NamedTuple):
    """One call that succeeded: `began` and `ended` are its places in the record, `at_seconds` is Unix time.

    `arguments` is the text that strace wrote between the brackets.
    """

    began: int
    ended: int
    at_seconds: float
    name: str
    arguments: str
    result: int

    def texts(self) -> list[bytes]:
        """Return the call's strings and buffers."""
        return [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(self.arguments)]

    def paths_of_descriptors(self) -> list[str]:
        """Return what the call's descriptors stand for: paths, or `socket:[1234]`."""
        found = re.findall(r"<((?:\\x[0-9a-f]{2})+)>", self.arguments)
        return [bytes.fromhex(text.replace("\\x", "")).decode() for text in found]

    def numbers(self) -> list[int]:
        """Return the call's plain numbers, in order."""
        bare = re.sub(r"<[^>]*>", "", _TEXT.sub('""', self.arguments))
        return [int(text) for text in re.findall(r"(?<![\w\"])-?\d+(?![\w\"])", bare)]


class TracedProcess:
    """A program that runs under strace until it ends or is told to."""

    def __init__(self, command: Sequence[str], record: Path, log: Path, environment: Mapping[str, str]) -> None:
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            [
                *("strace", "-f", "-y", "-ttt", "-xx", "-s", str(_MAX_STRING_BYTES), "--seccomp-bpf"),
                *("-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(record)),
                *command,
            ],
            stdout=self._output,
            stderr=self._output,
            env={**clean_environment(), **environment},
        )

    def stop(self) -> int:
        """Send SIGTERM to the program and return its exit status; 0 for one that has ended well before."""
        for child in self._children():
            os.kill(child, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit status once the program has ended."""
        try:
            return self._process.wait(_STOP_SECONDS)
        finally:
            if self._process.poll() is None:
                self.kill()
            self._output.close()

    def kill(self) -> None:
        """End it at once."""
        for child in self._children():
            os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._output.close()

    def _children(self) -> list[int]:
        for _ in range(100):
            text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
            if text.split() or self._process.poll() is not None:
                return [int(number) for number in text.split()]
            time.sleep(0.05)
        return []


def read_records(records: Sequence[Path]) -> list[SystemCall]:
    """Return the calls of all processes that succeeded, in the order in which they ended."""
    with contextlib.ExitStack() as opened:
        parts = [opened.enter_context(part.open(encoding="ascii", errors="replace")) for part in records]
        return list(_calls(heapq.merge(*parts, key=_time_of)))


def _time_of(line: str) -> float:
    """Return when a line was written, which for the end of a call that took long is when it ended."""
    match = _LINE.match(line)
    return 0.0 if match is None else float(match[2])


def _calls(lines: Iterable[str]) -> Iterator[SystemCall]:
    begun: dict[str, tuple[int, float, str, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        thread, at, name, resumed, rest = match.groups()
        if resumed is not None:
            if thread not in begun:
                continue
            began, at_seconds, name, first = begun.pop(thread)
            rest = first + rest
        else:
            began, at_seconds = number, float(at)
            if rest.endswith(_UNFINISHED):
                begun[thread] = (began, at_seconds, name, rest.removesuffix(_UNFINISHED))
                continue
        result = _RESULT.search(rest)
        if result is not None and int(result[1]) >= 0:
            yield SystemCall(began, number, at_seconds, name, rest[: result.start()], int(result[1]))
