"""Standard error is a pipe that nobody reads, or closed: nothing waits for it, and nothing else takes its place."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, Installation, eventually, wait_until_it_answers

# A pipe takes 64 KiB, and each answer leaves a line.
PAGES = 300


async def test_webhook_health_delivery_and_stop_do_not_wait_for_the_reader_of_the_log(tmp_path, cordial):
    installation = Installation(tmp_path, cordial.url, LOG__LEVEL="debug")
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve"), env=installation.environment, cwd=ROOT, stderr=writer
    )
    os.close(writer)
    try:
        await wait_until_it_answers(f"{installation.url}/livez", process)
        async with asyncio.timeout(PATIENCE_SECONDS):
            for number in range(PAGES):
                sent = await installation.deliver("Active Users", (f"jane{number}@example.com",), task=f"t{number}")
                assert sent.status == 200
        await eventually(lambda: installation.figures("settled", "pending"), [PAGES, 0])
        assert (await installation.get("/livez"))[0] == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(reader)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
async def test_a_service_whose_standard_streams_are_closed_puts_no_file_of_its_own_there(tmp_path, cordial, closed):
    installation = Installation(tmp_path, cordial.url)
    process = await asyncio.create_subprocess_shell(
        f'exec "$PYTHON" -m service serve {closed}',
        env=installation.environment | {"PYTHON": sys.executable},
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await wait_until_it_answers(f"{installation.url}/livez", process)
        assert (await installation.deliver("Active Users", ("jane@example.com",), task="t")).status == 200
        await eventually(lambda: installation.figures("settled", "pending"), [1, 0])
        assert {"0", "1", "2"}.isdisjoint(descriptors_of_its_own(process.pid, tmp_path))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def descriptors_of_its_own(process: int, folder: Path) -> set[str]:
    opened = {file.name: file.readlink() for file in Path(f"/proc/{process}/fd").iterdir() if file.is_symlink()}
    return {number for number, to in opened.items() if to.is_relative_to(folder) or str(to).startswith("socket:")}
