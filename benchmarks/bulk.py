"""A first sync by import, with a kill -9 in the middle: calls made, time until the list is exact, memory.

Half of the users are known to the stand-in before, subscribed, unsubscribed and neither: whose subscription changes
shows. Everything is compared at the end, not counted only.
"""

import asyncio
import contextlib
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from os import kill
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.memory import Resident, resident
from benchmarks.processes import cpu_seconds
from benchmarks.report import Figure, progress
from benchmarks.service_process import HEAP_SECRET, ServiceUnderTest, free_port, running_service, watching
from benchmarks.stand_in import running_stand_in
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.options import DEFAULT_API_KEY
from service.store.sqlite import opening

_USERS_PER_PAGE = 1_000
_SENDERS = 4
_STATUSES = ("none", "subscribed", "unsubscribed")
_POLL_SECONDS = 0.05
_LONGEST_SECONDS = 1_800.0
_MAX_CALLS = 60
_FETCHED = "SELECT 1 FROM import_part WHERE fetched_at_ms IS NOT NULL"


async def measure(*, users: int) -> list[Figure]:
    """Sync that many users to a stand-in that knows half of them. Raises `RuntimeError` unless the list is exact."""
    wanted = [f"user{number:07}@example.com" for number in range(users)]
    async with running_stand_in() as url, aiohttp.ClientSession() as session:
        await make_known(session, url, wanted[::2])
        before = await state(session, url)
        progress(f"bulk: the stand-in knows {before['contacts']:,} of {users:,} users")
        with tempfile.TemporaryDirectory() as directory:
            started = time.perf_counter()
            most, taken = await _sync(session, Path(directory), url, wanted)
            seconds = time.perf_counter() - started
        after = await state(session, url)
        async with session.get(f"{url}/sandbox/lists/Benchmark/contacts", params={"all": "1"}) as response:
            on_list = set((await response.json())["contacts"])
    changed = after["subscription_changes"] - before["subscription_changes"]
    if on_list != set(wanted) or changed:
        missing, excess = len(set(wanted) - on_list), len(on_list - set(wanted))
        raise RuntimeError(f"{missing} users missing, {excess} in excess, {changed} subscriptions changed")
    calls = after["calls"] - before["calls"]
    return [
        Figure(
            f"bulk: calls for a first sync of {users:,}, kill -9 in the middle",
            f"{calls}",
            f"{taken:.1f} s",
            measured=calls,
            target=("≤", _MAX_CALLS),
        ),
        Figure("bulk: first page to exact, stand-in's work included", f"{seconds:.0f} s"),
        Figure("bulk: subscriptions changed", f"{changed}", measured=changed, target=("≤", 0)),
        Figure("bulk: resident, the most", f"{most.max_mib:.0f} MiB"),
    ]


async def _sync(
    session: aiohttp.ClientSession, directory: Path, url: str, wanted: Sequence[str]
) -> tuple[Resident, float]:
    """Post all, kill the service once its file is being fetched, start it again, wait until all is settled.

    Return its memory and its seconds on a core.
    """
    port = free_port()

    def running() -> contextlib.AbstractAsyncContextManager[ServiceUnderTest]:
        return running_service(directory, url, requests_per_second=25, port=port, imports=True)

    async with running() as service:
        await post(session, service.webhook_url, wanted)
        progress("bulk: all pages are acknowledged")
        await _until_fetched(service.database)
        taken = cpu_seconds(service.process_id)
        kill(service.process_id, signal.SIGKILL)
    progress("bulk: killed while the file was fetched")
    async with running() as service, watching(service.database) as store:
        await store.until_settled(len(wanted), _LONGEST_SECONDS)
        return resident(service.process_id), taken + cpu_seconds(service.process_id)


async def post(session: aiohttp.ClientSession, webhook_url: str, users: Sequence[str], task: str = "bulk") -> None:
    pages = iter(build_pages(1, "Benchmark", users, task_id=task, page_size=_USERS_PER_PAGE))

    async def send() -> None:
        for page in pages:
            answer = await post_page(session, webhook_url, HEAP_SECRET, page)
            if answer.status != 200:
                raise RuntimeError(f"a page was answered {answer.status}")

    await asyncio.gather(*(send() for _ in range(_SENDERS)))


async def _until_fetched(database: Path) -> None:
    connection = await opening.open_reader(database)
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            while not await connection.run(lambda store: store.execute(_FETCHED).fetchone()):  # noqa: ASYNC110  another process fetches
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        await connection.close()


async def make_known(session: aiohttp.ClientSession, url: str, addresses: Sequence[str]) -> None:
    """Have the stand-in create contacts with every status of a subscription, by an import of our own."""
    chance = random.Random(0)  # noqa: S311  the same contacts each time
    rows = (f"{address},{chance.choice(_STATUSES)}\n" for address in addresses)
    async with _serving(rows) as file_url:
        login = aiohttp.BasicAuth(DEFAULT_API_KEY)
        body = {
            "source": {"transport": "http", "url": file_url},
            "columns": ["channels.email.address", "channels.email.subscribeStatus"],
        }
        async with session.post(f"{url}/v2/contactimports", json=body, auth=login) as response:
            job_id = (await response.json())["jobId"]
        while True:
            async with session.get(f"{url}/v2/jobs/{job_id}", auth=login) as response:
                job = await response.json()
            if job["status"] in {"Done", "Failed"}:
                break
            await asyncio.sleep(_POLL_SECONDS)
    if job["status"] != "Done" or job["result"]["inserted"] != len(addresses):
        raise RuntimeError(f"the stand-in did not take the contacts: {job}")


@contextlib.asynccontextmanager
async def _serving(rows: Iterable[str]) -> AsyncIterator[str]:
    content = "".join(rows).encode()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type="text/csv")

    app = web.Application()
    app.router.add_get("/known.csv", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/known.csv"
    finally:
        await runner.cleanup()


async def state(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(f"{url}/sandbox/state") as response:
        state: dict[str, Any] = await response.json()
        return state
