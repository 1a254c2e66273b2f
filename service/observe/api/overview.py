"""`GET /overview`: what one look should tell, in one answer."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.model.imports import ImportView
from service.model.views import Count, ListStanding, SyncView
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.documents import AccountDocument, Sending
from service.observe.api.meter import Meter
from service.observe.api.requests import NoQuery, read_query
from service.store.port import Reading

_SYNCS = 8
_IMPORTS = 5


class Overview(msgspec.Struct, frozen=True):
    """How everything is.

    `headline` says it in one line; `is_well` is false where a person should do something. `to_send`: all that was accepted
    and is not settled. `seconds_left`: until the slowest account that sends is done, null where that cannot be told.
    `lists`: how many stand how. `syncs`: the latest; `imports`: those under way.
    """

    at: datetime
    headline: str
    is_well: bool
    to_send: Count
    calls_per_second: float
    settled_per_second: float
    failed_per_second: float
    seconds_left: float | None
    failed: Count
    lists: dict[str, int]
    accounts: list[AccountDocument]
    syncs: list[SyncView]
    imports: list[ImportView]


class OverviewQuestion:
    """Answers how everything is."""

    def __init__(
        self, reader: Reading, meter: Meter, account_documents: Callable[[], Awaitable[list[AccountDocument]]]
    ) -> None:
        self._reader = reader
        self._meter = meter
        self._account_documents = account_documents

    def add_routes(self, app: web.Application) -> None:
        """Serve the question."""
        app.router.add_get("/overview", self.overview)

    @docs(
        **described.operation(
            "overview",
            "How is everything?",
            "One line that says it, the figures behind it, all accounts, the latest syncs and the imports under way.",
            answer=Overview,
            example=examples.OVERVIEW,
            query=NoQuery,
        )
    )
    async def overview(self, request: web.Request) -> web.Response:
        """Answer `GET /overview`."""
        read_query(request, NoQuery)
        accounts = await self._account_documents()
        standings = await self._reader.standings()
        running = [each for each in await self._reader.imports(limit=_IMPORTS) if each.ended_at is None]
        to_send = self._meter.backlog
        trouble = _trouble(accounts, standings)
        return described.json_response(
            Overview(
                at=datetime.now(UTC),
                headline=_headline(trouble, accounts, standings, to_send),
                is_well=not trouble,
                to_send=to_send,
                calls_per_second=round(sum(account.calls_per_second for account in accounts), 1),
                settled_per_second=round(sum(account.settled_per_second for account in accounts), 1),
                failed_per_second=round(sum(account.failed_per_second for account in accounts), 1),
                seconds_left=_seconds_left(accounts),
                failed=sum(account.failed for account in accounts),
                lists={standing.value: standings.get(standing, 0) for standing in ListStanding},
                accounts=accounts,
                syncs=await self._reader.syncs(limit=_SYNCS),
                imports=running,
            )
        )


def _trouble(accounts: list[AccountDocument], standings: Mapping[ListStanding, int]) -> list[str]:
    """Return what a person should look at, in a few words each, the worst first."""
    states = [account.state for account in accounts]
    failed = sum(account.failed for account in accounts)
    counted = [
        (states.count(Sending.PAUSED), "account stopped", "accounts stopped"),
        (states.count(Sending.PAUSED_BY_OPERATOR), "account paused", "accounts paused"),
        (standings.get(ListStanding.HELD, 0), "list held", "lists held"),
        (failed, "person could not be added or removed", "people could not be added or removed"),
        (standings.get(ListStanding.DIFFERS, 0), "list differs from Cordial", "lists differ from Cordial"),
        (standings.get(ListStanding.TO_APPROVE, 0), "segment to approve", "segments to approve"),
    ]
    return [f"{number:,} {one if number == 1 else many}" for number, one, many in counted if number]


def _headline(
    trouble: list[str], accounts: list[AccountDocument], standings: Mapping[ListStanding, int], to_send: int
) -> str:
    if trouble:
        return " · ".join(trouble)
    dry_runs = [account.name for account in accounts if account.state is Sending.DRY_RUN]
    if dry_runs and len(dry_runs) == len([each for each in accounts if each.state is not Sending.NOT_CONFIGURED]):
        return "Dry run: nothing is written to Cordial"
    if not standings:
        return "Waiting for the first page from Heap"
    if to_send:
        slowed = any(account.state is Sending.SLOWED for account in accounts)
        return "Sending, slowed by Cordial's rate limit" if slowed else "Sending normally"
    return "All lists are up to date"


def _seconds_left(accounts: list[AccountDocument]) -> float | None:
    sending = [account for account in accounts if account.state is Sending.SENDING and account.pending]
    left = [account.seconds_left for account in sending if account.seconds_left is not None]
    return max(left) if left and len(left) == len(sending) else None
