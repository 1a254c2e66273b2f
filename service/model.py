"""What the stages speak of: deliveries from Heap, changes owed to Cordial, and how each ended. Pure, no I/O."""

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """What a delivery asks for; the values are Heap's."""

    SYNC = "segment.users.sync"
    DRAIN = "segment.users.drain"


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """One user of a delivery that cannot be synced, with its place in the page and the reason."""

    path: str
    reason: str
    value: str


class Delivery(msgspec.Struct, frozen=True):
    """One authentic page, as the service understood it.

    `add` and `remove` are user ids, normalised so that what Cordial holds to be one contact is one text here; an id
    that stands in both is only in `remove` (R4). `identity` is the Cordial key they are values of: `email` or a
    secondary key. `digest` is the SHA-256 of the raw body. `rejected` may be cut short; `rejected_count` is whole.
    A drain carries no users, and its `task_id` is made from the signature's timestamp.
    """

    account: str
    action: Action
    segment_id: str
    segment_name: str
    task_id: str
    page_number: int
    total_pages: int
    digest: bytes
    identity: str
    add: list[str]
    remove: list[str]
    rejected: list[Rejected]
    rejected_count: int
    received_at_ms: int


class Receipt(msgspec.Struct, frozen=True):
    """What the store says of a delivery once it is durable; the ids are the store's."""

    duplicate: bool
    delivery_id: int
    segment_id: int


class MemberState(StrEnum):
    """Where a member's change stands; the store's numbers for these are in `schema.sql`."""

    SETTLED = "settled"
    PENDING = "pending"
    WAITING = "waiting"
    DEAD = "dead"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One membership that Heap wants and Cordial has not confirmed: list of `segment_id` (the store's), wanted or not.

    `failures` counts the calls for it that failed so far; `attempts` counts those that were the change's own fault (R7).
    """

    segment_id: int
    wanted: bool
    attempts: int = 0
    failures: int = 0


class ContactWork(msgspec.Struct, frozen=True, gc=False):
    """All pending changes of one contact: they travel in one call (R5).

    `contact` is `key:value` as Cordial's paths have it, not percent-encoded.
    """

    contact: str
    changes: tuple[Change, ...]


class ClaimCursor(msgspec.Struct, frozen=True, gc=False):
    """How far a segment's pieces have been claimed; opaque to all but the store. The default is the beginning."""

    piece_id: int = 0
    start: int = 0


class Stretch(msgspec.Struct, frozen=True):
    """What a claim found in one piece of the inbox; `complete` when it has looked at the piece's last contact.

    `is_left` when it left out contacts that travel with an import: the piece has to be looked at again.
    """

    piece_id: int
    works: list[ContactWork]
    complete: bool
    is_left: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """What a claim found, where the next one goes on, and whether it came to the end of the segment's pieces."""

    stretches: list[Stretch]
    cursor: ClaimCursor
    exhausted: bool


class OutcomeKind(StrEnum):
    """How one change came back from Cordial."""

    SETTLED = "settled"
    RETRY = "retry"
    DEAD = "dead"


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why a change did not go through: a stable reason, Cordial's own words, the HTTP status if one came."""

    reason: str
    message: str
    status: int | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The result of sending one change; settles only if the member still wants `wanted` (R5).

    `failures` is how many calls had failed before this one. For a retry, `attempts` is the new count of failures that
    were the change's own and `retry_at_ms` the earliest time of the next call.
    """

    account: str
    contact: str
    segment_id: int
    wanted: bool
    kind: OutcomeKind
    failure: Failure | None = None
    failures: int = 0
    attempts: int = 0
    retry_at_ms: int = 0


class ListState(StrEnum):
    """Whether a segment's list can be used.

    `unresolved`: not looked up yet. `creating`: a name was chosen and recorded before the list is created, so that
    after a crash the list is known as ours. `ready`: known by Cordial's id. `held`: an operator has to decide; the
    reason says what.
    """

    UNRESOLVED = "unresolved"
    CREATING = "creating"
    READY = "ready"
    HELD = "held"


class Segment(msgspec.Struct, frozen=True):
    """A Heap segment and the Cordial list it owns; `id` is the store's, `heap_id` is Heap's.

    `list_named_after` is the segment's name at the time the list got its own.
    """

    id: int
    account: str
    heap_id: str
    name: str
    list_state: ListState
    list_name: str
    list_id: str
    list_reason: str
    list_named_after: str
    members: int
    settled: int
    pending: int
    waiting: int
    dead: int
    created_at_ms: int


class FoldProgress(msgspec.Struct, frozen=True):
    """What one fold transaction did: users looked at, and whether more wait in the inbox."""

    users: int
    more: bool


class AccountState(StrEnum):
    """What an account's sending is doing; in a `dry_run` nothing is written to Cordial."""

    SENDING = "sending"
    SLOWED = "slowed"
    PAUSED = "paused"
    DRY_RUN = "dry_run"

    @property
    def recorded(self) -> "AccountState":
        """The state under which the store keeps it: to those who look there, a dry run is a pause with its reason."""
        return AccountState.PAUSED if self is AccountState.DRY_RUN else self


class AccountStatus(msgspec.Struct, frozen=True):
    """What an account's sending is doing, why, and for how many seconds more, as far as that is known.

    `hint` says what an operator may do about it, where that is known too. `found_rates`: the calls a second that each
    (method, endpoint) is allowed now, where Cordial's limit is being found.
    """

    state: AccountState
    reason: str = ""
    seconds: float = 0.0
    hint: str = ""
    found_rates: dict[str, float] = {}


class VerifyResult(msgspec.Struct, frozen=True):
    """What Cordial counts on a list, how many members the ledger has there, settled, and how many changes are owed."""

    segment_id: int
    list_name: str
    counted: int
    expected: int
    owed: int

    @property
    def differs(self) -> bool:
        """Whether the two counts differ (R11)."""
        return self.counted != self.expected


class FailureSelection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which failures to retry: those that meet every condition given. `segment_id` and `ids` are the store's."""

    ids: list[int] | None = None
    account: str | None = None
    segment_id: int | None = None
    reason: str | None = None
