"""The lists of an account's segments (R10): found or created once, then known by the id that Cordial gave to them.

    unresolved ──name free──▶ creating ──id received──▶ ready ◀──▶ held
        │  └──name taken, and the configuration allows it──▶ │
        └──name taken, or refused──▶ held

Ours is a list whose id Cordial gave to our own creation, or that was taken over on a person's word. A name proves nothing:
people rename lists, delete them and make others of the same name. So before contacts are written by a list's name, id and
name are seen together: after a start, a pause, a refusal of the name, a count, another API key, and every ten minutes.

If the answer to a creation is lost, the list that has the name afterwards is believed to be the one asked for only on
evidence: it was not there right before, it is exactly as it was asked for, nobody is on it, and the call was minutes ago.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping

import msgspec
import structlog

from service import supervision
from service.config.secrets import CachedSecret
from service.config.settings import AccountSettings
from service.deliver.line import AccountLine
from service.deliver.lists.names import ListName, ListNamer
from service.deliver.lists.questions import CordialLists, Directory, FoundList, Missing, NoAnswer, Refused
from service.errors import ErrorCode, ServiceError, StoreUnavailableError
from service.model import lists as words
from service.model.lists import LIST_TRANSITIONS, HeldFor, ListState, Segment
from service.store.port import Lists
from service.supervision import Supervisor

log = structlog.get_logger()


class Timings(msgspec.Struct, frozen=True):
    """How long the keeper waits, in seconds.

    `retry`: until a held list is looked at again; `soon`: until Cordial or the store is asked again that gave no answer.
    `follow`: between two looks for segments that Heap has renamed. `trust`: a list in constant use is written to for so long
    after its id and name were seen together; they are seen again after `look_again`. `between_looks`: on average at least,
    whatever begins to be sent, but for the first of a burst. `doubt`: so long after a creation whose answer was lost, a list of the name may be the one asked for.
    """

    retry: float = 60.0
    soon: float = 2.0
    follow: float = 60.0
    trust: float = 600.0
    look_again: float = 480.0
    between_looks: float = 3.0
    doubt: float = 600.0


TIMINGS = Timings()

# Of so many lists the count is compared where it must be told whether this is still the same Cordial account.
_MAX_COMPARED = 5
_KEY_DIGEST_CHARACTERS = 16

_LOOKS_AT_ONCE = 10

_NO_ATTRIBUTES = "it does not say which contact attributes there are"


class ListKeeper:
    """Knows which segments of an account have a list that can be written to, and gets one for those that do not."""

    def __init__(
        self,
        settings: AccountSettings,
        store: Lists,
        line: AccountLine,
        *,
        api_key: CachedSecret,
        on_ready: Callable[[], None],
        flush: Callable[[], Awaitable[None]],
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = store
        self._api_key = api_key
        self._on_ready = on_ready
        # Returns when the results of all calls that were answered so far are durable.
        self._flush = flush
        self._now_ms = now_ms
        self._timings = TIMINGS
        self.cordial = CordialLists(line)
        self._namer = ListNamer(settings, store, self.cordial)
        self._segments: dict[int, Segment] = {}
        self._of_other_accounts: list[Segment] = []
        # What may be written to, by the names seen last.
        self._names: dict[int, str] = {}
        self._kept: Counter[int] = Counter()
        self._seen_at = float("-inf")
        self._looks_paid_until = float("-inf")
        # Grows when what was seen so far is not to be relied on any more.
        self._distrusted = 0
        # The key and the Cordial account that the lists were seen with.
        self._key = ""
        self._here = ""
        self._due: dict[int, float] = {}
        self._lost: dict[int, str] = {}
        self._to_recreate: set[int] = set()
        # The store knows them too, but a copy of a segment may be older.
        self._approved: set[int] = set()
        # Lists whose names were given out since they were last seen: something may have been written by them.
        self._given_out: set[int] = set()
        # Names that lists have no more.
        self._names_lost: Counter[int] = Counter()
        self._follow_at = 0.0
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, supervisor: Supervisor) -> None:
        """Read what is known and begin to resolve what is asked for."""
        await self._read_segments()
        # By the process before this one.
        self._given_out = {each.id for each in self._segments.values() if each.list_id}
        self._task = supervisor.start(f"{self._settings.name} lists", self._run())

    async def stop(self) -> None:
        """End; a list being created is looked for at the next start."""
        await supervision.stop(self._task)

    def ready(self, segment_ids: Collection[int]) -> list[int]:
        """Return which of the segments that owe something can be written, none in a dry run; the others are seen to.

        A list that owes nothing is seen again before the next change of it is written: in between, anything may happen to it.
        """
        for segment_id in self._names.keys() - segment_ids - self._kept.keys():
            del self._names[segment_id]
        return self._usable(segment_ids)

    @contextlib.contextmanager
    def keeping(self, segment_ids: Collection[int]) -> Iterator[None]:
        """Go on knowing these segments' lists until the block ends, though they owe nothing."""
        self._kept.update(segment_ids)
        try:
            yield
        finally:
            self._kept -= Counter(segment_ids)

    def _usable(self, segment_ids: Iterable[int]) -> list[int]:
        found: list[int] = []
        current = self.ready_names()
        for segment_id in segment_ids:
            if segment_id in current:
                found.append(segment_id)
            elif segment_id not in self._due:
                self._due[segment_id] = 0.0
                self._wake.set()
        if self._settings.dry_run:
            return []
        self._given_out.update(found)
        return found

    def ready_names(self) -> Mapping[int, str]:
        """Return the list's name of each segment that can be written."""
        now = asyncio.get_running_loop().time()
        if self._names and (now - self._seen_at > self._timings.trust or self._is_key_new()):
            self.distrust()
        return self._names

    def are_current(self, names: Mapping[int, str]) -> bool:
        """Tell whether these segments' lists may still be written under these names."""
        current = self.ready_names()
        return all(current.get(segment_id) == name for segment_id, name in names.items())

    def names_lost(self, segment_ids: Collection[int]) -> dict[int, int]:
        """Return how often each segment's list has lost a name: what was written by it may be on another list then."""
        return {segment_id: self._names_lost[segment_id] for segment_id in segment_ids}

    async def seen(self, segment_ids: Collection[int]) -> Mapping[int, str]:
        """Return the names of these segments' lists, each seen lately; without those that a person has to decide about.

        Waits for as long as Cordial gives no answer about a list that is known.
        """
        with self.keeping(segment_ids):
            while missing := set(segment_ids) - {*self._usable(segment_ids)}:
                known = [self._segments.get(segment_id) for segment_id in missing]
                is_looked_at = all(each is not None and each.list_id and each.list_held_for is None for each in known)
                if not is_looked_at or self._settings.dry_run:
                    break
                await self._turned.wait()
        current = self.ready_names()
        return {segment_id: current[segment_id] for segment_id in segment_ids if segment_id in current}

    def distrust(self) -> None:
        """Write to no list before it was seen again: time has passed in which anybody may have changed it."""
        self._distrusted += 1
        self._names.clear()

    def retry_held(self) -> None:
        """Look at held lists again now: the operator may have changed something."""
        self._due = dict.fromkeys(self._due, 0.0)
        self._wake.set()

    async def recreate(self, segment_id: int) -> None:
        """Look for a segment's list, and create it anew if Cordial has it no more.

        Raises `ServiceError` NOT_FOUND without such a segment.
        """
        segment = await self._find(segment_id)
        self._to_recreate.add(segment.id)
        self._names.pop(segment_id, None)
        self._due[segment_id] = 0.0
        self.retry_held()

    async def approve(self, segment_id: int, actor: str) -> bool:
        """Record a person's yes to what a segment is held for; return whether it was held for that.

        Raises `ServiceError` NOT_FOUND without such a segment.
        """
        segment = await self._find(segment_id)
        if self._is_approval_awaited(segment):
            approved = [
                msgspec.structs.replace(
                    segment,
                    list_state=ListState.UNRESOLVED,
                    list_held_for=None,
                    list_reason=words.is_looked_for(),
                    list_named_after=segment.name,
                )
            ]
        elif segment.list_held_for is HeldFor.CREATION_IN_DOUBT:
            approved = [msgspec.structs.replace(segment, list_ids_before="")]
        elif segment.list_held_for is HeldFor.OTHER_CORDIAL:
            try:
                here = self._home(self._api_key.get())
            except (OSError, LookupError) as error:
                raise ServiceError(ErrorCode.CONFLICT, f"the Cordial API key cannot be read: {error}") from error
            held = [each for each in self._segments.values() if each.list_held_for is HeldFor.OTHER_CORDIAL]
            approved = [msgspec.structs.replace(each, list_home=here) for each in held]
        else:
            return False
        await self._store.approve_lists(segment_id, approved, actor)
        self._approved.add(segment_id)
        for each in approved:
            self._segments[each.id] = each
            self._due[each.id] = 0.0
        log.info("list.approved", account=segment.account, segment=segment.name, held_for=segment.list_held_for)
        self.retry_held()
        return True

    def lost(self, segment_id: int, name: str) -> None:
        """Note that Cordial does not know the segment's list under this name, or no more."""
        # Calls that were on their way together each say so, the last ones perhaps after the new name was found.
        if self._names.get(segment_id) == name:
            log.warning("list.unknown_to_cordial", account=self._settings.name, segment=segment_id)
            self._lost[segment_id] = name
            self._look_at(segment_id)

    def counted(self, segment_id: int, name: str) -> None:
        """Note the name that a list had when it was counted, empty if it was not found or not named."""
        segment = self._segments.get(segment_id)
        if segment is not None and name != segment.list_name:
            self._look_at(segment_id)

    def _look_at(self, segment_id: int) -> None:
        self._names.pop(segment_id, None)
        self._distrusted += 1
        self._due[segment_id] = 0.0
        self._wake.set()

    async def _find(self, segment_id: int) -> Segment:
        await self._read_segments()
        if segment_id not in self._segments:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        return self._segments[segment_id]

    async def _read_segments(self) -> None:
        segments = await self._store.segments()
        self._segments = {each.id: each for each in segments if each.account == self._settings.name}
        self._of_other_accounts = [each for each in segments if each.account != self._settings.name]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if loop.time() >= self._follow_at:
                self._follow_at = loop.time() + self._timings.follow
                await self._follow_renames()
            await self._attend([segment_id for segment_id, due in self._due.items() if due <= loop.time()])
            self._turned.set()
            self._turned = asyncio.Event()
            look_at = [self._seen_at + self._timings.look_again] if self._names else []
            wait = min([*self._due.values(), *look_at, self._follow_at]) - loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._wake.wait()

    async def _attend(self, due: list[int]) -> None:
        """See to the segments that are due, and to lists that were seen long ago."""
        loop = asyncio.get_running_loop()
        for segment_id in [each for each in due if each in self._names]:
            # Seen when another list was looked at.
            due.remove(segment_id)
            del self._due[segment_id]
            self._on_ready()
        is_old = bool(self._names) and loop.time() - self._seen_at >= self._timings.look_again
        if not due and not is_old:
            return
        wait = self._timings.soon
        try:
            await self._read_segments()
            has_list = any(each.list_id for each in self._segments.values() if each.id in due)
            if is_old or has_list or not self._key or self._is_key_new():
                await self._wait_to_look()
                await self._look(due)
        except StoreUnavailableError:
            pass
        except Exception:
            log.exception("list.look_failed", account=self._settings.name)
            wait = self._timings.retry
        for segment_id in due:
            self._due[segment_id] = loop.time() + await self._see_to(segment_id, wait)
            if segment_id in self._names:
                del self._due[segment_id]
                self._on_ready()

    async def _wait_to_look(self) -> None:
        """Wait if all lists were looked at often of late: what trickles in must not use up Cordial's limit (R8)."""
        now = asyncio.get_running_loop().time()
        self._looks_paid_until = max(self._looks_paid_until, now) + self._timings.between_looks
        await asyncio.sleep(self._looks_paid_until - now - _LOOKS_AT_ONCE * self._timings.between_looks)

    async def _see_to(self, segment_id: int, wait: float) -> float:
        """Resolve one segment's list if it has none; return in how many seconds to look again if that did not help."""
        segment = self._segments.get(segment_id)
        if segment is None or self._is_key_new() or not self._key:
            return wait
        if segment.list_id:
            # Asked for while Cordial was being asked, or Cordial gave no answer.
            return self._timings.retry if segment.list_held_for and segment_id not in self._to_recreate else wait
        try:
            return await self._resolve(segment)
        except StoreUnavailableError:
            return self._timings.soon
        except Exception:
            log.exception("list.resolve_failed", account=self._settings.name, segment=segment_id)
            return self._timings.retry

    # --- Lists that are known by their ids ---

    async def _look(self, due: Collection[int]) -> None:
        """See ids and names of the account's lists together, and follow what people did to them."""
        started_at, distrusted = asyncio.get_running_loop().time(), self._distrusted
        try:
            key = self._api_key.get()
        except (OSError, LookupError):
            # The line says so, and pauses the account.
            key = ""
        directory = await self.cordial.all()
        if isinstance(directory, NoAnswer):
            await self._explain(due, directory.words)
            return
        ours = [each for each in self._segments.values() if each.list_id]
        elsewhere = await self._elsewhere(directory, ours, self._home(key))
        if elsewhere is None:
            return
        seen = await self._find_each(directory, [each for each in ours if each.id not in elsewhere], due)
        if distrusted != self._distrusted or not key:
            self._due |= dict.fromkeys(due, 0.0)
            return
        self._key, self._here, self._seen_at = key, self._home(key), started_at
        for segment_id in elsewhere:
            await self._hold_elsewhere(self._segments[segment_id])
        for segment in ours:
            if segment.id not in elsewhere and segment.list_home != self._here:
                await self._save(msgspec.structs.replace(self._segments[segment.id], list_home=self._here))
        if not await self._follow(seen, directory, distrusted):
            self._due |= dict.fromkeys(due, 0.0)

    async def _find_each(
        self, directory: Directory, segments: Iterable[Segment], due: Collection[int]
    ) -> dict[int, FoundList | Missing]:
        seen: dict[int, FoundList | Missing] = {}
        for segment in segments:
            found: FoundList | Missing | NoAnswer | None = directory.lists.get(segment.list_id)
            is_attended = segment.id in due or segment.id in self._names
            if found is None and is_attended:
                # An answer that lists everything may be cut short: only the id itself tells that it is gone.
                found = await self.cordial.by_id(segment.list_id)
            if found is None or isinstance(found, NoAnswer):
                self._names.pop(segment.id, None)
            elif is_attended or segment.list_state is ListState.READY:
                seen[segment.id] = found
        return seen

    async def _follow(self, seen: Mapping[int, FoundList | Missing], directory: Directory, distrusted: int) -> bool:
        """Record what was seen of lists; return whether that is still to be relied on."""
        names = {segment_id: found.name for segment_id, found in seen.items() if isinstance(found, FoundList)}
        # Before anything is awaited: nobody is to write to a list by the name that another one has now.
        for segment_id in seen:
            if names.get(segment_id) != self._segments[segment_id].list_name:
                self._names.pop(segment_id, None)
                self._names_lost[segment_id] += 1
        conflicts = self._conflicts(names, directory)
        for segment_id, found in seen.items():
            if distrusted != self._distrusted:
                return False
            try:
                await self._follow_one(self._segments[segment_id], found, directory, conflicts.get(segment_id, ""))
            except StoreUnavailableError:
                raise
            except Exception:
                # The other lists go on.
                log.exception("list.look_failed", account=self._settings.name, segment=segment_id)
                self._names.pop(segment_id, None)
                self._due[segment_id] = asyncio.get_running_loop().time() + self._timings.retry
        return distrusted == self._distrusted

    async def _follow_one(
        self, segment: Segment, found: FoundList | Missing, directory: Directory, conflict: str
    ) -> None:
        """Record what was seen of a list; `conflict` is the name of another list that its name equals."""
        if isinstance(found, Missing):
            await self._follow_deletion(segment, directory)
            return
        lost_name = self._lost.pop(segment.id, "")
        await self._follow_rename(segment, found, directory)
        if conflict:
            reason = words.name_conflict(found.name, conflict)
            await self._hold(segment, HeldFor.NAME_CONFLICT, reason, name=found.name, keep=True)
        elif lost_name == found.name:
            # Going on at once would be refused again, and again.
            reason = words.not_accepted(found.name)
            await self._hold(segment, HeldFor.NOT_ACCEPTED, reason, name=found.name, keep=True)
        else:
            is_known = segment.list_state is ListState.READY and segment.list_name == found.name
            await self._set_ready(segment, found.name, segment.list_id, segment.list_reason if is_known else "")
        self._to_recreate.discard(segment.id)
        self._given_out.discard(segment.id)

    def _conflicts(self, names: Mapping[int, str], directory: Directory) -> dict[int, str]:
        """Return which lists have another one's name, letter case aside, and the other name: of two the one renamed last."""
        there = {
            each.id: directory.lists[each.list_id].name
            for each in self._segments.values()
            if each.list_id in directory.lists
        }
        known = {**there, **names}
        renamed_last = sorted(known, key=lambda each: (known[each] != self._segments[each].list_name, each))
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
        if other is not None and other.id != segment.list_id and segment.id in self._given_out:
            # What was sent by the old name since the list was last seen may have gone to the other list.
            await self._flush()
            repeated = await self._store.repeat_members(segment.id)
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
        if segment.id in self._to_recreate:
            await self._forget_list(segment)
            return
        made_again = directory.named(segment.list_name) is not None
        reason = words.deleted(segment.list_name, made_again=made_again)
        await self._hold(segment, HeldFor.DELETED, reason, name=segment.list_name, keep=True)

    async def _forget_list(self, segment: Segment) -> None:
        """Have a list created anew: the one that the segment had is gone, or is in another Cordial account."""
        self._names.pop(segment.id, None)
        await self._save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.UNRESOLVED,
                list_held_for=None,
                list_id="",
                list_home="",
                list_reason=words.is_looked_for(),
            )
        )

    # --- Another Cordial account behind the same configuration ---

    def _is_key_new(self) -> bool:
        try:
            return bool(self._key) and self._api_key.get() != self._key
        except (OSError, LookupError):
            return False

    def _home(self, key: str) -> str:
        digest = hashlib.sha256(f"{self._settings.name}\n{key}".encode()).hexdigest()[:_KEY_DIGEST_CHARACTERS]
        return f"{self._settings.cordial_base_url}#{digest}"

    async def _elsewhere(self, directory: Directory, ours: list[Segment], here: str) -> set[int] | None:
        """Return which lists seem to be in another Cordial account; None while Cordial does not say enough to tell.

        Another URL is another account until a person says otherwise. Another key is looked at: keys are replaced, and
        then the lists are still there, under their ids and names, and as large as they were.
        """
        moved = [each for each in ours if each.list_home and each.list_home != here]
        if not moved:
            return set()
        url = here.partition("#")[0]
        if all(each.list_home.partition("#")[0] == url for each in moved):
            is_same = await self._is_same_account(directory, moved)
            if is_same is None:
                return None
            if is_same:
                return set()
        return {each.id for each in moved}

    async def _is_same_account(self, directory: Directory, ours: list[Segment]) -> bool | None:
        found = [each for each in ours if each.list_id in directory.lists]
        same = [each for each in found if directory.lists[each.list_id].name == each.list_name]
        if len(same) * 2 < len(ours):
            return False
        filled = sorted((each for each in same if _last_size(each)), key=_last_size, reverse=True)[:_MAX_COMPARED]
        alike = 0
        for segment in filled:
            counted = await self.cordial.count(segment.list_id)
            if isinstance(counted, NoAnswer):
                return None
            size = _last_size(segment)
            tolerance = max(1, size // 10)
            alike += not isinstance(counted, Missing) and counted.number > 0 and abs(counted.number - size) <= tolerance
        return alike * 2 >= len(filled)

    async def _hold_elsewhere(self, segment: Segment) -> None:
        if segment.id in self._to_recreate:
            await self._forget_list(segment)
            return
        urls = (segment.list_home.partition("#")[0], self._settings.cordial_base_url)
        reason = words.other_cordial(segment.list_name, *urls)
        held = msgspec.structs.replace(
            segment, list_state=ListState.HELD, list_held_for=HeldFor.OTHER_CORDIAL, list_reason=reason
        )
        self._names.pop(segment.id, None)
        await self._save(held)

    # --- Lists that are to be found or created ---

    async def _resolve(self, segment: Segment) -> float:
        if self._is_approval_awaited(segment):
            self._to_recreate.discard(segment.id)
            await self._hold(segment, HeldFor.AWAITING_APPROVAL, words.awaits_approval())
            return self._timings.retry
        held = [each for each in self._segments.values() if each.list_held_for is HeldFor.OTHER_CORDIAL]
        if held and segment.id not in self._to_recreate:
            await self._wait_with(segment, words.waits_for_account(held[0].list_name))
            return self._timings.retry
        wanted = await self._wanted_name(segment)
        directory = await self.cordial.all() if wanted is not None else NoAnswer(_NO_ATTRIBUTES)
        if wanted is None or isinstance(directory, NoAnswer):
            await self._explain([segment.id], directory.words if isinstance(directory, NoAnswer) else _NO_ATTRIBUTES)
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
            await self._wait_with(segment, words.would_create(wanted.note), name=wanted.name)
            return self._timings.retry
        return await self._create(segment, wanted, directory)

    async def _wanted_name(self, segment: Segment) -> ListName | None:
        if segment.list_asked_at_ms and segment.heap_id not in self._settings.list_names:
            return ListName(segment.list_name)
        # Created anew under the name that campaigns know, which may not be the segment's any more.
        keeps_name = (
            segment.id in self._to_recreate
            and segment.list_name
            and segment.heap_id not in self._settings.list_names
            and not await self._store.list_name_taken(segment.id, segment.list_name)
        )
        return ListName(segment.list_name) if keeps_name else await self._namer.choose(segment)

    async def _create(self, segment: Segment, wanted: ListName, directory: Directory) -> float:
        was_in_doubt = bool(segment.list_asked_at_ms)
        creating = await self._save(
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
        created = await self.cordial.create(wanted.name)
        if isinstance(created, str) and created not in {each.list_id for each in self._segments.values()}:
            await self._set_ready(creating, wanted.name, created, wanted.note)
            log.info("list.created", account=segment.account, segment=segment.name, list=wanted.name, list_id=created)
            return 0.0
        if not isinstance(created, Refused):
            await self._explain([segment.id], created.words if isinstance(created, NoAnswer) else "an id that is known")
            return self._timings.soon
        if not was_in_doubt:
            # A refusal says for certain that the list, if there is one now, is somebody else's.
            creating = await self._save(
                msgspec.structs.replace(
                    creating, list_state=ListState.UNRESOLVED, list_ids_before="", list_asked_at_ms=0
                )
            )
        existing = await self.cordial.named(wanted.name)
        if isinstance(existing, NoAnswer):
            await self._explain([segment.id], existing.words)
            return self._timings.soon
        if existing is None:
            await self._hold(segment, HeldFor.NAME_REFUSED, words.name_refused(segment, wanted.name, created.words))
            return self._timings.retry
        if was_in_doubt:
            return await self._judge_doubt(creating, existing, wanted)
        return await self._take_existing(creating, existing, wanted)

    async def _judge_doubt(self, segment: Segment, existing: FoundList, wanted: ListName) -> float:
        """Decide whether a list is the one that Cordial was asked to create, when its answer was lost."""
        if self._owner(existing):
            return await self._take_existing(segment, existing, wanted)
        is_approved = not segment.list_ids_before
        is_ours = is_approved or await self._is_newly_made(segment, existing)
        if is_ours is None:
            return self._timings.soon
        if is_ours:
            taken_by = await self._take(segment, existing, wanted.note)
            if not taken_by:
                event = "list.adopted" if is_approved else "list.found"
                log.info(event, account=segment.account, segment=segment.name, list=existing.name, list_id=existing.id)
                return 0.0
        if not self._segments[segment.id].list_ids_before:
            # Approved meanwhile.
            return 0.0
        reason = words.creation_in_doubt(existing.name, existing.id)
        await self._save(
            msgspec.structs.replace(
                segment, list_state=ListState.HELD, list_held_for=HeldFor.CREATION_IN_DOUBT, list_reason=reason
            )
        )
        return self._timings.retry

    async def _is_newly_made(self, segment: Segment, existing: FoundList) -> bool | None:
        """Tell whether everything speaks for it that our call made the list; None while Cordial does not say."""
        is_contested = any(
            other.list_asked_at_ms and other.list_name.lower() == segment.list_name.lower()
            for other in self._of_other_accounts
        )
        is_late = self._now_ms() - segment.list_asked_at_ms > self._timings.doubt * 1000
        was_there = existing.id in msgspec.json.decode(segment.list_ids_before, type=list[str])
        as_asked = existing.name == segment.list_name and existing.enhanced
        if is_contested or is_late or was_there or not as_asked:
            return False
        counted = await self.cordial.count(existing.id)
        if isinstance(counted, NoAnswer):
            return None
        return not isinstance(counted, Missing) and counted.number == 0

    async def _take_existing(self, segment: Segment, existing: FoundList, wanted: ListName) -> float:
        """Take over a list that this service did not create, if the configuration says so, or hold the segment."""
        await self._read_segments()
        own = [each for each in self._segments.values() if each.list_id == existing.id and each.id != segment.id]
        if own:
            # Renamed in Cordial to the name that this segment wants: seen first, then another name is chosen.
            self._due |= dict.fromkeys((each.id for each in own), 0.0)
            await self._explain([segment.id], f"the list {existing.name} is another segment's")
            return self._timings.soon
        self._to_recreate.discard(segment.id)
        owner = self._owner(existing, or_asked_for=True)
        if self._settings.adopt_existing_lists and not owner:
            if self._settings.dry_run:
                await self._wait_with(segment, words.would_adopt(existing.name), name=existing.name)
                return self._timings.retry
            owner = await self._take(segment, existing, wanted.note)
            if not owner:
                log.info(
                    "list.adopted",
                    account=segment.account,
                    segment=segment.name,
                    list=existing.name,
                    list_id=existing.id,
                )
                return 0.0
        await self._hold(segment, HeldFor.NOT_OURS, words.not_ours(segment, existing.name, owner))
        return self._timings.retry

    def _owner(self, existing: FoundList, *, or_asked_for: bool = False) -> str:
        """Return the other account of this service whose segment has the list, or asked for one of the name; else empty."""
        owners = (
            each.account
            for each in self._of_other_accounts
            if each.list_name.lower() == existing.name.lower()
            and (each.list_id == existing.id or (or_asked_for and each.list_state is ListState.CREATING))
        )
        return next(owners, "")

    # --- Segments that Heap renames ---

    async def _follow_renames(self) -> None:
        """Rename lists after their segments, if the account wants it so; their members stay (R10)."""
        if self._settings.on_segment_rename != "rename" or self._settings.dry_run:
            return
        try:
            await self._read_segments()
        except StoreUnavailableError:
            return
        renamed = [
            each.id
            for each in self._segments.values()
            if each.list_state is ListState.READY and each.name != each.list_named_after
        ]
        await self._attend([segment_id for segment_id in renamed if segment_id not in self.ready_names()])
        for segment_id in renamed:
            if segment_id in self.ready_names():
                segment = self._segments[segment_id]
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
        refused = await self.cordial.rename(segment.list_id, wanted.name)
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
        await self._set_ready(renamed, name, segment.list_id, reason)

    # --- What is recorded ---

    def _is_approval_awaited(self, segment: Segment) -> bool:
        """Tell whether nothing may be sent for a segment because it is new: its list was never named."""
        return self._settings.hold_new_segments and not segment.list_named_after and segment.id not in self._approved

    async def _set_ready(self, segment: Segment, name: str, list_id: str, reason: str) -> None:
        if list_id != segment.list_id and segment.settled:
            # Who was on the list that the segment had is not on this one.
            await self._store.repeat_members(segment.id)
        await self._save(_ready(segment, name, list_id, reason, self._here))
        self._note_ready(segment.id, name)

    async def _take(self, segment: Segment, existing: FoundList, note: str) -> str:
        """Take over a list; return the account that has it already, empty if none does."""
        ready = _ready(segment, existing.name, existing.id, note, self._here)
        if segment.settled:
            await self._store.repeat_members(segment.id)
        owner = await self._store.take_list(ready)
        if owner is None:
            self._segments[segment.id] = ready
            self._note_ready(segment.id, existing.name)
        return owner or ""

    def _note_ready(self, segment_id: int, name: str) -> None:
        self._names[segment_id] = name
        self._to_recreate.discard(segment_id)

    async def _hold(
        self, segment: Segment, held_for: HeldFor, reason: str, *, name: str = "", keep: bool = False
    ) -> None:
        """Hold a segment; `keep` says that its list stays its own."""
        self._names.pop(segment.id, None)
        named_after = segment.list_named_after
        if held_for is not HeldFor.AWAITING_APPROVAL and (name != segment.list_name or not named_after):
            named_after = segment.name
        await self._save(
            msgspec.structs.replace(
                segment,
                list_state=ListState.HELD,
                list_held_for=held_for,
                list_name=name,
                list_id=segment.list_id if keep else "",
                list_home=self._here if keep else "",
                list_reason=reason,
                list_named_after=named_after,
                list_ids_before="",
                list_asked_at_ms=0,
            )
        )

    async def _wait_with(self, segment: Segment, reason: str, *, name: str | None = None) -> None:
        """Say why a segment has no list yet; what is in doubt stays so."""
        state = ListState.CREATING if segment.list_asked_at_ms else ListState.UNRESOLVED
        await self._save(
            msgspec.structs.replace(
                segment,
                list_state=state,
                list_held_for=None,
                list_name=segment.list_name if name is None or segment.list_asked_at_ms else name,
                list_reason=reason,
                list_named_after=segment.list_named_after if name is None else segment.name,
            )
        )

    async def _explain(self, segment_ids: Iterable[int], said: str) -> None:
        """Say that Cordial gives no answer, where a segment waits for one."""
        for segment_id in segment_ids:
            segment = self._segments.get(segment_id)
            if segment is not None and segment.list_state in {ListState.UNRESOLVED, ListState.CREATING}:
                await self._save(msgspec.structs.replace(segment, list_reason=words.no_answer(said)))

    async def _save(self, segment: Segment) -> Segment:
        """Record what a segment says of its list, if that is news."""
        known = self._segments.get(segment.id)
        step = (known.standing, segment.standing) if known is not None else None
        if step is not None and step[0] != step[1] and step not in LIST_TRANSITIONS:
            raise RuntimeError(f"no list may go from {step[0]} to {step[1]}")
        if known is None or _list_part(segment) != _list_part(known):
            await self._store.set_list(segment)
            self._segments[segment.id] = segment
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


def _last_size(segment: Segment) -> int:
    return segment.list_count if segment.list_count is not None else segment.settled
