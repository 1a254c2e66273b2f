"""The processes of a contender: started in order, killed as kill -9 does, started again, their memory read."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import ALLOCATOR_ENVIRONMENT, cpu_seconds

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Program(NamedTuple):
    """What to run; it is ready once it listens on `port`, or at once if that is None."""

    name: str
    command: Sequence[str]
    port: int | None = None


class Processes:
    """The running programs of a contender; each writes what it says to a file in `directory`."""

    def __init__(self, programs: Sequence[Program], environment: Mapping[str, str], directory: Path) -> None:
        self._programs = programs
        self._environment = {**os.environ, **ALLOCATOR_ENVIRONMENT, **environment}
        self._directory = directory
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        """Start what is not running, one program after the other is ready. Raises `RuntimeError` if one is not."""
        for program in self._programs:
            if program.name not in self._running:
                await self._start(program)

    async def kill(self, spared: Sequence[str] = ()) -> None:
        """End all programs but the spared ones, and whatever they started, at once and without warning."""
        ended = {name: process for name, process in self._running.items() if name not in spared}
        for name, process in ended.items():
            del self._running[name]
            # Each leads a group of its own, with what it started itself.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in ended.values():
            await process.wait()

    def max_resident_mib(self) -> float:
        """Return the sum of the most memory that each process ever had resident."""
        return sum(_max_resident_kib(process.pid) for process in self._running.values()) / 1024

    def cpu_seconds(self) -> float:
        """Return the time on a core that those which run have taken."""
        return sum(cpu_seconds(process.pid) for process in self._running.values())

    async def _start(self, program: Program) -> None:
        with self._log(program).open("ab") as log:
            process = self._running[program.name] = await asyncio.create_subprocess_exec(
                *program.command,
                cwd=_ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while program.port is not None and not await _is_listening(program.port):
            if process.returncode is not None or time.monotonic() > deadline:
                said = self._log(program).read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{program.name} did not start: {said[-2_000:]}")
            await asyncio.sleep(_POLL_SECONDS)

    def _log(self, program: Program) -> Path:
        return self._directory / f"{program.name}.log"


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _max_resident_kib(process_id: int) -> int:
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
