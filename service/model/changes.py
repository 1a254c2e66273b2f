"""Changes that Cordial is still to be told, and how each call for them ended. Pure, no I/O."""

from enum import StrEnum

import msgspec


class MemberState(StrEnum):
    """Where a member's change stands; the store's numbers for these are in `schema.sql`."""

    SETTLED = "settled"
    PENDING = "pending"
    WAITING = "waiting"
    DEAD = "dead"


# Why a change waits, or is dead, of whose contact Cordial said that it does not exist while it found others.
CONTACT_NOT_FOUND = "contact_not_found"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One membership that Heap wants and Cordial has not confirmed: list of `segment_id` (the store's), wanted or not.

    `failures` counts the calls for it that failed so far; `attempts` counts those that were the change's own fault (R7).
    `was_absent`: to the latest call for it Cordial said that there is no such contact, and found others after that.
    """

    segment_id: int
    wanted: bool
    attempts: int = 0
    failures: int = 0
    was_absent: bool = False


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

    `has_skipped` when it skipped contacts that travel with an import: the piece has to be looked at again.
    """

    piece_id: int
    works: list[ContactWork]
    complete: bool
    has_skipped: bool = False


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


class FailureSelection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which failures to retry: those that meet every condition given. `segment_id` and `ids` are the store's.

    `dead`: whether they are not tried again by themselves. `wanted`: whether the people should be on the list.
    """

    ids: list[int] | None = None
    account: str | None = None
    segment_id: int | None = None
    reason: str | None = None
    dead: bool | None = None
    wanted: bool | None = None


class RetriedFailures(msgspec.Struct, frozen=True):
    """How many changes are tried again, of which accounts, and on which lists that are held."""

    changes: int
    accounts: frozenset[str] = frozenset()
    held_lists: frozenset[int] = frozenset()
