"""The ordering rule (R4) and drains (R12) in the plainest words, to compare a store with."""

from dataclasses import dataclass, field

from service.model.deliveries import Action, Delivery

# (account, Heap's segment id, user)
Key = tuple[str, str, str]


@dataclass
class Wish:
    """What a member is to be, and the sync that said so last."""

    wanted: bool
    sync: int


@dataclass
class OrderingModel:
    """Takes deliveries one after another, each at once and whole."""

    wishes: dict[Key, Wish] = field(default_factory=dict)
    decided_by: dict[int, set[str]] = field(default_factory=dict)
    syncs: dict[tuple[str, str, str], int] = field(default_factory=dict)
    precedence: dict[int, tuple[int, int]] = field(default_factory=dict)
    last_drain: dict[tuple[str, str], int] = field(default_factory=dict)
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
        self.decided_by.setdefault(sync, set())
        if delivery.action is Action.DRAIN:
            on_list = [key[2] for key, wish in self.wishes.items() if key[:2] == place and wish.wanted]
            for user in on_list:
                self._decide((*place, user), False, sync)
            if not self._is_overtaken(sync, self.last_drain.get(place)):
                self.last_drain[place] = sync
        elif not self._is_overtaken(sync, self.last_drain.get(place)):
            for user in delivery.add:
                self._decide((*place, user), True, sync)
            for user in delivery.remove:
                self._decide((*place, user), False, sync)
        return True

    def _decide(self, key: Key, wanted: bool, sync: int) -> None:
        wish = self.wishes.get(key)
        if not self._is_overtaken(sync, None if wish is None else wish.sync):
            self.wishes[key] = Wish(wanted, sync)
            self.decided_by[sync].add(key[2])

    def _is_overtaken(self, sync: int, other: int | None) -> bool:
        return other is not None and self.precedence[other] > self.precedence[sync]

    def on_list(self, account: str, heap_id: str) -> set[str]:
        """Return who is to be on a segment's list."""
        return {key[2] for key, wish in self.wishes.items() if key[:2] == (account, heap_id) and wish.wanted}
