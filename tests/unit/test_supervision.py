"""The supervisor: which ends of a task are seen as faults, and which silences."""

import asyncio
from collections.abc import Awaitable

import pytest
from structlog.testing import capture_logs

from service import supervision
from service.supervision import Supervisor


class SettableClock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


async def _raise() -> None:
    await asyncio.sleep(0)
    raise RuntimeError("broken")


async def _return() -> None:
    await asyncio.sleep(0)


async def _await_something_cancelled() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("work", [_raise, _return, _await_something_cancelled])
async def test_a_task_that_ends_unasked_is_a_failure(work):
    supervisor = Supervisor()
    with capture_logs() as entries:
        task = supervisor.start("settler", work())
        await asyncio.wait_for(supervisor.failed.wait(), 10)
        await supervision.ended(task)
    assert supervisor.ended == ["settler"]
    [entry] = entries
    assert (entry["event"], entry["task"], entry["log_level"]) == ("task.ended", "settler", "error")
    assert isinstance(entry["exc_info"], RuntimeError) == (work is _raise)


async def test_a_task_that_was_cancelled_or_told_to_end_is_no_failure():
    supervisor = Supervisor()
    told = asyncio.Event()

    async def wait() -> None:
        await told.wait()

    with capture_logs() as entries:
        cancelled = supervisor.start("cancelled", wait())
        ending = supervisor.start("ending", wait(), may_end=told.is_set)
        await supervision.stop(cancelled, None)
        told.set()
        await supervision.ended(ending, None)
    assert (entries, supervisor.ended, supervisor.failed.is_set()) == ([], [], False)


async def test_what_fails_while_it_stops_is_told_and_no_failure():
    supervisor = Supervisor()

    async def clean_up_badly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("broken")

    with capture_logs() as entries:
        task = supervisor.start("settler", clean_up_badly())
        await asyncio.sleep(0)
        await supervision.stop(task)
    assert [(entry["event"], entry["is_stopping"]) for entry in entries] == [("task.ended", True)]
    assert not supervisor.failed.is_set()


async def test_only_tasks_that_beat_are_missed_and_only_after_a_minute():
    clock = SettableClock()
    supervisor = Supervisor(clock)
    turn = asyncio.Event()

    async def work() -> None:
        while True:
            await turn.wait()
            turn.clear()
            supervisor.beat()

    tasks = [supervisor.start("folder", work(), beats=True), supervisor.start("worker", _for_ever())]
    clock.seconds += 60
    assert supervisor.silences() == {}
    clock.seconds += 1
    assert supervisor.silences() == {"folder": 61.0}
    turn.set()
    async with asyncio.timeout(10):
        while supervisor.silences():  # noqa: ASYNC110  looked at from outside
            await asyncio.sleep(0)
    clock.seconds += 61
    await supervision.stop(*tasks)
    assert supervisor.silences() == {}


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_beat_outside_a_supervised_task_means_nothing():
    supervisor = Supervisor()
    supervisor.beat()
    work: Awaitable[None] = asyncio.sleep(0)
    await asyncio.gather(work, asyncio.create_task(_return()))
