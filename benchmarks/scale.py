"""Many accounts, segments and members at once against stand-ins with limits: time to exact, calls, memory, disk.

Everybody joins at once, the service is killed in the middle and started again, then 2 % of the members change. All lists
are compared user by user. Prints a table; progress goes to standard error.
"""

import argparse
import asyncio
import signal

from benchmarks.report import Figure, machine, progress, table
from benchmarks.scaling.population import plan
from benchmarks.scaling.service import AccountSettings
from benchmarks.scaling.stand_ins import Limits, Totals
from benchmarks.scaling.trial import MIB_BYTES, Phase, Scale, Trial, run

_DELTA_HOURS = 4
_OPERATIONS = {
    "single": ("POST /v2/contacts", "PUT /v2/contacts/{key}", "GET /v2/contacts/{key}"),
    "imports": ("POST /v2/contactimports",),
    "polls": ("GET /v2/jobs/{id}",),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=100, help="accounts, each with a stand-in Cordial of its own")
    parser.add_argument("--segments", type=int, default=1_000, help="segments of all accounts")
    parser.add_argument("--members", type=int, default=10_000_000, help="members of all segments")
    parser.add_argument("--delta", type=float, default=0.02, help="share of the members that changes in four hours")
    parser.add_argument("--rate", type=float, default=50, help="calls a second that each account's Cordial allows")
    parser.add_argument("--latency-ms", type=float, default=60, help="how long each call takes at least")
    parser.add_argument("--rows", type=float, default=5_000, help="rows a second that each account's imports carry out")
    parser.add_argument("--delay", type=float, default=2, help="seconds that an import is scheduled, and again pending")
    parser.add_argument("--bulk-threshold", type=int, default=5_000, help="bulk_threshold of each account")
    parser.add_argument("--max-minutes", type=float, default=120, help="give up when a wait takes longer than this")
    options = parser.parse_args()
    try:
        segments = plan(
            accounts=options.accounts, segments=options.segments, members=options.members, delta_share=options.delta
        )
    except ValueError as fault:
        parser.error(str(fault))
    scale = Scale(
        segments,
        options.accounts,
        # The limits of Cordial hold in any second by its clock, not ours: a little below them nothing is refused.
        AccountSettings(
            options.rate * 0.95, max(4, round(options.rate * options.latency_ms / 250)), options.bulk_threshold
        ),
        Limits(options.rate, options.latency_ms, options.rows, options.delay),
        options.max_minutes * 60,
    )
    before = machine()
    members = sum(segment.members for segment in segments)
    progress(f"{options.accounts:,} accounts, {len(segments):,} segments, {members:,} members")
    try:
        trial = asyncio.run(_run_until_told(scale))
    except asyncio.CancelledError:
        raise SystemExit("stopped") from None
    print(f"\nBefore: {before}\nAfter: {machine()}\n\n{table(figures(trial, members))}")


async def _run_until_told(scale: Scale) -> Trial:
    """Run it, or end it with its processes and files when somebody ends this process."""
    running = asyncio.ensure_future(run(scale))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    return await running


def figures(trial: Trial, members: int) -> list[Figure]:
    """Return the table's lines."""
    first, delta = trial.first, trial.delta
    share = delta.seconds / (_DELTA_HOURS * 3600)
    return [
        Figure("first sync: pages taken", f"{first.posted.pages:,} of {first.posted.users:,} users"),
        Figure("first sync: accepted", f"{first.posted.pages / first.posted.seconds:,.0f} pages/s"),
        Figure("first sync: answer, p50 / p99", _latencies(first)),
        Figure("first sync: first page to all folded", f"{trial.folded_seconds:,.0f} s"),
        Figure("first sync: first page to small segments exact", f"{first.small_seconds:,.0f} s"),
        Figure("first sync: first page to all exact", f"{first.seconds:,.0f} s"),
        *_calls("first sync", first.calls),
        Figure(f"kill -9, start to first call, {trial.restart.owed:,} owed", f"{trial.restart.seconds:.2f} s"),
        *_taken("first sync", first, members),
        Figure("delta: pages taken", f"{delta.posted.pages:,} of {delta.posted.users:,} users"),
        Figure("delta: answer while draining, p50 / p99", _latencies(delta)),
        Figure("delta: first page to all exact", f"{delta.seconds:,.0f} s, {share:.1%} of {_DELTA_HOURS} hours"),
        *_calls("delta", delta.calls),
        *_taken("delta", delta, members),
        Figure("compared with the stand-ins' lists", f"{trial.compared:,} members, all as they must be"),
        Figure("stand-ins: contacts", f"{delta.calls.contacts:,}, {trial.bytes_per_contact:,.0f} bytes each"),
    ]


def _latencies(phase: Phase) -> str:
    return f"{phase.posted.p50_ms:.0f} / {phase.posted.p99_ms:.0f} ms, {phase.posted.put_off} put off"


def _calls(name: str, totals: Totals) -> list[Figure]:
    known = {
        kind: sum(totals.calls_by_operation.get(operation, 0) for operation in operations)
        for kind, operations in _OPERATIONS.items()
    }
    known["others"] = totals.calls - sum(known.values())
    words = ", ".join(f"{kind} {calls:,}" for kind, calls in known.items())
    return [Figure(f"{name}: calls", f"{totals.calls:,}: {words}; answered 429: {totals.refused:,}")]


def _taken(name: str, phase: Phase, members: int) -> list[Figure]:
    memory, database_bytes, wal_bytes = phase.taken
    return [
        Figure(f"{name}: resident, at the end / at most", f"{memory.now_mib:.0f} / {memory.max_mib:.0f} MiB"),
        Figure(
            f"{name}: database, WAL at most",
            f"{database_bytes / MIB_BYTES:,.0f} MiB, {database_bytes / members:.0f} bytes/member; {wal_bytes / MIB_BYTES:,.0f} MiB",
        ),
    ]


if __name__ == "__main__":
    main()
