"""Which service this is: its version, and the store it works on."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.config.settings import AccountSettings
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import CALLER
from service.observe.api.requests import NoQuery, read_query


class StoreDocument(msgspec.Struct, frozen=True):
    """The store's file: its path in full, and `file`, which is the same for two paths only if they lead to one file.

    `file` is empty while no file is at the path.
    """

    path: str
    file: str


class KeyDocument(msgspec.Struct, frozen=True):
    """The API key that asks: its name, and its role (`read`, `operate` or `admin`)."""

    name: str
    role: str


class ConfiguredAccount(msgspec.Struct, frozen=True):
    """An account of the configuration, and where it says the service is reached; empty if it does not say."""

    name: str
    public_url: str


class ServiceDocument(msgspec.Struct, frozen=True):
    """The running service. Commands compare its store with the one that their own configuration names."""

    version: str
    started_at: datetime
    store: StoreDocument
    key: KeyDocument
    accounts: list[ConfiguredAccount]


def file_identity(path: Path) -> str:
    """Return what tells the file at a path from all others on this machine; empty if there is none to be seen."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


class Identity:
    """Says which service this is."""

    def __init__(
        self, version: str, started_at: datetime, store_path: Path, accounts: Mapping[str, AccountSettings]
    ) -> None:
        self._version = version
        self._started_at = started_at
        self._store_path = store_path.absolute()
        self._accounts = accounts

    def add_routes(self, app: web.Application) -> None:
        """Serve `GET /service`."""
        app.router.add_get("/service", self.service)

    @docs(
        **described.operation(
            "service",
            "The service itself",
            "Its version, when it started, its store's file, and what your key may do.",
            answer=ServiceDocument,
            example=examples.SERVICE,
            query=NoQuery,
        )
    )
    async def service(self, request: web.Request) -> web.Response:
        """Answer `GET /service`."""
        read_query(request, NoQuery)
        store = StoreDocument(str(self._store_path), file_identity(self._store_path))
        caller = request[CALLER]
        key = KeyDocument(caller.name, caller.role.name.lower())
        accounts = [ConfiguredAccount(name, each.public_url) for name, each in self._accounts.items()]
        return described.json_response(ServiceDocument(self._version, self._started_at, store, key, accounts))
