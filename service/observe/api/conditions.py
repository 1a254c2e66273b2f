"""`GET /conditions`: what a person should know, while it lasts and afterwards."""

from typing import Annotated

import msgspec
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import UNSET, Meta, UnsetType

from service.model.conditions import Condition
from service.model.views import Count
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.requests import AccountFilter, Filter, ListFilter, given_filters, read_query
from service.observe.conditions import Conditions


class ConditionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which conditions."""

    id: Annotated[Filter, Meta(description="only of this kind")] | UnsetType = UNSET
    account: AccountFilter | UnsetType = UNSET
    subject: Annotated[str, Meta(max_length=1_000, description="only about this")] | UnsetType = UNSET
    list: ListFilter | UnsetType = UNSET


class ConditionPage(msgspec.Struct, frozen=True):
    """At most 1,000 conditions that last, the worst first, and the last 200 that are over.

    `numbers`: how many of each kind last in all accounts, those that are not listed too; `numbers_by_account`: in each, "" for
    what is about no account.
    """

    items: list[Condition]
    numbers: dict[str, Count]
    numbers_by_account: dict[str, dict[str, Count]]
    history: list[Condition]


class ConditionQuestions:
    """Answers what a person should know."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions

    def add_routes(self, app: web.Application) -> None:
        """Serve the question."""
        app.router.add_get("/conditions", self.conditions)

    @docs(
        **described.operation(
            "conditions",
            "Conditions",
            "What a person should know: each condition with its severity, subject, beginning, meaning and what "
            "to do. `history` has those that have ended.",
            answer=ConditionPage,
            example={
                "items": [examples.CONDITION],
                "numbers": {"account_paused": 1},
                "numbers_by_account": {"account_paused": {"acme": 1}},
                "history": [],
            },
            query=ConditionQuery,
        )
    )
    async def conditions(self, request: web.Request) -> web.Response:
        """Answer `GET /conditions`."""
        filters = given_filters(read_query(request, ConditionQuery))
        await self._conditions.ask()
        lasting = self._conditions.lasting()
        current = [
            each for each in lasting.conditions if all(getattr(each, name) == value for name, value in filters.items())
        ]
        if "id" in filters:
            filters["kind"] = filters.pop("id")
        history = await self._conditions.history(**filters)
        return described.json_response(ConditionPage(current, lasting.by_kind(), lasting.by_account(), history))
