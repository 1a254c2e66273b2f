"""`GET /conditions`: what a person should know, while it lasts and afterwards."""

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.model.conditions import Condition
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.requests import NoQuery, read_query
from service.observe.conditions import Conditions


class ConditionPage(msgspec.Struct, frozen=True):
    """The conditions that last, the worst first, and the last 200 that are over."""

    items: list[Condition]
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
            example={"items": [examples.CONDITION], "history": []},
            query=NoQuery,
        )
    )
    async def conditions(self, request: web.Request) -> web.Response:
        """Answer `GET /conditions`."""
        read_query(request, NoQuery)
        return described.json_response(ConditionPage(self._conditions.current(), await self._conditions.history()))
