"""What would be sent for a list, before it is: nothing is changed, neither here nor in Cordial."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import Meta

from service.errors import ErrorCode, ServiceError
from service.model.views import Count, Preview
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.actions import find_list
from service.observe.api.requests import path_id, read_query
from service.observe.api.sending import Sending
from service.store.port import Reading

_MAX_CALLS = 100
_CALLS = 20


class PreviewQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to show."""

    calls: Annotated[int, Meta(ge=1, le=_MAX_CALLS, description="the most calls to show")] = _CALLS


class PreviewDocument(Preview, frozen=True):
    """What would be sent for a list.

    `additions` and `removals` are owed in all; `calls` are the first of them, in single calls. `unread_pages`: pages have
    come that are not counted in yet.
    """

    additions: Count
    removals: Count
    unread_pages: bool


class Previews:
    """Answers what would be sent."""

    def __init__(self, reader: Reading, sending: Sending, check_runs: Callable[[], None]) -> None:
        self._reader = reader
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the previews."""
        app.router.add_get("/lists/{id}/preview", self.preview)

    @docs(
        **described.operation(
            "lists",
            "What would be sent",
            "The list's name and whether it would be created, how much is left to send, and the first calls to "
            "Cordial. The service only asks Cordial whether it has the list. Meant for an account with `dry_run"
            " = true`; without it, the calls shown may already have been made.",
            answer=PreviewDocument,
            example=examples.PREVIEW,
            query=PreviewQuery,
            path=[described.LIST_ID],
            conflict="The configuration no longer has the list's account.",
        )
    )
    async def preview(self, request: web.Request) -> web.Response:
        """Answer `GET /lists/{id}/preview`."""
        # Before the start is over, lists that exist would seem new.
        self._check_runs()
        query = read_query(request, PreviewQuery)
        list_id = path_id(request)
        segment = await find_list(self._reader, list_id)
        if segment.account not in self._sending.statuses():
            raise ServiceError(ErrorCode.CONFLICT, f"the configuration has no account {segment.account}")
        found = await self._sending.account(segment.account).previewer.of_segment(list_id, query.calls)
        owed = await self._reader.owed(list_id)
        return described.json_response(
            PreviewDocument(
                **msgspec.structs.asdict(found),
                additions=owed.additions,
                removals=owed.removals,
                unread_pages=await self._reader.has_unfolded(list_id),
            )
        )
