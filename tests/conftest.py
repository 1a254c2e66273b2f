"""What holds for all tests."""

from collections.abc import Iterator

import pytest

from tests.recount import stores_below, wrong_counters


@pytest.fixture(autouse=True)
def _counters_agree(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test, the counters of every store that it left agree with the ledger."""
    if "tmp_path" not in request.fixturenames:
        yield
        return
    directory = request.getfixturevalue("tmp_path")
    yield
    assert {path.name: wrong for path in stores_below(directory) if (wrong := wrong_counters(path))} == {}
