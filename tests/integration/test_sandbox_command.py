import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from service.sandbox.server import running_sandbox


@asynccontextmanager
async def sandbox_process(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the command; yield its process and the address that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "sandbox", "--port", "0", *arguments, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield process, found.group()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_until_told_to_stop(number):
    async with sandbox_process("--key", "my-key", "--rate", "0") as (process, url), aiohttp.ClientSession() as session:
        assert process.stdout is not None
        assert "my-key" in (await process.stdout.readline()).decode()
        for key, status in (("my-key", 200), ("sandbox-key", 401)):
            headers = {"Authorization": aiohttp.encode_basic_auth(key, "")}
            async with session.get(f"{url}/v2/accountlists", headers=headers) as answer:
                assert answer.status == status
        async with session.get(f"{url}/") as page:
            assert "Stand-in Cordial" in await page.text()
        os.kill(process.pid, number)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_programs_are_told_where_it_listens():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "sandbox", "--port", "0", "--json", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    process.terminate()
    assert await process.wait() == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", told["url"])
    assert told["api_key"] == "sandbox-key"


async def test_the_command_limits_to_fifty_calls_a_second_unless_told_otherwise():
    async with sandbox_process() as (_, url), aiohttp.ClientSession() as session:
        headers = {"Authorization": aiohttp.encode_basic_auth("sandbox-key", "")}
        async with session.get(f"{url}/v2/accountlists", headers=headers) as answer:
            assert answer.headers["X-Rate-Limit-Limit"] == "50"


def test_the_command_refuses_nonsense():
    for arguments in (["--rate", "-1"], ["--error-rate", "1.5"], ["--latency-ms", "nan"], ["--port", "x"]):
        done = subprocess.run(
            [sys.executable, "-m", "service", "sandbox", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert arguments[0] in done.stderr


async def test_the_command_says_when_the_port_is_taken():
    async with running_sandbox() as other:
        port = other.url.rsplit(":", 1)[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "sandbox", "--port", port, stderr=subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in errors.decode()
