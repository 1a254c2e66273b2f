"""The OpenAPI 3.1 document, made from the `@docs` that stand on the handlers and the Structs they name.

A handler is documented with

    @docs(
        tags=["segments"], summary="…", description="…",
        parameters=[{"in": "query", "name": "limit", "schema": int, "description": "…"}],
        request_body=SomeStruct, examples={"one user": {"value": {…}}},
        responses={200: {"description": "…", "schema": SomeStruct, "examples": {…}}},
        security=[{"apiKey": []}],
    )

where everything but `responses` may be left out. `schema` and `request_body` take any type that msgspec can describe,
or a JSON Schema; `examples` are OpenAPI's Example Objects. An answer that is not (only) JSON gives OpenAPI's `content`
instead of both. Path parameters are added by themselves; declare one to describe it.
"""

import re
from typing import Any

import msgspec
from aiohttp import web
from aiohttp_apispec import AiohttpApiSpec
from apispec import APISpec, BasePlugin

_DESCRIPTION = """\
Takes the segment syncs that Heap sends as webhooks and keeps, for each segment, one Cordial list that holds exactly
the segment's users.

**Deliveries are signed.** They carry the header `Heap-Hash: ts:<ts>,hmac:<hmac>`: `ts` is the Unix time in milliseconds,
`hmac` the Base64 text of the HMAC-SHA256 of `ts` followed directly by the body, byte for byte as sent; the key is the
account's webhook secret as UTF-8 text. A delivery that is answered 200 is durable and may be sent again without harm.

**Everything under `/api/v1` needs an API key**, given by HTTP Basic authentication as the user name with an empty
password.

**Every error has one shape**: `{"error": {"code": "…", "message": "…", "path": "$.data…"}}`. The codes are stable;
`path` is there when one place in the body is at fault.
"""

_SECURITY_SCHEMES = {
    "apiKey": {
        "type": "http",
        "scheme": "basic",
        "description": "The service's API key as the user name; the password stays empty.",
    },
    "heapHash": {
        "type": "apiKey",
        "in": "header",
        "name": "Heap-Hash",
        "description": (
            "Sent as `ts:<Unix time in ms>,hmac:<Base64 of HMAC-SHA256(webhook secret, ts + body)>`.\n\n"
            "**On this page** give the account's Heap webhook secret: the page signs each body as you typed it and "
            "sends the signature alone. The secret stays in this page's memory until it is closed or reloaded."
        ),
    },
}

_JSON = "application/json"


def setup_openapi(app: web.Application, *, title: str, version: str) -> None:
    """Serve the description of all documented routes of `app`, those of sub-applications included, at `/openapi.json`.

    The document is made when it is first asked for, because the start need not wait for it.
    """
    made: list[bytes] = []

    async def serve(_request: web.Request) -> web.Response:
        if not made:
            made.append(msgspec.json.encode(describe(app, title=title, version=version)))
        return web.Response(
            body=made[0],
            content_type=_JSON,
            headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
        )

    app.router.add_get("/openapi.json", serve)


def describe(app: web.Application, *, title: str, version: str) -> dict[str, Any]:
    """Return the document; raises `ValueError` if two different types of the API have one name."""
    operations = _Operations()
    walk = AiohttpApiSpec(url=None, title=title, version=version)
    walk.spec = APISpec(
        title,
        version,
        openapi_version="3.1.0",
        plugins=[operations],
        info={"description": _DESCRIPTION},
        # Relative to this document, so that a proxy may put the service under a path prefix.
        servers=[{"url": ".", "description": "this service"}],
    )
    routes: Any = _Routes(app)
    walk.register(routes, in_place=True)
    document = walk.spec.to_dict()
    # apispec would look for references inside the schemas and stumble over the `"items": false` of a tuple.
    document["components"] = {
        "schemas": dict(sorted(operations.components.items())),
        "securitySchemes": _SECURITY_SCHEMES,
    }
    _end_patterns_as_ecma_does(document)
    return document


class _Routes(dict[str, Any]):
    """What aiohttp-apispec uses of an application: the routes, and a place for notes, which one that runs no longer takes."""

    def __init__(self, app: web.Application) -> None:
        super().__init__()
        self.router = app.router


def _end_patterns_as_ecma_does(part: Any) -> None:
    r"""Put ECMA's `$` in place of Python's `\Z`, which JavaScript does not have: both are the text's end."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            part["pattern"] = re.sub(r"\\Z$", "$", part["pattern"])
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _end_patterns_as_ecma_does(each)


class _Operations(BasePlugin):
    """Rewrites each operation from aiohttp-apispec's OpenAPI 2.0 to 3.1 and collects the schemas it refers to."""

    def __init__(self) -> None:
        self.components: dict[str, dict[str, Any]] = {}

    def operation_helper(
        self, path: str | None = None, operations: dict[str, Any] | None = None, **_keywords: Any
    ) -> None:
        operations = operations or {}
        # aiohttp answers HEAD wherever there is a GET; to describe it twice helps nobody.
        operations.pop("head", None)
        for operation in operations.values():
            self._rewrite(path or "", operation)

    def _rewrite(self, path: str, operation: dict[str, Any]) -> None:
        operation.pop("produces", None)
        examples = operation.pop("examples", None)
        body = operation.pop("request_body", None)
        if body is not None:
            operation["requestBody"] = {"required": True, "content": self._content(body, examples)}
        operation["parameters"] = [
            self._parameter(parameter)
            for parameter in operation["parameters"]
            # aiohttp-apispec adds a route's path parameters to the handler, whose other routes then show them too.
            if parameter["in"] != "path" or f"{{{parameter['name']}}}" in path
        ]
        operation["responses"] = {
            status: self._response(response) for status, response in operation["responses"].items()
        }

    def _parameter(self, parameter: dict[str, Any]) -> dict[str, Any]:
        rewritten = {key: value for key, value in parameter.items() if key != "type"}
        rewritten["schema"] = self._schema(parameter.get("schema", {"type": parameter.get("type", "string")}))
        return rewritten

    def _response(self, response: dict[str, Any]) -> dict[str, Any]:
        rewritten = {key: value for key, value in response.items() if key not in {"schema", "examples"}}
        if "schema" in response:
            rewritten["content"] = self._content(response["schema"], response.get("examples"))
        for media_type in rewritten.get("content", {}).values():
            media_type["schema"] = self._schema(media_type["schema"])
        return rewritten

    def _content(self, schema: Any, examples: dict[str, Any] | None) -> dict[str, Any]:
        media_type: dict[str, Any] = {"schema": self._schema(schema)}
        if examples:
            media_type["examples"] = examples
        return {_JSON: media_type}

    def _schema(self, described: Any) -> dict[str, Any]:
        """Return the JSON Schema of a type, with a reference for each Struct or enumeration."""
        if isinstance(described, dict):
            return described
        (schema,), components = msgspec.json.schema_components((described,), ref_template="#/components/schemas/{name}")
        for name, component in components.items():
            if self.components.setdefault(name, component) != component:
                raise ValueError(f"two different types of the API are called {name}; rename one")
        return schema
