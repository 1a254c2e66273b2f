"""A long-lived task that ends unasked: the process tells of it, stops in order and ends with a status of its own (R15)."""

import asyncio

import msgspec
import pytest

from tests.command_fixtures import PATIENCE_SECONDS, eventually, wait_until_started
from tests.forking import ForkedProcess
from tests.service_fixtures import delivering

TASK_ENDED = 70

# One task fails once a file is there.
FAULT = """
import asyncio, os
from service.supervision import Supervisor

unchanged = Supervisor.start

async def fail_when_told(work):
    running = asyncio.ensure_future(work)
    while not os.path.exists({file!r}):
        await asyncio.sleep(0.02)
    running.cancel()
    raise RuntimeError("made to fail")

def start(self, name, work, **options):
    return unchanged(self, name, fail_when_told(work) if name == {task!r} else work, **options)

Supervisor.start = start
"""

SHARED_TASKS = {
    "account states",
    "conditions",
    "connections",
    "eraser",
    "event loop lag",
    "events",
    "folder",
    "judge",
    "due changes",
    "retention",
    "settler",
    "store writer",
}


# Without it nothing can be written down.
NEEDED_TO_TELL = {"store writer"}


@pytest.mark.parametrize("name", [*sorted(SHARED_TASKS), "reloading", "acme feeder", "acme worker 0", "acme lists"])
async def test_the_process_ends_with_a_status_of_its_own_and_goes_on_after_the_next_start(installation, name):
    signal = installation.folder / "fail"
    with installation.log.open("wb") as log:
        fault = FAULT.format(task=name, file=str(signal))
        process = ForkedProcess(["serve"], installation.environment, log.fileno(), log.fileno(), first=fault)
    try:
        # Before, the end of a task breaks the start off.
        await wait_until_started(process, installation.log)
        assert (await installation.deliver("Active Users", ("jane@example.com",), task="t1")).status == 200
        signal.touch()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == TASK_ENDED
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [msgspec.json.decode(line) for line in installation.log.read_text().splitlines()]
    [told] = [line for line in lines if line["event"] == "task.ended"]
    assert (told["task"], told["level"]) == (name, "error")
    assert "made to fail" in told["exception"]
    assert lines[-1]["event"] == "service.stopped"
    async with installation.serving():
        await eventually(lambda: installation.figures("settled", "pending"), [1, 0])
        if name not in NEEDED_TO_TELL:

            async def ended() -> list[str]:
                return [each["subject"] for each in (await installation.ask("conditions?id=task_ended"))["history"]]

            await eventually(ended, [name])


async def test_every_task_that_lives_as_long_as_the_service_is_supervised(tmp_path):
    async with delivering(tmp_path, max_concurrency=2) as world:
        supervisor = world.service.supervisor
        own = {
            "acme feeder",
            "acme lists",
            "acme prober",
            "acme read-back",
            "acme verifier",
            "acme worker 0",
            "acme worker 1",
        }
        assert set(supervisor.names) == SHARED_TASKS | own
        unwatched = {task.get_name() for task in asyncio.all_tasks()} - set(supervisor.names)
        # This test's own, and those of the stand-in's and the service's HTTP library.
        assert {name for name in unwatched if not name.startswith("Task-")} == set()
    assert (supervisor.names, supervisor.ended) == ([], [])
