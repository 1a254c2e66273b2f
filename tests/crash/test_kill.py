"""Kill -9 under load, twice: every acknowledged user ends right."""

from tests.crash.harness import running_harness
from tests.crash.processes import ServiceOptions

PAGES = 60
PAGE_SIZE = 100
SEGMENTS = 3
SYNCS = 2
OPTIONS = ServiceOptions(max_concurrency=16, settle_batch_results=100)


async def test_after_kills_every_acknowledged_user_is_right_and_nobody_is_lost():
    async with running_harness(
        segments=SEGMENTS, senders=20, options=OPTIONS, latency_ms=5, knows_removed=True
    ) as harness:
        await harness.start()
        pages_of_sync = PAGES // SEGMENTS // SYNCS
        late = await harness.send_wave(pages_of_sync, PAGE_SIZE, share_held_back=0.5)
        await harness.senders.wait_for_acknowledged(PAGES // 6)
        await harness.kill_and_restart()
        await harness.send_wave(pages_of_sync, PAGE_SIZE, held_back=late)
        await harness.senders.wait_until_sent()
        await harness.wait_for_calls(await harness.call_total() + 300)
        await harness.kill_and_restart()
        await harness.service.wait_until_answered(harness.session, "/readyz")
        figures = await harness.wait_until_drained()

        assert len(harness.senders.acknowledged) == PAGES
        findings = await harness.compare()
        assert [(finding.missing, finding.unexpected) for finding in findings] == [(0, 0)] * SEGMENTS
        assert figures.dead == 0
        on_lists = {finding.list_name: finding.contacts for finding in findings}
        assert figures.members == figures.settled == on_lists
        assert await harness.senders.count_lost() == 0
        assert (await harness.ask_stand_in("GET", "/sandbox/state"))["max_in_flight_per_contact"] == 1

        restarts = await harness.restarts()
        assert [restart.crashed.integrity_fault for restart in restarts] == ["", ""]
        assert restarts[-1].crashed.owed > 0
        at_most = OPTIONS.max_concurrency + OPTIONS.settle_batch_results
        assert all(restart.repeated_calls <= at_most for restart in restarts), restarts
