"""What Cordial may still do counts as in flight (R5), and an import goes on from whatever the store says of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service.deliver.imports.jobs import Jobs, Seen
from service.errors import StoreUnavailableError
from service.model.imports import ImportPart
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.jobs import ImportJobs
from service.store.sqlite.imports import Imports
from tests.import_fixtures import POST_IMPORT, add_contacts, ask, importing, imports_of, set_timings
from tests.service_fixtures import World, audit_refused, users

STEPS = (
    "current", "outcome", "begin", "gather_some", "set_posting", "set_running", "send_again", "settle_some", "file",
    "note_fetched", "expected_counts",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    set_timings(
        monkeypatch, repeat=0.1, recount=(0.0, 0.1), store_retry=0.05, first_look=0.1, max_look=0.2, max_doubt_look=0.2
    )


@pytest.mark.parametrize("job_is_listed", [True, False])
async def test_five_lost_answers_do_not_put_people_back_on_the_list(tmp_path, monkeypatch, job_is_listed):
    """Cordial takes and fetches the file, the answer is lost, Heap removes everybody, Cordial carries it out later."""
    if not job_is_listed:
        find = ImportJobs.find
        # Then the id in what Cordial posts at the job's end tells which job it was.
        monkeypatch.setattr(ImportJobs, "find", lambda jobs, _query: find(jobs, {"status": "None"}))
    async with importing(tmp_path) as world:
        add_contacts(world, users(200))
        world.cordial.imports.faults.add(ImportFault(times=5, held_seconds=3.0))
        lost = Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", times=5, seconds=0.5)
        world.cordial.faults.add(lost)
        await world.deliver("Active Users", users(200))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'in_doubt'"))
        await world.deliver("Active Users", ["other@example.com"], users(200))
        await world.until(lambda: "other@example.com" in world.members("ActiveUsers"))
        assert [call for call in world.contact_calls() if "other" not in call.contact] == []
        assert len(world.calls(POST_IMPORT)) == 1
        await world.settled()
        await asyncio.sleep(0.2)
        assert world.members("ActiveUsers") == ["other@example.com"]


async def test_a_job_that_stands_still_with_its_file_keeps_its_contacts(tmp_path, monkeypatch):
    set_timings(monkeypatch, patience_fetched=0.5)
    async with importing(tmp_path) as world:
        add_contacts(world, users(100))
        world.cordial.imports.faults.add(ImportFault(held_seconds=3.0))
        await world.deliver("Active Users", users(100))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'in_doubt'"))
        await world.deliver("Active Users", [], users(100))
        await world.settled()
        assert world.members("ActiveUsers") == []


async def test_what_is_in_doubt_survives_a_restart_and_an_operator_can_end_it(tmp_path):
    async with importing(tmp_path) as world:
        world.expected_exceptions.add("store.fault")
        add_contacts(world, users(100))
        world.cordial.imports.faults.add(ImportFault(held_seconds=600))
        world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", seconds=0.5))
        await world.deliver("Active Users", users(100))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE state = 'in_doubt'"))
        await world.restart()
        await asyncio.sleep(0.3)
        assert world.contact_calls() == []
        with audit_refused(world), pytest.raises(AssertionError, match="fault in the service"):
            await ask(world, "imports/1/end-doubt", {"job": "over"})
        assert world.rows("SELECT state FROM import_part") == [("in_doubt",)]
        assert await ask(world, "imports/1/end-doubt", {"job": "over"}) == {"contacts": 100}
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))
        [done] = (await ask(world, "audit"))["items"]
        assert (done["action"], done["target"], done["changes"]) == ("import.end_doubt.over", "1", 100)
        assert imports_of(world)[0][4] == "a person saw in Cordial that the job is over"


async def test_a_person_ends_a_doubt_while_its_job_is_looked_at(tmp_path, monkeypatch):
    """Whoever comes first decides; the other finds the part in another state and does nothing."""
    see = Jobs.see
    asked, answered = asyncio.Event(), asyncio.Event()

    async def seen_late(jobs: Jobs, part: ImportPart, hinted_id: str = "") -> Seen:
        seen = await see(jobs, part, hinted_id)
        if seen.job is not None and seen.job.is_over:
            asked.set()
            await answered.wait()
        return seen

    monkeypatch.setattr(Jobs, "see", seen_late)
    async with importing(tmp_path) as world:
        add_contacts(world, users(100))
        world.cordial.imports.faults.add(ImportFault(held_seconds=1.0))
        world.cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", seconds=0.5))
        await world.deliver("Active Users", users(100))
        await asked.wait()
        assert await ask(world, "imports/1/end-doubt", {"job": "over"}) == {"contacts": 100}
        await world.deliver("Active Users", [], users(50))
        answered.set()
        await world.settled()
        await import_over(world)
        assert world.members("ActiveUsers") == sorted(users(100)[50:])
        assert imports_of(world)[0][2:4] == (0, 100)


class Failing:
    """Fails the nth of some steps that are asked of the store, before or after it is done."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        *,
        after: bool,
        of: type = Imports,
        steps: Sequence[str] = STEPS,
    ) -> None:
        self.left = number
        for name in steps:
            monkeypatch.setattr(of, name, self._wrap(getattr(of, name), after=after))

    def _wrap(self, step: Any, *, after: bool) -> Any:
        async def failing(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left:
                return await step(*arguments, **named)
            if after:
                await step(*arguments, **named)
            raise StoreUnavailableError("told to fail")

        return failing


async def import_over(world: World) -> None:
    await world.until(lambda: not world.rows("SELECT 1 FROM bulk_import WHERE state <> 'ended'"))


@pytest.mark.parametrize("after", [False, True], ids=["failed", "answer lost"])
async def test_whichever_step_fails_the_import_goes_on_by_itself(tmp_path, monkeypatch, after):
    number, is_reached = 2, True
    while is_reached:
        with monkeypatch.context() as patch:
            directory = tmp_path / str(number)
            directory.mkdir()
            async with importing(directory) as world:
                failing = Failing(patch, number - 1, after=after)
                add_contacts(world, users(40))
                await world.deliver("Active Users", users(60))
                await world.settled()
                await import_over(world)
                assert world.members("ActiveUsers") == sorted(users(60))
                assert world.rows("SELECT count(*) FROM import_change") == [(0,)]
                assert imports_of(world)[0][0] == 60
                is_reached = failing.left <= 0
        number += 2
