"""Serving the live page and its files."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from service.web.files import StaticFile
from service.web.headers import PAGE_HEADERS

_HERE = Path(__file__).parent
# The look that the stand-in's page shares.
DESIGN = _HERE / "design.css"
_OPEN_TO_ALL = {".css", ".js", ".svg"}


def add_routes(app: web.Application, authorize: Callable[[web.Request], Awaitable[object]]) -> None:
    """Serve the page at `GET /` to whoever `authorize` lets pass (it raises otherwise), its files to everybody."""
    index = StaticFile(_HERE / "index.html", {**PAGE_HEADERS, "Cache-Control": "no-store"})
    files = {path.name: StaticFile(path, PAGE_HEADERS) for path in _HERE.iterdir() if path.suffix in _OPEN_TO_ALL}

    async def page(request: web.Request) -> web.StreamResponse:
        await authorize(request)
        return await index.answer(request)

    async def file(request: web.Request) -> web.StreamResponse:
        found = files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return await found.answer(request)

    app.router.add_get("/", page)
    app.router.add_get("/page/{name}", file)
