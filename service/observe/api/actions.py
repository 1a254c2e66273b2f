"""The actions: each is idempotent, and written into the audit with the key that asked for it."""

from collections.abc import Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import UNSET

from service.errors import ErrorCode, ServiceError
from service.model.changes import FailureSelection
from service.model.views import SegmentView
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import ACTOR
from service.observe.api.kept_back import kept_back
from service.observe.api.requests import (
    EndDoubtRequest,
    NoOptions,
    RebuildRequest,
    RejectedRequest,
    RetryRequest,
    path_id,
    read_action,
)
from service.observe.api.sending import Sending
from service.store.port import Reading, Steering

log = structlog.get_logger()

# Of the lists that are held, so many are named.
_NAMED_LISTS = 3


class Retried(msgspec.Struct, frozen=True):
    """How many failures are tried again; those already under way are not counted.

    `kept_back` says what keeps them from being sent now, and what ends that; empty where nothing does.
    """

    retried: int
    kept_back: list[str]


class Rebuilt(msgspec.Struct, frozen=True):
    """How many memberships are sent again; `kept_back` says what keeps them from being sent now, and what ends that."""

    sent_again: int
    kept_back: list[str]


class DoubtEnded(msgspec.Struct, frozen=True):
    """How many contacts waited for a job whose end nobody knew, and are sent by single calls now."""

    contacts: int


class RejectedNamed(msgspec.Struct, frozen=True):
    """How many of the addresses are among the refused rows that had no name; they are failures now."""

    named: int


class Approved(msgspec.Struct, frozen=True):
    """Whether the list waited for approval; one that did not goes on as before.

    `kept_back` says what keeps an approved one from being sent now, and what ends that; empty where nothing does.
    """

    approved: bool
    kept_back: list[str]


class Verification(msgspec.Struct, frozen=True):
    """Cordial's own count of a list, beside what the service put there.

    `differs` is null while changes are owed, for then nobody can tell.
    """

    counted: int
    expected: int
    owed: int
    differs: bool | None


class Paused(msgspec.Struct, frozen=True):
    """Whether the account is paused by an operator now, and whether the action changed that.

    `kept_back` says what keeps it from sending now, and what ends that; empty where nothing does.
    """

    account: str
    paused: bool
    changed: bool
    kept_back: list[str]


class Actions:
    """Steers the service on behalf of the holder of an API key."""

    def __init__(self, reader: Reading, steering: Steering, sending: Sending, check_runs: Callable[[], None]) -> None:
        self._reader = reader
        self._steering = steering
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the actions."""
        app.router.add_post("/failures/retry", self.retry)
        app.router.add_post("/lists/{id}/verify", self.verify)
        app.router.add_post("/lists/{id}/rebuild", self.rebuild)
        app.router.add_post("/lists/{id}/approve", self.approve)
        app.router.add_post("/imports/{id}/end-doubt", self.end_doubt)
        app.router.add_post("/imports/{id}/rejected", self.rejected)
        app.router.add_post("/accounts/{name}/pause", self.pause)
        app.router.add_post("/accounts/{name}/resume", self.resume)

    @docs(
        **described.operation(
            "failures",
            "Retry failures",
            "Sends each selected failure again soon and counts its attempts from the beginning, whether it is a"
            " dead letter or waits for its next call. A failure is selected if it matches all conditions. "
            "Without conditions, all failures are selected.",
            answer=Retried,
            example={"retried": 3, "kept_back": [examples.KEPT_BACK]},
            body=RetryRequest,
            body_examples={
                "by reason": {"value": {"list": 1, "reason": "invalid_email"}},
                "by id": {"value": {"ids": [17, 18]}},
            },
        )
    )
    async def retry(self, request: web.Request) -> web.Response:
        """Answer `POST /failures/retry`."""
        body = await self._read(request, RetryRequest)
        given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
        if "list" in given:
            given["segment_id"] = given.pop("list")
        retried = await self._steering.retry_failures(FailureSelection(**given), request[ACTOR])
        held = [await self._reader.segment(each) for each in sorted(retried.held_lists)[:_NAMED_LISTS]]
        why = kept_back(self._sending.statuses(), retried.accounts, [each for each in held if each is not None])
        return _answer(request, "failures.retry", Retried(retried.changes, why))

    @docs(
        **described.operation(
            "lists",
            "Compare a list with Cordial's own count of it",
            "Asks Cordial how many contacts are on the list, and stores the answer with the list.",
            answer=Verification,
            example={"counted": 10_000, "expected": 10_000, "owed": 0, "differs": False},
            body=NoOptions,
            path=[described.LIST_ID],
            conflict="Not possible now: the list is not ready, or Cordial does not serve the account.",
        )
    )
    async def verify(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/verify`."""
        await self._read(request, NoOptions)
        list_id = path_id(request)
        segment = await find_list(self._reader, list_id)
        # Before the action, for nothing may be done that is not in the audit.
        await self._steering.record(request[ACTOR], "list.verify", str(list_id), 0)
        verified = await self._sending.account(segment.account).verify(list_id)
        result = Verification(verified.counted, verified.expected, verified.owed, verified.differs)
        return _answer(request, "list.verify", result)

    @docs(
        **described.operation(
            "lists",
            "Send a list again",
            "Sends every membership of the list to Cordial again, including failures. This does no harm: a "
            "membership that is already set does not change, and changes that are being sent are not sent "
            "twice. The service also looks for the list in Cordial, and creates it again if it was deleted there.",
            answer=Rebuilt,
            example={"sent_again": 10_000, "kept_back": []},
            body=RebuildRequest,
            body_examples={
                "members": {"value": {}},
                "members, and people who have left": {"value": {"include_removed": True}},
            },
            path=[described.LIST_ID],
        )
    )
    async def rebuild(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/rebuild`."""
        body = await self._read(request, RebuildRequest)
        list_id = path_id(request)
        segment = await find_list(self._reader, list_id)
        sent = await self._steering.rebuild(list_id, include_removed=body.include_removed, actor=request[ACTOR])
        if segment.account in self._sending.statuses():
            await self._sending.account(segment.account).lists.recreate(list_id)
        now = await find_list(self._reader, list_id)
        is_held = now.held_for is not None and not now.held_for.is_ended_by_rebuild
        is_owed = sent or now.pending + now.waiting
        why = kept_back(self._sending.statuses(), [segment.account], [now] if is_held else []) if is_owed else []
        return _answer(request, "list.rebuild", Rebuilt(sent, why))

    @docs(
        **described.operation(
            "lists",
            "Approve what a list is held for",
            "Approves the reason for which a list is held. `awaiting_approval`: the new segment may be sent "
            "from now on (`hold_new_segments`). `creation_in_doubt`: the list that now has the name is the one "
            "that this service asked for. `other_cordial`: it is still the same Cordial account. This holds for"
            " all lists of the account that are held for this reason.",
            answer=Approved,
            example={"approved": True, "kept_back": []},
            body=NoOptions,
            path=[described.LIST_ID],
        )
    )
    async def approve(self, request: web.Request) -> web.Response:
        """Answer `POST /lists/{id}/approve`."""
        await self._read(request, NoOptions)
        list_id = path_id(request)
        segment = await find_list(self._reader, list_id)
        account = self._sending.account(segment.account)
        approved = await account.lists.approve(list_id, request[ACTOR])
        if not approved:
            await self._steering.record(request[ACTOR], "list.approve", str(list_id), 0)
        why = kept_back(self._sending.statuses(), [segment.account]) if approved else []
        return _answer(request, "list.approve", Approved(approved, why))

    @docs(
        **described.operation(
            "imports",
            "End the doubt about an import",
            "Cordial has the file of this import, but it is not known whether and when Cordial runs it, so "
            "nothing is sent for its contacts. With this call you say what you saw in Cordial's list of jobs: "
            "the job of this import is over, or was never started. Single calls then send the contacts. Only "
            "say what you have seen: a job that runs later brings an older state back.",
            answer=DoubtEnded,
            example={"contacts": 20_000},
            body=EndDoubtRequest,
            body_examples={
                "over": {"value": {"job": "over"}},
                "never started": {"value": {"job": "never_started"}},
            },
            path=[described.IMPORT_ID],
            conflict="No part of the import is in doubt.",
        )
    )
    async def end_doubt(self, request: web.Request) -> web.Response:
        """Answer `POST /imports/{id}/end-doubt`."""
        body = await self._read(request, EndDoubtRequest)
        import_id = path_id(request)
        result = DoubtEnded(await self._sending.end_doubt(import_id, body.job, request[ACTOR]))
        if not result.contacts:
            raise ServiceError(ErrorCode.CONFLICT, "no part of this import is in doubt")
        return _answer(request, "import.end_doubt", result)

    @docs(
        **described.operation(
            "imports",
            "Name the rows of an import that Cordial rejected",
            "Cordial counts the rows of a file that it rejects, but names them only in its web interface, as a "
            "file, for seven days. Send the addresses in that file: each becomes a failure at once, without a "
            "call. Other addresses are ignored.",
            answer=RejectedNamed,
            example={"named": 16},
            body=RejectedRequest,
            body_examples={"some": {"value": {"addresses": ["jane@example.con"]}}},
            path=[described.IMPORT_ID],
            conflict="This import has no unnamed rows.",
        )
    )
    async def rejected(self, request: web.Request) -> web.Response:
        """Answer `POST /imports/{id}/rejected`."""
        body = await self._read(request, RejectedRequest)
        import_id = path_id(request)
        named = await self._steering.name_rejected(import_id, body.addresses, actor=request[ACTOR])
        if named is None:
            raise ServiceError(ErrorCode.CONFLICT, "this import has no unnamed rows")
        return _answer(request, "import.rejected", RejectedNamed(named))

    @docs(
        **described.operation(
            "accounts",
            "Pause an account's sending",
            "Makes no more calls for the account until it is resumed, even after a restart. Deliveries are still accepted.",
            answer=Paused,
            example={"account": "acme", "paused": True, "changed": True, "kept_back": [examples.KEPT_BACK]},
            body=NoOptions,
            path=[described.ACCOUNT_NAME],
        )
    )
    async def pause(self, request: web.Request) -> web.Response:
        """Answer `POST /accounts/{name}/pause`."""
        return await self._set_paused(request, paused=True)

    @docs(
        **described.operation(
            "accounts",
            "Resume an account's sending",
            "Ends a `pause`. An account that is stopped because Cordial does not serve it goes on by itself.",
            answer=Paused,
            example={"account": "acme", "paused": False, "changed": True, "kept_back": []},
            body=NoOptions,
            path=[described.ACCOUNT_NAME],
        )
    )
    async def resume(self, request: web.Request) -> web.Response:
        """Answer `POST /accounts/{name}/resume`."""
        return await self._set_paused(request, paused=False)

    async def _set_paused(self, request: web.Request, *, paused: bool) -> web.Response:
        await self._read(request, NoOptions)
        name = request.match_info["name"]
        if name not in self._sending.statuses():
            raise ServiceError(ErrorCode.NOT_FOUND, "there is no account of this name")

        def follow() -> None:
            # A reload may have removed it meanwhile.
            if name in self._sending.statuses():
                account = self._sending.account(name)
                if paused:
                    account.pause()
                else:
                    account.resume()

        changed = await self._steering.set_paused(name, paused=paused, actor=request[ACTOR], follow=follow)
        action = "account.pause" if paused else "account.resume"
        why = kept_back(self._sending.statuses(), [name])
        return _answer(request, action, Paused(account=name, paused=paused, changed=changed, kept_back=why))

    async def _read(self, request: web.Request, document: type[described.Document]) -> described.Document:
        return await read_action(request, document, self._check_runs)


async def find_list(reader: Reading, list_id: int) -> SegmentView:
    """Return a list; raises `ServiceError` (404) if there is none."""
    segment = await reader.segment(list_id)
    if segment is None:
        raise ServiceError(ErrorCode.NOT_FOUND, "there is no list with this id")
    return segment


def _answer(request: web.Request, action: str, result: msgspec.Struct) -> web.Response:
    log.info("action.done", action=action, actor=request[ACTOR], **msgspec.structs.asdict(result))
    return described.json_response(result)
