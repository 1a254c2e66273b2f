"""Processes that a benchmark starts and ends: each side of a ratio in its own, all with the same environment."""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil

# asyncio asks for a 256 KiB buffer per read, and glibc may serve each with an mmap of its own, which takes a quarter
# of the speed or nothing, as chance has it. These two remove the chance, from both sides of each ratio alike; the
# container sets them as well.
ALLOCATOR_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_TOP_PAD_": "16777216"}
_STOP_SECONDS = 30.0
_libc = ctypes.CDLL(None)


@contextlib.asynccontextmanager
async def running(
    module: str, arguments: Sequence[str] = (), *, log: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m module` while the block lasts; what it says on standard error goes to `log` or nowhere."""
    with (log or Path(os.devnull)).open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **ALLOCATOR_ENVIRONMENT},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def first_line(process: asyncio.subprocess.Process) -> str:
    """Return the first line of the process's output: it is ready then. Raises `RuntimeError` if it ends instead."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark ended before it was ready")
    return line.decode().strip()


async def output_of(module: str, arguments: Sequence[str], log: Path | None = None) -> bytes:
    """Run `python -m module` to its end and return what it printed. Raises `RuntimeError` unless its status is 0."""
    async with running(module, arguments, log=log) as process:
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{module} ended with status {process.returncode}")
        return output


def cpu_seconds(process_id: int) -> float:
    """Return the time on a core that a process and those it started have taken, to the microsecond.

    What `/proc` says is rounded to 10 ms, a tenth of what a short run takes.
    """
    children = psutil.Process(process_id).children(recursive=True)
    return sum(_cpu_clock_seconds(each) for each in (process_id, *(child.pid for child in children)))


def _cpu_clock_seconds(process_id: int) -> float:
    clock = ctypes.c_int()
    fault = _libc.clock_getcpuclockid(process_id, ctypes.byref(clock))
    if fault:
        raise OSError(fault, os.strerror(fault))
    return time.clock_gettime(clock.value)


def written_bytes(process_id: int) -> int:
    """Return what a process has written to disks."""
    written: int = psutil.Process(process_id).io_counters().write_bytes
    return written
