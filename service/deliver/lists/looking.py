"""Looking at lists whose ids are known: ids and names are read together, and the service follows what people changed.

A name proves nothing: people rename lists, delete them, and make others of the same name (R10).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import msgspec
import structlog

from service.deliver.lists.home import CordialHome
from service.deliver.lists.questions import CordialLists, Directory, FoundList, Missing, NoAnswer
from service.deliver.lists.records import ListRecords
from service.deliver.lists.seen_names import SeenNames
from service.deliver.lists.timings import Timings
from service.errors import StoreUnavailableError
from service.model import lists as words
from service.model.lists import HeldFor, ListState, Segment
from service.store.port import Lists

log = structlog.get_logger()

# For longer than that, no call that was given a list's name is under way.
_CALL_SECONDS = 600.0


class ListLooker:
    """Looks at all lists of one account, and records what became of them."""

    def __init__(
        self,
        name: str,
        store: Lists,
        records: ListRecords,
        cordial: CordialLists,
        *,
        names: SeenNames,
        home: CordialHome,
        flush: Callable[[], Awaitable[None]],
        look_again: Callable[[int, float], None],
        timings: Timings,
    ) -> None:
        self._name = name
        self._store = store
        self._records = records
        self._cordial = cordial
        self._names = names
        self._home = home
        # Returns once the results of all calls answered so far are durable.
        self._flush = flush
        # Looks at a list again after so many seconds.
        self._look_again = look_again
        self._timings = timings
        # The names under which Cordial did not know a list.
        self._unknown: dict[int, str] = {}

    def note_unknown(self, segment_id: int, name: str) -> None:
        """Note that Cordial does not know the segment's list by this name."""
        log.warning("list.unknown_to_cordial", account=self._name, segment=segment_id)
        self._unknown[segment_id] = name

    async def look(self, due: Collection[int]) -> None:
        """Read ids and names of the account's lists together, and follow what people changed."""
        started_at, distrusted = asyncio.get_running_loop().time(), self._names.distrusted
        try:
            key = self._home.key()
        except (OSError, LookupError):
            # The line says so, and pauses the account.
            key = ""
        directory = await self._cordial.all()
        if isinstance(directory, NoAnswer):
            await self._records.explain(due, directory.words)
            return
        ours = [each for each in self._records.segments.values() if each.list_id]
        elsewhere = await self._home.elsewhere(directory, ours, self._home.of(key))
        if elsewhere is None:
            return
        seen = await self._find_each(directory, [each for each in ours if each.id not in elsewhere], due)
        if distrusted != self._names.distrusted or not key:
            return
        self._home.see(key)
        self._names.seen_at = started_at
        for segment_id in elsewhere:
            await self._hold_elsewhere(self._records.segments[segment_id])
        for segment in ours:
            if segment.id not in elsewhere and segment.list_home != self._home.here:
                await self._records.save(
                    msgspec.structs.replace(self._records.segments[segment.id], list_home=self._home.here)
                )
        await self._follow(seen, directory, distrusted)

    async def _find_each(
        self, directory: Directory, segments: Iterable[Segment], due: Collection[int]
    ) -> dict[int, FoundList | Missing]:
        seen: dict[int, FoundList | Missing] = {}
        for segment in segments:
            found: FoundList | Missing | NoAnswer | None = directory.lists.get(segment.list_id)
            is_attended = segment.id in due or segment.id in self._names
            if found is None and is_attended:
                # The answer with all lists may be cut short. Only a question for the id proves that the list is gone.
                found = await self._cordial.by_id(segment.list_id)
            if found is None or isinstance(found, NoAnswer):
                self._names.forget(segment.id)
            elif is_attended or segment.list_state is ListState.READY:
                seen[segment.id] = found
        return seen

    async def _follow(self, seen: Mapping[int, FoundList | Missing], directory: Directory, distrusted: int) -> None:
        """Record what was seen, as long as nothing speaks against it."""
        names = {segment_id: found.name for segment_id, found in seen.items() if isinstance(found, FoundList)}
        # Before the first await: nobody may write by a name that another list has now.
        for segment_id in seen:
            if names.get(segment_id) != self._records.segments[segment_id].list_name:
                self._names.lose(segment_id)
        conflicts = self._conflicts(names, directory)
        for segment_id, found in seen.items():
            if distrusted != self._names.distrusted:
                return
            try:
                await self._follow_one(
                    self._records.segments[segment_id], found, directory, conflicts.get(segment_id, "")
                )
            except StoreUnavailableError:
                raise
            except Exception:
                # The other lists go on.
                log.exception("list.look_failed", account=self._name, segment=segment_id)
                self._names.forget(segment_id)
                self._look_again(segment_id, self._timings.retry)

    async def _follow_one(
        self, segment: Segment, found: FoundList | Missing, directory: Directory, conflict: str
    ) -> None:
        """Record what was seen of a list; `conflict` is the name of another list that its name equals."""
        if isinstance(found, Missing):
            await self._follow_deletion(segment, directory)
            return
        lost_name = self._unknown.pop(segment.id, "")
        await self._follow_rename(segment, found, directory)
        if conflict:
            reason = words.name_conflict(found.name, conflict)
            await self._records.hold(segment, HeldFor.NAME_CONFLICT, reason, name=found.name, keep=True)
        elif lost_name == found.name:
            # If it went on at once, Cordial would refuse it again and again.
            reason = words.not_accepted(found.name)
            await self._records.hold(segment, HeldFor.NOT_ACCEPTED, reason, name=found.name, keep=True)
        else:
            is_known = segment.list_state is ListState.READY and segment.list_name == found.name
            await self._records.set_ready(segment, found.name, segment.list_id, segment.list_reason if is_known else "")
        self._records.to_recreate.discard(segment.id)
        self._names.settle(segment.id)

    def _conflicts(self, names: Mapping[int, str], directory: Directory) -> dict[int, str]:
        """Return which lists share a name with another list, letter case aside, and that name; of two, the one renamed last."""
        there = {
            each.id: directory.lists[each.list_id].name
            for each in self._records.segments.values()
            if each.list_id in directory.lists
        }
        known = {**there, **names}
        renamed_last = sorted(known, key=lambda each: (known[each] != self._records.segments[each].list_name, each))
        owners: dict[str, int] = {}
        found: dict[int, str] = {}
        for segment_id in renamed_last:
            first = owners.setdefault(known[segment_id].lower(), segment_id)
            if first != segment_id and segment_id in names:
                found[segment_id] = known[first]
        return found

    async def _follow_rename(self, segment: Segment, found: FoundList, directory: Directory) -> None:
        if found.name == segment.list_name:
            return
        log.info(
            "list.renamed_in_cordial",
            account=segment.account,
            segment=segment.name,
            before=segment.list_name,
            list=found.name,
        )
        other = next((each for each in directory.lists.values() if each.name == segment.list_name), None)
        if other is not None and other.id != segment.list_id and self._names.was_given_out(segment.id):
            # What was sent by the old name since the last look may be on the other list now.
            await self._flush()
            repeated = 0
            for each in self._records.segments.values():
                if each.list_id == other.id:
                    repeated += await self._store.take_back(segment.id, each.id, self._timings.trust + _CALL_SECONDS)
            repeated += await self._store.repeat_members(segment.id)
            log.warning(
                "list.name_passed_on",
                account=segment.account,
                segment=segment.name,
                list=found.name,
                name=segment.list_name,
                other_list_id=other.id,
                repeated=repeated,
            )

    async def _follow_deletion(self, segment: Segment, directory: Directory) -> None:
        if segment.id in self._records.to_recreate:
            await self._records.forget_list(segment)
            return
        made_again = directory.named(segment.list_name) is not None
        reason = words.deleted(segment.list_name, made_again=made_again)
        await self._records.hold(segment, HeldFor.DELETED, reason, name=segment.list_name, keep=True)

    async def _hold_elsewhere(self, segment: Segment) -> None:
        if segment.id in self._records.to_recreate:
            await self._records.forget_list(segment)
        else:
            await self._records.hold_elsewhere(segment)
