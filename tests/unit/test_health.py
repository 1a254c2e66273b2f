import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient

from service.observe.health import Heartbeat, ReadinessCheck, add_routes


class SettableClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class SettableCheck:
    def __init__(self, name: str) -> None:
        self.name = name
        self.reason: str | None = None

    def fault(self) -> str | None:
        return self.reason


@pytest.fixture
def clock():
    return SettableClock()


def application(*checks: ReadinessCheck) -> web.Application:
    app = web.Application()
    add_routes(app, lambda: checks)
    return app


def test_a_new_heartbeat_has_no_fault(clock):
    assert Heartbeat("folding", 10, clock).fault() is None


def test_silence_up_to_the_limit_is_normal(clock):
    heartbeat = Heartbeat("folding", 10, clock)
    clock.seconds += 10
    assert heartbeat.fault() is None


def test_longer_silence_is_a_fault_that_tells_its_length(clock):
    heartbeat = Heartbeat("folding", 10, clock)
    clock.seconds += 42
    assert heartbeat.fault() == "silent for 42 s, at most 10 s are normal"


def test_a_beat_ends_the_fault(clock):
    heartbeat = Heartbeat("folding", 10, clock)
    clock.seconds += 42
    heartbeat.beat()
    assert heartbeat.fault() is None
    clock.seconds += 11
    assert heartbeat.fault() is not None


def test_without_a_clock_it_measures_real_time():
    heartbeat = Heartbeat("folding", 3600)
    heartbeat.beat()
    assert heartbeat.fault() is None


async def test_livez_answers_whatever_is_wrong(aiohttp_client: AiohttpClient):
    check = SettableCheck("store")
    check.reason = "the disk is full"
    client = await aiohttp_client(application(check))

    response = await client.get("/livez")

    assert response.status == 200
    assert await response.json() == {"status": "alive"}
    assert response.headers["Cache-Control"] == "no-store"


async def test_readyz_names_every_fault_and_recovers(aiohttp_client: AiohttpClient, clock):
    store = SettableCheck("store")
    folding = Heartbeat("folding", 10, clock)
    client = await aiohttp_client(application(store, SettableCheck("configuration"), folding))

    response = await client.get("/readyz")
    assert response.status == 200
    assert await response.json() == {"status": "ready"}

    store.reason = "the disk is full"
    clock.seconds += 42
    response = await client.get("/readyz")
    assert response.status == 503
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert await response.json() == {
        "error": {
            "code": "not_ready",
            "message": "store: the disk is full; folding: silent for 42 s, at most 10 s are normal",
        }
    }

    store.reason = None
    folding.beat()
    response = await client.get("/readyz")
    assert response.status == 200


async def test_a_load_balancer_may_ask_by_head(aiohttp_client: AiohttpClient):
    check = SettableCheck("store")
    client = await aiohttp_client(application(check))
    assert (await client.head("/readyz")).status == 200
    check.reason = "the disk is full"
    assert (await client.head("/readyz")).status == 503
