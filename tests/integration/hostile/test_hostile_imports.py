"""Any deliveries, by calls and by imports at once, with jobs that fail, reject and lose rows: the lists come out exact."""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from service.sandbox.imports.running import ImportRun
from service.sandbox.journal import CallRecord
from service.sandbox.options import SandboxOptions
from tests.hostile_fixtures import LONG, HostileWorld, hostile_world
from tests.import_fixtures import set_timings
from tests.integration.hostile.test_hostile_pipeline import (
    SEGMENTS,
    Breath,
    Drain,
    Model,
    Repeat,
    Restart,
    Step,
    Sync,
    Trouble,
    carry_out,
)
from tests.ports import free_port

THRESHOLD = 12
USERS = [f"user{number}@example.com" for number in range(60)]
POST_IMPORT = "/v2/contactimports"
FAULTS = (
    Fault(FaultKind.ANSWER, status=503, times=2),
    Fault(FaultKind.ANSWER, endpoint=POST_IMPORT, status=503),
    Fault(FaultKind.ANSWER, endpoint=POST_IMPORT, status=406, body='{"error": true, "message": "not today"}'),
    Fault(FaultKind.APPLY_THEN_RESET, endpoint=POST_IMPORT),
    Fault(FaultKind.APPLY_THEN_RESET, times=2),
    Fault(FaultKind.RESET, endpoint="/v2/jobs/{id}", times=2),
)
IMPORT_FAULTS = (
    ImportFault(refused=True),
    ImportFault(ends="failed"),
    ImportFault(ends="failed", after_share=0.5),
    ImportFault(reject_share=0.1),
    ImportFault(reject_share=0.5),
    ImportFault(lose_share=0.2),
    ImportFault(throttled_seconds=0.1),
)


class Span(NamedTuple):
    """From when to when a job held contacts, on the clock of the journal."""

    began_at_seconds: float
    ended_at_seconds: float
    contacts: frozenset[str]


def syncs_of(users: st.SearchStrategy[frozenset[str]]) -> st.SearchStrategy[Sync]:
    return st.builds(
        Sync,
        segment=st.sampled_from(SEGMENTS),
        task=st.integers(0, 3),
        number=st.integers(1, 3),
        renamed=st.just(value=False),
        add=users,
        remove=users,
    )


large_syncs = syncs_of(st.frozensets(st.sampled_from(USERS), min_size=20))
small_syncs = syncs_of(st.frozensets(st.sampled_from(USERS), max_size=5))
steps = st.one_of(
    large_syncs,
    small_syncs,
    small_syncs,
    small_syncs,
    st.builds(Repeat, st.integers(0, 30)),
    st.builds(Drain, st.sampled_from(SEGMENTS)),
    st.builds(Trouble, st.sampled_from(FAULTS)),
    st.builds(Trouble, st.sampled_from(IMPORT_FAULTS)),
    st.builds(Trouble, st.sampled_from(IMPORT_FAULTS)),
    st.just(Breath()),
    st.just(Breath()),
    st.just(Restart()),
)


@contextlib.contextmanager
def job_spans() -> Iterator[list[Span]]:
    """Note for how long each job of the stand-in that got its file held which contacts."""
    spans: list[Span] = []
    process = ImportRun._carry_out_parts

    async def watched(run: ImportRun, file: Any, parts: Any, writer: Any) -> None:
        file.seek(0)
        contacts = frozenset("email:" + line.split(",")[0] for line in file.read().decode().split())
        began_at = time.monotonic()
        try:
            await process(run, file, parts, writer)
        finally:
            spans.append(Span(began_at, time.monotonic(), contacts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImportRun, "_carry_out_parts", watched)
        yield spans


def calls_inside(spans: Sequence[Span], calls: Sequence[CallRecord]) -> list[CallRecord]:
    """Return the calls made for a contact while a job held it (R5)."""
    return [
        call
        for call in calls
        for span in spans
        if call.contact in span.contacts
        and call.arrived_at_seconds < span.ended_at_seconds
        and call.finished_at_seconds > span.began_at_seconds
    ]


@contextlib.asynccontextmanager
async def importing_world(directory: Path) -> AsyncIterator[HostileWorld]:
    port = free_port()
    async with hostile_world(
        directory,
        SandboxOptions(imports=ImportOptions(delay_seconds=0.02, rows_per_second=200)),
        start=False,
        allow_drain=True,
        request_timeout_seconds=2,
        public_url=f"http://127.0.0.1:{port}",
        bulk_threshold=THRESHOLD,
        bulk_untested=True,
    ) as world:
        world.port = port
        await world.start()
        yield world


async def run(plan: Sequence[Step], directory: Path) -> int:
    """Carry a plan out and compare; return how many jobs that took."""
    with job_spans() as spans:
        async with importing_world(directory) as world:
            model = Model()
            for is_restart, part in itertools.groupby(plan, lambda step: isinstance(step, Restart)):
                if is_restart:
                    await world.restart()
                else:
                    await carry_out(world, model, list(part))
            await world.settled()
            assert world.dead_letters() == []
            assert world.rows("SELECT count(*) FROM import_change") == [(0,)]
            assert world.cordial.journal.max_in_flight_per_contact <= 1
            assert calls_inside(spans, world.calls()) == []
            for segment in await world.service.store.segments():
                expected = model.members(int(segment.heap_id))
                found = world.members(segment.list_name) if segment.list_id else []
                assert found == expected
                assert (segment.members, segment.settled) == (len(expected), len(expected))
            assert world.cordial.state.subscription_changes == 0
            return len(spans)


@pytest.fixture(autouse=True)
def _soon(monkeypatch, quick_retries):  # noqa: ARG001  a fixture
    set_timings(
        monkeypatch,
        repeat=0.05,
        rest=0.3,
        recount=(0.0, 0.05),
        first_look=0.05,
        max_look=0.2,
        max_doubt_look=0.2,
        min_look=0.01,
        idle=0.1,
        max_repost=0.05,
    )


# All are in a file that Cordial is working on when some of them join other lists.
OVERLAPPING: list[Step] = [
    Sync(1, 0, 1, renamed=False, add=frozenset(USERS), remove=frozenset()),
    *[Breath()] * 5,
    Sync(2, 0, 1, renamed=False, add=frozenset(USERS[:4]), remove=frozenset()),
    *[Breath()] * 3,
    Sync(3, 0, 1, renamed=False, add=frozenset(USERS[2:8]), remove=frozenset()),
    Sync(1, 1, 1, renamed=False, add=frozenset(), remove=frozenset(USERS[:3])),
]


@settings(
    max_examples=300 if LONG else 8,
    derandomize=not LONG,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(plan=OVERLAPPING)
@given(plan=st.lists(steps, min_size=10, max_size=30))
def test_whatever_travels_how_and_whatever_fails_the_lists_are_exact(plan):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(plan, Path(directory)))


def test_such_plans_take_imports(tmp_path):
    """Else the test above would say nothing of them."""
    assert asyncio.run(run(OVERLAPPING, tmp_path)) >= 2
