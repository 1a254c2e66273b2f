"""Taking up another configuration while the service runs."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from service.app import Service
from service.config import loading
from service.config.reloading import Reload, plan_reload
from service.config.settings import Settings
from service.errors import ConfigurationError, StoreUnavailableError
from service.web import tls

log = structlog.get_logger()

_SIGNAL = "SIGHUP"


def read_configuration(path: Path | None) -> Settings:
    """Return the settings of the file and the environment, once everything they name is found usable.

    Raises `ConfigurationError` with every fault there is.
    """
    settings = loading.load(path, os.environ)
    if faults := loading.secret_faults(settings) + tls.faults(settings.server):
        raise ConfigurationError(faults)
    return settings


class Reloader:
    """Has a service take up what `read` returns, for SIGHUP and for the API, once at a time."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        self._read = read
        self._lock = asyncio.Lock()

    async def reload(self, service: Service, actor: str) -> Reload:
        """Return what changed. Raises `ConfigurationError` for a configuration with faults, which changes nothing."""
        async with self._lock:
            return await _reload(service, self._read, actor)

    async def reload_when_asked(self, service: Service, asked: asyncio.Event) -> None:
        """Reload each time `asked` is set, until cancelled; what is asked several times meanwhile is done once."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload(service, _SIGNAL)
            except ConfigurationError:
                pass  # its faults are in the log
            except Exception:
                # The service goes on whatever happens here, and can be asked again.
                log.exception("configuration.not_reloaded")
                service.facts.reload_refused(["a fault in the service while it loaded the configuration; see the log"])


async def _reload(service: Service, read: Callable[[], Settings], actor: str) -> Reload:
    """Take up what `read` returns; raises `ConfigurationError` with what keeps it from being taken up."""
    try:
        plan = plan_reload(service.settings, read())
        changes = len(plan.changed) + len(plan.added) + len(plan.removed)
        # Before it is done, for nothing may be done that is not in the audit.
        await service.store.steering.record(actor, "configuration.reload", "", changes)
        await service.apply(plan.settings)
    except StoreUnavailableError as error:
        raise _refused(service, [f"the store cannot use it: {error.message}"]) from error
    except ConfigurationError as error:
        raise _refused(service, error.faults) from error
    for key in plan.needs_restart:
        log.warning("configuration.needs_restart", setting=key)
    for warning in loading.secret_warnings(plan.settings):
        log.warning("secret.exposed", warning=warning)
    service.facts.reloaded(plan.needs_restart)
    log.info("configuration.reloaded", changed=plan.changed, added=plan.added, removed=plan.removed)
    return plan


def _refused(service: Service, faults: Sequence[str]) -> ConfigurationError:
    for fault in faults:
        log.error("configuration.refused", fault=fault)
    service.facts.reload_refused(faults)
    return ConfigurationError(list(faults))
