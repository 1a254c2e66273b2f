"""Deliveries: pages from Heap, as the service understood them. Pure, no I/O."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from service.model.contacts import by_spelling

# Small enough that a delivery arriving while a piece is folded hardly waits.
USERS_PER_PIECE = 250

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[str, str]]).decode


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
    """The user ids of a delivery, in the pieces that the store keeps.

    Each says how many users it has; a JSON array of the values of their contacts, each once; and where the user ids are
    written otherwise than those, a JSON array of [value, user id]. A large page has hundreds of thousands of ids: in
    pieces, nobody has to hold, move or write each by itself.
    """

    pieces: list[tuple[int, str, str | None]]

    @classmethod
    def of(cls, ids: Sequence[str], key: str) -> "UserIds":
        """Return these ids, values of this Cordial key, in pieces."""
        plain, spelled = by_spelling(ids, key)
        pieces: list[tuple[int, str, str | None]] = []
        for start in range(0, len(plain), USERS_PER_PIECE):
            part = plain[start : start + USERS_PER_PIECE]
            pieces.append((len(part), _encode(part).decode(), None))
        for start in range(0, len(spelled), USERS_PER_PIECE):
            pairs = spelled[start : start + USERS_PER_PIECE]
            values = list(dict.fromkeys(value for value, _ in pairs))
            pieces.append((len(pairs), _encode(values).decode(), _encode(pairs).decode()))
        return cls(pieces)

    def __len__(self) -> int:
        return sum(users for users, _, _ in self.pieces)

    def __iter__(self) -> Iterator[str]:
        """Give each user id, those that are written as their contact is first."""
        for _, contacts, spellings in self.pieces:
            if spellings is None:
                yield from _decode(contacts)
            else:
                yield from (user_id for _, user_id in _decode_pairs(spellings))


class Delivery(msgspec.Struct, frozen=True):
    """One authentic page, as the service understood it.

    `add` and `remove` are user ids as Heap sent them, each once; an id that stands in both is only in `remove` (R4).
    Several may be one contact, as `service.model.contacts` says. `identity` is the Cordial key they are values of: `email` or a
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
    def unusable_count(self) -> int:
        """How many of the rejected users were to be added."""
        return self.rejected_count - sum(each.path.startswith("$.data.remove") for each in self.rejected)

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
    """What the store says of a delivery once it is durable; the ids are the store's.

    `pages_received` is how many pages of its sync have come, this one among them; two forms of a page are one.
    """

    status: ReceiptStatus
    delivery_id: int
    segment_id: int
    pages_received: int = 1

    @property
    def is_duplicate(self) -> bool:
        """Whether it was kept before and changed nothing."""
        return self.status is ReceiptStatus.DUPLICATE


class FoldProgress(msgspec.Struct, frozen=True):
    """What one fold transaction did: users looked at, and whether more wait in the inbox."""

    users: int
    more: bool
