"""The records of an account's lists: every step of a list from one state to another is written here.

`service/model/lists.py` has the states and the steps between them; whoever decides one is beside this file.
"""

from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.deliver.lists.home import CordialHome, url_of
from service.deliver.lists.questions import FoundList
from service.deliver.lists.seen_names import SeenNames
from service.errors import ErrorCode, ServiceError
from service.model import lists as words
from service.model.lists import LIST_TRANSITIONS, HeldFor, ListState, Segment
from service.store.port import Lists

log = structlog.get_logger()


class ListRecords:
    """The segments of one account as the store has them."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Lists,
        names: SeenNames,
        home: CordialHome,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._names = names
        self._home = home
        # Returns once the results of all calls answered so far are durable.
        self._flush = flush
        self.segments: dict[int, Segment] = {}
        self.of_other_accounts: list[Segment] = []
        # A person asked for these lists: they are created again if Cordial no longer has them.
        self.to_recreate: set[int] = set()
        # The store knows them too, but a copy of a segment may be older.
        self._approved: set[int] = set()

    async def read(self) -> None:
        """Read all segments anew. Raises `StoreUnavailableError`."""
        segments = await self._store.segments()
        self.segments = {each.id: each for each in segments if each.account == self._settings.name}
        self.of_other_accounts = [each for each in segments if each.account != self._settings.name]

    async def find(self, segment_id: int) -> Segment:
        """Return a segment as it stands. Raises `ServiceError` NOT_FOUND."""
        await self.read()
        if segment_id not in self.segments:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        return self.segments[segment_id]

    def held_for(self, held_for: HeldFor) -> list[Segment]:
        """Return the segments that are held for this."""
        return [each for each in self.segments.values() if each.list_held_for is held_for]

    def is_approval_awaited(self, segment: Segment) -> bool:
        """Tell whether nothing may be sent for a segment because it is new: its list was never named."""
        return self._settings.hold_new_segments and not segment.list_named_after and segment.id not in self._approved

    async def approve(self, segment_id: int, approved: Iterable[Segment], actor: str) -> None:
        """Record what lists are after a person approved one of them."""
        approved = list(approved)
        await self._store.approve_lists(segment_id, approved, actor)
        self._approved.add(segment_id)
        self.segments |= {each.id: each for each in approved}

    async def set_ready(self, segment: Segment, name: str, list_id: str, reason: str) -> None:
        """Record that a segment's list has this id and name, and write to it; `reason` is why it has that name."""
        if list_id != segment.list_id:
            await self._repeat_on_another_list(segment)
        await self.save(_ready(segment, name, list_id, reason, self._home.here))
        self._note_ready(segment.id, name)

    async def take(self, segment: Segment, existing: FoundList, note: str) -> str:
        """Adopt a list; return the account that has it already, empty if none does."""
        ready = _ready(segment, existing.name, existing.id, note, self._home.here)
        await self._repeat_on_another_list(segment)
        owner = await self._store.take_list(ready)
        if owner is None:
            self.segments[segment.id] = ready
            self._note_ready(segment.id, existing.name)
        return owner or ""

    async def _repeat_on_another_list(self, segment: Segment) -> None:
        """Have everybody sent again who was confirmed on the list that the segment had before, if it had one."""
        if segment.settled or self._names.was_given_out(segment.id):
            # What Cordial confirmed and is not written down yet was about that list, too.
            await self._flush()
            await self._store.repeat_members(segment.id)

    def _note_ready(self, segment_id: int, name: str) -> None:
        self._names.see(segment_id, name)
        self.to_recreate.discard(segment_id)

    async def hold(
        self, segment: Segment, held_for: HeldFor, reason: str, *, name: str = "", keep: bool = False
    ) -> None:
        """Hold a segment; with `keep`, the list stays its own."""
        self._names.forget(segment.id)
        named_after = segment.list_named_after
        if held_for is not HeldFor.AWAITING_APPROVAL and (name != segment.list_name or not named_after):
            named_after = segment.name
        await self.save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.HELD,
                list_held_for=held_for,
                list_name=name,
                list_id=segment.list_id if keep else "",
                list_home=self._home.here if keep else "",
                list_reason=reason,
                list_named_after=named_after,
                list_ids_before="",
                list_asked_at_ms=0,
            )
        )

    async def hold_elsewhere(self, segment: Segment) -> None:
        """Hold a segment whose list seems to be in another Cordial account."""
        reason = words.other_cordial(segment.list_name, url_of(segment.list_home), self._settings.cordial_base_url)
        held = msgspec.structs.replace(
            segment, list_state=ListState.HELD, list_held_for=HeldFor.OTHER_CORDIAL, list_reason=reason
        )
        self._names.forget(segment.id)
        await self.save(held)

    async def forget_list(self, segment: Segment) -> None:
        """Forget the segment's list, so that another one is created: it is gone, or in another Cordial account."""
        self._names.forget(segment.id)
        await self.save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.UNRESOLVED,
                list_held_for=None,
                list_id="",
                list_home="",
                list_reason=words.is_looked_for(),
            )
        )

    async def wait_with(self, segment: Segment, reason: str, *, name: str | None = None) -> None:
        """Record why a segment has no list yet; what is in doubt stays in doubt."""
        state = ListState.CREATING if segment.list_asked_at_ms else ListState.UNRESOLVED
        await self.save(
            msgspec.structs.replace(
                segment,
                list_state=state,
                list_held_for=None,
                list_name=segment.list_name if name is None or segment.list_asked_at_ms else name,
                list_reason=reason,
                list_named_after=segment.list_named_after if name is None else segment.name,
            )
        )

    async def end_doubt(self, segment: Segment) -> Segment:
        """Record that nothing comes any more of the creation that Cordial was asked for."""
        return await self.save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.UNRESOLVED,
                list_held_for=None,
                list_ids_before="",
                list_asked_at_ms=0,
            )
        )

    async def explain(self, segment_ids: Iterable[int], said: str) -> None:
        """Record for segments without a list that Cordial gives no answer."""
        for segment_id in segment_ids:
            segment = self.segments.get(segment_id)
            if segment is not None and segment.list_state in {ListState.UNRESOLVED, ListState.CREATING}:
                await self.save(msgspec.structs.replace(segment, list_reason=words.no_answer(said)))

    async def save(self, segment: Segment) -> Segment:
        """Record what a segment says of its list, if that is news.

        Raises `RuntimeError` for a step that `LIST_TRANSITIONS` does not have: a fault of the program.
        """
        known = self.segments.get(segment.id)
        step = (known.standing, segment.standing) if known is not None else None
        if step is not None and step[0] != step[1] and step not in LIST_TRANSITIONS:
            raise RuntimeError(f"no list may go from {step[0]} to {step[1]}")
        if known is None or _list_part(segment) != _list_part(known):
            await self._store.set_list(segment)
            self.segments[segment.id] = segment
            is_told = known is not None and _told(segment) == _told(known)
            if segment.list_held_for is not None and not is_told:
                log.warning(
                    "list.held",
                    account=segment.account,
                    segment=segment.name,
                    held_for=segment.list_held_for.value,
                    reason=segment.list_reason,
                )
        return segment


def _ready(segment: Segment, name: str, list_id: str, reason: str, home: str) -> Segment:
    return msgspec.structs.replace(
        segment,
        list_state=ListState.READY,
        list_held_for=None,
        list_name=name,
        list_id=list_id,
        list_home=home,
        list_reason=reason,
        # A name of its own, or one given in Cordial, is what the segment is called by from here on.
        list_named_after=segment.list_named_after if name == segment.list_name else segment.name,
        list_ids_before="",
        list_asked_at_ms=0,
    )


def _list_part(segment: Segment) -> list[object]:
    fields = msgspec.structs.asdict(segment)
    return [value for name, value in fields.items() if name.startswith("list_") and name != "list_count"]


def _told(segment: Segment) -> tuple[object, ...]:
    return segment.list_held_for, segment.list_reason
