"""Segments of Heap and the Cordial lists they own. Pure, no I/O."""

from enum import StrEnum

import msgspec


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
