"""With `requests_per_second = "auto"` a limit that nobody told is found over real HTTP, and shown (R8)."""

from service.deliver.rate.pace import START_CALLS_PER_SECOND
from service.sandbox.options import SandboxOptions
from tests.api_fixtures import asking
from tests.metrics_fixtures import scrape
from tests.service_fixtures import ACCOUNT, delivering, users

HIDDEN_CALLS_PER_SECOND = 20


async def test_a_hidden_limit_is_found_and_hardly_run_into(tmp_path):
    options = SandboxOptions(rate=HIDDEN_CALLS_PER_SECOND, rate_headers_on_success=False)
    async with delivering(tmp_path, options, requests_per_second="auto", max_concurrency=16) as world:
        await world.deliver("Readers", users(160))
        await world.settled()
        assert world.members("Readers") == sorted(users(160))
        assert world.rows("SELECT count(*) FROM failure") == [(0,)]
        refused = world.cordial.journal.by_status.get(429, 0)
        assert 1 <= refused <= 16
        found = world.service.deliverer.statuses()[ACCOUNT].found_rates["POST contacts"]
        assert HIDDEN_CALLS_PER_SECOND / 3 <= found <= HIDDEN_CALLS_PER_SECOND * 1.5


async def test_a_limit_in_the_headers_of_answers_is_never_run_into(tmp_path):
    async with delivering(tmp_path, SandboxOptions(rate=40), requests_per_second="auto") as world:
        await world.deliver("Readers", users(120))
        await world.settled()
        assert world.members("Readers") == sorted(users(120))
        assert 429 not in world.cordial.journal.by_status


async def test_the_rates_found_are_shown_for_each_operation(tmp_path):
    async with asking(tmp_path, requests_per_second="auto") as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        [account] = (await world.get("accounts"))["items"]
        rates = world.service.deliverer.statuses()[ACCOUNT].found_rates
    assert account["found_rates"] == rates
    assert rates["POST contacts"] >= START_CALLS_PER_SECOND


async def test_the_rates_found_are_scraped(tmp_path):
    async with delivering(tmp_path, requests_per_second="auto") as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        scraped = await scrape(world.service.url)
    found = scraped.value("heap_cordial_found_rate", account=ACCOUNT, operation="POST contacts")
    assert found >= START_CALLS_PER_SECOND
