"""Kill -9 while calls are on their way, which Cordial carries out after newer ones: read back, and mended (R5, R6)."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

from service.sandbox.heap_pages import build_pages, post_page
from tests.crash.harness import Harness, running_harness
from tests.crash.processes import HEAP_SECRET, ServiceOptions

LATE_SECONDS = 8.0
OPTIONS = ServiceOptions(max_concurrency=16, in_doubt_seconds=10)
USERS = [f"user{number}@example.com" for number in range(40)]
KEPT = "kept@example.com"


async def deliver(harness: Harness, task: str, add: list[str], remove: list[str]) -> None:
    for page in build_pages(77, "Readers", add, remove, task_id=task):
        answer = await post_page(harness.session, harness.service.webhook_url, HEAP_SECRET, page)
        assert answer.status == 200, answer


async def members(harness: Harness) -> set[str]:
    return set((await harness.ask_stand_in("GET", "/sandbox/lists/Readers/contacts?all=1"))["contacts"])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110  other processes go on meanwhile
            await asyncio.sleep(0.05)


async def test_adds_carried_out_after_a_kill_and_the_removal_are_taken_back():
    async with running_harness(segments=0, senders=1, options=OPTIONS) as harness:

        async def all_are_held() -> bool:
            return not (await harness.ask_stand_in("GET", "/sandbox/state"))["faults"]

        async def nobody_is_in_doubt() -> bool:
            with contextlib.closing(sqlite3.connect(f"file:{harness.service.store_path}?mode=ro", uri=True)) as store:
                return not store.execute("SELECT 1 FROM read_back").fetchall()

        async def somebody_is_in_doubt() -> bool:
            return not await nobody_is_in_doubt()

        await harness.start()
        await deliver(harness, "first", [KEPT], [])
        await harness.wait_until_drained()
        late = {"kind": "late", "method": "POST", "endpoint": "/v2/contacts", "seconds": LATE_SECONDS, "times": 16}
        await harness.ask_stand_in("POST", "/sandbox/faults", late)
        await deliver(harness, "second", USERS, [])
        await until(all_are_held)
        await harness.kill_and_restart()
        await harness.service.wait_until_answered(harness.session, "/readyz")
        # Pages are taken before the accounts have started.
        await until(somebody_is_in_doubt)
        await deliver(harness, "third", [], USERS)
        await harness.wait_until_drained()
        await until(nobody_is_in_doubt)
        await harness.wait_until_drained()
        assert await members(harness) == {KEPT}
        assert "calls.cut_by_crash" in harness.service.log_path.read_text()
        assert (await harness.figures()).members == {"Readers": 1}
