"""Serving the dashboard and its files.

They are open to everybody and hold no data: the dashboard asks the API, which asks for the key.
"""

from pathlib import Path

from aiohttp import web

from service.web.files import StaticFile
from service.web.headers import PAGE_HEADERS

_HERE = Path(__file__).parent
# The look that the stand-in's page shares.
DESIGN = _HERE / "design.css"
_SUFFIXES = {".css", ".js", ".md", ".svg"}


def add_routes(app: web.Application) -> None:
    """Serve the dashboard at `GET /`."""
    index = StaticFile(_HERE / "index.html", {**PAGE_HEADERS, "Cache-Control": "no-store"})
    files = {
        f"{prefix}{path.name}": StaticFile(path, PAGE_HEADERS)
        for prefix, folder in (("", _HERE), ("vendor/", _HERE / "vendor"))
        for path in folder.iterdir()
        if path.suffix in _SUFFIXES
    }

    async def file(request: web.Request) -> web.StreamResponse:
        found = files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return await found.answer(request)

    app.router.add_get("/", index.answer)
    app.router.add_get("/page/{name:(?:vendor/)?[^/]+}", file)
