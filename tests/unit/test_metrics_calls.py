"""How durations are counted into the buckets that Prometheus reads."""

import pytest

from service.observe.metrics.calls import Calls


def buckets(*seconds: float) -> dict[str, float]:
    calls = Calls(["acme"])
    for each in seconds:
        calls.of["acme"].called("PUT contacts", "done", 200, each)
    [family] = [family for family in calls.collect() if family.name == "heap_cordial_call_seconds"]
    return {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}


@pytest.mark.parametrize(
    ("seconds", "first"),
    [(0.0, "0.01"), (0.01, "0.01"), (0.0101, "0.025"), (1.0, "1.0"), (60.0, "60.0"), (61.0, "+Inf")],
)
def test_a_duration_is_in_every_bucket_whose_bound_it_does_not_exceed(seconds, first):
    counted = buckets(seconds)
    bounds = list(counted)
    place = bounds.index(first)
    assert [counted[bound] for bound in bounds] == [0] * place + [1] * (len(bounds) - place)


def test_buckets_hold_all_that_came():
    counted = buckets(0.005, 0.005, 0.02, 100.0)
    assert (counted["0.01"], counted["0.025"], counted["60.0"], counted["+Inf"]) == (2, 3, 3, 4)


def test_the_sum_and_the_count_are_of_all_durations():
    calls = Calls(["acme", "globex"])
    for seconds in (0.5, 1.5):
        calls.of["acme"].waited(seconds)
    [family] = [family for family in calls.collect() if family.name == "heap_cordial_limiter_wait_seconds"]
    figures = {(sample.name, sample.labels["account"]): sample.value for sample in family.samples}
    assert figures["heap_cordial_limiter_wait_seconds_sum", "acme"] == 2.0
    assert figures["heap_cordial_limiter_wait_seconds_count", "acme"] == 2
    assert figures["heap_cordial_limiter_wait_seconds_count", "globex"] == 0


def test_answers_are_told_apart_by_status_and_by_its_lack():
    calls = Calls(["acme"])
    for status in (200, 200, None):
        calls.of["acme"].called("PUT contacts", "done" if status else "unavailable", status, 0.1)
    [family] = [family for family in calls.collect() if family.name == "heap_cordial_calls"]
    assert {(s.labels["answer"], s.labels["status"]): s.value for s in family.samples} == {
        ("done", "200"): 2,
        ("unavailable", "none"): 1,
    }
