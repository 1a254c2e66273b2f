"""Conditions that only a process of its own can have: too little CPU, and a log that nobody reads."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

from prometheus_client.parser import text_string_to_metric_families

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, eventually, wait_until_it_answers

# `serve`, in which minutes are seconds, and the log's memory is small.
QUICK_SERVICE = """
import sys
from service import log
from service.__main__ import main
from service.observe import facts
from service.observe.metrics import loop_lag

log._MAX_WAITING_BYTES = 2_000
facts._RECENT_SECONDS = 1.0
loop_lag._TICKS_A_MINUTE = 6
sys.exit(main(["serve"]))
"""


@contextlib.asynccontextmanager
async def serving(installation, errors: int) -> AsyncIterator[asyncio.subprocess.Process]:
    installation.environment |= {"HEAP_CORDIAL__SERVER__METRICS_OPEN": "true", "HEAP_CORDIAL__LOG__LEVEL": "debug"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", QUICK_SERVICE, env=installation.environment, cwd=ROOT, stderr=errors
    )
    try:
        await wait_until_it_answers(f"{installation.url}/livez", process)
        yield process
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            await process.wait()


async def is_told(installation, name: str) -> tuple[bool, bool]:
    """Return whether the API, and whether the metric, has a condition of this kind now."""
    items = (await installation.ask("conditions"))["items"]
    families = list(text_string_to_metric_families((await installation.get("/metrics"))[1]))
    [metric] = [each for each in families if each.name == "heap_cordial_condition"]
    in_metric = any(each.labels["id"] == name and each.value for each in metric.samples)
    return any(each["id"] == name for each in items), in_metric


async def test_too_little_cpu_until_there_is_enough(installation):
    async def starve(process: asyncio.subprocess.Process) -> None:
        while True:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.9)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)

    async with serving(installation, asyncio.subprocess.DEVNULL) as process:
        starving = asyncio.create_task(starve(process))
        try:
            await eventually(lambda: is_told(installation, "loop_lag"), (True, True))
        finally:
            starving.cancel()
            await asyncio.wait([starving])
            process.send_signal(signal.SIGCONT)
        await eventually(lambda: is_told(installation, "loop_lag"), (False, False))


async def test_lines_of_the_log_that_nobody_reads_until_somebody_does(installation):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        async with serving(installation, writer):
            os.close(writer)
            while not (await is_told(installation, "log_lines_lost"))[0]:
                await installation.deliver("Active Users", ("jane@example.com",), task=os.urandom(8).hex())
            assert await is_told(installation, "log_lines_lost") == (True, True)

            async def read_and_look() -> tuple[bool, bool]:
                with contextlib.suppress(BlockingIOError):
                    while os.read(reader, 65_536):
                        pass
                return await is_told(installation, "log_lines_lost")

            await eventually(read_and_look, (False, False))
            # It goes on reading while the service stops, which says so.
            asyncio.get_running_loop().add_reader(reader, lambda: os.read(reader, 65_536))
    finally:
        asyncio.get_running_loop().remove_reader(reader)
        os.close(reader)


async def test_nobody_is_told_of_a_trial_before_it_is_known_whether_there_was_one(installation):
    """At a start, the store is asked only after conditions are looked at for the first time."""
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = "http://127.0.0.1:1"
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__BULK_UNTESTED"] = "true"
    async with installation.serving():
        await installation.deliver("Active Users", ("jane@example.com",), task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
    assert "account_awaits_trial" not in installation.log.read_text()
