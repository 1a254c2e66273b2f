"""The questions under `/api/v1`: each a page of what is kept, or one thing."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from aiohttp_apispec import docs
from msgspec import UNSET

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.views import AuditView, FailureView, ListSum, MemberRow, SyncView, UnusableView
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.actions import find_list
from service.observe.api.authentication import ApiKeys
from service.observe.api.documentation import json_response
from service.observe.api.documents import (
    AccountDocument,
    AccountPage,
    AuditPage,
    DeliveryPage,
    FailureGroupPage,
    FailurePage,
    ListDocument,
    ListPage,
    MemberDocument,
    SyncDocument,
    SyncPage,
    UnusablePage,
    account_document,
    list_document,
    sync_document,
)
from service.observe.api.exports import Exports, every_failure, every_member, every_row
from service.observe.api.members import find_member
from service.observe.api.meter import History, Meter
from service.observe.api.paging import read_page, read_sorted
from service.observe.api.requests import (
    AuditQuery,
    DeliveryQuery,
    FailureGroupQuery,
    FailureQuery,
    FailureSearch,
    Format,
    HistoryQuery,
    ListQuery,
    MemberRequest,
    MembersQuery,
    NoQuery,
    SyncQuery,
    UnusableQuery,
    UnusableSearch,
    given_filters,
    path_id,
    read_body,
    read_query,
)
from service.observe.api.sending import Sending
from service.store.port import Reading


class Questions:
    """Answers what is happening; changes nothing."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        keys: ApiKeys,
        reader: Reading,
        sending: Sending,
        *,
        meter: Meter,
        to_send: Callable[[str], int],
        store_fault: Callable[[], str | None],
    ) -> None:
        self._accounts = accounts
        self._reader = reader
        self._sending = sending
        self._meter = meter
        self._to_send = to_send
        self._store_fault = store_fault
        self._exports = Exports(keys.is_still_valid)

    def add_routes(self, app: web.Application) -> None:
        """Serve the questions."""
        app.router.add_get("/accounts", self.accounts)
        app.router.add_get("/lists", self.lists)
        app.router.add_get("/lists/{id}", self.one_list)
        app.router.add_get("/lists/{id}/sum", self.list_sum)
        app.router.add_get("/lists/{id}/members", self.members)
        app.router.add_post("/lists/{id}/members/find", self.find)
        app.router.add_get("/syncs", self.syncs)
        app.router.add_get("/syncs/{id}", self.sync)
        app.router.add_get("/deliveries", self.deliveries)
        app.router.add_get("/unusable", self.unusable)
        app.router.add_post("/unusable/find", self.find_unusable)
        app.router.add_get("/failures", self.failures)
        app.router.add_post("/failures/find", self.find_failures)
        app.router.add_get("/failures/groups", self.failure_groups)
        app.router.add_get("/audit", self.audit)
        app.router.add_get("/history", self.history)

    async def account_documents(self) -> list[AccountDocument]:
        """Return every account with what its sending is doing now."""
        statuses, imports, now = self._sending.statuses(), self._sending.imports_statuses(), datetime.now(UTC)
        return [
            account_document(
                account,
                statuses.get(account.name),
                imports.get(account.name),
                meter=self._meter,
                to_send=self._to_send(account.name),
                store_fault=self._store_fault(),
                now=now,
            )
            for account in await self._reader.accounts()
        ]

    @docs(
        **described.operation(
            "accounts",
            "Accounts",
            "The state of each account's sending: why, until when, and what to do.",
            answer=AccountPage,
            example={"items": [examples.ACCOUNT]},
            query=NoQuery,
        )
    )
    async def accounts(self, request: web.Request) -> web.Response:
        """Answer `GET /accounts`."""
        read_query(request, NoQuery)
        return json_response(AccountPage(await self.account_documents()))

    @docs(
        **described.operation(
            "lists",
            "Lists",
            "Every segment with its list: how many users Heap wants on it, how many Cordial has confirmed, how "
            "many are left to send, and Cordial's own count.",
            answer=ListPage,
            example={"items": [examples.LIST], "next": None, "total": 1, "standings": {"incomplete": 1}},
            query=ListQuery,
        )
    )
    async def lists(self, request: web.Request) -> web.Response:
        """Answer `GET /lists`."""
        query = read_query(request, ListQuery)
        filters = {name: value for name, value in given_filters(query).items() if name not in {"after", "limit"}}
        if query.sort is UNSET:
            segments, following = await read_page(self._reader.segments, query)
        else:
            order = {"sort": query.sort, "reverse": query.reverse}
            segments, following = await read_sorted(self._reader.lists, query, **order)
        standing = filters.pop("standing", None)
        standings = await self._reader.standings(**filters)
        total = sum(standings.values()) if standing is None else standings.get(standing, 0)
        imports = self._sending.imports_statuses()
        documents = [list_document(segment, imports) for segment in segments]
        return json_response(
            ListPage(documents, following, total, {each.value: number for each, number in standings.items()})
        )

    @docs(
        **described.operation(
            "lists",
            "One list",
            "The same as in `/api/v1/lists`.",
            answer=ListDocument,
            example=examples.LIST,
            query=NoQuery,
            path=[described.LIST_ID],
        )
    )
    async def one_list(self, request: web.Request) -> web.Response:
        """Answer `GET /lists/{id}`."""
        read_query(request, NoQuery)
        segment = await find_list(self._reader, path_id(request))
        return json_response(list_document(segment, self._sending.imports_statuses()))

    @docs(
        **described.operation(
            "lists",
            "Where are the users that Heap sent?",
            "The sum that explains why a list has 9 contacts and the segment 10 users.",
            answer=ListSum,
            example=examples.LIST_SUM,
            query=NoQuery,
            path=[described.LIST_ID],
        )
    )
    async def list_sum(self, request: web.Request) -> web.Response:
        """Answer `GET /lists/{id}/sum`."""
        read_query(request, NoQuery)
        found = await self._reader.list_sum(path_id(request))
        if found is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "there is no list with this id")
        return json_response(found)

    @docs(
        **described.operation(
            "lists",
            "Members of a list",
            "Every contact that Heap has sent for the segment: whether it should be on the list, and whether Cordial has "
            "confirmed it (`settled`). A file of all of them, in the order of the contacts.",
            answer=described.FILES,
            query=MembersQuery,
            path=[described.LIST_ID],
        )
    )
    async def members(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /lists/{id}/members`."""
        query = read_query(request, MembersQuery)
        segment = await find_list(self._reader, path_id(request))
        batches = every_member(self._reader, segment.id, query)
        return await self._exports.send(request, f"members-{segment.id}", MemberRow, batches, Format(query.format))

    @docs(
        **described.operation(
            "lists",
            "Why is this user not on the list?",
            "What Heap sent last about the user and when, what Cordial answered, and what happens next. The "
            "user's id is in the body, so that it is not in addresses or in the logs of proxies.",
            answer=MemberDocument,
            example=examples.MEMBER,
            query=NoQuery,
            body=MemberRequest,
            body_examples={"a user": {"value": {"user": "jane@example.com"}}},
            path=[described.LIST_ID],
        )
    )
    async def find(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/members/find`."""
        read_query(request, NoQuery)
        asked = await read_body(request, MemberRequest)
        segment = await find_list(self._reader, path_id(request))
        settings = self._accounts.get(segment.account)
        found = await find_member(
            self._reader, self._sending, settings, segment, asked.user, store_fault=self._store_fault()
        )
        return json_response(found)

    @docs(
        **described.operation(
            "syncs",
            "Syncs",
            "The newest first: how many pages have arrived and how many of their changes are sent.",
            answer=SyncPage,
            example={"items": [examples.SYNC], "next": "2a", "states": {"failed": 1}},
            query=SyncQuery,
            as_file=True,
        )
    )
    async def syncs(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /syncs`."""
        query = read_query(request, SyncQuery)
        if query.format is not Format.JSON:
            batches = every_row(self._reader.syncs, query)
            return await self._exports.send(request, "syncs", SyncView, batches, query.format)
        if query.sort is UNSET:
            syncs, following = await read_page(self._reader.syncs, query)
        else:
            syncs, following = await read_sorted(self._reader.sorted_syncs, query, sort=query.sort)
        imports = self._sending.imports_statuses()
        filters = {name: value for name, value in given_filters(query).items() if name in {"account", "list_id"}}
        states = await self._reader.sync_states(**filters)
        return json_response(
            SyncPage(
                [sync_document(sync, imports) for sync in syncs],
                following,
                {each.value: number for each, number in states.items()},
            )
        )

    @docs(
        **described.operation(
            "syncs",
            "One sync",
            "The same as in `/api/v1/syncs`.",
            answer=SyncDocument,
            example=examples.SYNC,
            query=NoQuery,
            path=[described.SYNC_ID],
        )
    )
    async def sync(self, request: web.Request) -> web.Response:
        """Answer `GET /syncs/{id}`."""
        read_query(request, NoQuery)
        sync = await self._reader.sync(path_id(request))
        if sync is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "there is no sync with this id")
        return json_response(sync_document(sync, self._sending.imports_statuses()))

    @docs(
        **described.operation(
            "syncs",
            "Deliveries",
            "The pages that were accepted, the newest first, with the users of each that cannot be used, and why.",
            answer=DeliveryPage,
            example={"items": [examples.DELIVERY], "next": None},
            query=DeliveryQuery,
        )
    )
    async def deliveries(self, request: web.Request) -> web.Response:
        """Answer `GET /deliveries`."""
        return json_response(
            DeliveryPage(*await read_page(self._reader.deliveries, read_query(request, DeliveryQuery)))
        )

    @docs(
        **described.operation(
            "syncs",
            "Unusable users",
            "The users that cannot be used, one by one, the newest first: in which page, where in it, and why. "
            "The service keeps the first 1,000 of each page.",
            answer=UnusablePage,
            example={"items": [examples.UNUSABLE], "next": None},
            query=UnusableQuery,
            as_file=True,
        )
    )
    async def unusable(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /unusable`."""
        query = read_query(request, UnusableQuery)
        if query.format is not Format.JSON:
            batches = every_row(self._reader.unusable, query)
            return await self._exports.send(request, "unusable", UnusableView, batches, query.format)
        return json_response(UnusablePage(*await read_page(self._reader.unusable, query)))

    @docs(
        **described.operation(
            "syncs",
            "Find unusable users",
            "As `GET …/unusable`, but by a part of the user's id. It is in the body, so that it is in no address.",
            answer=UnusablePage,
            example={"items": [examples.UNUSABLE], "next": None},
            query=NoQuery,
            body=UnusableSearch,
            body_examples={"by a part of an id": {"value": {"user": "undefined", "limit": 10}}},
        )
    )
    async def find_unusable(self, request: web.Request) -> web.Response:
        """Answer `POST /unusable/find`."""
        read_query(request, NoQuery)
        search = await read_body(request, UnusableSearch)
        return json_response(UnusablePage(*await read_page(self._reader.unusable, search)))

    @docs(
        **described.operation(
            "failures",
            "Failures",
            "The changes that failed, the newest first. Some wait for their next call; others are not retried by themselves.",
            answer=FailurePage,
            example={"items": [examples.FAILURE], "next": None},
            query=FailureQuery,
            as_file=True,
        )
    )
    async def failures(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /failures`."""
        query = read_query(request, FailureQuery)
        if query.format is not Format.JSON:
            batches = every_failure(self._reader, query)
            return await self._exports.send(request, "failures", FailureView, batches, query.format)
        return json_response(FailurePage(*await self._failures(query)))

    @docs(
        **described.operation(
            "failures",
            "Find failures",
            "As `GET …/failures`, but by a part of the user's id. It is in the body, so that it is in no address.",
            answer=FailurePage,
            example={"items": [examples.FAILURE], "next": None},
            query=NoQuery,
            body=FailureSearch,
            body_examples={"by a part of an address": {"value": {"user": "@example.com", "limit": 10}}},
        )
    )
    async def find_failures(self, request: web.Request) -> web.Response:
        """Answer `POST /failures/find`."""
        read_query(request, NoQuery)
        return json_response(FailurePage(*await self._failures(await read_body(request, FailureSearch))))

    async def _failures(self, query: FailureQuery | FailureSearch) -> tuple[list[FailureView], str | None]:
        if query.sort is UNSET:
            return await read_page(self._reader.failures, query)
        return await read_sorted(self._reader.sorted_failures, query, sort=query.sort)

    @docs(
        **described.operation(
            "failures",
            "Failures by list and reason",
            "How many changes of each list failed, for each reason, the largest number first.",
            answer=FailureGroupPage,
            example={"items": [examples.FAILURE_GROUP], "reasons": {"refused": 1}},
            query=FailureGroupQuery,
        )
    )
    async def failure_groups(self, request: web.Request) -> web.Response:
        """Answer `GET /failures/groups`."""
        filters = given_filters(read_query(request, FailureGroupQuery))
        groups = await self._reader.failure_groups(**filters)
        return json_response(FailureGroupPage(groups, await self._reader.failure_reasons(**filters)))

    @docs(
        **described.operation(
            "audit",
            "What people did",
            "Every action, the newest first: by which key, on what, and how much it changed.",
            answer=AuditPage,
            example={"items": [examples.AUDIT], "next": None},
            query=AuditQuery,
            as_file=True,
        )
    )
    async def audit(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /audit`."""
        query = read_query(request, AuditQuery)
        if query.format is not Format.JSON:
            batches = every_row(self._reader.audit, query)
            return await self._exports.send(request, "audit", AuditView, batches, query.format)
        return json_response(AuditPage(*await read_page(self._reader.audit, query)))

    @docs(
        **described.operation(
            "events",
            "The last hour, day or week",
            "Backlog, calls and results a second, for a chart.",
            answer=History,
            example=examples.HISTORY,
            query=HistoryQuery,
        )
    )
    async def history(self, request: web.Request) -> web.Response:
        """Answer `GET /history`."""
        query = read_query(request, HistoryQuery)
        return json_response(await self._meter.history(query.span, self._reader.minutes))
