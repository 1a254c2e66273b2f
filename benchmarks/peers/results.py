"""What the contenders did, as two tables."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.peers.trial import Done, Killed
from benchmarks.report import markdown

_DONE_HEADINGS = (
    "contender",
    "users",
    "time to exact",
    "CPU",
    "users/s",
    "calls",
    "answer p50",
    "answer p99",
    "peak memory",
)
_KILLED_HEADINGS = ("contender", "killed and started again", "users", "on the list at the kill", "lost", "repeated")


class Result(NamedTuple):
    """One contender: how many users it was given, and what came of it; `killed` by what was killed."""

    name: str
    users: int
    done: Done
    killed: dict[str, Killed]


def tables(results: Sequence[Result], users: int, seconds: float) -> str:
    """Return the tables; who was given fewer than `users`, for whom a run would have taken twice `seconds`, is marked."""
    done = markdown(_DONE_HEADINGS, [_done_row(result, users) for result in results])
    killed = markdown(
        _KILLED_HEADINGS,
        [_killed_row(result, label, outcome) for result in results for label, outcome in result.killed.items()],
    )
    slow = any(result.users < users for result in results)
    note = f"\n\n\\* Fewer than {users:,}, which would have taken longer than {2 * seconds:.0f} s." if slow else ""
    return f"{done}{note}\n\n{killed}"


def _done_row(result: Result, users: int) -> tuple[str, ...]:
    done = result.done
    return (
        result.name,
        f"{result.users:,}{'' if result.users == users else ' *'}",
        f"{done.seconds:.1f} s",
        f"{done.cpu_seconds:.1f} s",
        f"{result.users / done.seconds:,.0f}",
        f"{done.calls:,}",
        f"{done.p50_ms:,.0f} ms",
        f"{done.p99_ms:,.0f} ms",
        f"{done.max_resident_mib:.0f} MiB",
    )


def _killed_row(result: Result, label: str, killed: Killed) -> tuple[str, ...]:
    counts = (result.users, killed.users_at_kill, killed.lost, killed.repeated)
    return (result.name, label, *(f"{count:,}" for count in counts))
