"""A segment without a list gets one: found, adopted because a person allows it, or created (R10).

If the answer to a creation is lost, the list that has the name afterwards is believed to be the one asked for only on
evidence: it was not there right before, it is exactly as it was asked for, nobody is on it, and the call was minutes ago.
"""

from collections.abc import Callable

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.deliver.lists.names import ListName
from service.deliver.lists.naming import ListNamer
from service.deliver.lists.questions import CordialLists, Directory, FoundList, Missing, NoAnswer, Refused
from service.deliver.lists.records import ListRecords
from service.deliver.lists.timings import Timings
from service.model import lists as words
from service.model.lists import HeldFor, ListState, Segment
from service.store.port import Lists

log = structlog.get_logger()

_NO_ATTRIBUTES = "the answer does not contain the contact attributes"


class ListCreator:
    """Finds or creates the lists of one account.

    Its methods return in how many seconds to try again, 0 where the segment has its list.
    """

    def __init__(
        self,
        settings: AccountSettings,
        store: Lists,
        records: ListRecords,
        cordial: CordialLists,
        namer: ListNamer,
        *,
        look_again: Callable[[int, float], None],
        now_ms: Callable[[], int],
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._store = store
        self._records = records
        self._cordial = cordial
        self._namer = namer
        # Looks at a list again after so many seconds.
        self._look_again = look_again
        self._now_ms = now_ms
        self._timings = timings

    async def resolve(self, segment: Segment) -> float:
        """Get a list for the segment, or record what it waits for. Raises `StoreUnavailableError`."""
        if self._records.is_approval_awaited(segment):
            self._records.to_recreate.discard(segment.id)
            await self._records.hold(segment, HeldFor.AWAITING_APPROVAL, words.awaits_approval())
            return self._timings.retry
        held = self._records.held_for(HeldFor.OTHER_CORDIAL)
        if held and segment.id not in self._records.to_recreate:
            await self._records.wait_with(segment, words.waits_for_account(held[0].list_name))
            return self._timings.retry
        wanted = await self._wanted_name(segment)
        directory = await self._cordial.all() if wanted is not None else NoAnswer(_NO_ATTRIBUTES)
        if wanted is None or isinstance(directory, NoAnswer):
            said = directory.words if isinstance(directory, NoAnswer) else _NO_ATTRIBUTES
            await self._records.explain([segment.id], said)
            return self._timings.soon
        return await self._find_or_create(segment, wanted, directory)

    async def _find_or_create(self, segment: Segment, wanted: ListName, directory: Directory) -> float:
        if segment.list_asked_at_ms and wanted.name.lower() == segment.list_name.lower():
            existing = directory.named(segment.list_name)
            if existing is not None:
                return await self._judge_doubt(segment, existing, wanted)
        existing = directory.named(wanted.name)
        if existing is not None:
            return await self._take_existing(segment, existing, wanted)
        if self._settings.dry_run:
            await self._records.wait_with(segment, words.would_create(wanted.note), name=wanted.name)
            return self._timings.retry
        return await self._create(segment, wanted, directory)

    async def _wanted_name(self, segment: Segment) -> ListName | None:
        if segment.list_asked_at_ms and segment.heap_id not in self._settings.list_names:
            return ListName(segment.list_name)
        # Created again under the name that campaigns use, even if the segment has another name now.
        keeps_name = (
            segment.id in self._records.to_recreate
            and segment.list_name
            and segment.heap_id not in self._settings.list_names
            and not await self._store.list_name_taken(segment.id, segment.list_name)
        )
        return ListName(segment.list_name) if keeps_name else await self._namer.choose(segment)

    async def _create(self, segment: Segment, wanted: ListName, directory: Directory) -> float:
        was_in_doubt = bool(segment.list_asked_at_ms)
        creating = await self._records.save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.CREATING,
                list_held_for=None,
                list_name=wanted.name,
                list_reason=wanted.note,
                list_named_after=segment.name,
                list_ids_before=msgspec.json.encode(list(directory.lists)).decode(),
                list_asked_at_ms=self._now_ms(),
            )
        )
        created = await self._cordial.create(wanted.name)
        if isinstance(created, str) and created not in {each.list_id for each in self._records.segments.values()}:
            await self._records.set_ready(creating, wanted.name, created, wanted.note)
            log.info("list.created", account=segment.account, segment=segment.name, list=wanted.name, list_id=created)
            return 0.0
        if not isinstance(created, Refused):
            await self._records.explain(
                [segment.id], created.words if isinstance(created, NoAnswer) else "an id that is known"
            )
            return self._timings.soon
        if not was_in_doubt:
            # Cordial refused, so a list with this name belongs to somebody else.
            creating = await self._records.end_doubt(creating)
        existing = await self._cordial.named(wanted.name)
        if isinstance(existing, NoAnswer):
            await self._records.explain([segment.id], existing.words)
            return self._timings.soon
        if existing is None:
            await self._records.hold(
                segment, HeldFor.NAME_REFUSED, words.name_refused(segment, wanted.name, created.words)
            )
            return self._timings.retry
        if was_in_doubt:
            return await self._judge_doubt(creating, existing, wanted)
        return await self._take_existing(creating, existing, wanted)

    async def _judge_doubt(self, segment: Segment, existing: FoundList, wanted: ListName) -> float:
        """Decide whether a list is the one whose creation got no answer."""
        if self._owner(existing) or self._own(existing, segment):
            return await self._take_existing(segment, existing, wanted)
        is_approved = not segment.list_ids_before
        is_ours = is_approved or await self._is_newly_made(segment, existing)
        if is_ours is None:
            return self._timings.soon
        if is_ours:
            taken_by = await self._records.take(segment, existing, wanted.note)
            if not taken_by:
                event = "list.adopted" if is_approved else "list.found"
                log.info(event, account=segment.account, segment=segment.name, list=existing.name, list_id=existing.id)
                return 0.0
        if not self._records.segments[segment.id].list_ids_before:
            # Approved meanwhile.
            return 0.0
        reason = words.creation_in_doubt(existing.name, existing.id)
        await self._records.save(
            msgspec.structs.replace(
                segment, list_state=ListState.HELD, list_held_for=HeldFor.CREATION_IN_DOUBT, list_reason=reason
            )
        )
        return self._timings.retry

    async def _is_newly_made(self, segment: Segment, existing: FoundList) -> bool | None:
        """Tell whether all evidence says that our call made the list; None while Cordial gives no answer."""
        is_contested = any(
            other.list_asked_at_ms and other.list_name.lower() == segment.list_name.lower()
            for other in self._records.of_other_accounts
        )
        is_late = self._now_ms() - segment.list_asked_at_ms > self._timings.doubt * 1000
        was_there = existing.id in msgspec.json.decode(segment.list_ids_before, type=list[str])
        as_asked = existing.name == segment.list_name and existing.enhanced
        if is_contested or is_late or was_there or not as_asked:
            return False
        counted = await self._cordial.count(existing.id)
        if isinstance(counted, NoAnswer):
            return None
        return not isinstance(counted, Missing) and counted.number == 0

    async def _take_existing(self, segment: Segment, existing: FoundList, wanted: ListName) -> float:
        """Adopt a list that this service did not create, if the configuration allows it; otherwise hold the segment."""
        await self._records.read()
        if own := self._own(existing, segment):
            # Renamed in Cordial to the name that this segment wants: seen first, then another name is chosen.
            for each in own:
                self._look_again(each.id, 0.0)
            if segment.list_asked_at_ms:
                # What was asked for under that name was never made, or has another name by now.
                await self._records.end_doubt(segment)
            await self._records.explain([segment.id], f"the list {existing.name} is another segment's")
            return self._timings.soon
        self._records.to_recreate.discard(segment.id)
        owner = self._owner(existing, or_asked_for=True)
        if self._settings.adopt_existing_lists and not owner:
            if self._settings.dry_run:
                await self._records.wait_with(segment, words.would_adopt(existing.name), name=existing.name)
                return self._timings.retry
            owner = await self._records.take(segment, existing, wanted.note)
            if not owner:
                log.info(
                    "list.adopted",
                    account=segment.account,
                    segment=segment.name,
                    list=existing.name,
                    list_id=existing.id,
                )
                return 0.0
        await self._records.hold(segment, HeldFor.NOT_OURS, words.not_ours(segment, existing.name, owner))
        return self._timings.retry

    def _own(self, existing: FoundList, segment: Segment) -> list[Segment]:
        """Return the other segments of this account whose list it is."""
        return [
            each for each in self._records.segments.values() if each.list_id == existing.id and each.id != segment.id
        ]

    def _owner(self, existing: FoundList, *, or_asked_for: bool = False) -> str:
        """Return the other account of this service whose segment has the list, or asked for one of the name; else empty."""
        owners = (
            each.account
            for each in self._records.of_other_accounts
            if each.list_name.lower() == existing.name.lower()
            and (each.list_id == existing.id or (or_asked_for and each.list_state is ListState.CREATING))
        )
        return next(owners, "")
