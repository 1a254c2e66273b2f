"""One stand-in Cordial for each account, each with contacts, limits and a key of its own, all in one process."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
import msgspec
from aiohttp import web

from benchmarks.processes import first_line, running
from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox

_TIMEOUT = aiohttp.ClientTimeout(total=600)


class Limits(msgspec.Struct, frozen=True):
    """How fast each account's Cordial is; calls are counted for each endpoint, as Cordial counts them."""

    calls_per_second: float
    latency_ms: float
    import_rows_per_second: float
    import_delay_seconds: float


class Totals(msgspec.Struct, frozen=True):
    """What all stand-ins have seen together; an operation reads `POST /v2/contacts`."""

    contacts: int
    calls: int
    in_flight: int
    refused: int
    calls_by_operation: dict[str, int]
    subscription_changes: int


class _Addresses(msgspec.Struct, frozen=True):
    totals: str
    accounts: list[str]


class StandIns:
    """The running stand-ins: a URL for each account, what they have seen, who is on their lists."""

    def __init__(self, process_id: int, urls: list[str], totals_url: str, session: aiohttp.ClientSession) -> None:
        self.process_id = process_id
        self.urls = urls
        self._totals_url = totals_url
        self._session = session

    async def totals(self) -> Totals:
        """Return what all have seen by now."""
        async with self._session.get(self._totals_url) as response:
            return msgspec.json.decode(await response.read(), type=Totals)

    async def on_list(self, account: int, name: str) -> list[str]:
        """Return the addresses on one list, sorted. Raises `aiohttp.ClientResponseError` if there is no such list."""
        url = f"{self.urls[account]}/sandbox/lists/{name}/contacts"
        async with self._session.get(url, params={"all": "1"}, raise_for_status=True) as response:
            found: list[str] = msgspec.json.decode(await response.read())["contacts"]
            return found


def api_key(account: int) -> str:
    """Return the key that an account's stand-in accepts."""
    return f"made-up-key-{account}"


@contextlib.asynccontextmanager
async def running_stand_ins(accounts: int, limits: Limits) -> AsyncIterator[StandIns]:
    """Run them while the block lasts."""
    arguments = [str(accounts), msgspec.json.encode(limits).decode()]
    async with (
        running("benchmarks.scaling.stand_ins", arguments) as process,
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
    ):
        addresses = msgspec.json.decode(await first_line(process), type=_Addresses)
        yield StandIns(process.pid, addresses.accounts, addresses.totals, session)


async def _serve(accounts: int, limits: Limits) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        sandboxes = [
            await stack.enter_async_context(running_sandbox(_options(account, limits))) for account in range(accounts)
        ]
        totals_url = await stack.enter_async_context(_serving_totals(sandboxes))
        addresses = _Addresses(totals_url, [sandbox.url for sandbox in sandboxes])
        sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def _options(account: int, limits: Limits) -> SandboxOptions:
    return SandboxOptions(
        api_key=api_key(account),
        rate=limits.calls_per_second,
        latency_ms=limits.latency_ms,
        imports=ImportOptions(delay_seconds=limits.import_delay_seconds, rows_per_second=limits.import_rows_per_second),
    )


@contextlib.asynccontextmanager
async def _serving_totals(sandboxes: list[RunningSandbox]) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(_add_up(sandboxes)), content_type="application/json")

    application = web.Application()
    application.router.add_get("/totals", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/totals"
    finally:
        await runner.cleanup()


def _add_up(sandboxes: list[RunningSandbox]) -> Totals:
    by_operation: dict[str, int] = {}
    for sandbox in sandboxes:
        for operation, calls in sandbox.journal.by_operation.items():
            by_operation[operation] = by_operation.get(operation, 0) + calls
    return Totals(
        contacts=sum(len(sandbox.state.contacts) for sandbox in sandboxes),
        calls=sum(sandbox.journal.total for sandbox in sandboxes),
        in_flight=sum(sandbox.journal.in_flight for sandbox in sandboxes),
        refused=sum(sandbox.journal.by_status.get(429, 0) for sandbox in sandboxes),
        calls_by_operation=by_operation,
        subscription_changes=sum(sandbox.state.subscription_changes for sandbox in sandboxes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("accounts", type=int)
    parser.add_argument("limits", help="JSON")
    options = parser.parse_args()
    asyncio.run(_serve(options.accounts, msgspec.json.decode(options.limits, type=Limits)))


if __name__ == "__main__":
    main()
