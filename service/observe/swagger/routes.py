from pathlib import Path

from aiohttp import web

from service.http_headers import PAGE_HEADERS

_HERE = Path(__file__).parent
_ASSETS = {
    "init.js": _HERE / "init.js",
    "signing.js": _HERE / "signing.js",
    "page.css": _HERE / "page.css",
    "swagger-ui-bundle.js": _HERE / "vendor" / "swagger-ui-bundle.js",
    "swagger-ui.css": _HERE / "vendor" / "swagger-ui.css",
}


def add_routes(app: web.Application) -> None:
    """Serve Swagger UI for `openapi.json`, which is expected beside it, at `GET /docs`."""
    app.router.add_get("/docs", _page)
    app.router.add_get("/docs/assets/{name}", _asset)


async def _page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(_HERE / "index.html", headers=PAGE_HEADERS)


async def _asset(request: web.Request) -> web.FileResponse:
    path = _ASSETS.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers=PAGE_HEADERS)
