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
    rebuild: Annotated[bool, Meta(description="`true`: the first calls of a rebuild, not those of what is owed")] = (
        False
    )


class PreviewDocument(Preview, frozen=True):
    """What would be sent for a list.

    `additions` and `removals` are owed in all; `calls` are the first of them, in single calls. `unread_pages`: pages have
    come that are not counted in yet. `set_aside` users are not counted in: a sync that has them is held (`is_held`), or waits for
    its other pages.
    """

    additions: Count
    removals: Count
    unread_pages: bool
    set_aside: Count
    is_held: bool


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
        previewer = self._sending.account(segment.account).previewer
        if query.rebuild:
            # One contact more than is shown tells whether that was all.
            contacts = await self._first_members(list_id, query.calls + 1)
            found = await previewer.of_members(list_id, contacts, query.calls)
        else:
            found = await previewer.of_segment(list_id, query.calls)
        owed = await self._reader.owed(list_id)
        known = await self._reader.list_sum(list_id)
        if known is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "there is no list with this id")
        return described.json_response(
            PreviewDocument(
                **msgspec.structs.asdict(found),
                additions=owed.additions,
                removals=owed.removals,
                unread_pages=known.unread_pages,
                set_aside=known.additions_set_aside + known.removals_set_aside,
                is_held=known.is_held,
            )
        )

    async def _first_members(self, list_id: int, most: int) -> list[str]:
        contacts: list[str] = []
        after: str | None = ""
        while after is not None and len(contacts) < most:
            found = await self._reader.members(list_id, wanted=True, after=after)
            contacts += [member.contact for member in found.members]
            after = found.after
        return contacts[:most]
