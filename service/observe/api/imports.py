"""`GET /imports`: the changes that travel to Cordial as files, how far they are, and why some were left to calls."""

from typing import Annotated

import msgspec
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import UNSET, Meta, UnsetType

from service.model.imports import ImportSort, ImportState, ImportView
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.paging import read_page, read_sorted
from service.observe.api.requests import AccountFilter, ListFilter, PageQuery, Reverse, read_query
from service.store.port import Reading


class ImportQuery(PageQuery, frozen=True):
    """Which imports."""

    account: AccountFilter | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET
    state: Annotated[ImportState, Meta(description="only in this state")] | UnsetType = UNSET
    sort: (
        Annotated[
            ImportSort,
            Meta(
                description="`trouble`: those in doubt, then those under way; a number: the largest first. Without it, the newest first"
            ),
        ]
        | UnsetType
    ) = UNSET
    reverse: Reverse = False


class ImportPage(msgspec.Struct, frozen=True):
    """Some imports; `next` is the `after` of the next page, null on the last."""

    items: list[ImportView]
    next: str | None


class ImportQuestions:
    """Answers which imports there are and were."""

    def __init__(self, reader: Reading) -> None:
        self._reader = reader

    def add_routes(self, app: web.Application) -> None:
        """Serve the question."""
        app.router.add_get("/imports", self.imports)

    @docs(
        **described.operation(
            "imports",
            "Imports",
            "Changes that are sent to Cordial as files, the newest first: for which lists, how many contacts "
            "took effect, how many single calls had to send, and why. An import that is not over shows its "
            "parts, each a job of Cordial.",
            answer=ImportPage,
            example={"items": [examples.IMPORT], "next": None},
            query=ImportQuery,
        )
    )
    async def imports(self, request: web.Request) -> web.Response:
        """Answer `GET /imports`."""
        query = read_query(request, ImportQuery)
        if query.sort is UNSET:
            found = await read_page(self._reader.imports, query)
        else:
            found = await read_sorted(self._reader.sorted_imports, query, sort=query.sort, reverse=query.reverse)
        return described.json_response(ImportPage(*found))
