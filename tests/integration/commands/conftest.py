from collections.abc import AsyncIterator

import pytest

from service.sandbox.server import RunningSandbox, running_sandbox
from tests.command_fixtures import Installation


@pytest.fixture
async def cordial() -> AsyncIterator[RunningSandbox]:
    async with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def installation(tmp_path, cordial) -> Installation:
    return Installation(tmp_path, cordial.url)
