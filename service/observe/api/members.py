"""Why is this user not on the list? What the store knows, put into words."""

from datetime import UTC, datetime, timedelta

from service.clock import moment_in_words
from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.accounts import AccountState, AccountStatus, limit_in_words
from service.model.changes import MemberState
from service.model.contacts import EMAIL, contact_of
from service.model.imports import Journey, ListTravel
from service.model.lists import ListState
from service.model.views import FailureView, ListSum, MemberView, SegmentView
from service.observe.api.documents import HeapWord, MemberDocument, NextStep, Standing, import_state
from service.observe.api.kept_back import kept_back
from service.observe.api.sending import Sending
from service.store.port import Reading

_AUTOMATIC = "auto"


def possible_contacts(settings: AccountSettings | None, user: str) -> list[str]:
    """Return the contacts (`key:value`) that a user id of the account may be in the ledger, written as Heap's is there.

    With `identify_by = "auto"` a page's own identity property decides, so each key that one can lead to is possible.
    """
    if settings is None:
        keys = [EMAIL]
    elif settings.identify_by == _AUTOMATIC:
        keys = list(dict.fromkeys([*settings.identities.values(), EMAIL]))
    else:
        keys = [settings.identify_by]
    return [contact_of(user, key) for key in keys]


async def find_member(
    reader: Reading,
    sending: Sending,
    settings: AccountSettings | None,
    segment: SegmentView,
    user: str,
    *,
    store_fault: str | None,
) -> MemberDocument:
    """Answer for one user id, as Heap sends it, and one list; raises `ServiceError` when the store cannot be read.

    `store_fault`: why the store cannot write, None if it can.
    """
    try:
        user.encode()
    except UnicodeEncodeError:
        raise ServiceError(ErrorCode.INVALID_REQUEST, "the user id is not Unicode text") from None
    found = [await reader.member(segment.id, contact) for contact in possible_contacts(settings, user)]
    members = [member for member in found if member is not None]
    known = await reader.list_sum(segment.id)
    reservation = "" if known is None else _reservation(known)
    if not members:
        missing = _MISSING if known is not None and known.missing_pages else ""
        return _never_named(segment, user, reservation or missing)
    member = max(members, key=lambda each: each.sync_id)
    statuses = sending.statuses()
    status = statuses.get(segment.account)
    is_slow = status is not None and status.state is AccountState.SLOWED
    is_sent = is_slow and segment.state is not ListState.HELD and store_fault is None
    stopped = [] if is_sent else kept_back(statuses, [segment.account], [segment], store_fault=store_fault)
    journey = None
    if member.state in {MemberState.PENDING, MemberState.WAITING}:
        journey = await reader.journey(segment.id, member.contact)
    travel = import_state(segment.account, segment.id, sending.imports_statuses())
    next_step = (
        _next_step_in(journey)
        if journey is not None
        else _next_step(member, segment, status, travel, " ".join(stopped))
    )
    return MemberDocument(
        user=user,
        list_id=segment.id,
        list_name=segment.list_name,
        contact=member.contact,
        state=Standing(member.state.value),
        on_list=member.wanted if member.state is MemberState.SETTLED and not member.may_be_refused else None,
        heap=HeapWord(member.wanted, member.said_at, member.sync_id, member.task_id, member.page_number),
        failure=member.failure,
        journey=journey,
        next=next_step,
        explanation=" ".join(filter(None, (_what_happened(member), next_step.what, reservation))),
    )


_NOT_NAMED = (
    "No page of this segment names this user, as far as pages count and are still kept. "
    "An id that cannot be used is listed under the unusable ids."
)
_NOT_READ_YET = "Pages of this list have just been accepted and are not processed yet; ask again."
_HELD = "A sync of this list is held: the users in it and in later syncs count once a person has decided."
_MISSING = "Pages of a sync have not arrived: this user may be in one of them."
_RECEIVING = "Pages of a sync have not arrived: the users in the other pages may count only when they have."
_DISCARDED = "A person discarded a sync of this list: the users in it do not count."


def _reservation(known: ListSum) -> str:
    """Return what Heap may have sent of anybody that does not count, or not yet."""
    set_aside = known.additions_set_aside + known.removals_set_aside
    if known.is_held:
        aside = _HELD
    elif set_aside and known.missing_pages:
        aside = _RECEIVING
    else:
        # What is set aside though all its pages are here is about to be judged.
        aside = _NOT_READ_YET if set_aside or known.unread_pages else ""
    return " ".join(filter(None, (aside, _DISCARDED if known.discarded else "")))


def _never_named(segment: SegmentView, user: str, reservation: str) -> MemberDocument:
    next_step = NextStep(reservation or "Nothing happens until Heap sends the user in a page of this segment.")
    return MemberDocument(
        user=user,
        list_id=segment.id,
        list_name=segment.list_name,
        contact=None,
        state=Standing.NEVER_NAMED,
        on_list=None,
        heap=None,
        failure=None,
        journey=None,
        next=next_step,
        # Where pages do not count yet, that is most likely why.
        explanation=f"{reservation} {_NOT_NAMED}" if reservation else f"{_NOT_NAMED} {next_step.what}",
    )


def _what_happened(member: MemberView) -> str:
    wanted = "on" if member.wanted else "off"
    failure = member.failure
    match member.state:
        case MemberState.SETTLED if member.may_be_refused:
            return (
                "Heap wants the user on the list. Cordial refused some rows of a file and did not say which: "
                "this user may be one of them."
            )
        case MemberState.SETTLED:
            return f"Heap wants the user {wanted} the list, and Cordial has confirmed it."
        case MemberState.DEAD if failure is not None:
            return f"Heap wants the user {wanted} the list, but Cordial did not accept it after {_tries(failure)}, and the service does not retry it by itself: {failure.message.rstrip('.')}."
        case _ if failure is not None:
            return f"Heap wants the user {wanted} the list; {_tries(failure)} failed so far, the last with: {failure.message.rstrip('.')}."
        case _:
            return f"Heap wants the user {wanted} the list; the change is not sent to Cordial yet, or not confirmed."


def _tries(failure: FailureView) -> str:
    """Return how many calls failed, and how many of them count where not all do: a call of an outage is nobody's fault."""
    calls = f"{failure.failures} {'call' if failure.failures == 1 else 'calls'}"
    if failure.attempts == failure.failures:
        return calls
    count = "none of them counts" if not failure.attempts else f"{failure.attempts} of them count"
    return f"{calls} ({count}{'s' if failure.attempts == 1 else ''} for max_attempts)"


def _changes(number: int) -> str:
    return f"{number:,} {'change' if number == 1 else 'changes'}"


def _next_step_in(journey: Journey) -> NextStep:
    job = f"Cordial's job {journey.job_id}" if journey.job_id else "for which Cordial has named no job"
    since = moment_in_words(journey.started_at)
    if journey.is_in_doubt:
        return NextStep(
            f"It waits until it is known what Cordial does with the file of import {journey.import_id}: "
            f"look for its job in Cordial, then say what you saw: `heap-cordial imports end-doubt {journey.import_id} --help`."
        )
    if journey.carries_change:
        return NextStep(f"It is part of import {journey.import_id}, {job}, since {since}.")
    return NextStep(
        f"It is sent after import {journey.import_id} is over, {job}: another change of the contact is part of it "
        f"since {since}."
    )


def _next_step(
    member: MemberView, segment: SegmentView, status: AccountStatus | None, travel: ListTravel | None, stopped: str
) -> NextStep:
    """Return what happens next; `stopped` says why nothing is sent, empty where something is."""
    if member.state is MemberState.SETTLED and member.may_be_refused:
        return NextStep(stopped or "The service finds out by itself.")
    if member.state is MemberState.SETTLED:
        return NextStep("Nothing is left to send.")
    if member.state is MemberState.DEAD:
        return NextStep("Nothing happens until someone retries the failure.")
    if stopped:
        seconds = status.seconds if status is not None and status.state is AccountState.PAUSED else 0
        return NextStep(stopped, datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None)
    if member.failure is not None and member.failure.next_attempt_at is not None:
        return NextStep("The service sends it again by itself.", member.failure.next_attempt_at)
    return _in_its_turn(segment, status, travel)


def _in_its_turn(segment: SegmentView, status: AccountStatus | None, travel: ListTravel | None) -> NextStep:
    if travel is ListTravel.WAITING:
        return NextStep(f"It waits to be sent as a file with the list's {_changes(segment.pending)}.")
    if travel is ListTravel.SENDING:
        return NextStep("It is sent after the current import of this list, of which it is not a part.")
    be = "is" if segment.pending == 1 else "are"
    words = f"It is sent in its turn: {_changes(segment.pending)} of this list {be} to be sent."
    if status is not None and status.state is AccountState.SLOWED:
        until = datetime.now(UTC) + timedelta(seconds=status.seconds)
        words += f" {limit_in_words(status.reason, until)}."
    return NextStep(words)
