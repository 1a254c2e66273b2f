import gzip
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


async def test_files_are_compressed_for_whoever_takes_that(aiohttp_client):
    client = await aiohttp_client(pages_app(), auto_decompress=False)
    path = "/docs/assets/swagger-ui-bundle.js"
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    compressed = await client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    body = await compressed.read()
    assert gzip.decompress(body) == await plain.read()
    assert len(body) * 3 < plain.content_length
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != compressed.headers["ETag"]
    for answer, coding in ((plain, "identity"), (compressed, "gzip")):
        headers = {"Accept-Encoding": coding, "If-None-Match": answer.headers["ETag"]}
        assert (await client.get(path, headers=headers)).status == 304


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
