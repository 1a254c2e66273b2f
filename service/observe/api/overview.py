"""`GET /overview`: what one look should tell, in one answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.model.accounts import AccountStanding, Sending, is_long_wait, limit_in_words
from service.model.conditions import CATALOGUE, Condition, Severity, in_two, some_of_each
from service.model.imports import ImportsStatus, ImportView
from service.model.views import Count, ListStanding
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.documents import AccountDocument, SyncDocument, sync_document
from service.observe.api.meter import Meter
from service.observe.api.requests import NoQuery, read_query
from service.observe.conditions import Conditions
from service.store.port import Reading

_SYNCS = 8
_IMPORTS = 5
# A page that is read every second must stay small, however many lists wait for somebody.
_CONDITIONS = 200
# The headline has so many troubles; the list below it has all.
_SHOWN = 3
# What can be counted; of the others the meaning is said.
_COUNTED = {
    "account_stopped": ("account stopped", "accounts stopped"),
    "account_paused": ("account paused", "accounts paused"),
    "list_held": ("list held", "lists held"),
    "list_awaits_approval": ("segment to approve", "segments to approve"),
    "removals_held": ("sync held", "syncs held"),
    "list_not_ready": ("segment without a list", "segments without a list"),
    "list_differs": ("list differs from Cordial", "lists differ from Cordial"),
    "list_strangers": ("list with strangers", "lists with strangers"),
    "people_failed": ("person could not be added or removed", "people could not be added or removed"),
    "sync_incomplete": ("sync incomplete", "syncs incomplete"),
    "heap_silent": ("segment silent", "segments silent"),
}


class Overview(msgspec.Struct, frozen=True):
    """How everything is.

    `headline` says it in one line, by the `conditions` that last; `is_well` is false where a person should do
    something. At most 200 conditions are here, some of each kind and account; `GET /conditions` has more. `numbers`: how
    many of each kind last, `numbers_by_account`: in each account. `to_send`: all that was accepted and is not settled, of accounts that are configured, but for
    `guarded` users in syncs that are held, or not complete yet (`hold_removals`). `seconds_left`: until the slowest
    account that sends is done, null where that cannot be told. `failed` changes are those of `failed_people`: who
    failed on two lists is one person. `lists`: how many stand how. `syncs`: the latest; `imports`: those under way.
    """

    at: datetime
    headline: str
    is_well: bool
    conditions: list[Condition]
    numbers: dict[str, Count]
    numbers_by_account: dict[str, dict[str, Count]]
    to_send: Count
    guarded: Count
    calls_per_second: float
    settled_per_second: float
    failed_per_second: float
    seconds_left: float | None
    failed: Count
    failed_people: Count
    lists: dict[str, int]
    accounts: list[AccountDocument]
    syncs: list[SyncDocument]
    imports: list[ImportView]


class OverviewQuestion:
    """Answers how everything is."""

    def __init__(
        self,
        reader: Reading,
        meter: Meter,
        *,
        conditions: Conditions,
        account_documents: Callable[[], Awaitable[list[AccountDocument]]],
        imports: Callable[[], Mapping[str, ImportsStatus]],
    ) -> None:
        self._reader = reader
        self._imports = imports
        self._meter = meter
        self._conditions = conditions
        self._account_documents = account_documents

    def add_routes(self, app: web.Application) -> None:
        """Serve the question."""
        app.router.add_get("/overview", self.overview)

    @docs(
        **described.operation(
            "overview",
            "How is everything?",
            "One line as a summary, the figures behind it, all accounts, the latest syncs and the running imports.",
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
        served = [account for account in accounts if account.state is not Sending.NOT_CONFIGURED]
        to_send, guarded = (
            sum(account.to_send for account in served),
            sum(account.set_aside for account in served),
        )
        failed_people = sum(account.failed_people for account in accounts)
        await self._conditions.ask()
        lasting = self._conditions.lasting()
        numbers = lasting.by_kind()
        trouble = _trouble(numbers, failed_people)
        return described.json_response(
            Overview(
                at=datetime.now(UTC),
                headline=_headline(trouble, served, standings, to_send=to_send, guarded=guarded),
                is_well=not trouble,
                conditions=some_of_each(lasting.conditions, _CONDITIONS),
                numbers=numbers,
                numbers_by_account=lasting.by_account(),
                to_send=to_send,
                guarded=guarded,
                calls_per_second=round(sum(account.calls_per_second for account in accounts), 1),
                settled_per_second=round(sum(account.settled_per_second for account in accounts), 1),
                failed_per_second=round(sum(account.failed_per_second for account in accounts), 1),
                seconds_left=_seconds_left(accounts),
                failed=sum(account.failed for account in accounts),
                failed_people=failed_people,
                lists={standing.value: standings.get(standing, 0) for standing in ListStanding},
                accounts=accounts,
                syncs=[sync_document(sync, self._imports()) for sync in await self._reader.syncs(limit=_SYNCS)],
                imports=running,
            )
        )


def _trouble(numbers: Mapping[str, int], failed_people: int) -> list[str]:
    """Return what a person should do something about, in a few words each, in the order of `numbers`: by kind of condition."""
    needed = {kind: number for kind, number in numbers.items() if CATALOGUE[kind].severity is not Severity.INFO}
    if "people_failed" in needed:
        # Of people, and not of lists, each has failed.
        needed["people_failed"] = max(1, failed_people)
    return [_in_words(kind, number) for kind, number in needed.items()]


def _in_words(condition_id: str, number: int) -> str:
    one, many = _COUNTED.get(condition_id, ("", ""))
    if not one:
        return in_two(CATALOGUE[condition_id].meaning)[0]
    return f"{number:,} {one if number == 1 else many}"


def _headline(
    trouble: list[str],
    accounts: Sequence[AccountDocument],
    standings: Mapping[ListStanding, int],
    *,
    to_send: int,
    guarded: int,
) -> str:
    if trouble:
        more = f" · and {len(trouble) - _SHOWN} more" if len(trouble) > _SHOWN else ""
        return " · ".join(trouble[:_SHOWN]) + more
    if accounts and all(account.standing is AccountStanding.DRY_RUN for account in accounts):
        return "Dry run: nothing is written to Cordial"
    if not standings:
        return "Waiting for the first page from Heap"
    if to_send:
        return _how_it_is_sent(accounts)
    if guarded:
        return "Waiting for the other pages of a sync"
    return _how_exact(standings)


def _how_exact(standings: Mapping[ListStanding, int]) -> str:
    is_exact = standings.get(ListStanding.EXACT, 0) == sum(standings.values())
    return "All lists are exact" if is_exact else "All that has arrived is sent"


def _how_it_is_sent(accounts: Sequence[AccountDocument]) -> str:
    """Say what happens to changes that wait, while nothing needs a person."""
    slowed = [each for each in accounts if each.standing is AccountStanding.SLOWED and each.sendable]
    standings = {account.standing for account in accounts}
    if AccountStanding.SENDING in standings or any(account.settled_per_second for account in accounts):
        return "Sending, slowed by Cordial's rate limit" if slowed else "Sending normally"
    if AccountStanding.IN_A_FILE in standings:
        return "Waiting for Cordial to carry out a file"
    if slowed:
        return _long_wait(slowed) or "Waiting for Cordial's rate limit"
    if AccountStanding.WAITS_FOR_A_FILE in standings:
        return "Changes wait to be sent in a file"
    return _why_nothing_moves(accounts)


def _why_nothing_moves(accounts: Sequence[AccountDocument]) -> str:
    if any(account.waiting for account in accounts if account.state in {Sending.SENDING, Sending.SLOWED}):
        return "Some changes are tried again later"
    if any(account.pending for account in accounts if account.standing is AccountStanding.DRY_RUN):
        return "All is sent, but for the accounts in a dry run"
    return "Getting ready to send"


def _long_wait(accounts: Sequence[AccountDocument]) -> str:
    """Return what is said of the one that may be called again last, where that is not soon."""
    waits = [(account.next_call_at, account.reason) for account in accounts if account.next_call_at is not None]
    at, reason = max(waits, default=(None, ""))
    return (
        limit_in_words(reason, at) if at is not None and is_long_wait((at - datetime.now(UTC)).total_seconds()) else ""
    )


def _seconds_left(accounts: list[AccountDocument]) -> float | None:
    sending = [
        account for account in accounts if account.state is Sending.SENDING and account.sendable + account.unread
    ]
    left = [account.seconds_left for account in sending if account.seconds_left is not None]
    return max(left) if left and len(left) == len(sending) else None
