"""The same users put on the list by the service and by a plain script that keeps nothing; more peers: `make bench-peers`."""

import sys

from benchmarks.peers.contenders import CONTENDERS
from benchmarks.peers.trial import Done, Job
from benchmarks.peers.trial import measure as have_done
from benchmarks.report import Figure, median_of, progress, ratio_of

_USERS_PER_PAGE = 1_000
_MAX_SECONDS = 15
_MAX_P99_MS = 22


async def measure(*, users: int, rounds: int) -> list[Figure]:
    """Have the job done by both in turn."""
    job = Job(users, _USERS_PER_PAGE, latency_ms=0, python=sys.executable)
    script: list[Done] = []
    ours: list[Done] = []
    for number in range(rounds):
        script.append(await have_done(CONTENDERS["script"], job))
        ours.append(await have_done(CONTENDERS["heap-cordial"], job))
        progress(
            f"script, round {number + 1}: {users:,} users by the script in {script[-1].seconds:.1f} s, "
            f"by the service in {ours[-1].seconds:.1f} s"
        )
    seconds = median_of(ours, lambda done: done.seconds)
    return [
        Figure(f"plain script: {users:,} users", _seconds(script), _cpu(script), ratio=1.0),
        Figure(
            f"the service: the same {users:,} users",
            _seconds(ours),
            _cpu(ours),
            ratio=ratio_of(ours, script, lambda done: done.seconds),
            measured=seconds,
            target=("≤", _MAX_SECONDS),
            unit="s",
        ),
        Figure("plain script: … answer, p50 / p99", _latencies(script)),
        Figure(
            "the service: … answer, p50 / p99",
            _latencies(ours),
            measured=median_of(ours, lambda done: done.p99_ms),
            target=("≤", _MAX_P99_MS),
            unit="ms",
        ),
    ]


def _seconds(rounds: list[Done]) -> str:
    return f"{median_of(rounds, lambda done: done.seconds):.1f} s"


def _cpu(rounds: list[Done]) -> str:
    return f"{median_of(rounds, lambda done: done.cpu_seconds):.1f} s"


def _latencies(rounds: list[Done]) -> str:
    p50_ms, p99_ms = median_of(rounds, lambda done: done.p50_ms), median_of(rounds, lambda done: done.p99_ms)
    return f"{p50_ms:.0f} / {p99_ms:.0f} ms"
