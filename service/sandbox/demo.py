"""The `demo` command: the whole way on loopback with no account anywhere, so that anyone can see it work in a minute."""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from service import log
from service.app import Service, running_service
from service.commands.arguments import add_command
from service.commands.terminal import bar, redraw, say
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.options import SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox

_API_KEY = "demo"
_SECRET = "demo-webhook-secret"  # noqa: S105  a made-up one, for loopback only
_SEGMENT_ID = 15225086
_SEGMENT = "Active Users"
_LIST = "ActiveUsers"
_USERS = [f"user{number}@example.com" for number in range(1, 11)]
_LEAVERS = _USERS[:2]
_PAGE_SIZE = 5
# Slow enough for the progress to be seen.
_CALLS_PER_SECOND = 5
_SERVICE_PORT = 8080
_SANDBOX_PORT = 8081
_PATIENCE_SECONDS = 60.0


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "demo", "see it work on loopback, with nothing configured", ("demo", "demo --exit")
    )
    parser.add_argument("--exit", action="store_true", help="end by itself; status 0 only if the counts were exact")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    log.configure(LogSettings(level="error", format="console"))
    with tempfile.TemporaryDirectory(prefix="heap-cordial-demo-") as folder:
        return asyncio.run(_demo(Path(folder), stay=not arguments.exit))


async def _demo(folder: Path, *, stay: bool) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running_sandbox(SandboxOptions(), port=_free_port(_SANDBOX_PORT)))
        settings = _settings(folder, sandbox.url)
        service = await stack.enter_async_context(running_service(settings))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        say(f"The dashboard:        {service.url}/ (sign in with the API key {_API_KEY})")
        say(f"The API, to try out:  {service.url}/docs (webhook secret {_SECRET})")
        say(f"A stand-in Cordial:   {sandbox.url}/")
        walk = asyncio.create_task(_walk(session, service, sandbox))
        waiting = asyncio.create_task(told.wait())
        await asyncio.wait({walk, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not walk.done():
            walk.cancel()
            await asyncio.gather(walk, return_exceptions=True)
            return 1
        exact = walk.result()
        if stay:
            say("", "Both stay up for your browser. Ctrl-C ends the demo.")
            await waiting
        waiting.cancel()
    return 0 if exact else 1


async def _walk(session: aiohttp.ClientSession, service: Service, sandbox: RunningSandbox) -> bool:
    """Let users enter and leave the segment; return whether Cordial's counts were exact each time."""
    say("", f"Heap sends the segment “{_SEGMENT}”: {len(_USERS)} users on two signed pages.")
    first = await _sync(session, service, sandbox.url, add=_USERS, task_id="demo-1")
    for address in sandbox.state.members(_LIST):
        say(f"    {address}")
    say("", f"{len(_LEAVERS)} users leave the segment; Heap sends who left.")
    second = await _sync(session, service, sandbox.url, remove=_LEAVERS, task_id="demo-2")
    exact = first == len(_USERS) and second == len(_USERS) - len(_LEAVERS)
    say("", "Exact: the list holds the segment's users and nobody else." if exact else "NOT EXACT.")
    return exact


async def _sync(
    session: aiohttp.ClientSession,
    service: Service,
    cordial_url: str,
    *,
    task_id: str,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> int:
    """Send one sync, wait until it has drained, and return the list's count as the stand-in gives it."""
    pages = build_pages(_SEGMENT_ID, _SEGMENT, add, remove, task_id=task_id, page_size=_PAGE_SIZE)
    for page in pages:
        answer = await post_page(session, f"{service.url}/webhooks/heap/demo", _SECRET, page)
        say(f"    {answer.status} {answer.text}")
    await _watch(lambda: service.store.backlog.total, len(add) + len(remove))
    count = await _count(session, cordial_url)
    say(f"{_LIST}: {count} contacts")
    return count


async def _watch(backlog: Callable[[], int], total: int) -> None:
    """Draw the progress until nothing is left, for a minute at most."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    shown = -1
    while time.monotonic() < deadline:
        left = backlog()
        done = max(0, total - left)
        if done != shown:
            shown = done
            redraw(f"    {bar(done, total)}  {done} of {total} changes settled")
        if not left:
            break
        await asyncio.sleep(0.05)
    if sys.stdout.isatty():
        say("")


async def _count(session: aiohttp.ClientSession, url: str) -> int:
    """Ask the stand-in as one would ask Cordial."""
    auth = aiohttp.BasicAuth(SandboxOptions().api_key)
    async with session.get(f"{url}/v2/accountlists", params={"name": _LIST}, auth=auth) as answer:
        lists = await answer.json()
    if not isinstance(lists, list):
        return 0
    async with session.get(f"{url}/v2/accountlists/{lists[0]['id']}/count", auth=auth) as answer:
        return int((await answer.json())["count"])


def _settings(folder: Path, cordial_url: str) -> Settings:
    secret, key, api_key = folder / "heap-secret", folder / "cordial-key", folder / "api-key"
    secret.write_text(_SECRET)
    key.write_text(SandboxOptions().api_key)
    api_key.write_text(_API_KEY)
    account = AccountSettings(
        name="demo",
        heap_secrets=(SecretReference(file=str(secret)),),
        cordial_api_key=SecretReference(file=str(key)),
        cordial_base_url=cordial_url,
        requests_per_second=_CALLS_PER_SECOND,
    )
    return Settings(
        server=ServerSettings(
            host="127.0.0.1",
            port=_free_port(_SERVICE_PORT),
            shutdown_grace_seconds=2,
            api_keys=(SecretReference(file=str(api_key)),),
        ),
        store=StoreSettings(path=str(folder / "demo.db")),
        log=LogSettings(),
        accounts={account.name: account},
    )


def _free_port(wanted: int) -> int:
    """Return the wanted port if it is free, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
