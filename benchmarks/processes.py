"""Processes that a benchmark starts and ends: each side of a ratio in its own, all with the same environment."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

# asyncio asks for a 256 KiB buffer per read, and glibc may serve each with an mmap of its own, which takes a quarter
# of the speed or nothing, as chance has it. These two remove the chance, from both sides of each ratio alike; the
# container sets them as well.
ALLOCATOR_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_TOP_PAD_": "16777216"}
_STOP_SECONDS = 30.0


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
