"""What the store shows to those who look, ready to be read by people: times are moments in UTC. Pure, no I/O.

The ids are the store's own and stay the same for as long as the thing is kept.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.model.changes import MemberState
from service.model.lists import HeldFor, ListState

Count = Annotated[int, Meta(ge=0)]


class SyncState(StrEnum):
    """How far a sync has come."""

    RECEIVING = "receiving"
    HELD = "held"
    QUEUED = "queued"
    SENDING = "sending"
    WAITING = "waiting"
    SEARCHING = "searching"
    DONE = "done"
    FAILED = "failed"
    DISCARDED = "discarded"


class SyncView(msgspec.Struct, frozen=True):
    """One sync of a segment.

    `receiving`: pages are still to come; `pages_overdue`: for an hour none has come, so that they are missing. `held`:
    it would remove `removals` of the list's `removals_of` members, and a person has to approve or discard it
    (`hold_removals`); nothing of it is sent. `queued`: it waits for an earlier sync of the segment, which is held or
    not complete. `discarded`: a person discarded it; `discarded_users` of its pages were dropped. `sending`: all pages
    are here, changes are not all settled. `waiting`: of these, only such are left whose calls failed; the first of the
    list is tried again at `next_attempt_at`. `searching`: all are, but Cordial refused rows of a file without naming
    them, some of which may be its; they are looked for. `done`: all are. `failed`: nothing more happens by itself, and some
    changes failed. `changes` are the members that this sync decided: pending + settled + failed + superseded by newer
    syncs. `unfolded_pieces` were not looked at yet. `set_aside`: so many users of its pages are held or queued, or wait
    to be judged, if need be with the other pages. `overtaken_users`: of so many users of its pages a newer sync, or a
    drain, had already spoken. `list_held`: the list is held, so nothing of any of its syncs is sent; `awaits_approval`:
    only because the segment is new.
    """

    id: int
    account: str
    list_id: int
    segment_name: str
    list_name: str
    list_held: bool
    awaits_approval: bool
    task_id: str
    action: str
    state: SyncState
    pages_received: Count
    total_pages: Count
    pages_overdue: bool
    added: Count
    removed: Count
    rejected: Count
    duplicates: Count
    unfolded_pieces: Count
    changes: int
    pending: Count
    settled: Count
    failed: Count
    superseded: int
    overtaken_users: Count
    removals: Count
    removals_of: Count | None
    discarded_users: Count
    set_aside: Count
    next_attempt_at: datetime | None
    first_received_at: datetime
    last_received_at: datetime
    drained_at: datetime | None


class HeldRemovals(msgspec.Struct, frozen=True):
    """What a sync would remove, or has removed, by the count when it was judged.

    `first`: some of the members that its pages name for removal, as long as it waits. `pages_missing`: pages that have
    not arrived; a decision is for them too. `queued_syncs` of the segment wait behind it.
    """

    sync_id: int
    state: SyncState
    removals: Count
    removals_of: Count | None
    additions: Count
    pages_missing: Count
    queued_syncs: Count
    first: list[str]


class ListStanding(StrEnum):
    """The state of a list in one word, the worst first.

    `held`: nothing is sent until a person does what the reason says. `differs`: Cordial counts other members than were
    confirmed, beyond those who could not be removed. `incomplete`: some people could not be added or removed. `sync_held`:
    a sync waits for approval because it removes many people. `to_approve`: a new segment waits for a person. `not_created`: it has changes and no
    list in Cordial yet. `sending`: changes are on their way, or accepted pages are not processed yet.
    `tried_again_later`: what it has left failed, and waits for its next attempt. `receiving`: pages of a sync have not
    arrived and no newer sync has as many, or later syncs wait for them. `not_counted`: all is confirmed, and Cordial has not counted the list since.
    `exact`: all is confirmed, and Cordial counts the same.
    """

    HELD = "held"
    DIFFERS = "differs"
    INCOMPLETE = "incomplete"
    SYNC_HELD = "sync_held"
    TO_APPROVE = "to_approve"
    NOT_CREATED = "not_created"
    SENDING = "sending"
    TRIED_AGAIN_LATER = "tried_again_later"
    RECEIVING = "receiving"
    NOT_COUNTED = "not_counted"
    EXACT = "exact"


class ListSort(StrEnum):
    """In which order; by a number, the largest first; by a time, the latest."""

    TROUBLE = "trouble"
    NAME = "name"
    WANTED = "wanted"
    ON_LIST = "on_list"
    TO_SEND = "to_send"
    FAILED = "failed"
    COUNTED = "counted"
    UPDATED = "updated"


class SyncSort(StrEnum):
    """In which order; by a number, the largest first, and the newest of those that are equal."""

    LATEST = "latest"
    TROUBLE = "trouble"
    TO_SEND = "to_send"
    FAILED = "failed"


class FailureSort(StrEnum):
    """In which order. `trouble`: first who waits for a person, then who is tried again by itself, each the newest first.

    `name`: by account, then by contact.
    """

    LATEST = "latest"
    TROUBLE = "trouble"
    NAME = "name"


class MissingPages(msgspec.Struct, frozen=True):
    """A sync of which pages have not arrived."""

    sync_id: int
    task_id: str
    pages_received: Count
    total_pages: Count


class ListSum(msgspec.Struct, frozen=True):
    """Where the users are that Heap named for a list: the sum that tells 9 from 10.

    `wanted` = `on_list` + `unnamed` + `to_add` + `failed`: people. `add_later` of those `to_add` are tried again later.
    `unnamed` were refused in a file, and which ones these are is being found out. Heap named more user ids than people:
    `same_person` of them are other spellings of people counted already, and `unusable` ones cannot be used, in the
    pages that are still kept. `overtaken` changes of older syncs were replaced by newer ones before they were sent.
    `additions_set_aside` and `removals_set_aside` users are in syncs of which nothing is sent yet (`hold_removals`):
    one of them waits for a person if `is_held`, else for its other pages. `discarded` users are in syncs that a person
    discarded. What is in `missing_pages` is not known here. `to_remove` and `remove_failed` are people who left the
    segment and may still be on the list.
    """

    wanted: Count
    on_list: Count
    unnamed: Count
    to_add: int
    add_later: Count
    failed: Count
    same_person: Count
    unusable: Count
    overtaken: Count
    to_remove: int
    remove_failed: Count
    additions_set_aside: Count
    removals_set_aside: Count
    is_held: bool
    discarded: Count
    unread_pages: bool
    missing_pages: list[MissingPages]


class Minute(msgspec.Struct, frozen=True):
    """What happened in a minute, and how much was owed at its end; or in so many `minutes`, and how much was owed at most."""

    at: datetime
    backlog: Count
    calls: Count
    settled: Count
    failed: Count
    minutes: int = 1


class SegmentView(msgspec.Struct, frozen=True):
    """A segment and its list, with the counters that the ledger keeps.

    `held_for`: why it is held, null unless it is. `awaits_approval`: held only because the segment is new. `standing`
    says it in one word. `wanted` members should be on the list, `on_list` of these are confirmed by Cordial. `unnamed`
    others are not: their rows in a file were refused, and which ones these are is being found out. `pages_overdue`: the
    pages that have not arrived are missing, for none has come for an hour. `counted` is
    Cordial's own count, `count_differs_by` how many more it counts than are confirmed, null where nobody can tell: it
    has not counted since the last change, or changes are owed. `read_back`: the members wanted on the list that were
    read back from Cordial in the last day; `read_back_differ`: those of them that Cordial did not have there.
    """

    id: int
    account: str
    segment_id: str
    segment_name: str
    list_name: str
    cordial_list_id: str
    state: ListState
    reason: str
    held_for: HeldFor | None
    awaits_approval: bool
    standing: ListStanding
    wanted: Count
    on_list: Count
    pending: Count
    waiting: Count
    failed: Count
    unnamed: Count
    pages_overdue: bool
    counted: Count | None
    count_differs_by: int | None
    counted_at: datetime | None
    created_at: datetime
    read_back: Count
    read_back_differ: Count


class OwedView(msgspec.Struct, frozen=True):
    """How many changes of a list Cordial is still to be told, at once or later."""

    additions: Count
    removals: Count


class FailureView(msgspec.Struct, frozen=True):
    """A change that did not go through, with Cordial's own words.

    `dead`: not tried again until somebody retries it; otherwise it is tried again by itself, at `next_attempt_at` if that is
    known. `failures` counts the calls that failed, `attempts` those of them that were the change's own fault.
    """

    id: int
    account: str
    list_id: int
    segment_name: str
    list_name: str
    contact: str
    wanted: bool
    dead: bool
    reason: str
    message: str
    status: int | None
    failures: Count
    attempts: Count
    first_failed_at: datetime
    last_failed_at: datetime
    next_attempt_at: datetime | None


class FailureGroupView(msgspec.Struct, frozen=True):
    """The failures of one list that have one reason; `message` and `last_failed_at` are those of the newest of them."""

    account: str
    list_id: int
    segment_name: str
    list_name: str
    reason: str
    dead: bool
    changes: Count
    message: str
    first_failed_at: datetime
    last_failed_at: datetime


class RecordedAccount(msgspec.Struct, frozen=True):
    """An account as the store has it, with the sums over its lists; `sendable` is pending and on lists that are ready.

    `failed` changes are those of `failed_people`: who failed on two lists is one person. `set_aside`: users in syncs
    that are held or queued, `held` of them, or not complete yet (`hold_removals`); they are not among `pending`.

    `in_doubt`: contacts for which Cordial may still carry out a call whose answer never came. `wanted`, `read_back` and
    `read_back_differ` as with a list.
    """

    name: str
    paused_by_operator: bool
    state: str
    state_reason: str
    state_since: datetime | None
    lists: Count
    pending: Count
    waiting: Count
    failed: Count
    sendable: Count
    failed_people: Count
    set_aside: Count
    held: Count
    in_doubt: Count
    wanted: Count
    read_back: Count
    read_back_differ: Count


class RejectedUser(msgspec.Struct, frozen=True):
    """One user of a page that cannot be synced: its place in the page, the reason, the value cut short."""

    path: str
    reason: str
    value: str


class UnusableView(msgspec.Struct, frozen=True):
    """One user of one page that cannot be synced, with its place in the page, the reason, and its value cut short."""

    id: int
    delivery_id: int
    sync_id: int
    account: str
    list_id: int
    segment_name: str
    task_id: str
    page_number: int
    path: str
    reason: str
    value: str
    received_at: datetime


class DeliveryView(msgspec.Struct, frozen=True):
    """One page as it was accepted; `rejected_users` may be cut short, `rejected` is whole.

    `superseded_at`: when it was seen that newer syncs, or a drain, had already spoken of all its users.
    """

    id: int
    sync_id: int
    account: str
    list_id: int
    segment_name: str
    task_id: str
    page_number: int
    digest: str
    added: Count
    removed: Count
    rejected: Count
    rejected_users: list[RejectedUser]
    received_at: datetime
    superseded_at: datetime | None


class MemberView(msgspec.Struct, frozen=True):
    """What the ledger knows of one contact and one list.

    `said_at` and `page_number` are unknown once the delivery is forgotten, `task_id` once the sync is. `may_be_refused`:
    taken for settled, but Cordial refused some rows of a file without naming them, and this may be one.
    """

    contact: str
    wanted: bool
    state: MemberState
    sync_id: int
    task_id: str | None
    page_number: int | None
    said_at: datetime | None
    may_be_refused: bool
    failure: FailureView | None


class MemberRow(msgspec.Struct, frozen=True):
    """One contact of a list as the ledger has it; `reason` and `message` say why its change did not go through."""

    contact: str
    wanted: bool
    state: MemberState
    sync_id: int
    reason: str | None
    message: str | None


class MemberSlice(msgspec.Struct, frozen=True):
    """Some members of a list in the order of their contacts; `after` is where the next slice begins, None at the end."""

    members: list[MemberRow]
    after: str | None


class AuditView(msgspec.Struct, frozen=True):
    """One action of a person: who, what, to what, how much it changed.

    `segment_name`: what the segment of the list or sync in `target` is called now; empty where there is none, or none
    any more.
    """

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    segment_name: str
    changes: Count


class AskedErasure(msgspec.Struct, frozen=True):
    """How many memberships are to be erased, and the ids of the erasures: one for each contact that the user may be."""

    memberships: int
    ids: list[int]


class ErasureView(msgspec.Struct, frozen=True):
    """A person's data that is being erased; `user` is masked, `left` the memberships that Cordial is still to confirm."""

    id: int
    account: str
    user: str
    kept_on_lists: bool
    left: Count


class AccountFigures(msgspec.Struct, frozen=True):
    """What is kept of one account, in numbers.

    `oldest_open_ms`: when the first page came of the oldest sync that is not settled, as Unix time in milliseconds;
    None when every sync is. `dead`: changes that failed and are not tried again by themselves. `lists`: how many
    segments have a list in each state. `travelling`: the contacts of an import under way whose changes are neither
    settled nor left to single calls yet. `in_doubt`: contacts for which Cordial may still carry out a call whose answer
    never came. `read_back` members were read back from Cordial in the last day, `read_back_differ` of them differed.
    """

    account: str
    oldest_open_ms: int | None
    dead: int
    lists: dict[str, int]
    travelling: int
    in_doubt: int
    read_back: int
    read_back_differ: int


class ListFate(StrEnum):
    """What would be done to get a segment its list.

    `use`: it exists and is ours. `create`: there is none of the name. `take_over`: one of the name exists that this
    service did not create, and `adopt_existing_lists` allows its use. `hold`: nothing is sent until an operator decides;
    the reason says what. `unknown`: Cordial cannot be asked now.
    """

    USE = "use"
    CREATE = "create"
    TAKE_OVER = "take_over"
    HOLD = "hold"
    UNKNOWN = "unknown"


class PlannedCall(msgspec.Struct, frozen=True):
    """A call to Cordial exactly as it would go out, the API key aside; made only under `condition` if that is not empty."""

    method: str
    path: str
    body: dict[str, Any] | None
    condition: str = ""


class Preview(msgspec.Struct, frozen=True):
    """What would be done for one segment: its list, and the first calls.

    `reason` says why the list is called or held as it is, empty where there is nothing to say. `more_calls`: not all
    calls are shown. `as_import`: so much is owed that it travels as a file, and `calls` is what the file stands for.
    `dry_run`: none of it is sent until the account's dry run ends.
    """

    account: str
    segment_name: str
    list_name: str
    fate: ListFate
    reason: str
    calls: list[PlannedCall]
    more_calls: bool
    as_import: bool
    dry_run: bool
