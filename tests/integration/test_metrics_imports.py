"""What `/metrics` says of changes that travel as files."""

import pytest

from service.sandbox.imports.faults import ImportFault
from tests.import_fixtures import add_contacts, importing, set_timings
from tests.metrics_fixtures import scrape
from tests.service_fixtures import ACCOUNT, World, users

IMPORTS = "heap_cordial_imports_total"
FALL_BACKS = "heap_cordial_import_fall_backs_total"
RESULTS = "heap_cordial_results_total"
TRAVELLING = "heap_cordial_import_contacts"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    set_timings(monkeypatch, repeat=0.1)
    monkeypatch.setattr(World, "figures_seconds", 0.0)


async def test_what_a_file_settles_counts_with_what_calls_settle(tmp_path):
    async with importing(tmp_path) as world:
        add_contacts(world, users(100))
        started = await scrape(world.service.url)
        assert [started.value(IMPORTS, account=ACCOUNT, outcome=each) for each in ("complete", "incomplete")] == [0, 0]
        assert started.value(TRAVELLING, account=ACCOUNT) == 0
        await world.deliver("Large", users(100), segment_id=1)
        await world.deliver("Small", users(3, "other"), segment_id=2)
        await world.settled()
        await world.until(lambda: not world.service.deliverer.imports_statuses()[ACCOUNT].lists)
        scraped = await scrape(world.service.url)
    assert scraped.value(RESULTS, account=ACCOUNT, result="settled") == 103
    assert [scraped.value(IMPORTS, account=ACCOUNT, outcome=each) for each in ("complete", "incomplete")] == [1, 0]
    assert scraped.value(FALL_BACKS, account=ACCOUNT) == 0
    assert scraped.value(TRAVELLING, account=ACCOUNT) == 0


async def test_a_fall_back_to_calls_is_counted(tmp_path):
    async with importing(tmp_path) as world:
        world.cordial.imports.faults.add(ImportFault(times=None, ends="failed", after_share=0.5))
        await world.deliver("Large", users(100))
        await world.settled()
        scraped = await scrape(world.service.url)
    assert scraped.value(FALL_BACKS, account=ACCOUNT) == 1
    assert [scraped.value(IMPORTS, account=ACCOUNT, outcome=each) for each in ("complete", "incomplete")] == [0, 1]
    assert scraped.value(RESULTS, account=ACCOUNT, result="settled") == 100


async def test_the_contacts_of_a_running_import_are_shown(tmp_path):
    async with importing(tmp_path) as world:
        world.cordial.imports.faults.add(ImportFault(ends="never"))
        await world.deliver("Large", users(100))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'running'"))
        assert (await scrape(world.service.url)).value(TRAVELLING, account=ACCOUNT) == 100
