"""Lists follow the segments that Heap renames, if the account wants it so; their members stay (R10)."""

from collections.abc import Callable

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.deliver.lists.naming import ListNamer
from service.deliver.lists.questions import CordialLists, NoAnswer
from service.deliver.lists.records import ListRecords
from service.deliver.lists.seen_names import SeenNames
from service.errors import StoreUnavailableError
from service.model import lists as words
from service.model.lists import ListState, Segment

log = structlog.get_logger()


class ListRenamer:
    """Renames the lists of one account in Cordial."""

    def __init__(
        self,
        settings: AccountSettings,
        records: ListRecords,
        cordial: CordialLists,
        namer: ListNamer,
        *,
        names: SeenNames,
        look_at: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._records = records
        self._cordial = cordial
        self._namer = namer
        self._names = names
        # Looks at a list again before the next write.
        self._look_at = look_at

    async def renamed(self) -> list[int]:
        """Return the segments whose lists must be renamed, none while the store cannot be read."""
        if self._settings.on_segment_rename != "rename" or self._settings.dry_run:
            return []
        try:
            await self._records.read()
        except StoreUnavailableError:
            return []
        return [
            each.id
            for each in self._records.segments.values()
            if each.list_state is ListState.READY and each.name != each.list_named_after
        ]

    async def follow(self, segment_ids: list[int]) -> None:
        """Rename the lists of these segments that were seen lately."""
        for segment_id in segment_ids:
            if segment_id in self._names.current():
                segment = self._records.segments[segment_id]
                try:
                    await self._rename(segment)
                except StoreUnavailableError:
                    self._look_at(segment.id)
                except Exception:
                    # The other segments go on.
                    log.exception("list.rename_failed", account=self._settings.name, segment=segment.id)
                    self._look_at(segment.id)

    async def _rename(self, segment: Segment) -> None:
        wanted = await self._namer.choose(segment)
        if wanted is None or wanted.name == segment.list_name:
            return
        refused = await self._cordial.rename(segment.list_id, wanted.name)
        if isinstance(refused, NoAnswer):
            # It may have another name now.
            self._look_at(segment.id)
            return
        if refused is None:
            log.info("list.renamed", account=segment.account, segment=segment.name, list=wanted.name)
        name, reason = (
            (wanted.name, wanted.note)
            if refused is None
            else (segment.list_name, words.rename_refused(wanted.name, refused.words))
        )
        renamed = msgspec.structs.replace(segment, list_named_after=segment.name)
        await self._records.set_ready(renamed, name, segment.list_id, reason)
