"""The ordering rule (R4) and drains (R12) in the plainest words, to compare a store with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.model.deliveries import Action, Delivery

# (account, Heap's segment id)
Place = tuple[str, str]


def contact(user: str) -> str:
    """Return whom a user id of the tests means."""
    return user.strip().lower()


@dataclass
class Wish:
    """What a user id, or a member, is to be, and the sync that said so last."""

    wanted: bool
    sync: int


@dataclass
class OrderingModel:
    """Takes deliveries one after another, each at once and whole."""

    wishes: dict[tuple[Place, str], Wish] = field(default_factory=dict)
    members: dict[tuple[Place, str], Wish] = field(default_factory=dict)
    changes: Counter[int] = field(default_factory=Counter)
    overtaken: Counter[int] = field(default_factory=Counter)
    syncs: dict[tuple[str, str, str], int] = field(default_factory=dict)
    precedence: dict[int, tuple[int, int]] = field(default_factory=dict)
    last_drain: dict[Place, int] = field(default_factory=dict)
    seen: set[tuple[int, int, bytes]] = field(default_factory=set)

    def accept(self, delivery: Delivery) -> bool:
        """Take a delivery; return whether it was new."""
        place = (delivery.account, delivery.segment_id)
        sync = self.syncs.setdefault((*place, delivery.task_id), len(self.syncs) + 1)
        self.precedence.setdefault(sync, (min(delivery.signed_at_ms, delivery.received_at_ms), sync))
        identity = (sync, delivery.page_number, delivery.digest)
        if identity in self.seen:
            return False
        self.seen.add(identity)
        is_overtaken = self._is_overtaken(sync, self.last_drain.get(place))
        if delivery.action is Action.DRAIN:
            self._say(
                place, [user for (at, user), wish in self.wishes.items() if at == place and wish.wanted], False, sync
            )
            if not is_overtaken:
                self.last_drain[place] = sync
        elif is_overtaken:
            self.overtaken[sync] += len(delivery.add) + len(delivery.remove)
        else:
            self.overtaken[sync] += self._say(place, delivery.add, True, sync)
            self.overtaken[sync] += self._say(place, delivery.remove, False, sync)
        return True

    def _say(self, place: Place, users: Iterable[str], wanted: bool, sync: int) -> int:
        """Take what a sync says of user ids; return of how many a newer one had spoken."""
        told, overtaken = set(), 0
        for user in users:
            wish = self.wishes.get((place, user))
            if wish is not None and self._is_overtaken(sync, wish.sync):
                overtaken += 1
            elif wish != Wish(wanted, sync):
                self.wishes[place, user] = Wish(wanted, sync)
                told.add(contact(user))
        for name in told:
            if wanted or not self._names(place, name):
                self._decide(place, name, wanted, sync)
        return overtaken

    def _names(self, place: Place, name: str) -> bool:
        return any(wish.wanted for (at, user), wish in self.wishes.items() if at == place and contact(user) == name)

    def _decide(self, place: Place, name: str, wanted: bool, sync: int) -> None:
        before = self.members.get((place, name))
        if before is None or before.sync != sync:
            self.changes[sync] += 1
        self.members[place, name] = Wish(wanted, sync)

    def _is_overtaken(self, sync: int, other: int | None) -> bool:
        return other is not None and self.precedence[other] > self.precedence[sync]

    def on_list(self, account: str, heap_id: str) -> set[str]:
        """Return who is to be on a segment's list: whoever has a user id in the segment."""
        return {contact(user) for (at, user), wish in self.wishes.items() if at == (account, heap_id) and wish.wanted}
