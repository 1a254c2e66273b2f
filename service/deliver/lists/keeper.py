"""The lists of an account's segments: found or created once, remembered by Cordial's id (R10).

    unresolved ──name free──▶ creating ──created──▶ ready ──unknown to Cordial──▶ unresolved
        │ └──name taken, adopt──────────────────────▶ │
        └──name taken by a list not ours──▶ held ◀────┘ deleted in Cordial

`creating` is written before the list is created: a list found in that state is ours, whatever crash lay between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from service import supervision
from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.line import AccountLine
from service.deliver.lists import naming, reasons
from service.deliver.lists.approval import Approvals
from service.deliver.lists.naming import ListNamer
from service.errors import ErrorCode, ServiceError, StoreUnavailableError
from service.model.lists import ListState, Segment
from service.store.port import Lists
from service.supervision import Supervisor

log = structlog.get_logger()
_RETRY_SECONDS = 60.0
_SOON_SECONDS = 2.0

# How often segments are looked at that Heap may have renamed.
FOLLOW_SECONDS = 60.0


class ListKeeper:
    """Knows which segments of an account have a list that can be written to, and gets one for those that do not."""

    def __init__(
        self, settings: AccountSettings, store: Lists, line: AccountLine, on_ready: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._on_ready = on_ready
        self._segments: dict[int, Segment] = {}
        self._names: dict[int, str] = {}
        self._due: dict[int, float] = {}
        self._lost: dict[int, str] = {}
        self._to_recreate: set[int] = set()
        # Why each held segment is held, as the log last said.
        self._told: dict[int, str] = {}
        self._namer = ListNamer(settings, store, line)
        self.approvals = Approvals(settings, store)
        self._follow_at = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, supervisor: Supervisor) -> None:
        """Read what is known and begin to resolve what is asked for."""
        await self._read_segments()
        self._task = supervisor.start(f"{self._settings.name} lists", self._run())

    async def stop(self) -> None:
        """End; a list being created is found again at the next start."""
        await supervision.stop(self._task)

    def ready(self, segment_ids: Iterable[int]) -> list[int]:
        """Return those segments that can be written, none in a dry run; those without a list are seen to."""
        found: list[int] = []
        for segment_id in segment_ids:
            if segment_id in self._names:
                found.append(segment_id)
            elif segment_id not in self._due:
                self._due[segment_id] = 0.0
                self._wake.set()
        return [] if self._settings.dry_run else found

    def ready_names(self) -> dict[int, str]:
        """Return the list's name of each segment that can be written."""
        return self._names

    def retry_held(self) -> None:
        """Look at held lists again now: the operator may have changed something."""
        self._due = dict.fromkeys(self._due, 0.0)
        self._wake.set()

    async def recreate(self, segment_id: int) -> None:
        """Look for a segment's list, and create it anew under its name if Cordial has it no more.

        Raises `ServiceError` NOT_FOUND without such a segment.
        """
        await self._read_segments()
        if segment_id not in self._segments:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        self._to_recreate.add(segment_id)
        self._names.pop(segment_id, None)
        self._due[segment_id] = 0.0
        self.retry_held()

    def lost(self, segment_id: int, name: str) -> None:
        """Note that Cordial does not know the segment's list under this name, or no more."""
        # Calls that were on their way together each say so, the last ones perhaps after the new name was found.
        if self._names.get(segment_id) == name:
            log.warning("list.unknown_to_cordial", account=self._settings.name, segment=segment_id)
            del self._names[segment_id]
            self._lost[segment_id] = name
            self._due[segment_id] = 0.0
            self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if loop.time() >= self._follow_at:
                self._follow_at = loop.time() + FOLLOW_SECONDS
                await self._follow_renames()
            for segment_id in [segment_id for segment_id, due in self._due.items() if due <= loop.time()]:
                wait = await self._resolve_safely(segment_id)
                self._due[segment_id] = loop.time() + wait
                if segment_id in self._to_recreate:
                    # Asked for while Cordial was being asked, or Cordial gave no answer.
                    self._due[segment_id] = loop.time() + min(wait, _SOON_SECONDS)
                elif segment_id in self._names:
                    del self._due[segment_id]
                    self._on_ready()
            wait = min([*self._due.values(), self._follow_at]) - loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._wake.wait()

    async def _follow_renames(self) -> None:
        """Rename lists after their segments, if the account wants it so; their members stay (R10)."""
        if self._settings.on_segment_rename != "rename" or self._settings.dry_run:
            return
        try:
            await self._read_segments()
            for segment in list(self._segments.values()):
                if segment.id in self._names and segment.name != segment.list_named_after:
                    await self._rename(segment)
        except Exception:
            log.exception("list.rename_failed", account=self._settings.name)

    async def _rename(self, segment: Segment) -> None:
        wanted = await self._namer.choose(segment)
        if wanted is None or wanted.name == segment.list_name:
            return
        answer = await self._line.call(requests.rename_list(segment.list_id, wanted.name))
        if answer.kind is AnswerKind.DONE:
            log.info("list.renamed", account=segment.account, segment=segment.name, list=wanted.name)
            await self._record(segment, ListState.READY, name=wanted.name, list_id=segment.list_id, reason=wanted.note)
        elif answer.kind is AnswerKind.REFUSED:
            await self._record(
                msgspec.structs.replace(segment, list_named_after=segment.name),
                ListState.READY,
                name=segment.list_name,
                list_id=segment.list_id,
                reason=reasons.rename_refused(wanted.name, answer.message),
            )

    async def _resolve_safely(self, segment_id: int) -> float:
        """Resolve one segment's list; return in how many seconds to look again if that did not help."""
        try:
            if segment_id not in self._segments:
                await self._read_segments()
            return await self._resolve(self._segments[segment_id])
        except StoreUnavailableError:
            return _SOON_SECONDS
        except Exception:
            log.exception("list.resolve_failed", account=self._settings.name, segment=segment_id)
            return _RETRY_SECONDS

    async def _read_segments(self) -> None:
        for segment in await self._store.segments():
            if segment.account == self._settings.name:
                self._segments[segment.id] = segment
                if segment.list_state is ListState.READY and segment.id not in self._due:
                    self._names[segment.id] = segment.list_name

    async def _resolve(self, segment: Segment) -> float:
        if segment.list_id:
            return await self._find_by_id(segment)
        self._to_recreate.discard(segment.id)
        if self.approvals.is_awaited(segment):
            await self._record(segment, ListState.HELD, name="", reason=reasons.awaits_approval())
            return _RETRY_SECONDS
        if segment.list_state is ListState.CREATING:
            return await self._find_or_create(segment, segment.list_name, "")
        wanted = await self._namer.choose(segment)
        if wanted is None:
            return _SOON_SECONDS
        segment = await self._record(segment, ListState.UNRESOLVED, name=wanted.name, reason=wanted.note)
        return await self._find_or_create(segment, wanted.name, wanted.note)

    async def _find_by_id(self, segment: Segment) -> float:
        answer = await self._line.call(requests.get_list(segment.list_id))
        if answer.kind is AnswerKind.DONE and isinstance(answer.body, dict):
            self._to_recreate.discard(segment.id)
            # Renamed in Cordial, perhaps: the list belongs to its id, members and all.
            name = str(answer.body.get("name") or segment.list_name)
            if self._lost.pop(segment.id, None) == name:
                # Going on at once would be refused again, and again.
                reason = reasons.not_accepted(name)
                await self._record(segment, ListState.HELD, name=name, list_id=segment.list_id, reason=reason)
                return _RETRY_SECONDS
            await self._record(segment, ListState.READY, name=name, list_id=segment.list_id)
            return 0.0
        if answer.kind is AnswerKind.NOT_FOUND and segment.id in self._to_recreate:
            self._to_recreate.discard(segment.id)
            creating = await self._record(segment, ListState.CREATING, name=segment.list_name)
            return await self._find_or_create(creating, segment.list_name, "")
        if answer.kind is AnswerKind.NOT_FOUND:
            reason = reasons.deleted(segment.list_name)
            await self._record(segment, ListState.HELD, name=segment.list_name, list_id=segment.list_id, reason=reason)
            return _RETRY_SECONDS
        return _SOON_SECONDS

    async def _find_or_create(self, segment: Segment, name: str, note: str) -> float:
        answer = await self._line.call(requests.find_lists(name))
        existing = naming.list_named(answer, name)
        if existing is not None:
            return await self._take_existing(segment, existing, name)
        if answer.kind not in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
            return _SOON_SECONDS
        if self._settings.dry_run:
            await self._record(segment, segment.list_state, name=name, reason=reasons.would_create(note))
            return _RETRY_SECONDS
        if segment.list_state is not ListState.CREATING:
            segment = await self._record(segment, ListState.CREATING, name=name, reason=note)
        created = await self._line.call(requests.create_list(name))
        if created.kind is AnswerKind.DONE and isinstance(created.body, dict) and created.body.get("id") is not None:
            await self._record(segment, ListState.READY, name=name, list_id=str(created.body["id"]), reason=note)
            log.info("list.created", account=segment.account, segment=segment.name, list=name)
            return 0.0
        if created.kind is AnswerKind.REFUSED:
            return await self._creation_refused(segment, name, created)
        return _SOON_SECONDS

    async def _creation_refused(self, segment: Segment, name: str, refusal: Answer) -> float:
        # Somebody was faster, or the answer to an earlier try was lost: then the list is there now.
        answer = await self._line.call(requests.find_lists(name))
        existing = naming.list_named(answer, name)
        if existing is not None:
            return await self._take_existing(segment, existing, name)
        reason = reasons.name_refused(segment, name, refusal.message)
        await self._record(segment, ListState.HELD, name="", reason=reason)
        return _RETRY_SECONDS

    async def _take_existing(self, segment: Segment, existing: dict[str, Any], name: str) -> float:
        ours = segment.list_state is ListState.CREATING
        exact = str(existing.get("name") or name)
        if self._settings.dry_run and self._settings.adopt_existing_lists and not ours:
            await self._record(segment, ListState.UNRESOLVED, name=exact, reason=reasons.would_adopt(exact))
            return _RETRY_SECONDS
        if ours or self._settings.adopt_existing_lists:
            await self._record(segment, ListState.READY, name=exact, list_id=str(existing.get("id") or ""))
            log.info(
                "list.found" if ours else "list.adopted", account=segment.account, segment=segment.name, list=exact
            )
            return 0.0
        await self._record(segment, ListState.HELD, name="", reason=reasons.not_ours(segment, exact))
        return _RETRY_SECONDS

    async def _record(
        self, segment: Segment, state: ListState, *, name: str, list_id: str = "", reason: str = ""
    ) -> Segment:
        updated = msgspec.structs.replace(
            segment,
            list_state=state,
            list_name=name,
            list_id=list_id,
            list_reason=reason,
            # A name of its own, or one given in Cordial, is what the segment is called by from here on.
            list_named_after=segment.list_named_after if name == segment.list_name else segment.name,
        )
        await self._store.set_list(updated)
        self._segments[segment.id] = updated
        if state is ListState.READY:
            self._names[segment.id] = name
            self._told.pop(segment.id, None)
        elif state is ListState.HELD and self._told.get(segment.id) != reason:
            self._told[segment.id] = reason
            log.warning("list.held", account=segment.account, segment=segment.name, reason=reason)
        return updated
