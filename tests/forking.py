"""Processes of the program that are forked from one which has loaded it, for loading it takes longer than most commands.

What happens after that is the same: arguments, environment, folder, standard streams, signals and exit status are the
process's own. How the interpreter starts the program is tested by those who start it themselves.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[1]
_MAX_ASKED_BYTES = 1_000_000


class Process(Protocol):
    """What is asked of a process, however it was started."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative where a signal ended it; None while it runs."""

    async def wait(self) -> int:
        """Return its exit status, once it has ended."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """Send it SIGKILL."""


class _Parent:
    """The process that is forked. It ends, and kills what it has forked, when the process that uses it ends."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = [sys.executable, "-m", "tests.forking", str(other.fileno())]
            self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL)

    def fork(self, asked: Mapping[str, object], descriptors: list[int]) -> int:
        """Return the number of the new process; `descriptors`: its standard streams, and where its end is told."""
        socket.send_fds(self._socket, [json.dumps(asked).encode()], descriptors)
        return int(self._socket.recv(100))


_parent: _Parent | None = None


class ForkedProcess:
    """A process of `python -m service` with these arguments; `first` is Python that it runs before, to change itself."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], output: int, errors: int, *, first: str = ""
    ) -> None:
        global _parent  # noqa: PLW0603  one for all tests of a worker
        if _parent is None or _parent.process.poll() is not None:
            _parent = _Parent()
        self._end, told_at = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            asked = {"arguments": list(arguments), "environment": environment, "first": first}
            self.pid = _parent.fork(asked, [nothing, output, errors, told_at])
        finally:
            os.close(told_at)
            os.close(nothing)
        os.set_blocking(self._end, False)
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        if self._status is None:
            with contextlib.suppress(BlockingIOError):
                # Nothing, where the process that forks was ended itself.
                self._status = int(os.read(self._end, 100) or b"-9")
                os.close(self._end)
        return self._status

    async def wait(self) -> int:
        """Return its exit status, once it has ended."""
        while self.returncode is None:
            loop, is_told = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._end, is_told.set)
            try:
                await is_told.wait()
            finally:
                loop.remove_reader(self._end)
        assert self._status is not None
        return self._status

    def send_signal(self, signal: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


async def read_to_end(descriptor: int) -> bytes:
    """Return what comes from a pipe, and close it."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        return await reader.read()
    finally:
        transport.close()


def _serve(asked_of: socket.socket) -> int:
    """Fork for each request, until nobody is left to ask; return the exit status, in each fork that of its command."""
    tellers: dict[int, int] = {}

    def tell_ended(*_: object) -> None:
        while tellers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            told_at = tellers.pop(pid)
            os.write(told_at, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(told_at)

    signal.signal(signal.SIGCHLD, tell_ended)
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked_of, _MAX_ASKED_BYTES, 4)
        if not request:
            for pid in tellers:
                os.kill(pid, signal.SIGKILL)
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            asked_of.close()
            for told_at in (*tellers.values(), descriptors[3]):
                os.close(told_at)
            return _become(json.loads(request), descriptors[:3])
        tellers[pid] = descriptors[3]
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        asked_of.send(str(pid).encode())


def _become(asked: dict[str, object], streams: list[int]) -> int:
    from service.__main__ import main  # noqa: PLC0415

    arguments, environment, first = asked["arguments"], asked["environment"], asked["first"]
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    assert isinstance(first, str)
    for place, (name, descriptor) in enumerate(zip(("stdin", "stdout", "stderr"), streams, strict=True)):
        os.dup2(descriptor, place)
        os.close(descriptor)
        is_errors = name == "stderr"
        # As the interpreter makes them at its start.
        stream = os.fdopen(
            place,
            "w" if place else "r",
            buffering=1 if is_errors else -1,
            encoding=environment.get("PYTHONIOENCODING"),
            errors="backslashreplace" if is_errors else "strict",
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [sys.argv[0], *arguments]
    exec(first, {})  # noqa: S102  the test's own
    return main()


def _load_all() -> None:
    main_module = importlib.import_module("service.__main__")
    for module in main_module._MODULE_OF.values():
        importlib.import_module(module)


if __name__ == "__main__":
    _load_all()
    # Else each process copies what it collects, and at its end all there is: three quarters of what a short command costs.
    gc.collect()
    gc.freeze()
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
