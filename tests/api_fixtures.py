"""The whole service with API keys, and one who asks its API over HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from service.app import running_service
from service.config.settings import (
    ApiKeySettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.sandbox.options import SandboxOptions
from service.sandbox.server import running_sandbox
from service.supervision import Supervisor
from tests.service_fixtures import ACCOUNT, World

API_KEY = "key one"


def authorization(key: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(key, "", encoding="utf-8")}


class Answer(NamedTuple):
    status: int
    document: Any
    headers: Any


class ApiWorld(World):
    """A service whose API is asked."""

    def __init__(
        self,
        directory: Path,
        *arguments: Any,
        keys: tuple[SecretReference, ...] | None,
        named: dict[str, ApiKeySettings],
        **account: Any,
    ) -> None:
        super().__init__(directory, *arguments, **account)
        self.api_key_file = directory / "api-key"
        self.api_key_file.write_text(API_KEY + "\n")
        self._named_keys = named
        self._api_keys = (SecretReference(file=str(self.api_key_file)),) if keys is None else keys

    async def start(self, **account: Any) -> None:
        self.account = msgspec.structs.replace(self.account, **account)
        settings = Settings(
            server=ServerSettings(host="127.0.0.1", port=self.port, shutdown_grace_seconds=5, api_keys=self._api_keys),
            store=StoreSettings(path=str(self._store_file), settle_interval_seconds=self.settle_interval_seconds),
            log=LogSettings(),
            accounts={ACCOUNT: self.account},
            api_keys=self._named_keys,
        )
        supervisor = Supervisor(max_silence_seconds=self.max_silence_seconds)
        running = running_service(settings, supervisor, self.timings(), reload=self.reload)
        self._service = await self._stack.enter_async_context(running)

    def url(self, path: str) -> str:
        return f"{self.service.url}/api/v1/{path}"

    async def ask(self, path: str, key: str = API_KEY, method: str = "GET", **options: Any) -> Answer:
        headers = {**authorization(key), **options.pop("headers", {})}
        async with self._session.request(method, self.url(path), headers=headers, **options) as answer:
            return Answer(answer.status, msgspec.json.decode(await answer.read()), answer.headers)

    async def get(self, path: str, **options: Any) -> Any:
        """Return the document at a path, which must be there."""
        answer = await self.ask(path, **options)
        assert answer.status == 200, answer
        return answer.document

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask(path, method="POST", json={} if body is None else body, **options)


@contextlib.asynccontextmanager
async def asking(
    directory: Path,
    keys: tuple[SecretReference, ...] | None = None,
    named: dict[str, ApiKeySettings] | None = None,
    cordial: SandboxOptions | None = None,
    **account: Any,
) -> AsyncIterator[ApiWorld]:
    """Run a stand-in Cordial and a service that is asked, for as long as the context lasts."""
    options = msgspec.structs.replace(cordial or SandboxOptions(), journal=True)
    async with running_sandbox(options) as sandbox, aiohttp.ClientSession() as session:
        world = ApiWorld(directory, sandbox, session, keys=keys, named=named or {}, **account)
        await world.start()
        try:
            yield world
        finally:
            await world.stop()
