"""Whether the process lives and whether it can take pages, for load balancers and orchestrators; open to all."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.errors import ErrorCode, ErrorDocument, ServiceError
from service.model.conditions import CATALOGUE, Condition, Severity

_HEADERS = {"Cache-Control": "no-store"}


class Alive(msgspec.Struct, frozen=True):
    """The process runs and answers."""

    status: Literal["alive"]


class Ready(msgspec.Struct, frozen=True):
    """The service can take pages; `degraded` has the ids of the conditions that last and matter, and nothing else."""

    status: Literal["ready"]
    degraded: list[str]


def add_routes(
    app: web.Application, conditions: Callable[[], Sequence[Condition]], is_stopping: Callable[[], bool]
) -> None:
    """Add `GET /livez` and `GET /readyz`; the second is 503 while no page can be taken."""

    @docs(
        tags=["health"],
        summary="Can the service accept pages?",
        description=(
            "200 while the service can accept pages. `degraded` has the kinds of conditions that last: if "
            "something cannot be sent to Cordial, pages should still arrive. Meant for load balancers and "
            "rolling updates."
        ),
        responses={
            200: {"description": "The service can accept pages.", "schema": Ready},
            503: {
                "description": "The service cannot accept pages; the message names the kinds of conditions.",
                "schema": ErrorDocument,
            },
        },
    )
    async def ready(_request: web.Request) -> web.Response:
        lasting = conditions()
        faults = sorted({each.id for each in lasting if CATALOGUE[each.id].stops_pages})
        if is_stopping():
            faults.insert(0, "stopping")
        if faults:
            error = ServiceError(ErrorCode.NOT_READY, "; ".join(faults))
            return _answer(error.document(), error.status)
        degraded = {each.id for each in lasting if _is_told_to_all(each)}
        return _answer(Ready("ready", sorted(degraded)))

    app.router.add_get("/livez", _live)
    app.router.add_get("/readyz", ready)


@docs(
    tags=["health"],
    summary="Is the process alive?",
    description="Answers while the event loop runs, whatever else is wrong. If it does not answer, restart the process.",
    responses={200: {"description": "The process is alive.", "schema": Alive}},
)
async def _live(_request: web.Request) -> web.Response:
    return _answer(Alive(status="alive"))


def _is_told_to_all(condition: Condition) -> bool:
    return condition.severity is not Severity.INFO and not CATALOGUE[condition.id].anybody_can_cause


def _answer(document: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document), content_type="application/json", headers=_HEADERS
    )
