import functools
import re
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp_apispec import docs
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.app import make_application, running_service
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.errors import STATUS_OF, ErrorCode, ErrorDocument
from service.observe import health
from service.observe.swagger import routes as swagger
from service.observe.swagger.openapi import describe, setup_openapi

# Pages and what they are made of: for browsers, not for clients of the API.
UNDOCUMENTED = re.compile(r"/|/docs(/.*)?|/page/.*|/openapi\.json")


class Status(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"


class Page(msgspec.Struct):
    """What Heap sends."""

    task: str
    users: list[str]
    number: int | None = None


class Receipt(msgspec.Struct):
    """What became of a page."""

    status: Status
    range: tuple[int, int]


@docs(
    tags=["webhook"],
    summary="Take a page",
    description="Durable before it is answered.",
    request_body=Page,
    examples={"one user": {"summary": "One user joins", "value": {"task": "t", "users": ["a@x.test"], "number": None}}},
    responses={
        200: {
            "description": "The page is durable.",
            "schema": Receipt,
            "examples": {"new": {"value": {"status": "accepted", "range": [1, 2]}}},
        },
        403: {"description": "Not authentic.", "schema": ErrorDocument},
    },
    security=[{"heapHash": []}],
)
async def take(_request: web.Request) -> web.Response:
    return web.Response()


@docs(
    tags=["segments"],
    summary="The receipts of a segment",
    parameters=[
        {"in": "path", "name": "segment", "description": "Heap's id of the segment"},
        {"in": "query", "name": "status", "schema": Status, "description": "Only these"},
        {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1}},
    ],
    responses={
        200: {"description": "Receipts, newest first.", "schema": list[Receipt]},
        "default": {"description": "An error.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
    security=[{"apiKey": []}],
)
async def receipts(_request: web.Request) -> web.Response:
    return web.Response()


def sample_app() -> web.Application:
    app = web.Application()
    setup_openapi(app, title="Sample", version="1.2.3")
    app.router.add_post("/webhooks/heap/{account}", take)
    app.router.add_post("/webhooks/heap", take)
    app.router.add_get(r"/api/v1/segments/{segment:\d+}", receipts)
    health.add_routes(app, list, lambda: False)
    swagger.add_routes(app)
    return app


def settings(folder: Path) -> Settings:
    account = AccountSettings(
        name="acme",
        heap_secrets=(SecretReference(environment="UNUSED"),),
        cordial_api_key=SecretReference(environment="UNUSED"),
    )
    return Settings(
        server=ServerSettings(host="127.0.0.1", port=0),
        store=StoreSettings(path=str(folder / "store.db")),
        log=LogSettings(),
        accounts={account.name: account},
    )


@pytest.fixture(params=["sample", "service"])
async def make_app(request, tmp_path) -> AsyncIterator[Callable[[], web.Application]]:
    """A function that makes a whole application; what every application must hold to is tested with each."""
    if request.param == "sample":
        yield sample_app
        return
    async with running_service(settings(tmp_path)) as service:
        yield functools.partial(make_application, service)


async def document_bytes(aiohttp_client: AiohttpClient, app: web.Application) -> bytes:
    client = await aiohttp_client(app)
    response = await client.get("/openapi.json")
    assert response.status == 200
    assert response.content_type == "application/json"
    return await response.read()


async def document_of(aiohttp_client: AiohttpClient, app: web.Application):
    return msgspec.json.decode(await document_bytes(aiohttp_client, app))


async def test_it_is_valid_openapi_3_1(aiohttp_client, make_app):
    document = await document_of(aiohttp_client, make_app())
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_patterns_mean_the_same_in_javascript(aiohttp_client, make_app):
    """JSON Schema's patterns are ECMA's, which has no `\\Z`, `\\A` or `(?P<name>…)`."""

    def patterns(value: Any) -> list[str]:
        if isinstance(value, dict):
            return ([value["pattern"]] if isinstance(value.get("pattern"), str) else []) + patterns([*value.values()])
        return [found for each in value for found in patterns(each)] if isinstance(value, list) else []

    found = patterns(await document_of(aiohttp_client, make_app()))
    assert [each for each in found if re.search(r"\\[AZz]|\(\?P|\(\?[a-z]|\(\?#|\(\?\(", each)] == []


async def test_it_contains_every_public_route_and_nothing_else(aiohttp_client, make_app):
    app = make_app()
    document = await document_of(aiohttp_client, app)
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and not UNDOCUMENTED.fullmatch(route.resource.canonical)
        # The same address with a slash behind it is accepted, and not shown twice.
        and not route.resource.canonical.endswith("/")
    }
    documented = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert documented == routed


async def test_every_operation_has_a_tag_a_summary_and_a_described_answer(aiohttp_client, make_app):
    document = await document_of(aiohttp_client, make_app())
    operations = [operation for path_operations in document["paths"].values() for operation in path_operations.values()]
    assert operations
    for operation in operations:
        assert operation["tags"]
        assert operation["summary"]
        assert operation["responses"]
        assert all(response["description"] for response in operation["responses"].values())


async def test_two_applications_give_the_same_bytes(aiohttp_client, make_app):
    first = await document_bytes(aiohttp_client, make_app())
    assert await document_bytes(aiohttp_client, make_app()) == first


async def test_it_tells_what_the_service_is_and_how_to_sign(aiohttp_client, make_app):
    document = await document_of(aiohttp_client, make_app())
    assert "Heap-Hash: ts:<ts>,hmac:<hmac>" in document["info"]["description"]
    schemes = document["components"]["securitySchemes"]
    assert schemes["apiKey"]["scheme"] == "basic"
    assert (schemes["heapHash"]["in"], schemes["heapHash"]["name"]) == ("header", "Heap-Hash")


async def test_the_webhook_documents_every_answer_it_gives(aiohttp_client, tmp_path):
    codes_by_status = {
        400: {"header_unreadable", "body_unreadable"},
        403: {"forbidden"},
        413: {"body_too_large"},
        415: {"not_json"},
        422: {"unknown_action", "unknown_shape", "invalid_request"},
        429: {"backlog_full"},
        503: {"store_unavailable", "stopping", "not_ready"},
    }
    async with running_service(settings(tmp_path)) as service:
        document = await document_of(aiohttp_client, make_application(service))
    for path in ("/webhooks/heap", "/webhooks/heap/{account}"):
        responses = document["paths"][path]["post"]["responses"]
        assert responses.keys() == {"200", *map(str, codes_by_status)}
        for status, codes in codes_by_status.items():
            description = responses[str(status)]["description"]
            assert {code.value for code in ErrorCode if f"`{code.value}`" in description} == codes
            assert {STATUS_OF[ErrorCode(code)] for code in codes} == {status}
            assert ("Retry-After" in description) == (status in {429, 503})
            schema = responses[str(status)]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorDocument"}


async def test_title_and_version_are_those_given(aiohttp_client):
    document = await document_of(aiohttp_client, sample_app())
    assert (document["info"]["title"], document["info"]["version"]) == ("Sample", "1.2.3")


async def test_a_body_and_its_examples(aiohttp_client):
    document = await document_of(aiohttp_client, sample_app())
    operation = document["paths"]["/webhooks/heap"]["post"]
    assert operation["requestBody"] == {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Page"},
                "examples": {
                    "one user": {
                        "summary": "One user joins",
                        "value": {"task": "t", "users": ["a@x.test"], "number": None},
                    }
                },
            }
        },
    }
    assert operation["security"] == [{"heapHash": []}]
    page = document["components"]["schemas"]["Page"]
    assert page["required"] == ["task", "users"]
    assert page["properties"]["number"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]


async def test_answers_have_content_not_schema(aiohttp_client):
    document = await document_of(aiohttp_client, sample_app())
    responses = document["paths"]["/webhooks/heap"]["post"]["responses"]
    assert responses["200"] == {
        "description": "The page is durable.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Receipt"},
                "examples": {"new": {"value": {"status": "accepted", "range": [1, 2]}}},
            }
        },
    }
    assert responses["403"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorDocument"}
    listing = document["paths"]["/api/v1/segments/{segment}"]["get"]["responses"]
    assert listing["200"]["content"]["application/json"]["schema"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Receipt"},
    }
    assert listing["default"]["content"] == {"text/plain": {"schema": {"type": "string"}}}


async def test_routes_that_share_a_handler_have_their_own_parameters(aiohttp_client):
    paths = (await document_of(aiohttp_client, sample_app()))["paths"]
    assert paths["/webhooks/heap/{account}"]["post"]["parameters"] == [
        {"in": "path", "name": "account", "required": True, "schema": {"type": "string"}}
    ]
    assert paths["/webhooks/heap"]["post"]["parameters"] == []


async def test_parameters_take_types_and_schemas(aiohttp_client):
    paths = (await document_of(aiohttp_client, sample_app()))["paths"]
    assert paths["/api/v1/segments/{segment}"]["get"]["parameters"] == [
        {
            "in": "path",
            "name": "segment",
            "description": "Heap's id of the segment",
            "required": True,
            "schema": {"type": "string"},
        },
        {
            "in": "query",
            "name": "status",
            "description": "Only these",
            "schema": {"$ref": "#/components/schemas/Status"},
        },
        {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1}},
    ]


async def test_nothing_of_openapi_2_is_left(aiohttp_client):
    text = (await document_bytes(aiohttp_client, sample_app())).decode()
    assert '"produces"' not in text
    assert '"swagger"' not in text
    assert '"head"' not in text


def test_two_types_of_one_name_are_a_mistake():
    other_page = msgspec.defstruct("Page", [("other", int)])

    @docs(responses={200: {"description": "Another page.", "schema": other_page}})
    async def other(_request: web.Request) -> web.Response:
        return web.Response()

    app = sample_app()
    app.router.add_get("/other", other)
    with pytest.raises(ValueError, match="types of the API are called Page"):
        describe(app, title="Sample", version="1")


async def test_routes_of_a_sub_application_are_documented(aiohttp_client):
    inner = web.Application()
    inner.router.add_post("/pages/{page}", take)
    app = web.Application()
    app.add_subapp("/inner", inner)
    setup_openapi(app, title="Sample", version="1")
    document = await document_of(aiohttp_client, app)
    assert list(document["paths"]) == ["/inner/pages/{page}"]
