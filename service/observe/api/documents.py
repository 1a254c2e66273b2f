"""What the API answers: the store's views, joined with what the service knows of the moment."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from service.model.accounts import AccountStanding, AccountStatus, Sending, sending_of
from service.model.changes import MemberState
from service.model.conditions import CATALOGUE, of_difference
from service.model.imports import ImportsStatus, Journey, ListTravel, Rest
from service.model.lists import ListState, is_looked_for
from service.model.proof import differ_at_most, proof_in_words
from service.model.views import (
    AuditView,
    Count,
    DeliveryView,
    FailureGroupView,
    FailureView,
    ListStanding,
    RecordedAccount,
    SegmentView,
    SyncView,
    UnusableView,
)
from service.observe.api.kept_back import account_kept_back
from service.observe.api.meter import Meter


class ListDocument(SegmentView, frozen=True):
    """A segment and its list.

    `differs` tells whether Cordial's count is another one than `on_list`; null while that cannot be said, because it
    was never counted or changes are under way. `differ_at_most`: the share of the members that differs at most, with 95
    % confidence, by those read back; null where none was. `proof` says the same in words. `import_state`: its changes
    wait to travel as a file, or are sending in an import; null while single calls send them. `what_to_do` is advice for
    the operator, empty if there is nothing to do.
    """

    differs: bool | None
    differ_at_most: float | None
    proof: str
    import_state: ListTravel | None
    what_to_do: str


class SyncDocument(SyncView, frozen=True):
    """A sync, and how what is left of it travels.

    `import_state`: as its list's: changes wait to travel as a file, or are sending in an import; null while single
    calls send them.
    """

    import_state: ListTravel | None


class AccountDocument(msgspec.Struct, frozen=True):
    """An account and what its sending is doing.

    `slowed` and `paused` end by themselves, with a call at `next_call_at`; in the latter the account is stopped, because
    Cordial does not serve it. `paused_by_operator` ends when an operator resumes it; `dry_run` when the configuration ends
    it. `not_configured`: the store knows it, the configuration does not. `standing` says in one word whether it may send,
    and how what it has to send travels. `to_send`: all that was accepted and is not settled, the `unread` users of pages
    that are not processed yet too, but for `set_aside`. `sendable` of the `pending` changes are on lists that are ready;
    the others wait for theirs. `set_aside` users are in syncs that are held or queued, `held` of them, or not complete yet,
    and are not among `pending`. `failed` changes are those of `failed_people`: who failed on two lists is one person.
    `settled_per_second`, `failed_per_second`: results of the last seconds, confirmed by Cordial and not. `seconds_left`:
    until all that may be sent, and all that is `unread`, is confirmed, at the pace of the last minute; null while nothing
    is sent, no pace shows, or a file is on its way. `found_rates`: the calls a second that each operation is allowed now,
    with `requests_per_second = "auto"`; else empty. `imports_rest`: until when no import is tried, and why the last one
    came to nothing; null while nothing keeps them off. `in_doubt`: contacts for which Cordial may still carry out a call
    whose answer never came; they are read back, and set right. `read_back` of the `wanted` members of all its lists were
    read back from Cordial in the last day, and `proof` says what that proves. `waits_for_trial`: files are set up
    (`public_url`), but not used before `heap-cordial trial` has shown that they subscribe nobody. `kept_back` says what
    keeps the account from sending now, and what ends that; empty where nothing does.
    """

    name: str
    state: Sending
    standing: AccountStanding
    reason: str
    hint: str
    kept_back: str
    since: datetime | None
    next_call_at: datetime | None
    calls_per_second: float
    settled_per_second: float
    failed_per_second: float
    seconds_left: float | None
    found_rates: dict[str, float]
    imports_rest: Rest | None
    waits_for_trial: bool
    lists: Count
    to_send: Count
    unread: Count
    pending: Count
    sendable: Count
    waiting: Count
    set_aside: Count
    held: Count
    failed: Count
    failed_people: Count
    in_doubt: Count
    wanted: Count
    read_back: Count
    read_back_differ: Count
    differ_at_most: float | None
    proof: str


class HeapWord(msgspec.Struct, frozen=True):
    """What Heap last said of a user and a segment, and in which page of which sync; null where that is forgotten."""

    wanted: bool
    said_at: datetime | None
    sync_id: int
    task_id: str | None
    page_number: int | None


class NextStep(msgspec.Struct, frozen=True):
    """What happens next, and when, if that is known."""

    what: str
    at: datetime | None = None


class Standing(StrEnum):
    """Where a user stands with a list; the ledger's words, and one more for users it does not know."""

    NEVER_NAMED = "never_named"
    SETTLED = MemberState.SETTLED.value
    PENDING = MemberState.PENDING.value
    WAITING = MemberState.WAITING.value
    DEAD = MemberState.DEAD.value


class MemberDocument(msgspec.Struct, frozen=True):
    """Why a user is, or is not, on a list.

    `on_list` is what Cordial last confirmed; null while a change is owed, or while the user may be one of those whose row
    in a file Cordial refused without naming it. `heap` is what Heap last said; `failure` what
    Cordial answered when it refused or could not be reached; `journey` the import in which the contact travels now.
    """

    user: str
    list_id: int
    list_name: str
    contact: str | None
    state: Standing
    on_list: bool | None
    heap: HeapWord | None
    failure: FailureView | None
    journey: Journey | None
    next: NextStep
    explanation: str


class SyncPage(msgspec.Struct, frozen=True):
    """Some syncs; `next` is the `after` of the next page, null on the last.

    `states`: how many are in each state but `done` and `discarded`, of those that the filters other than `state` let
    through.
    """

    items: list[SyncDocument]
    next: str | None
    states: dict[str, int]


class ListPage(msgspec.Struct, frozen=True):
    """Some lists; `next` is the `after` of the next page, null on the last. `total`: how many the filters let through.

    `standings`: how many stand how, of those that the filters other than `standing` let through.
    """

    items: list[ListDocument]
    next: str | None
    total: Count
    standings: dict[str, int]


class FailurePage(msgspec.Struct, frozen=True):
    """Some failures; `next` is the `after` of the next page, null on the last."""

    items: list[FailureView]
    next: str | None


class FailureGroupPage(msgspec.Struct, frozen=True):
    """The largest groups of failures, at most 200. `reasons`: how many failures have each reason, in all groups."""

    items: list[FailureGroupView]
    reasons: dict[str, int]


class AccountPage(msgspec.Struct, frozen=True):
    """All accounts, by name."""

    items: list[AccountDocument]


class UnusablePage(msgspec.Struct, frozen=True):
    """Some users that cannot be synced; `next` is the `after` of the next page, null on the last."""

    items: list[UnusableView]
    next: str | None


class DeliveryPage(msgspec.Struct, frozen=True):
    """Some deliveries; `next` is the `after` of the next page, null on the last."""

    items: list[DeliveryView]
    next: str | None


class AuditPage(msgspec.Struct, frozen=True):
    """Some actions of people; `next` is the `after` of the next page, null on the last."""

    items: list[AuditView]
    next: str | None


def list_document(segment: SegmentView, imports: Mapping[str, ImportsStatus]) -> ListDocument:
    """Add to a segment what follows from its figures, and how it travels by what `imports` says of each account."""
    differs = None if segment.count_differs_by is None else segment.count_differs_by != 0
    known = msgspec.structs.asdict(segment)
    if segment.state in {ListState.UNRESOLVED, ListState.CREATING}:
        known["reason"] = segment.reason or is_looked_for()
    return ListDocument(
        **known,
        differs=differs,
        differ_at_most=differ_at_most(segment.read_back, segment.read_back_differ, segment.wanted),
        proof=proof_in_words(segment.read_back, segment.read_back_differ, segment.wanted),
        import_state=import_state(segment.account, segment.id, imports),
        what_to_do=_advice(segment),
    )


def sync_document(sync: SyncView, imports: Mapping[str, ImportsStatus]) -> SyncDocument:
    """Add to a sync how it travels by what `imports` says of each account."""
    return SyncDocument(**msgspec.structs.asdict(sync), import_state=import_state(sync.account, sync.list_id, imports))


def import_state(account: str, list_id: int, imports: Mapping[str, ImportsStatus]) -> ListTravel | None:
    """Return how a list's changes travel as a file; None where single calls send them."""
    status = imports.get(account)
    return status.lists.get(list_id) if status is not None else None


def account_document(
    account: RecordedAccount,
    status: AccountStatus | None,
    imports: ImportsStatus | None,
    *,
    meter: Meter,
    to_send: int,
    store_fault: str | None,
    now: datetime,
) -> AccountDocument:
    """Join an account of the store with what its sending is doing now; `status` and `imports` are None if it is not configured.

    `store_fault`: why the store cannot write, None if it can.
    """
    # At the beginning of a large sync, nearly all of it.
    unread = max(0, to_send - account.pending - account.waiting)
    left = account.sendable + unread
    state = sending_of(None if status is None else status.state, is_paused_by_operator=account.paused_by_operator)
    same_state = status is not None and status.state.recorded.value == account.state
    next_call_at = None
    if status is not None and state in {Sending.SLOWED, Sending.PAUSED}:
        next_call_at = now + timedelta(seconds=status.seconds)
    standing = _standing(
        account,
        state,
        imports,
        is_settling=meter.settled_per_second(account.name) > 0,
        has_store_trouble=store_fault is not None,
    )
    reason = status.reason if status is not None else "the configuration has no such account"
    if standing is AccountStanding.STORE_TROUBLE:
        reason = f"the store cannot write: {store_fault}"
    return AccountDocument(
        name=account.name,
        state=state,
        standing=standing,
        reason=reason,
        hint=status.hint if status is not None else "",
        kept_back=account_kept_back(account.name, status, store_fault),
        since=account.state_since if same_state else None,
        next_call_at=next_call_at,
        calls_per_second=meter.rates.get(account.name, 0.0),
        settled_per_second=meter.settled_per_second(account.name),
        failed_per_second=meter.failed_per_second(account.name),
        seconds_left=meter.seconds_left(account.name, left)
        if state is Sending.SENDING and left and store_fault is None and not _is_file_on_its_way(imports)
        else None,
        found_rates=status.found_rates if status is not None else {},
        imports_rest=imports.rest if imports is not None else None,
        waits_for_trial=imports is not None and imports.waits_for_trial,
        lists=account.lists,
        to_send=to_send,
        unread=unread,
        pending=account.pending,
        sendable=account.sendable,
        waiting=account.waiting,
        set_aside=account.set_aside,
        held=account.held,
        failed=account.failed,
        failed_people=account.failed_people,
        in_doubt=account.in_doubt,
        wanted=account.wanted,
        read_back=account.read_back,
        read_back_differ=account.read_back_differ,
        differ_at_most=differ_at_most(account.read_back, account.read_back_differ, account.wanted),
        proof=proof_in_words(account.read_back, account.read_back_differ, account.wanted),
    )


_BY_STATE = {
    Sending.PAUSED: AccountStanding.STOPPED,
    Sending.PAUSED_BY_OPERATOR: AccountStanding.PAUSED,
    Sending.DRY_RUN: AccountStanding.DRY_RUN,
    Sending.NOT_CONFIGURED: AccountStanding.NOT_CONFIGURED,
    Sending.SLOWED: AccountStanding.SLOWED,
}


def _standing(
    account: RecordedAccount,
    state: Sending,
    imports: ImportsStatus | None,
    *,
    is_settling: bool,
    has_store_trouble: bool,
) -> AccountStanding:
    may_send = state in {Sending.SENDING, Sending.SLOWED}
    if has_store_trouble and may_send:
        return AccountStanding.STORE_TROUBLE
    if state in _BY_STATE:
        return _BY_STATE[state]
    if account.sendable:
        travels = set() if imports is None or is_settling else set(imports.lists.values())
        if ListTravel.SENDING in travels:
            return AccountStanding.IN_A_FILE
        return AccountStanding.WAITS_FOR_A_FILE if travels else AccountStanding.SENDING
    if not account.pending + account.waiting:
        return AccountStanding.READY
    # Between two lists that it makes there may be nothing to send for a moment.
    return AccountStanding.SENDING if is_settling else AccountStanding.WAITING


def _is_file_on_its_way(imports: ImportsStatus | None) -> bool:
    """Tell whether a file settles many changes at a moment that only Cordial knows."""
    return imports is not None and ListTravel.SENDING in imports.lists.values()


def _advice(segment: SegmentView) -> str:
    """Return what to do about a list: what its held state says, or the condition that is the first reason why it is not exact."""
    if segment.held_for is not None:
        return segment.held_for.what_to_do
    if segment.standing is ListStanding.DIFFERS and segment.count_differs_by:
        return CATALOGUE[of_difference(segment.count_differs_by)].what_to_do
    if segment.unnamed:
        return CATALOGUE["rows_unnamed"].what_to_do
    if segment.failed:
        return CATALOGUE["people_failed"].what_to_do
    return ""
