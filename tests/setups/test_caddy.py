"""The reverse proxy's configuration, run by Caddy itself in front of the service."""

import asyncio
import contextlib
import io
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from service.config.settings import ServerSettings
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.server import RunningSandbox, running_sandbox
from tests.command_fixtures import ROOT, WEBHOOK_SECRET, Installation, eventually
from tests.ports import free_port

CADDY = shutil.which("caddy")
CADDYFILE = ROOT / "docs/setups/Caddyfile"
LIMIT_BYTES = ServerSettings().max_body_bytes

if os.environ.get("HOST_TOOLS") != "required":
    pytestmark = pytest.mark.skipif(CADDY is None, reason="caddy is missing; as root on Debian: make container-system")


class Answer(NamedTuple):
    status: int
    body: bytes


class Proxied(NamedTuple):
    """A service with Caddy in front of it; `url` is Caddy's."""

    url: str
    installation: Installation
    cordial: RunningSandbox

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=body and io.BytesIO(body), headers=headers) as answer,
        ):
            return Answer(answer.status, await answer.read())

    async def status_of(self, method: str, path: str) -> int:
        with contextlib.suppress(aiohttp.ClientError):
            return (await self.ask(method, path)).status
        return 0


@pytest.fixture
async def proxied(tmp_path) -> AsyncIterator[Proxied]:
    url = f"http://127.0.0.1:{free_port()}"
    async with running_sandbox_installation(tmp_path) as (installation, cordial):
        proxy = Proxied(url, installation, cordial)
        environment = caddy_environment(tmp_path, url, f"127.0.0.1:{installation.port}")
        with (tmp_path / "caddy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                str(CADDY), "run", "--config", str(local_caddyfile(tmp_path)), "--adapter", "caddyfile",
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            await eventually(lambda: proxy.status_of("GET", "/"), 404)
            yield proxy
        finally:
            process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def running_sandbox_installation(folder: Path) -> AsyncIterator[tuple[Installation, RunningSandbox]]:
    async with running_sandbox() as cordial:
        installation = Installation(folder, cordial.url)
        async with installation.serving():
            yield installation, cordial


def local_caddyfile(folder: Path) -> Path:
    """The file as it ships; only the port by which Caddy itself is steered is closed, as tests may run side by side."""
    path = folder / "Caddyfile"
    path.write_text("{\n\tadmin off\n}\n" + CADDYFILE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def caddy_environment(folder: Path, host: str, upstream: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HEAP_CORDIAL_HOST": host,
        "HEAP_CORDIAL_UPSTREAM": upstream,
    }


def test_caddy_finds_the_file_valid_and_well_formatted(tmp_path):
    environment = caddy_environment(tmp_path, "webhooks.example.com", "127.0.0.1:8080")
    checks = (["validate", "--adapter", "caddyfile", "--config", str(CADDYFILE)], ["fmt", str(CADDYFILE)])
    validated, formatted = (
        subprocess.run([str(CADDY), *check], env=environment, capture_output=True, text=True, check=True)
        for check in checks
    )
    assert "Valid configuration" in validated.stderr + validated.stdout
    assert formatted.stdout == CADDYFILE.read_text(encoding="utf-8")


async def test_signed_pages_pass_unchanged_and_reach_the_list(proxied):
    users = ["jane@example.com", "john@example.com"]
    webhook = f"{proxied.url}/webhooks/heap/acme"
    [page] = build_pages(7, "Active Users", users, task_id="task-1", identity_property="E-Mail (für 陳)")
    # Spaces that no encoder would write: a proxy that reads JSON and writes it anew would break the signature.
    page = page.replace(b'"add":', b'"add" :  ')
    async with aiohttp.ClientSession() as session:
        answer = await post_page(session, webhook, WEBHOOK_SECRET, page)
    assert answer.status == 200, answer
    await eventually(lambda: members(proxied.cordial), users)


async def members(cordial: RunningSandbox) -> list[str]:
    with contextlib.suppress(KeyError):
        return cordial.state.members("ActiveUsers")
    return []


async def test_many_pages_at_once_all_come_through(proxied):
    """All of them reach the service from one address, Caddy's, and more at once than the service admits from one."""
    at_once, pages = 400, 1_200
    sent = iter(range(pages))
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def send() -> None:
            for number in sent:
                [page] = build_pages(1, "Readers", [f"user{number}@example.com"], (), task_id=f"t{number}")
                answer = await post_page(session, f"{proxied.url}/webhooks/heap/acme", WEBHOOK_SECRET, page)
                statuses[answer.status] += 1

        await asyncio.gather(*(send() for _ in range(at_once)))
    assert statuses == {200: pages}


async def test_only_the_webhook_and_import_files_are_public(proxied):
    paths = ["/", "/api/v1/syncs", "/metrics", "/docs", "/livez", "/webhooks/heap/../../metrics", "/webhooks/heaps"]
    assert {path: await proxied.status_of("GET", path) for path in paths} == dict.fromkeys(paths, 404)
    assert await proxied.status_of("GET", "/webhooks/heap/acme") == 404
    assert await proxied.status_of("POST", "/api/v1/failures/retry") == 404
    # Whoever asks for a file without knowing its name is answered by the service, too.
    unknown = await proxied.ask("GET", f"/imports/{'x' * 43}.csv")
    assert (unknown.status, unknown.body.startswith(b'{"error":')) == (404, True)
    # An unsigned page gets as far as the service, which knows both addresses.
    unsigned = [await proxied.ask("POST", path, b"{}") for path in ("/webhooks/heap", "/webhooks/heap/acme")]
    assert [answer.status for answer in unsigned] == [400, 400]
    assert all(answer.body.startswith(b'{"error":') for answer in unsigned)


async def test_large_bodies_are_judged_by_the_service_alone(proxied):
    largest = b"x" * LIMIT_BYTES
    page = await proxied.ask("POST", "/webhooks/heap/acme", largest)
    assert page.status == 400, page
    direct = proxied._replace(url=proxied.installation.url)
    refused = [await each.ask("POST", "/webhooks/heap/acme", largest + b"x") for each in (proxied, direct)]
    assert [answer.status for answer in refused] == [413, 413]
    assert refused[0].body == refused[1].body
