"""What has changed since it was last told: the lists and syncs that are not as they were."""

from datetime import datetime
from typing import TypeVar

import msgspec

from service.observe.api.documents import AccountDocument, ListDocument, list_document
from service.observe.api.ports import Reader
from service.views import SyncView

_MOST_LISTS = 2_000
_MOST_SYNCS = 50
# A bound for one event; what is left comes with the next.
_MOST_TOLD = 100

Thing = TypeVar("Thing", ListDocument, SyncView)


class Progress(msgspec.Struct, frozen=True):
    """What is going on: all accounts, and those lists and syncs that changed; each replaces the one of its id."""

    at: datetime
    backlog: int
    accounts: list[AccountDocument]
    lists: list[ListDocument]
    syncs: list[SyncView]


class Changes:
    """Compares the store with what was told of it, reading only when something was written."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._version: int | None = None
        self._lists: dict[int, ListDocument] = {}
        self._syncs: dict[int, SyncView] = {}

    async def take(self) -> tuple[list[ListDocument], list[SyncView]]:
        """Return the lists and syncs to tell of now, at most 100 of each, of the oldest 2,000 and the newest 50."""
        version = await self._reader.version()
        if version == self._version:
            return [], []
        segments = await self._reader.segments(limit=_MOST_LISTS)
        syncs = await self._reader.syncs(limit=_MOST_SYNCS)
        lists, more_lists = _take(self._lists, [list_document(segment) for segment in segments])
        told_syncs, more_syncs = _take(self._syncs, syncs)
        self._version = None if more_lists or more_syncs else version
        self._syncs = {sync.id: self._syncs[sync.id] for sync in syncs if sync.id in self._syncs}
        return lists, told_syncs


def _take(told: dict[int, Thing], things: list[Thing]) -> tuple[list[Thing], bool]:
    """Return the things that were not told as they are, noting them as told, and whether there are more."""
    changed = [thing for thing in things if told.get(thing.id) != thing]
    for thing in changed[:_MOST_TOLD]:
        told[thing.id] = thing
    return changed[:_MOST_TOLD], len(changed) > _MOST_TOLD
