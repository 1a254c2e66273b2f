"""Taking up another configuration while the service runs."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from service.app import Service
from service.config import loading
from service.config.reloading import plan_reload
from service.config.settings import Settings
from service.errors import ConfigurationError, StoreUnavailableError
from service.web import tls

log = structlog.get_logger()


def read_configuration(path: Path | None) -> Settings:
    """Return the settings of the file and the environment, once everything they name is found usable.

    Raises `ConfigurationError` with every fault there is.
    """
    settings = loading.load(path, os.environ)
    if faults := loading.secret_faults(settings) + tls.faults(settings.server):
        raise ConfigurationError(faults)
    return settings


def reloads_asked_by_sighup() -> asyncio.Event:
    """Return an event that each SIGHUP sets, from now to the end of the process.

    Not left to the event loop, which gives the signal back when it closes: its default action ends the process, and a
    SIGHUP may come before the loop runs and after.
    """
    asked = asyncio.Event()

    def note(_number: int, _frame: object) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asked.set()
        else:
            loop.call_soon_threadsafe(asked.set)

    signal.signal(signal.SIGHUP, note)
    return asked


async def reload_when_asked(service: Service, read: Callable[[], Settings], asked: asyncio.Event) -> None:
    """Take up what `read` returns each time `asked` is set, one after the other, until cancelled.

    What is asked several times meanwhile is done once. A configuration with faults changes nothing.
    """
    while True:
        await asked.wait()
        asked.clear()
        try:
            await _reload(service, read)
        except Exception:
            # The service goes on whatever happens here, and can be asked again.
            log.exception("configuration.not_reloaded")


async def _reload(service: Service, read: Callable[[], Settings]) -> None:
    try:
        plan = plan_reload(service.settings, read())
        await service.apply(plan.settings)
    except ConfigurationError as error:
        _tell_refused(error.faults)
        return
    except StoreUnavailableError as error:
        _tell_refused([f"the store cannot take it up: {error.message}"])
        return
    for key in plan.needs_restart:
        log.warning("configuration.needs_restart", setting=key)
    for warning in loading.secret_warnings(plan.settings):
        log.warning("secret.exposed", warning=warning)
    log.info("configuration.reloaded", changed=plan.changed, added=plan.added, removed=plan.removed)


def _tell_refused(faults: Sequence[str]) -> None:
    for fault in faults:
        log.error("configuration.refused", fault=fault)
