"""What the stages ask of the store: these are its only protocols, and `model/` has all that they speak of.

Every method that is awaited may raise `StoreUnavailableError` (the disk, the file, another program: it may work later) and
`StoreFaultError` (a fault of the program: it will not); what it was to write is then not written, unless it says otherwise.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from service.model.accounts import AccountState, CallsBefore
from service.model.changes import ClaimCursor, Claimed, FailureSelection, MemberState, Outcome, RetriedFailures
from service.model.deliveries import Delivery, Receipt
from service.model.imports import (
    DoubtEnd,
    EndedImport,
    Expected,
    ImportFile,
    ImportPart,
    ImportSort,
    ImportState,
    ImportView,
    Journey,
    OpenImport,
    StepResult,
    Strategy,
    Unnamed,
)
from service.model.lists import ListState, Segment
from service.model.proof import DueReadBack, Finding, LedgerContact, ReadBackReason
from service.model.trial import TrialPoint, TrialResult
from service.model.views import (
    AskedErasure,
    AuditView,
    DeliveryView,
    ErasureView,
    FailureGroupView,
    FailureSort,
    FailureView,
    HeldRemovals,
    ListSort,
    ListStanding,
    ListSum,
    MemberSlice,
    MemberView,
    Minute,
    OwedView,
    RecordedAccount,
    SegmentView,
    SyncSort,
    SyncState,
    SyncView,
    UnusableView,
)

# Keeps contacts from being claimed while it is open, and gives the contacts that calls have claimed.
BetweenClaims = Callable[[], AbstractAsyncContextManager[Collection[str]]]


class Inbox(Protocol):
    """Where deliveries go."""

    async def accept(self, delivery: Delivery) -> Receipt:
        """Make the delivery durable, or tell that it already is (R1, R3).

        Raises `BacklogFullError`, and `ForgottenDeliveryError` for one signed no later than what was forgotten (R4). A
        delivery whose acceptance failed may have been kept all the same: Heap's repeat of it is then a duplicate.
        """


class Ledger(Protocol):
    """What is owed to Cordial, and what came of it."""

    @property
    def waiting_changes(self) -> int:
        """How many changes wait for their next call."""

    def pending_segments(self, account: str) -> dict[int, int]:
        """Return how many changes may be sent now, for each segment of the account that has any."""

    def is_drained(self, segment_id: int) -> bool:
        """Tell whether every change of the segment is settled or dead."""

    def owing_segments(self, account: str) -> list[int]:
        """Return the segments of the account of which a change is pending, or waits for its next call."""

    async def claim(self, account: str, segment_id: int, cursor: ClaimCursor, limit: int) -> Claimed:
        """Return the next contacts of a segment that have a pending change, with all their pending ones (R5).

        Marks nothing: what is in flight lives in the caller's memory (R6).
        """

    async def settled_contacts(
        self, account: str, segment_id: int, *, wanted: bool, near: str, apart_from: str, or_in_import: bool = False
    ) -> list[str]:
        """Return a few contacts but `apart_from` whose wanted state in a segment is this and confirmed.

        None that an import carries, unless `or_in_import`. Nobody is returned only where there is nobody. `near` is among them if it is one.
        """

    async def settle(self, outcomes: Sequence[Outcome], spent_pieces: Sequence[int] = ()) -> None:
        """Make a batch of results durable, and drop pieces that have no contact left to send."""

    async def make_due_pending(self) -> int | None:
        """Make waiting changes pending whose time has come; return when the next one's comes (Unix ms), if any."""

    async def hasten(self, account: str) -> None:
        """Send soon whatever waits through no fault of its own (R7)."""


class Lists(Protocol):
    """The segments and their lists."""

    async def segments(self) -> list[Segment]:
        """Return every segment with its list and counters."""

    async def list_name_taken(self, segment_id: int, list_name: str) -> str | None:
        """Return Heap's id of another segment of the account that owns this list name, letter case aside."""

    async def set_list(self, segment: Segment) -> None:
        """Record what `segment` says of its list."""

    async def approve_lists(self, segment_id: int, approved: Sequence[Segment], actor: str) -> None:
        """Record what the lists are after a person approved one of them, and that in the audit, in one transaction."""

    async def take_list(self, segment: Segment) -> str | None:
        """Record `segment`'s list, which it did not create, unless it is another segment's; return that one's account."""

    async def repeat_members(self, segment_id: int) -> int:
        """Send every membership of the segment again, those of people who have left too; return how many."""

    async def take_back(self, segment_id: int, other_id: int, within_seconds: float) -> int:
        """Undo what calls for a segment may have done to another one's list in that time; return how many memberships."""

    async def set_list_count(self, segment_id: int, count: int, confirmed: int) -> None:
        """Record how many contacts Cordial counts on the segment's list, and how many were confirmed before it was asked."""


class Imports(Protocol):
    """The imports: changes that travel as files. An account has at most one that is not over.

    Every step may be repeated: whoever does not know whether one was done reads `current` and goes on from there. A step
    that is about a part does nothing where the part is in another state by now than `part` says.
    """

    def arriving_users(self, account: str, segment_id: int) -> int:
        """Return about how many users are still to come of syncs whose pages are arriving or being folded."""

    def inbox_users(self, account: str) -> int:
        """Return how many users of the account wait to be folded."""

    async def current(self, account: str) -> OpenImport | None:
        """Return the account's import as it stands, or None."""

    async def outcome(self, import_id: int) -> EndedImport:
        """Return what came of an import that is over."""

    async def held_back(self, account: str) -> dict[int, int]:
        """Return how many pending changes of each segment wait for the account's import to be over."""

    async def late_changes(self, import_id: int) -> dict[int, int]:
        """Return how many pending changes of each segment have come since the import began and do not travel with it.

        None are counted where there are very many: they suit a file.
        """

    async def names_erased(self, account: str, part: ImportPart) -> bool:
        """Return whether somebody is being erased whose change travels in the part."""

    async def begin(self, account: str, segment_ids: Sequence[int]) -> None:
        """Begin to gather the segments' changes, unless an import of the account is under way."""

    async def gather_some(self, account: str, claimed: Collection[str], max_contacts: int) -> None:
        """Take the next pending changes into the import that gathers, but for contacts that calls have claimed.

        The last step cuts it into parts of at most so many contacts, or ends it if nothing suits a file.
        """

    async def take_back_some(self, account: str, reason: str) -> None:
        """Take back the next of what an import has gathered, of which nothing was sent; the last step ends it."""

    async def set_posting(self, part: ImportPart, name_digest: bytes) -> None:
        """Note that the part is about to be given to Cordial, its file under a name of that digest."""

    async def set_running(self, part: ImportPart, name_digest: bytes, job_id: str) -> None:
        """Note which job Cordial says the part is whose file has a name of that digest."""

    async def take_name_back(self, part: ImportPart) -> bool:
        """Make the part ready again unless its file was fetched; return whether it is: its file never will be fetched."""

    async def set_in_doubt(self, part: ImportPart, doubt: str, limit_seconds: float) -> None:
        """Note why it is not known whether Cordial carries the part out, which it can so long after the fetch."""

    async def end_doubt(self, import_id: int, said: DoubtEnd, reason: str, actor: str) -> int:
        """Leave the parts in doubt to single calls, because of what a person says of their jobs; return how many contacts."""

    async def send_again(
        self, part: ImportPart, strategy: Strategy, *, missing: int = 0, refused: int = 0, failed: bool = False
    ) -> None:
        """Have the part sent (again) as a job of that strategy."""

    async def note_reason(self, part: ImportPart, reason: str) -> None:
        """Note why contacts of the import are left to single calls."""

    async def settle_some(self, account: str, part: ImportPart) -> StepResult:
        """Settle the next of a part's changes, where still wanted as they were sent (R5)."""

    async def release_some(self, account: str, part: ImportPart) -> StepResult:
        """Leave the next of a part's changes to single calls."""

    async def release_removals(self, account: str, part: ImportPart) -> int:
        """Leave those of a part's changes to single calls that take contacts off lists; return how many."""

    async def expected_counts(self, account: str) -> list[Expected]:
        """Return what each list of the account's import must hold once all of it took effect."""

    async def file(self, name_digest: bytes) -> ImportFile | None:
        """Return the file whose name has that digest, while it may be fetched."""

    async def note_fetched(self, file: ImportFile) -> bool:
        """Note that the file begins to be fetched; return whether it still may be."""

    def lines(self, file: ImportFile) -> AsyncIterator[str]:
        """Yield the rows of a file, some thousands at a time, each ended by a line feed."""


class UnnamedRanges(Protocol):
    """Ranges of contacts of which some were refused in a file, and nobody knows which; narrowed until each has a name."""

    def is_quiet(self, account: str, segment_ids: Sequence[int]) -> bool:
        """Tell whether nothing of these segments may be sent now."""

    async def keep(self, account: str, part: ImportPart, contacts: int, refused: int) -> None:
        """Settle a part of which so many rows were refused, and note that those are to be looked for."""

    async def ranges(self, account: str) -> list[Unnamed]:
        """Return the account's ranges, the oldest first, without whoever got a name since."""

    async def members(self, account: str, found: Unnamed, after: str, limit: int) -> list[str]:
        """Return the next contacts of a range after a contact that may be among the refused."""

    async def middle(self, account: str, found: Unnamed) -> str:
        """Return the contact at which a range is best halved; empty if it cannot be."""

    async def call_likely(self, account: str, found: Unnamed, contacts: Sequence[str], *, is_last: bool) -> None:
        """Send likely contacts of a range again by calls, which name who is refused."""

    async def call(self, account: str, found: Unnamed, contacts: Sequence[str]) -> None:
        """Send the next contacts of a range again by calls; without any, the range is over."""

    async def drop(self, account: str, found: Unnamed) -> None:
        """Forget the ranges of these lists: by Cordial's count, everybody else is there."""

    async def begin_halving(self, account: str, found: Unnamed, middle: str) -> None:
        """Open the range's import again for a file with the contacts up to a middle one, unless another is open."""

    async def halve(self, account: str, found: Unnamed, part: ImportPart, refused: int) -> None:
        """Divide a range behind the last contact of a part, of whose rows so many had no effect; the part is over."""


class Trials(Protocol):
    """What trials of accounts showed (R14)."""

    async def results(self, account: str, cordial_base_url: str) -> Mapping[TrialPoint, TrialResult]:
        """Return what is known of the account at that Cordial, by point."""

    async def begin(self, account: str, contacts: Sequence[str], actor: str) -> int:
        """Write into the audit that a trial begins, unless the ledger has any of these contacts (`key:value`); return how many."""

    async def record(self, account: str, cordial_base_url: str, results: Sequence[TrialResult]) -> None:
        """Keep what a trial showed, instead of what was known; what could not be tried leaves that as it is."""


class Proofs(Protocol):
    """What is to be read back from Cordial, and what the readings came to."""

    async def ask(self, account: str, contacts: Collection[str], reason: ReadBackReason, due_at_ms: int) -> None:
        """Have contacts (`key:value`) read back, not before `due_at_ms`; durable when this returns."""

    async def due(self, account: str, limit: int, *, only_doubts: bool) -> list[DueReadBack]:
        """Return the contacts that may be read now, those waiting longest first; those in doubt alone, if so wanted."""

    async def contact(self, account: str, contact: str) -> LedgerContact:
        """Return what the ledger has of a contact."""

    async def next_contact(self, account: str) -> str | None:
        """Return the contact of the ledger that the walk comes to next, from the beginning again after the last."""

    async def any_contacts(self, account: str, number: int) -> list[str]:
        """Return up to so many contacts of the ledger, from places chosen by chance."""

    async def set_walked_to(self, account: str, contact: str) -> None:
        """Note that the walk has come to a contact."""

    async def put_off(self, account: str, due: DueReadBack, due_at_ms: int) -> None:
        """Have a contact read later."""

    async def conclude(self, account: str, finding: Finding, due_at_ms: int) -> bool:
        """Take what a reading found and have what differs sent again; return False if the ledger has changed since (R5).

        `due_at_ms`: when the reading was due; a later call may have put it off meanwhile.
        """

    async def in_doubt(self) -> dict[str, int]:
        """Return how many contacts of each account are in doubt; accounts without any are left out."""

    async def note_claimed(self, account: str, contacts: Collection[str], ended: Collection[int]) -> int:
        """Note that contacts may be sent from now on, and that earlier notes are over; return the note's id."""

    async def end_claims(self, ended: Collection[int]) -> None:
        """Note that all contacts of these notes are dealt with."""

    async def take_up_claims(self, account: str, due_at_ms: int) -> int:
        """Have every contact read back that a crash may have left with a call on its way; return how many."""


class Store(Inbox, Ledger, Lists, Protocol):
    """All that sending needs."""

    @property
    def imports(self) -> Imports:
        """The imports of the store."""

    @property
    def proofs(self) -> Proofs:
        """What is read back."""

    @property
    def unnamed(self) -> UnnamedRanges:
        """The ranges of refused rows that have no name yet."""

    @property
    def trials(self) -> Trials:
        """The trials of the store's accounts."""

    async def take_over_calls(self, account: str) -> CallsBefore:
        """Return what whoever called before for the account leaves, and note that calls may be made from now on (R8)."""

    async def end_calls(self, account: str, left: CallsBefore) -> None:
        """Note that no call is made for the account any more, and what that leaves to whoever calls next (R8)."""

    async def set_account_state(
        self,
        account: str,
        state: AccountState,
        reason: str,
        next_call_at_ms: int = 0,
        waits: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Record what the account's sending is doing, for those who look from outside, and for how long Cordial lets it wait."""


class Steering(Protocol):
    """What people do to the ledger. Each action writes its own line into the audit, with `actor` as who did it."""

    async def retry_failures(self, selection: FailureSelection, actor: str) -> RetriedFailures:
        """Give the selected failures their attempts anew; return how many, and of what."""

    async def rebuild(self, segment_id: int, *, include_removed: bool, actor: str) -> int:
        """Send a segment's members again; return how many. Raises `KeyError` for an unknown segment."""

    async def set_paused(
        self, account: str, *, paused: bool, actor: str, follow: Callable[[], None] = lambda: None
    ) -> bool:
        """Note durably that an operator pauses or resumes an account; return whether that changed anything.

        `follow` is called once it is durable, whatever becomes of the caller and of the answer.
        """

    async def name_rejected(self, import_id: int, addresses: Sequence[str], *, actor: str) -> int | None:
        """Take these addresses for rows of an import that Cordial rejected; return how many are.

        None where no row of the import is without a name.
        """

    async def ask_read_back(self, account: str, segment_id: int, contacts: Collection[str], *, actor: str) -> None:
        """Have contacts (`key:value`) that a person names for a list read back soon."""

    async def record(self, actor: str, action: str, target: str, changes: int) -> None:
        """Write a line into the audit."""


class Guard(Protocol):
    """Syncs that are held because they remove an unusual share of a list (R17). Each decision is in the audit."""

    async def approve(self, sync_id: int, actor: str) -> bool:
        """Let a held sync be sent, pages that come later too; return whether it was held."""

    async def discard(self, sync_id: int, actor: str) -> bool:
        """Drop what a held sync says, pages that come later too; return whether it was held."""


class Erasures(Protocol):
    """The erasures of people's data."""

    async def keys(self, account: str) -> list[str]:
        """Return the Cordial keys by which contacts of an account are known, also from before it was set otherwise."""

    async def request(
        self,
        account: str,
        contacts: Sequence[str],
        *,
        keep_on_lists: bool,
        actor: str,
        follow: Callable[[], None] = lambda: None,
    ) -> AskedErasure:
        """Have the contacts (`key:value`) of an account erased; durable when this returns.

        `follow` is called once it is durable, whatever becomes of the caller and of the answer.
        """

    async def open(self) -> list[ErasureView]:
        """Return the erasures that are not over, without naming anybody."""


class History(Protocol):
    """What happened in each minute of the past week."""

    async def add(self, minute: Minute) -> None:
        """Keep a minute, and forget what is older than a week."""


class Reading(Protocol):
    """What is kept, for people. `after` is the id of the last row of the page before; `limit` the most rows to return.

    Every method raises `ServiceError` (503) when the answer would take too long.
    """

    async def syncs(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: SyncState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SyncView]:
        """Return syncs, the newest first."""

    async def sorted_syncs(
        self,
        *,
        sort: SyncSort,
        account: str | None = None,
        list_id: int | None = None,
        state: SyncState | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[SyncView]:
        """Return syncs in some order, without the first `offset` of them."""

    async def sync_states(self, *, account: str | None = None, list_id: int | None = None) -> dict[SyncState, int]:
        """Return how many syncs are in each state, but for those that are done or discarded."""

    async def sync(self, sync_id: int) -> SyncView | None:
        """Return one sync."""

    async def held_removals(self, sync_id: int) -> HeldRemovals | None:
        """Return what a sync removes, as it was judged, with some of the contacts."""

    async def segments(
        self,
        *,
        account: str | None = None,
        state: ListState | None = None,
        standing: ListStanding | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SegmentView]:
        """Return segments and their lists, the oldest first."""

    async def lists(
        self,
        *,
        sort: ListSort,
        reverse: bool = False,
        account: str | None = None,
        state: ListState | None = None,
        standing: ListStanding | None = None,
        search: str | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[SegmentView]:
        """Return lists in some order, without the first `offset` of them."""

    async def standings(
        self, *, account: str | None = None, state: ListState | None = None, search: str | None = None
    ) -> dict[ListStanding, int]:
        """Return how many lists stand how."""

    async def list_sum(self, list_id: int) -> ListSum | None:
        """Return where the users are that Heap named for a list."""

    async def minutes(self, since: datetime, step_minutes: int) -> list[Minute]:
        """Return what happened since then, one for each step, the oldest first."""

    async def segment(self, list_id: int) -> SegmentView | None:
        """Return one segment and its list."""

    async def failures(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[FailureView]:
        """Return changes that did not go through, the newest first."""

    async def sorted_failures(
        self,
        *,
        sort: FailureSort,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[FailureView]:
        """Return changes that did not go through in some order, without the first `offset` of them."""

    async def failures_after(
        self,
        last: FailureView | None,
        *,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
        limit: int,
    ) -> list[FailureView]:
        """Return the failures that come after `last` by account, contact and list; None for the first ones."""

    async def failure_groups(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
    ) -> list[FailureGroupView]:
        """Return the failures grouped by list and reason, the largest groups first."""

    async def failure_reasons(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        dead: bool | None = None,
        wanted: bool | None = None,
    ) -> dict[str, int]:
        """Return how many failures have each reason, the most frequent first."""

    async def accounts(self) -> list[RecordedAccount]:
        """Return every account by name, those no longer configured included."""

    async def deliveries(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        sync_id: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[DeliveryView]:
        """Return accepted pages, the newest first."""

    async def unusable(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        sync_id: int | None = None,
        wanted: bool | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[UnusableView]:
        """Return the users of accepted pages that cannot be synced, the newest first.

        `wanted`: those that a list's sum counts; `search`: a part of the id.
        """

    async def members(
        self, list_id: int, *, state: MemberState | None = None, wanted: bool | None = None, after: str = ""
    ) -> MemberSlice:
        """Return the members of a list whose contacts come after `after`, as many as one look finds; maybe none."""

    async def member(self, list_id: int, contact: str) -> MemberView | None:
        """Return what the ledger knows of a contact (`key:value`) and a list."""

    async def owed(self, list_id: int) -> OwedView:
        """Return how many additions and removals of a list are still to be sent."""

    async def imports(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: ImportState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[ImportView]:
        """Return imports, the newest first."""

    async def sorted_imports(
        self,
        *,
        sort: ImportSort,
        reverse: bool = False,
        account: str | None = None,
        list_id: int | None = None,
        state: ImportState | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[ImportView]:
        """Return imports in some order, without the first `offset` of them."""

    async def journey(self, list_id: int, contact: str) -> Journey | None:
        """Return the import in which a contact (`key:value`) of a list's account travels at the moment, if any."""

    async def audit(
        self, *, actor: str | None = None, list_id: int | None = None, after: int | None = None, limit: int
    ) -> list[AuditView]:
        """Return what people did, the latest first: a person, or to a list, its syncs and its failures."""

    async def version(self) -> int:
        """Return a number that is another one whenever something was written since."""
