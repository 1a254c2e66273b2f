"""The lists of an account's segments (R10): found or created once, then known by the id that Cordial gave them.

    unresolved ──name free──▶ creating ──id received──▶ ready ◀──▶ held
        │  └──name taken, and the configuration allows it──▶ │
        └──name taken, or refused──▶ held

Ours is a list whose id Cordial gave to our own creation, or that was taken over on a person's word. A name proves nothing:
people rename lists, delete them and make others of the same name. So before contacts are written by a list's name, id and
name are seen together: after a start, a pause, a refusal of the name, a count, another API key, and every ten minutes.

This file decides when which list is looked at. Beside it: `looking` sees lists by their ids, `creating` gets one for a
segment that has none, `renaming` follows Heap's names, `home` tells whose Cordial account it is, `records` writes down
what came of it, and `seen_names` has what may be written to.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import msgspec
import structlog

from service import supervision
from service.config.secrets import CachedSecret
from service.config.settings import AccountSettings
from service.deliver.line import AccountLine
from service.deliver.lists.creating import ListCreator
from service.deliver.lists.home import CordialHome
from service.deliver.lists.looking import ListLooker
from service.deliver.lists.naming import ListNamer
from service.deliver.lists.questions import CordialLists
from service.deliver.lists.records import ListRecords
from service.deliver.lists.renaming import ListRenamer
from service.deliver.lists.seen_names import SeenNames
from service.deliver.lists.timings import Timings
from service.errors import ErrorCode, ServiceError, StoreUnavailableError, in_words
from service.model import lists as words
from service.model.lists import HeldFor, ListState
from service.store.port import Lists
from service.supervision import Supervisor

log = structlog.get_logger()

_LOOKS_AT_ONCE = 10

# In place of a list's next time while it is looked at: whoever puts another there meanwhile wants it looked at again.
_UNDER_WAY = float("inf")


class ListKeeper:
    """Knows which segments of an account have a usable list, and gets a list for the others."""

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
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._timings = timings
        self.cordial = CordialLists(line, timings.side_question)
        self._home = CordialHome(settings, api_key, self.cordial)
        self.names = SeenNames(timings.trust, self._home.is_key_new)
        self._records = ListRecords(settings, store, self.names, self._home, flush)
        namer = ListNamer(settings, store, self.cordial)
        self._looker = ListLooker(
            settings.name,
            store,
            self._records,
            self.cordial,
            names=self.names,
            home=self._home,
            flush=flush,
            look_again=self._look_again,
            timings=timings,
        )
        self._creator = ListCreator(
            settings,
            store,
            self._records,
            self.cordial,
            namer,
            look_again=self._look_again,
            now_ms=now_ms,
            timings=timings,
        )
        self._renamer = ListRenamer(
            settings, self._records, self.cordial, namer, names=self.names, look_at=self._look_at
        )
        self._looks_paid_until = float("-inf")
        # When a segment's list is looked at again, by the loop's clock.
        self._due: dict[int, float] = {}
        self._follow_at = 0.0
        self._idle_at = asyncio.get_running_loop().time() + timings.idle
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, supervisor: Supervisor) -> None:
        """Read what is known, then find or create the lists that are asked for. Raises `StoreUnavailableError`."""
        await self._records.read()
        # The previous process may have written by these names.
        self.names.give_out(each.id for each in self._records.segments.values() if each.list_id)
        self._task = supervisor.start(f"{self._settings.name} lists", self._run())

    async def stop(self) -> None:
        """Stop. The next start looks for a list whose creation was under way."""
        await supervision.stop(self._task)

    def ready(self, segment_ids: Collection[int]) -> list[int]:
        """Return the segments whose lists can be written now, and begin to look for the lists of the others.

        In a dry run there are none. Segments that are not among `segment_ids` owe nothing: their lists are seen again before
        they are next written, because anything may happen to them meanwhile.
        """
        self.names.forget_all_but(segment_ids)
        return self._usable(segment_ids)

    def _usable(self, segment_ids: Iterable[int]) -> list[int]:
        found: list[int] = []
        current = self.names.current()
        for segment_id in segment_ids:
            if segment_id in current:
                found.append(segment_id)
            elif segment_id not in self._due:
                self._due[segment_id] = 0.0
                self._wake.set()
        if self._settings.dry_run:
            return []
        self.names.give_out(found)
        return found

    async def seen(self, segment_ids: Collection[int]) -> Mapping[int, str]:
        """Return the names of these segments' lists, each seen lately. Lists that wait for a person are left out.

        Waits for as long as Cordial gives no answer about a list that is known.
        """
        with self.names.keeping(segment_ids):
            while missing := set(segment_ids) - {*self._usable(segment_ids)}:
                known = [self._records.segments.get(segment_id) for segment_id in missing]
                is_looked_at = all(each is not None and each.list_id and each.list_held_for is None for each in known)
                if not is_looked_at or self._settings.dry_run:
                    break
                await self._turned.wait()
        current = self.names.current()
        return {segment_id: current[segment_id] for segment_id in segment_ids if segment_id in current}

    def is_held(self, segment_id: int) -> bool:
        """Whether nothing of the segment is sent until a person decides."""
        segment = self._records.segments.get(segment_id)
        return segment is not None and segment.list_held_for is not None

    def retry_held(self) -> None:
        """Look at held lists again now: the operator may have changed something."""
        self._due = dict.fromkeys(self._due, 0.0)
        self._wake.set()

    async def recreate(self, segment_id: int) -> None:
        """Look for a segment's list, and create it again if Cordial no longer has it.

        Raises `ServiceError` NOT_FOUND without such a segment.
        """
        await self._records.find(segment_id)
        self._records.to_recreate.add(segment_id)
        self.names.forget(segment_id)
        self._due[segment_id] = 0.0
        self.retry_held()

    async def approve(self, segment_id: int, actor: str) -> bool:
        """Approve what a segment is held for; return whether approval was what it waited for.

        Raises `ServiceError` NOT_FOUND without such a segment.
        """
        segment = await self._records.find(segment_id)
        if self._records.is_approval_awaited(segment):
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
                here = self._home.of(self._home.key())
            except (OSError, LookupError) as error:
                raise ServiceError(
                    ErrorCode.CONFLICT, f"the Cordial API key cannot be read: {in_words(error)}"
                ) from error
            held = self._records.held_for(HeldFor.OTHER_CORDIAL)
            approved = [msgspec.structs.replace(each, list_home=here) for each in held]
        else:
            return False
        await self._records.approve(segment_id, approved, actor)
        self._due |= dict.fromkeys((each.id for each in approved), 0.0)
        log.info("list.approved", account=segment.account, segment=segment.name, held_for=segment.list_held_for)
        self.retry_held()
        return True

    def lost(self, segment_id: int, name: str) -> None:
        """Note that Cordial does not know the segment's list by this name."""
        # Several calls in flight report it, the last ones perhaps after the new name was found.
        if self.names.is_known(segment_id, name):
            self._looker.note_unknown(segment_id, name)
            self._look_at(segment_id)

    def counted(self, segment_id: int, name: str) -> None:
        """Note the name that a list had when it was counted, empty if it was not found or not named."""
        segment = self._records.segments.get(segment_id)
        if segment is not None and name != segment.list_name:
            self._look_at(segment_id)

    def _look_at(self, segment_id: int) -> None:
        """Look at a list again before the next write, and discard what a look under way has seen."""
        self.names.forget(segment_id)
        self.names.distrusted += 1
        self._due[segment_id] = 0.0
        self._wake.set()

    def _look_again(self, segment_id: int, seconds: float) -> None:
        self._due[segment_id] = asyncio.get_running_loop().time() + seconds if seconds else 0.0

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if loop.time() >= self._follow_at:
                self._follow_at = loop.time() + self._timings.follow
                renamed = await self._renamer.renamed()
                await self._attend([segment_id for segment_id in renamed if segment_id not in self.names.current()])
                await self._renamer.follow(renamed)
            if loop.time() >= self._idle_at:
                self._idle_at = loop.time() + self._timings.idle
                await self._look_at_idle()
            await self._attend([segment_id for segment_id, due in self._due.items() if due <= loop.time()])
            self._turned.set()
            self._turned = asyncio.Event()
            look_at = [self.names.seen_at + self._timings.look_again] if self.names else []
            wait = min([*self._due.values(), *look_at, self._follow_at, self._idle_at]) - loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._wake.wait()

    async def _look_at_idle(self) -> None:
        """See the lists to which nothing is sent: somebody may have deleted one, and nothing else would tell."""
        with contextlib.suppress(StoreUnavailableError):
            await self._records.read()
            for segment in self._records.segments.values():
                if segment.list_state is ListState.READY and segment.id not in self.names:
                    self._due.setdefault(segment.id, 0.0)

    async def _attend(self, due: list[int]) -> None:
        """Look after the segments that are due, and after lists that were last seen long ago."""
        loop = asyncio.get_running_loop()
        for segment_id in [each for each in due if each in self.names]:
            # Seen when another list was looked at.
            due.remove(segment_id)
            del self._due[segment_id]
            self._on_ready()
        is_old = bool(self.names) and loop.time() - self.names.seen_at >= self._timings.look_again
        if not due and not is_old:
            return
        for segment_id in due:
            self._due[segment_id] = _UNDER_WAY
        wait, distrusted = self._timings.soon, self.names.distrusted
        try:
            await self._records.read()
            has_list = any(each.list_id for each in self._records.segments.values() if each.id in due)
            if is_old or has_list or not self._home.is_known or self._home.is_key_new():
                await self._wait_to_look()
                await self._looker.look(due)
        except StoreUnavailableError:
            pass
        except Exception:
            log.exception("list.look_failed", account=self._settings.name)
            wait = self._timings.retry
        for segment_id in due:
            seconds = await self._see_to(segment_id, wait)
            if segment_id in self.names:
                del self._due[segment_id]
                self._on_ready()
            elif self._due[segment_id] == _UNDER_WAY:
                is_outdated = self.names.distrusted != distrusted and seconds <= self._timings.soon
                self._due[segment_id] = 0.0 if is_outdated else loop.time() + seconds

    async def _wait_to_look(self) -> None:
        """Wait if all lists were looked at often lately: small changes must not use up Cordial's limit (R8)."""
        now = asyncio.get_running_loop().time()
        self._looks_paid_until = max(self._looks_paid_until, now) + self._timings.between_looks
        await asyncio.sleep(self._looks_paid_until - now - _LOOKS_AT_ONCE * self._timings.between_looks)

    async def _see_to(self, segment_id: int, wait: float) -> float:
        """Resolve one segment's list if it has none; return in how many seconds to look again if that did not help."""
        segment = self._records.segments.get(segment_id)
        if segment is None or self._home.is_key_new() or not self._home.is_known:
            return wait
        if segment.list_id:
            # Asked for while Cordial was being asked, or Cordial gave no answer.
            return (
                self._timings.retry if segment.list_held_for and segment_id not in self._records.to_recreate else wait
            )
        try:
            return await self._creator.resolve(segment)
        except StoreUnavailableError:
            return self._timings.soon
        except Exception:
            log.exception("list.resolve_failed", account=self._settings.name, segment=segment_id)
            return self._timings.retry
