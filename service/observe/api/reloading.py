"""Having the service read its configuration again, as SIGHUP does, and being told what came of it."""

from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs

from service.errors import ConfigurationError, ErrorCode, ServiceError
from service.observe.api import documentation as described
from service.observe.api.authentication import ACTOR
from service.observe.api.requests import NoOptions, read_action

log = structlog.get_logger()


class Reloaded(msgspec.Struct, frozen=True):
    """What another reading of the configuration changed: keys, and accounts that came or went; `needs_restart` did not."""

    changed: list[str]
    added: list[str]
    removed: list[str]
    needs_restart: list[str]


class Reloading:
    """Reads the configuration again on behalf of the holder of an API key."""

    def __init__(self, reload: Callable[[str], Awaitable[Reloaded]], check_runs: Callable[[], None]) -> None:
        self._reload = reload
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve `POST /reload`."""
        app.router.add_post("/reload", self.reload)

    @docs(
        **described.operation(
            "service",
            "Read the configuration again",
            "Does the same as SIGHUP: applies what changed in the configuration, without losing a page. If the "
            "configuration has a fault, nothing changes.",
            answer=Reloaded,
            example={"changed": ["accounts.acme.dry_run"], "added": [], "removed": [], "needs_restart": []},
            body=NoOptions,
            conflict="The new configuration has faults, which the message names. The service keeps the old one.",
        )
    )
    async def reload(self, request: web.Request) -> web.Response:
        """Answer `POST /reload`."""
        await read_action(request, NoOptions, self._check_runs)
        try:
            reloaded = await self._reload(request[ACTOR])
        except ConfigurationError as error:
            raise ServiceError(ErrorCode.CONFLICT, "nothing was changed: " + "; ".join(error.faults)) from error
        log.info("action.done", action="configuration.reload", actor=request[ACTOR])
        return described.json_response(reloaded)
