"""What `requests_per_second = "auto"` makes of limits that nobody told, in simulated time; prints a table.

Each line stands for the worst of four kinds of headers: none, `Retry-After` on a 429, all of Cordial's on a 429, all of
Cordial's on every answer.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import get_args

from benchmarks.hidden_limit import Headers, HiddenLimit, Run, Window, simulate
from benchmarks.report import progress

_RATES = (5, 12, 50, 120, 500)
_SECONDS = 300
_SETTLED_SECONDS = 60
# A rate is what passed in so many seconds.
_RATE_OVER_SECONDS = 5
_WELL_USED = 0.9


def main() -> None:
    print("| limit | counted in | 90 % after | used, minutes 2 to 5 | answered 429, minutes 2 to 5 |")
    print("| --- | --- | --- | --- | --- |")
    for calls_per_second in _RATES:
        for period_seconds in (1, 60):
            for window in get_args(Window):
                progress(f"{calls_per_second} calls a second, {window}, {period_seconds} s")
                print(_row(calls_per_second, period_seconds, window), flush=True)


def _row(calls_per_second: int, period_seconds: int, window: Window) -> str:
    hidden = [HiddenLimit(calls_per_second, period_seconds, window, headers) for headers in get_args(Headers)]
    runs = [simulate(each, _SECONDS) for each in hidden]
    slowest = max(_seconds_to_find(run, calls_per_second) for run in runs)
    least_used = min(_between(run.passed) / (_SECONDS - _SETTLED_SECONDS) / calls_per_second for run in runs)
    most_refused = max(_between(run.refused) / (_between(run.refused) + _between(run.passed)) for run in runs)
    period = "second" if period_seconds == 1 else "minute"
    return f"| {calls_per_second}/s | {window} {period} | {slowest} s | {least_used:.1%} | {most_refused:.2%} |"


def _seconds_to_find(run: Run, calls_per_second: int) -> int:
    """Return when the rate first was well used; the whole time if it never was."""
    enough = _WELL_USED * calls_per_second * _RATE_OVER_SECONDS
    return next(
        (
            end
            for end in range(_RATE_OVER_SECONDS, _SECONDS)
            if _between(run.passed, end - _RATE_OVER_SECONDS, end) >= enough
        ),
        _SECONDS,
    )


def _between(times: Sequence[float], begin: float = _SETTLED_SECONDS, end: float = _SECONDS) -> int:
    return bisect_left(times, end) - bisect_left(times, begin)


if __name__ == "__main__":
    main()
