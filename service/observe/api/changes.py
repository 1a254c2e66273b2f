"""What has changed since it was last told: the lists, syncs and imports that are not as they were."""

from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from service.model.imports import ImportView
from service.observe.api.documents import (
    AccountDocument,
    ListDocument,
    SyncDocument,
    list_document,
    sync_document,
)
from service.observe.api.sending import Sending
from service.store.port import Reading

_MAX_LISTS = 2_000
_MAX_SYNCS = 50
_MAX_IMPORTS = 20
# A bound for one event; what is left comes with the next.
_MAX_TOLD = 100

Thing = TypeVar("Thing", ListDocument, SyncDocument, ImportView)


class Changed(NamedTuple):
    """The things that are not as they were told."""

    lists: list[ListDocument]
    syncs: list[SyncDocument]
    imports: list[ImportView]


class Progress(msgspec.Struct, frozen=True):
    """What is going on: all accounts, how much is to be sent (`backlog`), and what changed of lists, syncs, imports.

    Each replaces the one of its id.
    """

    at: datetime
    backlog: int
    accounts: list[AccountDocument]
    lists: list[ListDocument]
    syncs: list[SyncDocument]
    imports: list[ImportView]


class Changes:
    """Compares the store with what was told of it, reading only when something was written."""

    def __init__(self, reader: Reading, sending: Sending) -> None:
        self._reader = reader
        self._sending = sending
        self._seen: object = None
        self._lists: dict[int, ListDocument] = {}
        self._syncs: dict[int, SyncDocument] = {}
        self._imports: dict[int, ImportView] = {}

    async def take(self, most: int | None = _MAX_TOLD) -> Changed:
        """Return what to tell of now, at most `most` of each, of the oldest 2,000 lists, the newest 50 syncs and 20 imports."""
        statuses = self._sending.imports_statuses()
        # How a list travels is not written into the store at the same moment as the import.
        seen = await self._reader.version(), statuses
        if seen == self._seen:
            return Changed([], [], [])
        segments = await self._reader.segments(limit=_MAX_LISTS)
        syncs = await self._reader.syncs(limit=_MAX_SYNCS)
        imports = await self._reader.imports(limit=_MAX_IMPORTS)
        lists, more_lists = _take(self._lists, [list_document(segment, statuses) for segment in segments], most)
        told_syncs, more_syncs = _take(self._syncs, [sync_document(sync, statuses) for sync in syncs], most)
        told_imports, _ = _take(self._imports, imports, most)
        self._seen = None if more_lists or more_syncs else seen
        self._syncs = {sync.id: self._syncs[sync.id] for sync in syncs if sync.id in self._syncs}
        self._imports = {each.id: each for each in imports}
        return Changed(lists, told_syncs, told_imports)


def _take(told: dict[int, Thing], things: list[Thing], most: int | None) -> tuple[list[Thing], bool]:
    """Return the things that were not told as they are, noting them as told, and whether there are more."""
    changed = [thing for thing in things if told.get(thing.id) != thing]
    for thing in changed[:most]:
        told[thing.id] = thing
    return changed[:most], len(changed[:most]) < len(changed)
