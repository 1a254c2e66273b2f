import pytest

from tests.api_fixtures import asking


@pytest.fixture
async def world(tmp_path, quick_retries):  # noqa: ARG001  failures are not waited for
    async with asking(tmp_path, max_attempts=1) as running:
        yield running
