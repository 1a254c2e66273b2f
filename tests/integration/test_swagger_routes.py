import hashlib
import re
from pathlib import Path

import pytest
from aiohttp import web

from service.observe.swagger import routes as swagger


def pages_app() -> web.Application:
    app = web.Application()
    swagger.add_routes(app)
    return app


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/docs/assets/init.js",
        "/docs/assets/signing.js",
        "/docs/assets/page.css",
        "/docs/assets/swagger-ui-bundle.js",
    ],
)
async def test_pages_are_sent_with_strict_headers(aiohttp_client, path):
    client = await aiohttp_client(pages_app())
    response = await client.get(path)
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["README.md", "index.html", "..%2froutes.py", "%2e%2e/routes.py"])
async def test_only_the_assets_are_served(aiohttp_client, name):
    client = await aiohttp_client(pages_app())
    assert (await client.get(f"/docs/assets/{name}")).status == 404


def test_the_vendored_files_are_the_published_ones():
    folder = Path(swagger.__file__).parent / "vendor"
    stated = dict(re.findall(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.MULTILINE))
    actual = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in {"README.md", ".gitattributes"}
    }
    assert actual == stated
