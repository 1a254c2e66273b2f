"""Serving Swagger UI and its files."""

from pathlib import Path

from aiohttp import web

from service.web.files import StaticFile
from service.web.headers import PAGE_HEADERS

_HERE = Path(__file__).parent
_ASSETS = (
    _HERE / "init.js",
    _HERE / "signing.js",
    _HERE / "page.css",
    _HERE / "vendor" / "swagger-ui-bundle.js",
    _HERE / "vendor" / "swagger-ui.css",
)


def add_routes(app: web.Application) -> None:
    """Serve Swagger UI for `openapi.json`, which is expected beside it, at `GET /docs`."""
    files = {path.name: StaticFile(path, PAGE_HEADERS) for path in _ASSETS}

    async def asset(request: web.Request) -> web.StreamResponse:
        file = files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return await file.answer(request)

    app.router.add_get("/docs", StaticFile(_HERE / "index.html", PAGE_HEADERS).answer)
    app.router.add_get("/docs/assets/{name}", asset)
