"""The stand-in Cordial as a web application, and a running one for as long as a block lasts."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from service.sandbox.control import add_control_routes
from service.sandbox.cordial import Sandbox
from service.sandbox.faults import Faults
from service.sandbox.imports.jobs import ImportJobs
from service.sandbox.imports.operations import import_operations
from service.sandbox.journal import Journal
from service.sandbox.operations import OPERATIONS, Operation
from service.sandbox.options import SandboxOptions
from service.sandbox.state import SandboxState

SANDBOX = web.AppKey("sandbox", Sandbox)

_BACKLOG_CONNECTIONS = 1024
# Calls still held when the stand-in stops, by a `hang` say, are not worth waiting for.
_SHUTDOWN_SECONDS = 0.2


class RunningSandbox:
    """A stand-in that answers at `url`, with what tests look at and steer by."""

    def __init__(self, url: str, sandbox: Sandbox) -> None:
        self.url = url
        self.sandbox = sandbox

    @property
    def state(self) -> SandboxState:
        """Contacts and lists."""
        return self.sandbox.state

    @property
    def faults(self) -> Faults:
        """The script of faults."""
        return self.sandbox.faults

    @property
    def imports(self) -> ImportJobs:
        """Import jobs and what goes wrong with them."""
        return self.sandbox.imports

    @property
    def journal(self) -> Journal:
        """Calls and counts."""
        return self.sandbox.journal


def make_application(options: SandboxOptions) -> web.Application:
    """Return the web application; its `SANDBOX` key holds the `Sandbox`."""
    application = web.Application()
    sandbox = application[SANDBOX] = Sandbox(options)
    for operation in (*OPERATIONS, *import_operations(sandbox.imports)):
        application.router.add_route(operation.method, operation.endpoint, _handler(sandbox, operation))
    add_control_routes(application, sandbox)

    async def stop_imports(_application: web.Application) -> None:
        await sandbox.imports.close()

    application.on_cleanup.append(stop_imports)
    return application


def _handler(sandbox: Sandbox, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return await sandbox.serve(request, operation)

    return handle


@asynccontextmanager
async def running_sandbox(
    options: SandboxOptions | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningSandbox]:
    """Run a stand-in while the block lasts; port 0 takes a free one.

    Raises `OSError` when the address cannot be listened on.
    """
    application = make_application(options or SandboxOptions())
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG_CONNECTIONS)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG_CONNECTIONS).start()
        shown_host = f"[{host}]" if family == socket.AF_INET6 else host
        yield RunningSandbox(f"http://{shown_host}:{listener.getsockname()[1]}", application[SANDBOX])
    finally:
        await runner.cleanup()
        listener.close()
