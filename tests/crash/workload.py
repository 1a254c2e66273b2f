"""Syncs made so that what they come to is beyond doubt, and the model of it. Pure, no I/O.

A sync's precedence is the order in which the service first saw it (R4), so whoever sends these makes sure that one page
of a sync is acknowledged before any of the segment's next sync is sent; all other pages may come whenever they like.
Within a round a segment mentions a user at most twice, in two syncs, the second time the other way round. So for one
contact and list the same membership is never owed twice, and a call that sets one again repeats an earlier call.
"""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from service.sandbox.heap_pages import build_pages

_SHARE_ADDED = 0.8
_SHARE_TURNED = 0.3
_BLOCK = 5_000


class Sync(NamedTuple):
    """The pages of one sync; `opening` is to be acknowledged before the segment's next sync begins; whom they remove."""

    opening: bytes
    others: list[bytes]
    removed: list[str]


class SegmentPlan:
    """The syncs of one segment, and who is to be on its list when all that were made have been taken and sent."""

    def __init__(self, number: int, seed: int) -> None:
        self.heap_id = 1_000 + number
        self.name = f"Crash Segment {number}"
        self.list_name = f"CrashSegment{number}"
        self.members: set[str] = set()
        self._number = number
        self._random = random.Random(f"{seed} {number}")  # noqa: S311  a workload must be repeatable, not unguessable
        self._task_numbers = itertools.count(1)
        self.begin_round()

    def begin_round(self) -> None:
        """Start over with the same users; only once everything made so far has been sent."""
        self._unmentioned = self._contacts()
        self._mentioned_once: list[tuple[str, bool]] = []

    def next_sync(self, pages: int, page_size: int) -> Sync:
        """Return the next sync and bring the model up to it; about a third of its users is known already."""
        users = pages * page_size
        self._random.shuffle(self._mentioned_once)
        turned = [self._mentioned_once.pop() for _ in range(min(len(self._mentioned_once), int(users * _SHARE_TURNED)))]
        mentions = [(contact, not wanted) for contact, wanted in turned]
        fresh = [
            (contact, self._random.random() < _SHARE_ADDED)
            for contact in itertools.islice(self._unmentioned, users - len(turned))
        ]
        self._mentioned_once += fresh
        mentions += fresh
        self._random.shuffle(mentions)
        add = [contact for contact, wanted in mentions if wanted]
        remove = [contact for contact, wanted in mentions if not wanted]
        self.members.update(add)
        self.members.difference_update(remove)
        task_id = f"task-{self._number}-{next(self._task_numbers)}"
        bodies = build_pages(self.heap_id, self.name, add, remove, task_id=task_id, page_size=page_size)
        opening = bodies.pop(self._random.randrange(len(bodies)))
        self._random.shuffle(bodies)
        return Sync(opening, bodies, remove)

    def _contacts(self) -> Iterator[str]:
        """Yield users in no order; every other one is in the other segments as well."""
        for start in itertools.count(0, _BLOCK):
            block = list(range(start, start + _BLOCK))
            self._random.shuffle(block)
            for number in block:
                yield f"user{number}@example.com" if number % 2 else f"user{number}-{self._number}@example.com"
