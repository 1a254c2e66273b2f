"""Kill -9 at every stage of an import: nothing is lost, nothing goes by calls after all, nobody is subscribed."""

import pytest

from tests.crash.harness import running_harness
from tests.crash.processes import ServiceOptions

PAGES = 20
PAGE_SIZE = 500
OPTIONS = ServiceOptions(imports=True, bulk_threshold=1_000)
# Each of both jobs is posted again at most once for each kill.
MAX_JOBS = 4


@pytest.mark.parametrize("event", ["import.begun", "import.posted", "import.fetched"])
async def test_an_import_killed_at_any_stage_ends_exact(event):
    async with running_harness(segments=1, senders=4, options=OPTIONS) as harness:
        await harness.start()
        await harness.send_wave(PAGES, PAGE_SIZE)
        await harness.senders.wait_until_sent()
        await harness.service.wait_for_log(event)
        await harness.kill_and_restart()
        figures = await harness.wait_until_drained()
        findings = await harness.compare()
        assert [(finding.missing, finding.unexpected) for finding in findings] == [(0, 0)]
        assert figures.dead == 0
        assert await harness.senders.count_lost() == 0
        state = await harness.ask_stand_in("GET", "/sandbox/state")
        assert state["subscription_changes"] == 0
        assert state["imports"] <= MAX_JOBS
        epochs = await harness.ask_stand_in("GET", "/crash/epochs")
        assert [epoch["first_call"] for epoch in epochs] == [None, None]
