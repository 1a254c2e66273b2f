"""`/livez` and `/readyz`: 503 only while no page can be taken, and nothing told but kinds."""

from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient

from service.model.conditions import CATALOGUE, Condition, Fact, to_condition
from service.observe.health import add_routes


def lasting(name: str) -> Condition:
    return to_condition(Fact(name, "acme", "Buyers", "jane@x.com"), 1_700_000_000_000)


def application(conditions: list[Condition], *, is_stopping: bool = False) -> web.Application:
    app = web.Application()
    add_routes(app, lambda: conditions, lambda: is_stopping)
    return app


async def test_what_cannot_be_delivered_keeps_no_page_away_and_is_named_by_kind_alone(aiohttp_client: AiohttpClient):
    names = [name for name, kind in CATALOGUE.items() if not kind.stops_pages]
    client = await aiohttp_client(application([lasting(name) for name in names]))
    response = await client.get("/readyz")
    assert response.status == 200
    document = await response.json()
    assert document["status"] == "ready"
    assert set(document["degraded"]) <= set(names)
    assert {"account_stopped", "clock_suspect"} <= set(document["degraded"])
    assert "account_dry_run" not in document["degraded"]


async def test_what_stops_pages_is_503_until_it_is_over(aiohttp_client: AiohttpClient):
    conditions = [lasting("store_trouble"), lasting("account_stopped")]
    client = await aiohttp_client(application(conditions))
    response = await client.get("/readyz")
    assert (response.status, response.headers["Cache-Control"]) == (503, "no-store")
    assert await response.json() == {"error": {"code": "not_ready", "message": "store_trouble"}}
    assert (await client.head("/readyz")).status == 503
    assert (await client.get("/livez")).status == 200
    conditions.clear()
    assert await (await client.get("/readyz")).json() == {"status": "ready", "degraded": []}


async def test_a_stop_is_503(aiohttp_client: AiohttpClient):
    client = await aiohttp_client(application([], is_stopping=True))
    assert (await (await client.get("/readyz")).json())["error"]["message"] == "stopping"
