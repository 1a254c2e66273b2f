import asyncio
import os
import signal
import sys

import pytest

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, clean_environment, run_command
from tests.forking import ForkedProcess, read_to_end


async def test_the_demo_ends_by_itself_when_the_counts_are_exact():
    ended = await run_command("demo", "--exit")
    assert (ended.status, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert [line for line in lines if line.endswith(" contacts")] == [
        "ActiveUsers: 10 contacts",
        "ActiveUsers: 8 contacts",
    ]
    assert lines[-1] == "Exact: the list holds the segment's users and nobody else."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_stays_up_for_the_browser_until_told_to_stop(number):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "demo", env=clean_environment(), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in process.stdout:
                if b"stay up for your browser" in line:
                    break
            process.send_signal(number)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_demo_leaves_no_folder_when_its_reader_has_gone(tmp_path):
    """As with `heap-cordial demo | head -1`."""
    (output, output_end), (errors, errors_end) = os.pipe(), os.pipe()
    os.close(output)
    process = ForkedProcess(["demo"], clean_environment() | {"TMPDIR": str(tmp_path)}, output_end, errors_end)
    os.close(output_end)
    os.close(errors_end)
    complaints = await read_to_end(errors)
    assert (await process.wait(), complaints) == (-signal.SIGPIPE, b"")
    assert list(tmp_path.iterdir()) == []
