"""What the OpenAPI document says of each operation of the API, and how answers are written."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from service.errors import ErrorDocument
from service.observe.api.requests import query_parameters

Document = TypeVar("Document", bound=msgspec.Struct)

LIST_ID = {"in": "path", "name": "id", "schema": int, "description": "the list's `id` as `/api/v1/lists` has it"}
SYNC_ID = {"in": "path", "name": "id", "schema": int, "description": "the sync's `id` as `/api/v1/syncs` has it"}
IMPORT_ID = {"in": "path", "name": "id", "schema": int, "description": "the import's `id` as `/api/v1/imports` has it"}
ACCOUNT_NAME = {"in": "path", "name": "name", "schema": str, "description": "the account's name in the configuration"}

_RETRY_AFTER = "`Retry-After` says when to ask again."

_AS_FILE = (
    "With `format=csv` or `format=ndjson` the answer is a file of all rows that match the filters. In CSV, a "
    "text that a spreadsheet could take for a formula starts with an apostrophe. If the rows cannot be read to "
    "the end, the connection is cut."
)
_JSON = "application/json"
FILES: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
    "application/x-ndjson": {"schema": {"type": "string"}},
}

_encode = msgspec.json.Encoder().encode


def operation(
    tag: str,
    summary: str,
    description: str,
    *,
    answer: type[msgspec.Struct] | dict[str, Any],
    example: dict[str, Any] | None = None,
    query: type[msgspec.Struct] | None = None,
    body: type[msgspec.Struct] | None = None,
    body_examples: dict[str, Any] | None = None,
    path: Sequence[dict[str, Any]] = (),
    conflict: str | None = None,
    as_file: bool = False,
) -> dict[str, Any]:
    """Return the keywords of `@docs` for one operation: what it takes, what it answers, how it refuses.

    `answer` is a Struct, of which `example` is one, or OpenAPI's `content` for what is not JSON. `as_file`: `format` makes
    a file of it.
    """
    parameters = [] if query is None else query_parameters(query)
    if as_file:
        description = f"{description} {_AS_FILE}"
    responses: dict[int, Any] = {
        200: _answer({_JSON: {"schema": answer, "examples": _one(example)}, **FILES} if as_file else answer, example),
        401: _refusal("The API key is missing or wrong, or none is configured."),
        403: _refusal("The API key's role is not enough, or a page of another site asks for an action."),
        422: _refusal("The query or the body has a value that is not allowed; the message says which."),
        503: _refusal(f"The store cannot answer in time, or the service is starting or stopping. {_RETRY_AFTER}"),
    }
    keywords: dict[str, Any] = {"tags": [tag], "summary": summary, "description": description}
    parameters += [{**parameter, "required": True} for parameter in path]
    if path:
        responses[404] = _refusal("Not found.")
    if body is not None:
        keywords["request_body"] = body
        keywords["examples"] = body_examples or {"no options": {"value": {}}}
        responses[400] = _refusal("The body is not JSON.")
        responses[413] = _refusal("The body is too large.")
        responses[415] = _refusal("The content type is not JSON.")
    if conflict is not None:
        responses[409] = _refusal(conflict)
    return {
        **keywords,
        "parameters": parameters,
        "responses": dict(sorted(responses.items())),
        "security": [{"apiKey": []}],
    }


def _answer(answer: type[msgspec.Struct] | dict[str, Any], example: dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(answer, dict):
        return {"description": "The answer.", "content": answer}
    return {"description": "The answer.", "schema": answer, "examples": _one(example)}


def _one(example: dict[str, Any] | None) -> dict[str, Any]:
    return {"example": {"value": example}}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "schema": ErrorDocument}


def json_response(document: msgspec.Struct) -> web.Response:
    """Answer 200 with a document."""
    return web.Response(body=_encode(document), content_type=_JSON)
