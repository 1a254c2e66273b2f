"""What holds for all tests."""

from collections.abc import Generator, Iterator

import pytest
from aiohttp import web_app
from hypothesis import HealthCheck, settings

from tests.command_fixtures import ROOT, SAID
from tests.recount import stores_below, wrong_counters

# How long an example takes says more of what else the machine does than of what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Those that take longest. With several workers they begin first: the last to begin decides when all are done.
LONGEST = (
    "tests/simulation/test_simulation.py",
    "tests/powercut/test_powercut.py",
    "tests/container/test_image.py",
    "tests/integration/commands/test_comparing.py",
    "tests/integration/hostile/test_hostile_imports.py",
    "tests/integration/test_imports_in_doubt.py",
    "tests/browser/test_dashboard.py",
    "tests/integration/test_bench_peers.py",
    "tests/container/newcomer/test_first_try.py",
    "tests/crash/test_stop.py",
    "tests/integration/commands/test_terminal.py",
    "tests/mutation/test_mutation.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {ROOT / path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_runtest_setup() -> None:
    SAID.clear()
    # It keeps up to a thousand handlers, and with each the whole application of a test that is over.
    web_app._cached_build_middleware.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += SAID
    return report


@pytest.fixture(autouse=True)
def _counters_agree(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test, the counters of every store that it left agree with the ledger."""
    if "tmp_path" not in request.fixturenames:
        yield
        return
    directory = request.getfixturevalue("tmp_path")
    yield
    assert {path.name: wrong for path in stores_below(directory) if (wrong := wrong_counters(path))} == {}
