"""A stand-in Cordial and someone who calls it as a client would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDictProxy
from yarl import URL

from service.sandbox.options import SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.text)


class Caller:
    """Calls with the right key; paths are taken as they are, percent-encoded by whoever wrote them."""

    def __init__(self, sandbox: RunningSandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._session = session

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        url = URL(self.sandbox.url + path, encoded=True)
        async with self._session.request(method, url, json=body, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.text())

    async def add(self, email: str, **keys: Any) -> Reply:
        return await self.call("POST", "/v2/contacts", {"channels": {"email": {"address": email}}, **keys})

    async def contact(self, key: str) -> Any:
        return (await self.call("GET", f"/v2/contacts/{key}")).json

    async def create_list(self, name: str, **keys: Any) -> int:
        created: int = (await self.call("POST", "/v2/accountlists", {"name": name, **keys})).json["id"]
        return created

    async def members(self, name: str) -> list[str]:
        found: list[str] = (await self.call("GET", f"/sandbox/lists/{name}/contacts?all=1")).json["contacts"]
        return found


@asynccontextmanager
async def calling(options: SandboxOptions | None = None) -> AsyncIterator[Caller]:
    options = options or SandboxOptions()
    headers = {"Authorization": aiohttp.encode_basic_auth(options.api_key, "")}
    # A connection for each call: on one used before, the client would repeat a call that was cut, by itself.
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        running_sandbox(options) as sandbox,
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
    ):
        yield Caller(sandbox, session)
