"""The whole service where the stand-in reaches its files; lists with more than 50 changes travel as imports."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import SandboxOptions
from tests.ports import free_port
from tests.service_fixtures import API_KEY, World, delivering

POST_IMPORT = "POST /v2/contactimports"
GET_JOB = "GET /v2/jobs/{id}"
COUNT_LIST = "GET /v2/accountlists/{id}/count"


@contextlib.asynccontextmanager
async def importing(directory: Path, imports: ImportOptions | None = None, **account: Any) -> AsyncIterator[World]:
    port = free_port()
    async with delivering(directory, SandboxOptions(imports=imports or ImportOptions())) as world:
        await world.stop()
        world.port = port
        await world.start(
            **{"public_url": f"http://127.0.0.1:{port}", "bulk_threshold": 50, "bulk_untested": True} | account
        )
        yield world


def set_timings(monkeypatch: pytest.MonkeyPatch, **seconds: Any) -> None:
    """Let the services started from now on wait differently where imports are concerned."""
    monkeypatch.setattr(World, "import_timings", msgspec.structs.replace(World.import_timings, **seconds))


def add_contacts(world: World, addresses: Iterable[str], status: str = "none") -> None:
    """Let Cordial know contacts already; how they are subscribed is not counted as a change."""
    state = world.cordial.state
    for address in addresses:
        state.create_contact(f"email:{address}", address).subscribe_status = status


def statuses(world: World) -> dict[str, str]:
    """Return how every contact is subscribed."""
    return {contact.email: contact.subscribe_status for contact in world.cordial.state.contacts.values()}


def imports_of(world: World) -> list[Any]:
    """Return (contacts, jobs, settled, released, reason) of every import, in order."""
    return world.rows("SELECT contacts, jobs, settled, released, reason FROM bulk_import ORDER BY id")


async def ask(world: World, path: str, body: Any = None) -> Any:
    """Return what the API answers at a path, to a POST where there is a body."""
    headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request("POST" if body else "GET", f"{world.service.url}/api/v1/{path}", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json()
