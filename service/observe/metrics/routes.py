"""`GET /metrics`, in Prometheus' text format."""

from collections.abc import Awaitable, Callable, Collection, Iterator

from aiohttp import web
from aiohttp_apispec import docs
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from service.clock import wall_ms
from service.errors import ErrorDocument
from service.observe.metrics.counting import Counting
from service.observe.metrics.loop_lag import LoopLag
from service.observe.metrics.moment import Moment, families

Read = Callable[[], Awaitable[Moment]]
Authorize = Callable[[web.Request], Awaitable[object]]

_EXAMPLE = """\
# HELP heap_cordial_deliveries_total Requests to the webhook, by answer.
# TYPE heap_cordial_deliveries_total counter
heap_cordial_deliveries_total{account="acme",answer="accepted"} 12.0
"""


class Metrics:
    """All metrics of one service, in a registry of its own."""

    def __init__(self, accounts: Collection[str]) -> None:
        # One more series for each counter, telling when it was made; Prometheus has no use for it in this format.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._moments = _Moments()
        self._registry.register(self._moments)
        ProcessCollector(namespace="heap_cordial", registry=self._registry)
        self.counting = Counting(self._registry, accounts)
        self.loop_lag = LoopLag(self._registry)

    def render(self, moment: Moment) -> bytes:
        """Return everything counted so far and everything that is so at `moment`, as text."""
        self._moments.now = moment
        return generate_latest(self._registry)


class _Moments(Collector):
    """Shows the registry the moment that is being rendered."""

    def __init__(self) -> None:
        self.now: Moment | None = None

    def collect(self) -> Iterator[Metric]:
        return iter(()) if self.now is None else families(self.now, wall_ms())


def add_routes(app: web.Application, metrics: Metrics, read: Read, authorize: Authorize | None) -> None:
    """Serve the metrics; `authorize` raises `ServiceError` for a request that may not see them, None lets all."""

    @docs(
        tags=["metrics"],
        summary="Figures for Prometheus",
        description="In Prometheus' text format. Open to everyone if the configuration has `metrics_open = true`.",
        responses={
            200: {
                "description": "Every metric of the service.",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            401: {"description": "An API key is needed. Error code `unauthorized`.", "schema": ErrorDocument},
        },
        security=[{"apiKey": []}] if authorize else [],
    )
    async def show(request: web.Request) -> web.Response:
        if authorize is not None:
            await authorize(request)
        body = metrics.render(await read())
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    app.router.add_get("/metrics", show)
