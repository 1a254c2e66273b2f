"""Serving the live page and its files."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from service.http_headers import PAGE_HEADERS

_HERE = Path(__file__).parent
# The look that the stand-in's page shares.
DESIGN = _HERE / "design.css"
_CONTENT_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def add_routes(app: web.Application, authorize: Callable[[web.Request], Awaitable[object]]) -> None:
    """Serve the page at `GET /` to whoever `authorize` lets pass (it raises otherwise), its files to everybody."""
    files = {path.name: path for path in _HERE.iterdir() if path.suffix in _CONTENT_TYPES}

    async def page(request: web.Request) -> web.StreamResponse:
        await authorize(request)
        return web.FileResponse(_HERE / "index.html", headers={**PAGE_HEADERS, "Cache-Control": "no-store"})

    async def file(request: web.Request) -> web.StreamResponse:
        path = files.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={**PAGE_HEADERS, "Content-Type": _CONTENT_TYPES[path.suffix]})

    app.router.add_get("/", page)
    app.router.add_get("/page/{name}", file)
