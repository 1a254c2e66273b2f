"""Any deliveries in any order, a Cordial that fails in every way, stops in between: the lists come out exact (R3 to R8)."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages
from service.sandbox.imports.faults import ImportFault
from tests.hostile_fixtures import (
    LONG,
    HostileWorld,
    calls_before_retry_after,
    drain_page,
    hostile_world,
    max_in_a_window,
)

REQUESTS_PER_SECOND = 60
RETRY_AFTER_SECONDS = 1
SEGMENTS = (1, 2, 3)
USERS = [f"user{number}@example.com" for number in range(9)]

FAULTS = (
    Fault(FaultKind.ANSWER, status=429, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}),
    Fault(FaultKind.ANSWER, status=500, times=2),
    Fault(FaultKind.ANSWER, status=503, times=7),
    Fault(FaultKind.HTML, status=502, times=3),
    Fault(FaultKind.RESET, times=3),
    Fault(FaultKind.APPLY_THEN_RESET, times=3),
    Fault(FaultKind.APPLY_THEN_RESET, method="POST", endpoint="/v2/accountlists"),
    Fault(FaultKind.HANG, seconds=0.1, times=2),
)


class Sync(NamedTuple):
    """One page of a sync; the same task may come again later, with other users, under another name."""

    segment: int
    task: int
    number: int
    renamed: bool
    add: frozenset[str]
    remove: frozenset[str]

    def page(self) -> bytes:
        name = f"Segment {self.segment}" + (" renamed" if self.renamed else "")
        pages = build_pages(
            self.segment, name, sorted(self.add), sorted(self.remove), task_id=f"task-{self.task}", page_size=1_000
        )
        return pages[0].replace(b'"page_number":1', f'"page_number":{self.number}'.encode())


class Drain(NamedTuple):
    segment: int


class Repeat(NamedTuple):
    """Heap sends again what it sent before, byte for byte."""

    which: int


class Trouble(NamedTuple):
    fault: Fault | ImportFault


class Restart(NamedTuple):
    pass


class Breath(NamedTuple):
    """A moment in which what was accepted is worked on."""


Step = Sync | Drain | Repeat | Trouble | Restart | Breath

some_users = st.frozensets(st.sampled_from(USERS), max_size=5)
syncs = st.builds(
    Sync,
    segment=st.sampled_from(SEGMENTS),
    task=st.integers(0, 3),
    number=st.integers(1, 3),
    renamed=st.booleans(),
    add=some_users,
    remove=some_users,
)
steps = st.one_of(
    syncs,
    syncs,
    syncs,
    st.builds(Repeat, st.integers(0, 30)),
    st.builds(Drain, st.sampled_from(SEGMENTS)),
    st.builds(Trouble, st.sampled_from(FAULTS)),
    st.just(Breath()),
    st.just(Restart()),
)


class Model:
    """What each list must hold in the end, by the rules R3, R4 and R12 and nothing else."""

    def __init__(self) -> None:
        self.seen: set[Sync] = set()
        self.order: dict[tuple[int, object], int] = {}
        self.drained_at: dict[int, int] = {}
        self.wants: dict[tuple[int, str], tuple[int, bool]] = {}

    def sync(self, step: Sync) -> None:
        if step in self.seen:
            return
        self.seen.add(step)
        precedence = self._precedence(step.segment, step.task)
        for user in step.add:
            if precedence > self.drained_at.get(step.segment, 0):
                self._want(step.segment, user, precedence, wanted=True)
        for user in step.remove:
            self._want(step.segment, user, precedence, wanted=False)

    def drain(self, segment: int) -> None:
        precedence = self._precedence(segment, object())
        self.drained_at[segment] = precedence
        for owner, user in self.wants:
            if owner == segment:
                self.wants[owner, user] = (precedence, False)

    def members(self, segment: int) -> list[str]:
        return sorted(user for (owner, user), (_, wanted) in self.wants.items() if wanted and owner == segment)

    def _precedence(self, segment: int, task: object) -> int:
        return self.order.setdefault((segment, task), len(self.order) + 1)

    def _want(self, segment: int, user: str, precedence: int, *, wanted: bool) -> None:
        if precedence >= self.wants.get((segment, user), (0, False))[0]:
            self.wants[segment, user] = (precedence, wanted)


async def carry_out(world: HostileWorld, model: Model, plan: Sequence[Step]) -> None:
    sent: list[Sync] = []
    for step in plan:
        match step:
            case Sync():
                await world.accepted(step.page())
                model.sync(step)
                sent.append(step)
            case Repeat() if sent:
                again = sent[step.which % len(sent)]
                answer = await world.post(again.page())
                assert (answer.status, '"duplicate"' in answer.text) == (200, True)
            case Drain():
                await world.accepted(drain_page(f"Segment {step.segment}", step.segment))
                model.drain(step.segment)
            case Trouble(ImportFault() as fault):
                world.cordial.imports.faults.add(fault)
            case Trouble(Fault() as fault):
                world.cordial.faults.add(fault)
            case Restart():
                await world.stop()
                check_calls(world)
                await world.start()
            case Breath():
                await asyncio.sleep(0.03)
            case _:
                pass


def check_calls(world: HostileWorld) -> None:
    """Look at the calls of the service that runs, then forget them: limits are told to one process."""
    journal = world.cordial.journal
    assert journal.max_in_flight_per_contact <= 1
    assert calls_before_retry_after(journal.calls, RETRY_AFTER_SECONDS) == []
    # A little less than a second: the stand-in may see a call later than it was made, on a machine that is busy.
    assert max_in_a_window(journal.calls, 0.8) <= REQUESTS_PER_SECOND
    journal.reset()


async def run(plan: Sequence[Step], directory: Path) -> None:
    async with hostile_world(
        directory, requests_per_second=REQUESTS_PER_SECOND, allow_drain=True, request_timeout_seconds=2
    ) as world:
        model = Model()
        await carry_out(world, model, plan)
        await world.settled()
        check_calls(world)
        assert world.dead_letters() == []
        lists = {segment.heap_id: segment for segment in await world.service.store.segments()}
        for number in SEGMENTS:
            expected = model.members(number)
            segment = lists.get(str(number))
            if segment is None or not segment.list_id:
                assert expected == []
                continue
            assert world.members(segment.list_name) == expected
            assert (segment.members, segment.settled) == (len(expected), len(expected))
        assert len(world.cordial.state.lists) <= len(SEGMENTS)
        assert all(contact.subscribe_status == "none" for contact in world.cordial.state.contacts.values())


@pytest.mark.usefixtures("quick_retries")
@settings(
    max_examples=300 if LONG else 6,
    derandomize=not LONG,
    # Shrinking runs a whole service for each try; the plan that failed is printed and short enough to read.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=st.lists(steps, min_size=15, max_size=40))
def test_whatever_is_delivered_and_whatever_fails_the_lists_are_exact(plan):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(plan, Path(directory)))


def test_the_measures_of_calls_can_fail(tmp_path):
    """Cordial is called too often and too early on purpose: the measures above must say so."""

    async def call_too_much() -> None:
        async with hostile_world(tmp_path) as world:
            world.cordial.faults.add(FAULTS[0])
            started = time.monotonic()
            for _ in range(3):
                async with world._session.post(f"{world.cordial.url}/v2/contacts", headers={}, json={}):
                    pass
            headers = {"Authorization": "Basic c2FuZGJveC1rZXk6"}
            body = {"channels": {"email": {"address": USERS[0]}}}
            async with world._session.post(f"{world.cordial.url}/v2/contacts", headers=headers, json=body) as answer:
                assert answer.status == 429
            await asyncio.sleep(0.2)
            async with world._session.post(f"{world.cordial.url}/v2/contacts", headers=headers, json=body) as answer:
                assert answer.status == 201
            calls = world.cordial.journal.calls
            assert len(calls_before_retry_after(calls, time.monotonic() - started + 60)) == 1
            assert max_in_a_window(calls, 60) == 5

    asyncio.run(call_too_much())
