"""Contact imports as a client asks for them, and a real file server on loopback that the stand-in fetches from."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.sandbox.options import SandboxOptions
from tests.sandbox_fixtures import Caller, Reply, calling

ADDRESS = "channels.email.address"
STATUS = "channels.email.subscribeStatus"
ENDED = ("Done", "Failed")


class FileServer:
    """Serves `files` by path; what was asked for is in `requests`, what was posted to it in `posts`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.authorization: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.posts: asyncio.Queue[Any] = asyncio.Queue()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if request.method == "POST":
            await self.posts.put(msgspec.json.decode(await request.read()))
            return web.Response(status=500)
        if self.authorization not in (None, request.headers.get("Authorization")):
            return web.Response(status=401)
        if request.path not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[request.path])


@asynccontextmanager
async def file_server() -> AsyncIterator[FileServer]:
    files = FileServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", files.answer)
    async with TestServer(application) as server:
        files.url = f"http://127.0.0.1:{server.port}"
        yield files


class Importer:
    """A client that has its file fetched by the stand-in."""

    def __init__(self, cordial: Caller, files: FileServer) -> None:
        self.cordial = cordial
        self.files = files

    async def post(self, rows: Iterable[str] | bytes, path: str = "/contacts.csv", **keys: Any) -> Reply:
        self.files.files[path] = rows if isinstance(rows, bytes) else "".join(f"{row}\n" for row in rows).encode()
        source = {"transport": "HTTP", "url": self.files.url + path}
        return await self.cordial.call("POST", "/v2/contactimports", {"source": source, **keys})

    async def start(self, rows: Iterable[str] | bytes, **keys: Any) -> str:
        reply = await self.post(rows, **keys)
        assert reply.status == 201
        job_id: str = reply.json["jobId"]
        return job_id

    async def job(self, job_id: str) -> Any:
        return (await self.cordial.call("GET", f"/v2/jobs/{job_id}")).json

    async def wait_until(self, job_id: str, reached: Callable[[Any], bool]) -> Any:
        """Poll as a client would, until the job has come so far."""
        async with asyncio.timeout(30):
            while True:
                job = await self.job(job_id)
                if reached(job):
                    return job
                await asyncio.sleep(0.01)

    async def wait_for(self, job_id: str, *statuses: str) -> Any:
        return await self.wait_until(job_id, lambda job: job["status"] in statuses)

    async def run(self, rows: Iterable[str] | bytes, **keys: Any) -> Any:
        return await self.wait_for(await self.start(rows, **keys), *ENDED)

    async def subscription(self, address: str) -> str:
        contact = await self.cordial.contact(f"email:{address}")
        status: str = contact["channels"]["email"]["subscribeStatus"]
        return status


@asynccontextmanager
async def importing(options: SandboxOptions | None = None) -> AsyncIterator[Importer]:
    async with file_server() as files, calling(options) as cordial:
        yield Importer(cordial, files)
