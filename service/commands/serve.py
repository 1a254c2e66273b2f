"""The `serve` command: the service."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from service import log, supervision
from service.app import Service, running_service
from service.commands.arguments import add_command
from service.commands.client import add_config_option, fail_by_configuration
from service.commands.reloading import Reloader, read_configuration
from service.commands.signals import SIGNALS
from service.config import loading
from service.config.settings import Settings
from service.errors import ConfigurationError, StoreUnavailableError
from service.store.sqlite.files import StoreOpenError
from service.supervision import ServiceManager, Supervisor

_log = structlog.get_logger()

_STARTUP_FAULT = 1
# A task of the service ended that nobody asked to end: a fault of the program.
_TASK_ENDED = 70
# A start that is broken off has taken nothing yet, and a copy or an upgrade of the store may take long: it can be cut.
_MAX_BROKEN_START_SECONDS = 5.0
# After a fault the parts of the service may wait for each other for ever. What is not committed is repeated (R6).
_MAX_BROKEN_STOP_SECONDS = 10.0
_MAX_LAST_LOOK_SECONDS = 2.0


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(subparsers, "serve", "run the service", ("serve --config config.toml",))
    add_config_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = read_configuration(arguments.config)
    except ConfigurationError as error:
        # The log is not configured before the configuration is read.
        return fail_by_configuration(arguments, error)
    log.configure(settings.log)
    for warning in loading.secret_warnings(settings):
        _log.warning("secret.exposed", warning=warning)
    _log.info("configuration", **loading.describe(settings))
    try:
        return asyncio.run(serve_until_signalled(settings, lambda: read_configuration(arguments.config)))
    except (StoreOpenError, StoreUnavailableError, OSError) as error:
        _log.error("service.not_started", reason=str(error))
        return _STARTUP_FAULT
    finally:
        SIGNALS.ignore()


async def serve_until_signalled(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    """Run until a signal asks for a stop, at any moment of the start too, or a task has failed; return the exit status.

    At each SIGHUP the settings are read anew.
    """
    loop = asyncio.get_running_loop()
    stop_asked, reload_asked = asyncio.Event(), asyncio.Event()
    SIGNALS.attach(
        stop=lambda: loop.call_soon_threadsafe(stop_asked.set),
        reload=lambda: loop.call_soon_threadsafe(reload_asked.set),
    )
    supervisor, manager, reloader = Supervisor(), ServiceManager(os.environ), Reloader(read_settings)
    is_started = False
    async with contextlib.AsyncExitStack() as stack:
        heartbeat = supervisor.start("heartbeat", manager.keep_telling(supervisor, lambda: is_started), beats=True)
        stack.push_async_callback(supervision.stop, heartbeat)
        running = running_service(settings, supervisor, reload=reloader.reload)
        starting = asyncio.create_task(stack.enter_async_context(running))
        await _first_of(starting, stop_asked.wait(), supervisor.failed.wait())
        if starting.done():
            service = starting.result()
            is_started = True
            manager.tell("READY=1")
            reloading = supervisor.start("reloading", reloader.reload_when_asked(service, reload_asked))
            await _first_of(stop_asked.wait(), supervisor.failed.wait())
            if supervisor.failed.is_set():
                _end_within(_MAX_BROKEN_STOP_SECONDS + service.settings.server.shutdown_grace_seconds, _TASK_ENDED)
                await _keep_conditions(service)
            manager.tell("STOPPING=1")
            await supervision.stop(reloading)
        else:
            _log.info("service.stopping", during="start")
            manager.tell("STOPPING=1")
            _end_within(_MAX_BROKEN_START_SECONDS, _TASK_ENDED if supervisor.failed.is_set() else 0)
            await supervision.stop(starting)
    return _TASK_ENDED if supervisor.failed.is_set() else 0


async def _keep_conditions(service: Service) -> None:
    """Write down that a task has ended, for whoever asks after the next start; not if that very task is needed for it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_MAX_LAST_LOOK_SECONDS):
            await service.conditions.look()


async def _first_of(*awaited: Coroutine[Any, Any, object] | asyncio.Task[Service]) -> None:
    tasks = [asyncio.ensure_future(each) for each in awaited]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await supervision.stop(*[task for task in tasks if task not in awaited])


def _end_within(seconds: float, status: int) -> None:
    """End the process after so long, whatever hangs then."""

    def end() -> None:
        _log.warning("service.cut_off", after_seconds=seconds)
        log.flush()
        os._exit(status)

    asyncio.get_running_loop().call_later(seconds, end)
