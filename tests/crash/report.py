"""How a run ended, for people, and whether it was exact."""

import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tests.crash.figures import StoreFigures
from tests.crash.harness import Harness, ListFinding, Restart

_FIRST_CALL_TARGET_SECONDS = 1.0


class Report(NamedTuple):
    """Everything a run found out."""

    seconds: float
    acknowledged: int
    lost: int
    answers: dict[int, int]
    calls: int
    calls_by_status: dict[str, int]
    max_in_flight_per_contact: int
    restarts: Sequence[Restart]
    max_repeated_calls_allowed: int
    lists: Sequence[ListFinding]
    figures: StoreFigures
    integrity_fault: str
    rss_bytes: int
    wal_bytes: int

    def faults(self) -> list[str]:
        """Return every way in which the run was not exact."""
        faults = [f"{self.lost} acknowledged pages were lost"] if self.lost else []
        if self.max_in_flight_per_contact != 1:
            faults.append(f"{self.max_in_flight_per_contact} calls for one contact were under way at once")
        if self.figures.dead or self.figures.owed:
            faults.append(f"{self.figures.dead} dead letters, {self.figures.owed} changes still owed")
        for found in self.lists:
            if found.missing or found.unexpected:
                faults.append(f"{found.list_name}: {found.missing} are missing, {found.unexpected} should not be there")
            counted = (self.figures.members[found.list_name], self.figures.settled[found.list_name])
            if counted != (found.contacts, found.contacts):
                faults.append(f"{found.list_name}: the store counts {counted}, the list holds {found.contacts}")
        for number, restart in enumerate(self.restarts, 1):
            if restart.crashed.integrity_fault:
                faults.append(f"kill {number}: integrity_check: {restart.crashed.integrity_fault}")
            if restart.repeated_calls > self.max_repeated_calls_allowed:
                faults.append(f"kill {number}: {restart.repeated_calls} answered calls were made again")
        if self.integrity_fault:
            faults.append(f"at the end: integrity_check: {self.integrity_fault}")
        return faults

    def write(self) -> None:
        """Print the figures, then the faults or that there is none."""
        contacts = sum(found.contacts for found in self.lists)
        repeated = [restart.repeated_calls for restart in self.restarts]
        lines = [
            f"duration              {self.seconds:,.0f} s",
            f"pages acknowledged    {self.acknowledged:,}, lost {self.lost}; answers by status (0: none) {self.answers}",
            f"calls made            {self.calls:,}; by status {self.calls_by_status}",
            f"calls per contact     {self.max_in_flight_per_contact} at once at most",
            f"kills                 {len(self.restarts)}",
            f"calls repeated        {_spread(repeated, '.0f')} per kill; {self.max_repeated_calls_allowed} allowed",
            f"owed when killed      {_spread([restart.crashed.owed for restart in self.restarts], ',.0f')}",
            f"start to first call   {_spread(self._first_call_seconds(), '.2f')} s; target {_FIRST_CALL_TARGET_SECONDS:.0f} s",
            f"integrity_check       {'ok' if not self.integrity_fault else self.integrity_fault}",
            f"contacts on lists     {contacts:,} in {len(self.lists)} lists",
            f"memory                {self.rss_bytes / 2**20:.0f} MiB at most",
            f"WAL                   {self.wal_bytes / 2**20:.0f} MiB at most",
        ]
        faults = self.faults()
        lines += [f"FAULT                 {fault}" for fault in faults] or [
            "exact                 every list equals the model"
        ]
        sys.stdout.write("\n".join(lines) + "\n")

    def _first_call_seconds(self) -> list[float]:
        """Return the figure for each start that found work and lived long enough to begin it."""
        return [
            restart.first_call_seconds
            for restart in self.restarts
            if restart.crashed.owed and restart.first_call_seconds is not None
        ]


async def make_report(harness: Harness, seconds: float) -> Report:
    """Compare everything, once all is drained, and stop the service in order."""
    figures = await harness.wait_until_drained()
    lists = await harness.compare()
    acknowledged = len(harness.senders.acknowledged)
    answers = dict(sorted(harness.senders.answers.items()))
    lost = await harness.senders.count_lost()
    state = await harness.ask_stand_in("GET", "/sandbox/state")
    restarts = await harness.restarts()
    end = await harness.stop()
    options = harness.service.options
    return Report(
        seconds=seconds,
        acknowledged=acknowledged,
        lost=lost,
        answers=answers,
        calls=state["calls"],
        calls_by_status=state["calls_by_status"],
        max_in_flight_per_contact=state["max_in_flight_per_contact"],
        restarts=restarts,
        max_repeated_calls_allowed=options.max_concurrency + options.settle_batch_results,
        lists=lists,
        figures=figures,
        integrity_fault=end.integrity_fault,
        rss_bytes=harness.peaks.rss_bytes,
        wal_bytes=harness.peaks.wal_bytes,
    )


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "none"
    return f"median {statistics.median(values):{form}}, most {max(values):{form}}"
