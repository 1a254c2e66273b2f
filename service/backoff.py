"""Waits that double with each failure in a row, up to a cap. Pure: who adds chance, has it given."""

# Beyond every cap; it keeps the power from growing without end.
_MAX_DOUBLINGS = 30


def backoff_seconds(failures: int, base_seconds: float, cap_seconds: float) -> float:
    """Return for how many seconds to wait after `failures` earlier ones: the base with none, twice as long with each."""
    return min(cap_seconds, base_seconds * 2.0 ** min(failures, _MAX_DOUBLINGS))
