"""Looking for the rows of a file that Cordial refused without naming them, when there is nothing else to send.

The file has taken effect, and all of its contacts count as settled but for so many whom nobody can name yet. First those
that look likely are sent again by calls, which give a refusal its name. Then a range is halved by a smaller file, whose
job says how many of the refused are in that half. A range of few contacts is called. Whenever Cordial's count of the list
is as high as it must be, nobody is left to be found.
"""

from collections.abc import Sequence

import structlog

from service.config.settings import AccountSettings
from service.deliver.imports.suspects import Suspects
from service.deliver.lists.keeper import ListKeeper
from service.deliver.lists.questions import Counted
from service.model.imports import ImportPart, Unnamed
from service.store.port import Lists, UnnamedRanges

log = structlog.get_logger()

# Calls to likely contacts for each refused one, and at least and at most in all.
_SUSPECTS_FOR_EACH = 10
_MIN_SUSPECTS, _MAX_SUSPECTS = 20, 1_000
# A file costs about four calls and halves a range: so few contacts are called instead, and so many of which one in eight is
# refused.
_FEW_CONTACTS = 16
_DENSE = 8
_MAX_TRIES = 3
_STEP = 10_000
# What about a second of calls takes is sent again at once, and more once that is done: a change that comes meanwhile waits for
# no longer.
_MIN_AT_ONCE, _AT_ONCE_WHERE_RATE_IS_FOUND = 20, 100
_PREFIX = "email:"
_WAIT_SECONDS = 1.0
_SHORT_WAIT_SECONDS = 0.25


class Searcher:
    """Looks for the refused rows of one account's files."""

    def __init__(self, settings: AccountSettings, store: UnnamedRanges, segments: Lists, lists: ListKeeper) -> None:
        self._name = settings.name
        # Others may be on a list that was taken over.
        self._is_count_a_proof = not settings.adopt_existing_lists
        rate = settings.requests_per_second
        self._at_once = _AT_ONCE_WHERE_RATE_IS_FOUND if rate == "auto" else max(_MIN_AT_ONCE, int(rate))
        self._store = store
        self._segments = segments
        self._lists = lists
        # Ranges whose lists were counted since their likely contacts were called.
        self._counted: set[int] = set()
        # The likely contacts of the range that is searched, those that are still to be called.
        self._suspects: tuple[int, list[str]] = (0, [])

    async def is_needed(self) -> bool:
        """Tell whether anybody is to be found."""
        return bool(await self._store.ranges(self._name))

    async def keep(self, part: ImportPart, refused: int) -> None:
        """Note that so many rows of a part that took effect are to be looked for; the part settles."""
        await self._store.keep(self._name, part, part.contacts, refused)

    async def step(self, *, may_use_files: bool, waits_for_files: bool) -> float:
        """Take the next step, if anybody is to be found; return how many seconds to wait for the one after it.

        `waits_for_files`: no file can be sent now, but again later.
        """
        ranges = await self._store.ranges(self._name)
        found = next((each for each in ranges if self._store.is_quiet(self._name, each.segment_ids)), None)
        if found is None:
            return _SHORT_WAIT_SECONDS if ranges else _WAIT_SECONDS
        if self._is_count_a_proof and found.id not in self._counted:
            self._counted.add(found.id)
            if await self._is_everybody_there(found.segment_ids):
                log.info("import.all_named", account=self._name)
                await self._store.drop(self._name, found)
                return 0.0
        if not found.searched:
            if await self._call_suspects(found):
                self._counted.discard(found.id)
            return 0.0
        is_called = bool(found.called_to) or found.contacts <= _FEW_CONTACTS or found.refused * _DENSE >= found.contacts
        if is_called or found.tries >= _MAX_TRIES or not (may_use_files or waits_for_files):
            await self._call_some(found)
        elif not may_use_files:
            return _WAIT_SECONDS
        else:
            middle = await self._store.middle(self._name, found)
            if middle:
                await self._store.begin_halving(self._name, found, middle)
            else:
                await self._call_some(found)
        return 0.0

    async def halve(self, range_id: int, part: ImportPart, refused: int) -> bool:
        """Divide a range by what a file with half of it showed; return False where there is no such range any more."""
        for found in await self._store.ranges(self._name):
            if found.id == range_id:
                await self._store.halve(self._name, found, part, min(refused, found.refused))
                return True
        return False

    async def _call_suspects(self, found: Unnamed) -> bool:
        """Send the next likely contacts of a range again; return whether these are the last."""
        if self._suspects[0] != found.id:
            self._suspects = (found.id, await self._find_suspects(found))
        some, left = self._suspects[1][: self._at_once], self._suspects[1][self._at_once :]
        await self._store.call_likely(self._name, found, some, is_last=not left)
        self._suspects = (found.id, left)
        return not left

    async def _find_suspects(self, found: Unnamed) -> list[str]:
        suspects = Suspects(min(_MAX_SUSPECTS, max(_MIN_SUSPECTS, _SUSPECTS_FOR_EACH * found.refused)))
        for take in (suspects.learn, suspects.show):
            after = ""
            while contacts := await self._store.members(self._name, found, after, _STEP):
                take([contact.removeprefix(_PREFIX) for contact in contacts])
                after = contacts[-1]
        likely = [f"{_PREFIX}{address}" for address in suspects.found]
        log.info(
            "import.searching", account=self._name, refused=found.refused, contacts=found.contacts, calls=len(likely)
        )
        return likely

    async def _call_some(self, found: Unnamed) -> None:
        """Send the next contacts of a range again; with none left, all of them have an answer of their own."""
        contacts = await self._store.members(self._name, found, found.called_to, self._at_once)
        await self._store.call(self._name, found, contacts)

    async def _is_everybody_there(self, segment_ids: Sequence[int]) -> bool:
        """Tell whether Cordial counts as many on each list as are settled, and so nobody is refused who has no name."""
        segments = {segment.id: segment for segment in await self._segments.segments()}
        for segment_id in segment_ids:
            segment = segments.get(segment_id)
            if segment is None or not segment.list_id:
                return False
            counted = await self._lists.cordial.count(segment.list_id)
            if not isinstance(counted, Counted) or counted.number < segment.settled:
                return False
        return self._store.is_quiet(self._name, segment_ids)
