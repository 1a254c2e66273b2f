"""SIGTERM at any moment of a start, also as process 1 (R13)."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, Installation, eventually
from tests.store_versions import VERSIONS, faults_of, make_store_file

STOPPED_AT_ONCE = 130
STOPS = (1 << (signal.SIGTERM - 1)) | (1 << (signal.SIGINT - 1))
# As process 1 of a namespace of its own, as in a container.
AS_PROCESS_1 = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")

# `serve` whose store needs long to be opened, as if it were copied and upgraded.
SLOW_OPENING = """
import sys, time
from service.__main__ import main
import service.store.sqlite.opening as opening

unchanged = opening._prepare_writer

def slow(connection, database):
    open(sys.argv[1], "w").close()
    time.sleep(60)
    return unchanged(connection, database)

opening._prepare_writer = slow
sys.exit(main(["serve"]))
"""


def hears_stops(pid: int) -> bool:
    """Whether the process has handlers for SIGTERM and SIGINT."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    [caught] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
    return caught & STOPS == STOPS


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


async def start(installation: Installation, *command: str) -> asyncio.subprocess.Process:
    command = command or (sys.executable, "-m", "service", "serve")
    with installation.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(*command, env=installation.environment, cwd=ROOT, stderr=log)


async def until(condition: Callable[[], object]) -> None:
    async def look() -> bool:
        return bool(condition())

    await eventually(look, expected=True)


async def ended(process: asyncio.subprocess.Process) -> int:
    try:
        return await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_stop_is_heard_before_anything_heavy_is_loaded():
    code = "import sys, service.__main__; print(sorted({name.split('.')[0] for name in sys.modules}))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE)
    loaded, _ = await process.communicate()
    heavy = ["aiohttp", "aiosqlite", "argparse", "asyncio", "msgspec", "sqlite3", "ssl", "structlog"]
    assert [name for name in heavy if f"'{name}'" in loaded.decode()] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_stop_as_soon_as_it_can_be_heard_ends_with_status_0(installation, number):
    process = await start(installation)
    await until(lambda: hears_stops(process.pid))
    process.send_signal(number)
    assert await ended(process) == 0


@pytest.mark.parametrize("delay_ms", range(0, 1000, 100))
async def test_a_stop_at_any_later_moment_of_the_start_leaves_the_store_whole(installation, delay_ms):
    installation.database.parent.mkdir()
    make_store_file(installation.database, VERSIONS[0])
    process = await start(installation)
    await until(lambda: hears_stops(process.pid))
    await asyncio.sleep(delay_ms / 1000)
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == 0, installation.log.read_text()
    assert faults_of(installation.database) == []
    async with installation.serving():
        pass


async def test_a_stop_while_the_store_is_opened_does_not_wait_for_it(installation, tmp_path):
    opening = tmp_path / "opening"
    process = await start(installation, sys.executable, "-c", SLOW_OPENING, str(opening))
    await until(opening.exists)
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == 0
    assert '"service.cut_off"' in installation.log.read_text()


async def test_a_second_stop_while_it_starts_ends_at_once(installation, tmp_path):
    opening = tmp_path / "opening"
    process = await start(installation, sys.executable, "-c", SLOW_OPENING, str(opening))
    await until(opening.exists)
    process.send_signal(signal.SIGTERM)
    await until(lambda: '"service.stopping"' in installation.log.read_text())
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == STOPPED_AT_ONCE


@pytest.mark.skipif(
    subprocess.run([*AS_PROCESS_1, "true"], capture_output=True, check=False).returncode != 0,
    reason="this system lets nobody make a namespace of processes",
)
async def test_process_1_hears_a_stop_from_its_first_moment(installation):
    process = await start(installation, *AS_PROCESS_1, sys.executable, "-m", "service", "serve")
    await until(lambda: children(process.pid))
    [pid] = children(process.pid)
    await until(lambda: hears_stops(pid))
    os.kill(pid, signal.SIGTERM)
    assert await ended(process) == 0
