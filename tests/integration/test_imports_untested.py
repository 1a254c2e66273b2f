"""R14: files are used only where a trial on this very account has shown that they subscribe nobody, or by `bulk_untested`."""

from datetime import UTC, datetime

import pytest

from service.model.trial import TrialOutcome, TrialPoint, TrialResult
from tests.import_fixtures import POST_IMPORT, add_contacts, ask, importing
from tests.service_fixtures import ACCOUNT, World, users

PROOF = (TrialPoint.FILE_UPDATES, TrialPoint.FILE_CREATES)


async def record(world: World, *points: TrialPoint, outcome: TrialOutcome = TrialOutcome.AS_DOCUMENTED) -> None:
    """Keep the outcome of a trial's points as the trial does."""
    results = [TrialResult(point, outcome, "as told by the test", datetime.now(UTC)) for point in points]
    await world.service.store.trials.record(ACCOUNT, world.account.cordial_base_url, results)


async def waits_for_trial(world: World) -> bool:
    return bool((await ask(world, "accounts"))["items"][0]["waits_for_trial"])


async def test_no_file_is_used_before_a_trial(tmp_path):
    async with importing(tmp_path, bulk_untested=False) as world:
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))
        assert world.calls(POST_IMPORT) == []
        assert await waits_for_trial(world)


async def test_files_are_used_as_soon_as_a_trial_has_shown_it_and_after_a_restart(tmp_path):
    async with importing(tmp_path, bulk_untested=False) as world:
        await record(world, *PROOF)
        await world.until(lambda: not world.service.deliverer.imports_statuses()[ACCOUNT].waits_for_trial)
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert world.contact_calls() == []
        await world.restart()
        assert not await waits_for_trial(world)
        await world.deliver("Active Users", [], users(200))
        await world.settled()
        assert world.members("ActiveUsers") == []
        assert world.contact_calls() == []


@pytest.mark.parametrize(
    ("shown", "outcome", "settings"),
    [
        (PROOF, TrialOutcome.OTHERWISE, {}),
        (PROOF, TrialOutcome.NOT_TRIED, {}),
        ((TrialPoint.FILE_UPDATES,), TrialOutcome.AS_DOCUMENTED, {}),
        ((TrialPoint.FILE_CREATES,), TrialOutcome.AS_DOCUMENTED, {"create_contacts": False}),
    ],
)
async def test_what_a_trial_did_not_show_keeps_files_off(tmp_path, shown, outcome, settings):
    async with importing(tmp_path, bulk_untested=False, **settings) as world:
        add_contacts(world, users(100))
        await record(world, *shown, outcome=outcome)
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.calls(POST_IMPORT) == []
        assert await waits_for_trial(world)


async def test_a_trial_of_another_cordial_proves_nothing(tmp_path):
    async with importing(tmp_path, bulk_untested=False) as world:
        await record(world, *PROOF)
        await world.restart(cordial_base_url=world.cordial.url.replace("127.0.0.1", "localhost"))
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.calls(POST_IMPORT) == []


async def test_a_later_trial_that_shows_otherwise_ends_the_use_of_files(tmp_path):
    async with importing(tmp_path, bulk_untested=False) as world:
        await record(world, *PROOF)
        await world.until(lambda: not world.service.deliverer.imports_statuses()[ACCOUNT].waits_for_trial)
        await record(world, TrialPoint.FILE_UPDATES, outcome=TrialOutcome.OTHERWISE)
        await world.until(lambda: world.service.deliverer.imports_statuses()[ACCOUNT].waits_for_trial)
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.calls(POST_IMPORT) == []


async def test_what_a_trial_has_shown_to_subscribe_people_is_not_used_untested_either(tmp_path):
    async with importing(tmp_path) as world:
        await record(world, TrialPoint.FILE_UPDATES, outcome=TrialOutcome.OTHERWISE)
        await world.until(lambda: world.service.deliverer.imports_statuses()[ACCOUNT].waits_for_trial)
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.calls(POST_IMPORT) == []


async def test_a_preview_tells_of_a_file_only_where_one_would_be_used(tmp_path):
    async with importing(tmp_path, bulk_untested=False) as world:
        world.service.deliverer.account(ACCOUNT).pause()
        await world.deliver("Active Users", users(100))
        await world.until(lambda: world.service.store.backlog.unfolded_users == 0)
        assert not (await ask(world, "lists/1/preview"))["as_import"]
        await record(world, *PROOF)
        assert (await ask(world, "lists/1/preview"))["as_import"]
