"""Whether a document has the names that the API's own description gives to what it stands for."""

from typing import Any


def answer_of(operation: str, api: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what an operation answers, such as `GET /lists`; of the items of a page with ` items` after it."""
    method, path, *items = operation.split()
    content = api["paths"][f"/api/v1{path}"][method.lower()]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    found: dict[str, Any] = api["components"]["schemas"][content["$ref"].rpartition("/")[2]]
    return found["properties"]["items"]["items"] if items else found


def differences(document: Any, described: dict[str, Any], api: dict[str, Any], *, part: bool = False) -> set[str]:
    """Return the names that a document has and its schema has not, and, unless it is a `part`, the other way round.

    Places in it are written as `lists[].name`; `api` is the whole OpenAPI document.
    """
    return {name.lstrip(".") for name in _differences(document, described, api, part=part)}


def _differences(document: Any, described: dict[str, Any], api: dict[str, Any], *, part: bool) -> set[str]:
    if "$ref" in described:
        described = api["components"]["schemas"][described["$ref"].rpartition("/")[2]]
    if "anyOf" in described:
        # What is null has no names; what is not is not described by that it may be.
        kinds = [each for each in described["anyOf"] if each.get("type") != "null"]
        return min((_differences(document, each, api, part=part) for each in kinds), key=len)
    if isinstance(document, list):
        within = [_differences(each, described.get("items", {}), api, part=part) for each in document]
        return {f"[]{name}" for names in within for name in names}
    if not isinstance(document, dict):
        return set()
    if "properties" not in described:
        others = described.get("additionalProperties")
        # Free in form, as what is sent to Cordial.
        kind = others if isinstance(others, dict) else {}
        return {f".*{name}" for each in document.values() for name in _differences(each, kind, api, part=part)}
    properties = described["properties"]
    missing = set() if part else {f".{name} (missing)" for name in set(described.get("required", ())) - document.keys()}
    unknown = {f".{name} (unknown)" for name in document.keys() - properties.keys()}
    return missing.union(
        unknown,
        *(
            {f".{name}{found}" for found in _differences(document[name], properties[name], api, part=part)}
            for name in document.keys() & properties.keys()
        ),
    )
