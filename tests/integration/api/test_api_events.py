import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pytest

from service.errors import ServiceError
from service.model.changes import OutcomeKind
from service.observe.api import stream
from service.observe.api.meter import Meter, Span
from service.observe.api.stream import Stream
from tests.api_fixtures import API_KEY, ApiWorld, authorization
from tests.service_fixtures import users

_GENEROUS_SECONDS = 30.0


class Event(NamedTuple):
    id: str
    kind: str
    data: Any


class Refused(NamedTuple):
    outcome: str
    account: str | None
    reason: str | None = None


@contextlib.asynccontextmanager
async def watching(world: ApiWorld, last_id: str | None = None) -> AsyncIterator[AsyncIterator[Event]]:
    headers = authorization(API_KEY) | ({} if last_id is None else {"Last-Event-ID": last_id})
    async with asyncio.timeout(_GENEROUS_SECONDS), world._session.get(world.url("events"), headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        yield read_events(answer)


async def read_events(answer: Any) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            if fields["event"] == "alive":
                assert fields["data"] == '{"again_in_seconds":15}'
                fields = {}
                continue
            yield Event(fields["id"], fields["event"], msgspec.json.decode(fields["data"]))
            fields = {}


async def first(events: AsyncIterator[Event], kind: str, condition: Any = lambda _: True) -> Event:
    async for event in events:
        if event.kind == kind and condition(event.data):
            return event
    raise AssertionError(f"the stream ended without such a {kind}")


async def test_who_comes_first_is_told_to_load_everything(world):
    async with watching(world) as events:
        assert (await anext(events)).kind == "reset"


async def test_what_was_so_before_somebody_watches_is_no_news(world):
    await world.deliver("Heap Test", users(5), task="before")
    await world.settled()
    await world.until(lambda: world.rows("SELECT count(*) FROM segment WHERE list_count = settled") == [(1,)])
    async with watching(world) as events:
        await anext(events)
        await world.deliver("Heap Test", users(1, "more"), task="after")
        progress = await first(events, "progress", lambda data: data["syncs"])
        assert [sync["task_id"] for sync in progress.data["syncs"]] == ["after"]


async def test_a_delivery_and_its_progress_are_told_until_it_has_drained(world):
    async with watching(world) as events:
        await anext(events)
        await world.deliver("Heap Test", [*users(5), "undefined"], task="one")
        delivery = await first(events, "delivery")
        assert delivery.data["left_out"] == 0
        [told] = delivery.data["deliveries"]
        assert (told["account"], told["outcome"], told["status"]) == ("acme", "accepted", 200)
        assert (told["segment_name"], told["task_id"], told["added"], told["rejected"]) == ("Heap Test", "one", 5, 1)
        ended: set[str] = set()
        async for event in events:
            if event.kind == "progress":
                assert event.data["accounts"][0]["name"] == "acme"
                ended |= {sync["task_id"] for sync in event.data["syncs"] if sync["state"] == "done"}
                ended |= {each["list_name"] for each in event.data["lists"] if each["on_list"] == 5}
            if len(ended) == 2:
                break
    assert ended == {"one", "HeapTest"}


async def test_a_refused_delivery_is_told_too(world):
    async with watching(world) as events:
        await anext(events)
        async with world._session.post(f"{world.service.url}/webhooks/heap/acme", json={}) as answer:
            assert answer.status == 400
        delivery = await first(events, "delivery")
        assert delivery.data["deliveries"][0]["outcome"] == "header_unreadable"


async def test_a_condition_that_begins_is_told_though_nothing_else_happens(world):
    async with watching(world) as events:
        await anext(events)
        world.service.facts.answered(Refused("signature_wrong", "acme"))
        await first(events, "progress")
        assert "deliveries_refused" in [each["id"] for each in (await world.get("conditions"))["items"]]


async def test_who_comes_back_gets_what_was_missed(world):
    async with watching(world) as events:
        seen = await anext(events)
    await world.deliver("Heap Test", users(1), task="missed")
    await world.settled()
    async with watching(world, seen.id) as events:
        event = await anext(events)
        assert event.kind == "delivery"
        assert event.data["deliveries"][0]["task_id"] == "missed"
        assert int(event.id.partition("-")[2]) > int(seen.id.partition("-")[2])


@pytest.mark.parametrize("last_id", ["", "nonsense", "0-0", "-5", "é-1"])
async def test_who_comes_from_elsewhere_is_told_to_load_everything(world, last_id):
    async with watching(world, last_id) as events:
        assert (await anext(events)).kind == "reset"


async def test_a_restart_is_told_as_a_reset(world):
    async with watching(world) as events:
        seen = await anext(events)
    await world.restart()
    async with watching(world, seen.id) as events:
        assert (await anext(events)).kind == "reset"


async def test_watching_ends_when_the_service_stops(world):
    async with watching(world) as events:
        await anext(events)
        await world.stop()
        with contextlib.suppress(ConnectionError, StopAsyncIteration):
            while True:
                await anext(events)
    await world.start()


async def test_many_deliveries_are_told_in_few_events(world):
    async with watching(world) as events:
        await anext(events)
        for number in range(60):
            await world.deliver("Heap Test", users(1), task=f"task {number}")
        told: list[Any] = []
        while sum(len(event["deliveries"]) + event["left_out"] for event in told) < 60:
            told.append((await first(events, "delivery")).data)
    assert len(told) < 60
    assert all(len(event["deliveries"]) <= 20 for event in told)


class Number(msgspec.Struct):
    n: int


async def texts(watcher: stream.Watcher) -> bytes:
    return await watcher.next(0)


async def test_what_is_kept_is_bounded_in_number():
    kept = Stream("run")
    for number in range(1_000):
        kept.emit("n", Number(number))
    back = await texts(kept.add("run-990"))
    assert back.count(b"event: n") == 10
    assert b"event: reset" in await texts(kept.add("run-3"))
    assert await texts(kept.add("run-1000")) == b""
    assert b"event: reset" in await texts(kept.add("run-1001"))


async def test_what_is_kept_is_bounded_in_bytes():
    class Long(msgspec.Struct):
        text: str

    kept = Stream("run")
    for _ in range(10):
        kept.emit("long", Long("x" * 1_000_000))
    assert len(await texts(kept.add("run-9"))) > 1_000_000
    assert b"event: reset" in await texts(kept.add("run-1"))


async def test_who_reads_too_slowly_is_dropped_and_nobody_else():
    shared = Stream("run")
    slow, quick = shared.add(""), shared.add("")
    for number in range(200):
        shared.emit("n", Number(number))
        await texts(quick)
    assert slow.is_dropped
    assert not quick.is_dropped
    assert await texts(slow) == b""


async def test_only_so_many_may_watch():
    shared = Stream("run")
    watchers = [shared.add("") for _ in range(stream.MAX_WATCHERS)]
    with pytest.raises(ServiceError) as refused:
        shared.add("")
    assert refused.value.status == 503
    shared.remove(watchers[0])
    shared.add("")


async def test_rates_are_calls_over_time_and_history_is_bounded(monkeypatch):
    now, calls, backlog = [0.0], {"acme": 0}, itertools.count()
    results: dict[str, dict[OutcomeKind, int]] = {"acme": {OutcomeKind.SETTLED: 0, OutcomeKind.RETRY: 0}}
    meter = Meter(lambda: calls, lambda: results, lambda: next(backlog), lambda: now[0])
    minutes = []
    for _ in range(10_000):
        now[0] += 1
        calls["acme"] += 25
        results["acme"][OutcomeKind.SETTLED] += 20
        results["acme"][OutcomeKind.RETRY] += 5
        if (minute := meter.tick()) is not None:
            minutes.append(minute)
    assert meter.rates == {"acme": 25.0}
    assert (meter.settled_per_second("acme"), meter.failed_per_second("acme")) == (20.0, 5.0)
    assert meter.seconds_left("acme", 1_000) == 50.0

    async def read(_since, _step_minutes):
        return []

    history = await meter.history(Span.HOUR, read)
    assert len(history.samples) == 720
    assert [sample.backlog for sample in history.samples] == sorted(sample.backlog for sample in history.samples)
    assert len(minutes) == 166
    assert {(minute.calls, minute.settled, minute.failed) for minute in minutes} == {(1_500, 1_200, 300)}
    # Some seconds of a minute are kept at a stop too, at the pace that they had.
    assert now[0] - 166 * 60 == 40
    calls["acme"] += 10
    kept = meter.last_minute()
    assert kept is not None
    assert (kept.calls, kept.settled, kept.failed) == (1_515, 1_200, 300)
    now[0] += 10
    meter.tick()
    assert meter.rates["acme"] < 25

    class SetBack(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(hours=5)

    # What was measured while the clock was ahead would stand behind what is measured now.
    monkeypatch.setattr("service.observe.api.meter.datetime", SetBack)
    assert (await meter.history(Span.HOUR, read)).samples == []


def test_the_time_left_is_from_the_pace_since_sending_began():
    now, results = [0.0], {"acme": {OutcomeKind.SETTLED: 0}}
    meter = Meter(lambda: {"acme": 0}, lambda: results, lambda: 1_000, lambda: now[0])
    for second in range(90):
        now[0] += 1
        if second >= 70:
            results["acme"][OutcomeKind.SETTLED] += 20
        meter.tick()
    assert meter.seconds_left("acme", 1_000) == 50.0


def test_no_time_is_told_where_nothing_is_settled():
    now = [0.0]
    meter = Meter(lambda: {"acme": 0}, dict, lambda: 10, lambda: now[0])
    for _ in range(100):
        now[0] += 1
        meter.tick()
    assert meter.seconds_left("acme", 10) is None
