"""Deliveries: pages from Heap, as the service understood them. Pure, no I/O."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

# Small enough that a delivery arriving while a piece is folded hardly waits.
USERS_PER_PIECE = 250

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


class Action(StrEnum):
    """What a delivery asks for; the values are Heap's."""

    SYNC = "segment.users.sync"
    DRAIN = "segment.users.drain"


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """One user of a delivery that cannot be synced, with its place in the page and the reason."""

    path: str
    reason: str
    value: str


class UserIds(msgspec.Struct, frozen=True):
    """The user ids of a delivery, in the pieces that the store keeps: how many each holds, and a JSON array of them.

    A large page has hundreds of thousands of ids: in pieces, nobody has to hold, move or write each by itself.
    """

    pieces: list[tuple[int, str]]

    @classmethod
    def of(cls, ids: Sequence[str]) -> "UserIds":
        """Return these ids in pieces."""
        starts = range(0, len(ids), USERS_PER_PIECE)
        parts = (ids[start : start + USERS_PER_PIECE] for start in starts)
        return cls([(len(part), _encode(part).decode()) for part in parts])

    def __len__(self) -> int:
        return sum(count for count, _ in self.pieces)

    def __iter__(self) -> Iterator[str]:
        for _, text in self.pieces:
            yield from _decode(text)


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
    add: UserIds
    remove: UserIds
    rejected: list[Rejected]
    rejected_count: int
    received_at_ms: int
    signed_at_ms: int

    @property
    def precedence_ms(self) -> int:
        """How new the page is (R4): when it was signed, unless the sender's clock is ahead of ours."""
        return min(self.signed_at_ms, self.received_at_ms)


class ReceiptStatus(StrEnum):
    """What the store made of a delivery.

    `duplicate`: it was kept before. `superseded`: newer syncs or a newer drain have already spoken of everybody it names.
    """

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


class Receipt(msgspec.Struct, frozen=True):
    """What the store says of a delivery once it is durable; the ids are the store's."""

    status: ReceiptStatus
    delivery_id: int
    segment_id: int

    @property
    def is_duplicate(self) -> bool:
        """Whether it was kept before and changed nothing."""
        return self.status is ReceiptStatus.DUPLICATE


class FoldProgress(msgspec.Struct, frozen=True):
    """What one fold transaction did: users looked at, and whether more wait in the inbox."""

    users: int
    more: bool
