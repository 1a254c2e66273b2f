"""Whether the process lives and whether it can do its work, for load balancers and orchestrators."""

import time
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.errors import ErrorCode, ErrorDocument, ServiceError

_HEADERS = {"Cache-Control": "no-store"}


class ReadinessCheck(Protocol):
    """One part of the service that can be unfit for work."""

    @property
    def name(self) -> str:
        """The part's name in the answer of `/readyz`."""

    def fault(self) -> str | None:
        """Return what is wrong, in words for the operator and without secrets, or None; must not block."""


class Heartbeat:
    """Tells a loop that has died or hangs from one that works or has nothing to do.

    The loop calls `beat` at each turn, an idle one too, at least every `max_silence_seconds`. Being made counts as the
    first beat. `clock` gives seconds that only ever advance.
    """

    def __init__(self, name: str, max_silence_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._max_silence_seconds = max_silence_seconds
        self._clock = clock
        self._last_beat = clock()

    def beat(self) -> None:
        """Say that the loop is alive."""
        self._last_beat = self._clock()

    def fault(self) -> str | None:
        """Return for how long the loop has been silent if that is too long."""
        silence_seconds = self._clock() - self._last_beat
        if silence_seconds <= self._max_silence_seconds:
            return None
        return f"silent for {silence_seconds:.0f} s, at most {self._max_silence_seconds:g} s are normal"


class Alive(msgspec.Struct, frozen=True):
    """The process runs and answers."""

    status: Literal["alive"]


class Ready(msgspec.Struct, frozen=True):
    """The service can take deliveries and send changes."""

    status: Literal["ready"]


def add_routes(app: web.Application, find_checks: Callable[[], Iterable[ReadinessCheck]]) -> None:
    """Add `GET /livez` and `GET /readyz`; the second is 503 while any check that is found then has a fault."""

    @docs(
        tags=["health"],
        summary="Can the service work?",
        description="Names every part that is not fit for work. Meant for load balancers and rolling updates.",
        responses={
            200: {"description": "Every part is fit for work.", "schema": Ready},
            503: {"description": "At least one part is not; the message names each.", "schema": ErrorDocument},
        },
    )
    async def ready(_request: web.Request) -> web.Response:
        faults = [f"{check.name}: {fault}" for check in find_checks() if (fault := check.fault()) is not None]
        if faults:
            error = ServiceError(ErrorCode.NOT_READY, "; ".join(faults))
            return _answer(error.document(), error.status)
        return _answer(Ready(status="ready"))

    app.router.add_get("/livez", _live)
    app.router.add_get("/readyz", ready)


@docs(
    tags=["health"],
    summary="Does the process live?",
    description="Answers as long as the event loop runs, whatever else is wrong. Restart the process if it does not.",
    responses={200: {"description": "The process lives.", "schema": Alive}},
)
async def _live(_request: web.Request) -> web.Response:
    return _answer(Alive(status="alive"))


def _answer(document: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document), content_type="application/json", headers=_HEADERS
    )
