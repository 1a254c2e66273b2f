"""What the OpenAPI document says of the webhook."""

from typing import Any

from service.errors import ErrorCode, ErrorDocument
from service.model.deliveries import Action
from service.receive.answers import WebhookAnswer
from service.receive.page_schema import HeapPage

_RETRY_AFTER = "`Retry-After` says when to send again."

_SEGMENT = {"id": 15225086, "name": "Heap Test Segment"}
_ENTERED_TASK = "ce011f7a-0000-4000-8000-000000000001"
_LEFT_TASK = "ce011f7a-0000-4000-8000-000000000002"
_FIRST_TASK = "ce011f7a-0000-4000-8000-000000000003"


def _page(task_id: str, page_number: int, total_pages: int, **users: list[str]) -> dict[str, Any]:
    return {
        "id_token": "bc2ae9f9-0000-4000-8000-000000000000",
        "action_type": Action.SYNC.value,
        "customer_config": {},
        "data": {
            "segment": _SEGMENT,
            "sync_info": {"page_number": page_number, "total_pages": total_pages, "sync_task_id": task_id},
            **{change: [{"id": user} for user in ids] for change, ids in users.items()},
        },
    }


# Ready to send as they are, one after the other; a new `sync_task_id` makes a new sync.
_EXAMPLES = {
    "one page": {
        "summary": "A whole sync in one page: two users entered",
        "value": _page(_FIRST_TASK, 1, 1, add=["jane@example.com", "john@example.com"]),
    },
    "first page": {
        "summary": "Page 1 of 2: two users entered",
        "value": _page(_ENTERED_TASK, 1, 2, add=["jane@example.com", "john@example.com"]),
    },
    "second page": {
        "summary": "Page 2 of 2: one more user entered",
        "value": _page(_ENTERED_TASK, 2, 2, add=["joan@example.com"]),
    },
    "later sync": {
        "summary": "A later sync: one user left, one entered",
        "value": _page(_LEFT_TASK, 1, 1, add=["jack@example.com"], remove=["john@example.com"]),
    },
    "drain": {
        "summary": "Drain: remove everyone (where allow_drain = true)",
        "value": {"action_type": Action.DRAIN.value, "customer_config": {}, "data": {"segment": _SEGMENT}},
    },
}

_DRY_RUN = {
    "in": "query",
    "name": "dry_run",
    "required": False,
    "schema": {"type": "boolean", "default": False},
    # Swagger UI begins with this value: the first click of somebody who tries it changes nothing.
    "example": True,
    "description": "`true`: the answer says what the service would do with the page, and it does nothing",
}


def _refusal(description: str, *codes: ErrorCode) -> dict[str, Any]:
    named = " or ".join(f"`{code.value}`" for code in codes)
    return {"description": f"{description} Error code {named}.", "schema": ErrorDocument}


def webhook_documentation(summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of `@docs` for one of the webhook's addresses, with its own summary and parameters."""
    return {
        "tags": ["webhook"],
        "summary": summary,
        "description": (
            "One page of a segment sync, or a drain, as Heap sends it. The answer 200 means that the whole page"
            " is on disk. A page sent again is answered `duplicate` and changes nothing, and one that newer "
            "syncs or a newer drain have overtaken is answered `superseded`. Users that cannot be used are "
            "counted as rejected; the rest of the page is accepted. Unknown fields are ignored, and numbers may"
            " stand for text and text for numbers. With `dry_run=true` the page is checked like any other, "
            "signature and all, then answered with what would be sent to Cordial, and kept nowhere."
        ),
        "parameters": [*parameters, _DRY_RUN],
        "request_body": HeapPage,
        "examples": _EXAMPLES,
        "responses": {
            200: {
                "description": "The page is on disk, or it was a dry run.",
                "schema": WebhookAnswer,
            },
            400: _refusal(
                "The `Heap-Hash` header or the body cannot be read.",
                ErrorCode.HEADER_UNREADABLE,
                ErrorCode.BODY_UNREADABLE,
            ),
            403: _refusal(
                "Not authentic: unknown account, wrong `id_token`, wrong or stale signature. Only the service's"
                " log says which.",
                ErrorCode.FORBIDDEN,
            ),
            413: _refusal("The body is larger than `max_body_bytes`.", ErrorCode.BODY_TOO_LARGE),
            415: _refusal("The content type is not JSON.", ErrorCode.NOT_JSON),
            422: _refusal(
                "An action or a shape the service does not know; `path` says where. Or `dry_run` is neither `true` nor "
                "`false`.",
                ErrorCode.UNKNOWN_ACTION,
                ErrorCode.UNKNOWN_SHAPE,
                ErrorCode.INVALID_REQUEST,
            ),
            429: _refusal(f"The backlog is full. {_RETRY_AFTER}", ErrorCode.BACKLOG_FULL),
            503: _refusal(
                f"The store cannot write, the service is stopping, or an operator must change a setting. {_RETRY_AFTER}",
                ErrorCode.STORE_UNAVAILABLE,
                ErrorCode.STOPPING,
                ErrorCode.NOT_READY,
            ),
        },
        "security": [{"heapHash": []}],
    }
