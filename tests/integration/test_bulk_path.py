"""Large backlogs travel as files that Cordial fetches: few calls, the same lists, and whatever a file cannot do by calls."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from service.sandbox.options import SandboxOptions
from tests.service_fixtures import World, delivering, users

POST_IMPORT = "POST /v2/contactimports"


@contextlib.asynccontextmanager
async def importing(directory: Path, *, cordial: SandboxOptions | None = None, **account: Any) -> AsyncIterator[World]:
    """Run the service where the stand-in reaches it; lists with more than 50 changes travel as files."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with delivering(directory, cordial) as world:
        await world.stop()
        world.port = port
        await world.start(**{"public_url": f"http://127.0.0.1:{port}", "bulk_threshold": 50} | account)
        yield world


async def test_a_large_sync_takes_one_import_and_no_call_for_a_contact(tmp_path):
    async with importing(tmp_path, create_contacts=False) as world:
        world.cordial.state.contacts  # noqa: B018
        await world.deliver("Active Users", users(1000))
        await world.settled()
        assert len(world.calls(POST_IMPORT)) == 1
        assert world.contact_calls() == []
        assert world.members("ActiveUsers") == sorted(users(1000))
