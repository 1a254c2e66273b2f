"""The `serve` command: the service."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import structlog

from service import log, supervision
from service.app import running_service
from service.commands.client import add_config_option
from service.commands.reloading import read_configuration, reload_when_asked, reloads_asked_by_sighup
from service.config import loading
from service.config.settings import Settings
from service.errors import ConfigurationError
from service.store.sqlite.opening import StoreOpenError
from service.supervision import Supervisor

_log = structlog.get_logger()

_CONFIGURATION_FAULT = 2
_STARTUP_FAULT = 1
# A task of the service ended that nobody asked to end: a fault of the program.
_TASK_ENDED = 70
_MAX_BROKEN_STOP_SECONDS = 10.0
# As a shell reports a process that a second SIGINT or SIGTERM ended.
_STOPPED_AT_ONCE = 130


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("serve", help="run the service")
    add_config_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Before the configuration is read: whoever changes it and asks for a reload meanwhile is heard.
    reload_asked = reloads_asked_by_sighup()
    try:
        settings = read_configuration(arguments.config)
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201  the log is not configured before the configuration is read
        return _CONFIGURATION_FAULT
    log.configure(settings.log)
    for warning in loading.secret_warnings(settings):
        _log.warning("secret.exposed", warning=warning)
    _log.info("configuration", **loading.describe(settings))
    try:
        return asyncio.run(serve_until_signalled(settings, lambda: read_configuration(arguments.config), reload_asked))
    except (StoreOpenError, OSError) as error:
        _log.error("service.not_started", reason=str(error))
        return _STARTUP_FAULT
    finally:
        # The interpreter, on its way out, gives signals back that functions of ours handle.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def serve_until_signalled(
    settings: Settings, read_settings: Callable[[], Settings], reload_asked: asyncio.Event
) -> int:
    """Run until SIGTERM or SIGINT; a second signal ends the process at once, which loses nothing (R6, R13).

    Each time `reload_asked` is set, the settings are read anew.
    """
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if told.is_set():
            os._exit(_STOPPED_AT_ONCE)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    supervisor = Supervisor()
    async with running_service(settings, supervisor) as service:
        reloading = supervisor.start("reloading", reload_when_asked(service, read_settings, reload_asked))
        await _first_of(told, supervisor.failed)
        if supervisor.failed.is_set():
            # Its parts may wait for each other for ever now. What is not committed is repeated at the next start (R6).
            loop.call_later(_MAX_BROKEN_STOP_SECONDS + settings.server.shutdown_grace_seconds, os._exit, _TASK_ENDED)
        await supervision.stop(reloading)
    return _TASK_ENDED if supervisor.failed.is_set() else 0


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
