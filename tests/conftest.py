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

# Files that begin first, in this order, where several workers share the processors. Four take much of them for long. Those
# that mostly wait go beside them, as long as there is something to do meanwhile. Browsers, which take much, come after.
FIRST = (
    "tests/simulation/test_simulation.py",
    "tests/powercut/test_powercut.py",
    "tests/container/test_image.py",
    "tests/container/newcomer/test_first_try.py",
    "tests/integration/test_delivery_blame.py",
    "tests/integration/commands/test_comparing.py",
    "tests/crash/test_kill_in_doubt.py",
    "tests/integration/commands/test_every_command.py",
    "tests/integration/commands/test_terminal.py",
    "tests/integration/test_trial.py",
    "tests/integration/test_read_back.py",
    "tests/integration/commands/test_errors.py",
    "tests/integration/test_imports_in_doubt.py",
    "tests/integration/test_list_identity.py",
    "tests/integration/test_imports_refused.py",
    "tests/crash/test_stop.py",
    "tests/browser/test_dashboard_fleet.py",
    "tests/browser/test_dashboard.py",
    "tests/browser/test_dashboard_views.py",
    "tests/mutation/test_mutation.py",
    "tests/integration/commands/test_completion.py",
    "tests/browser/test_swagger_signing.py",
    "tests/crash/test_kill_import.py",
    "tests/crash/test_kill.py",
    "tests/integration/test_imports_trouble.py",
    "tests/integration/test_conditions_raised.py",
    "tests/integration/test_imports.py",
    "tests/integration/test_conditions_told.py",
    "tests/integration/test_delivery_rate.py",
    "tests/security/test_floods.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {ROOT / path: place for place, path in enumerate(FIRST)}
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
