"""Saying what would be sent for a segment, and sending none of it: Cordial is only asked, the store only read."""

import asyncio
from collections.abc import Sequence
from itertools import islice

import msgspec

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.requests import Request, contact_requests
from service.deliver.imports.permission import are_files_permitted
from service.deliver.line import AccountLine
from service.deliver.lists import names
from service.deliver.lists.naming import ListNamer
from service.deliver.lists.questions import CordialLists, NoAnswer
from service.deliver.sending import changes_of_calls
from service.errors import ErrorCode, ServiceError
from service.model import lists as words
from service.model.accounts import AccountState
from service.model.changes import Change, ClaimCursor, ContactWork
from service.model.contacts import contact_of
from service.model.deliveries import Delivery
from service.model.lists import HeldFor, ListState, Segment
from service.model.views import ListFate, PlannedCall, Preview
from service.store.port import Store

_MAX_SECONDS = 5.0
_CLAIM_LIMIT = 100
_UNSEEN = 0
_IF_UNKNOWN = "Cordial knows no such contact"


class _Forecast(msgspec.Struct, frozen=True):
    name: str
    fate: ListFate
    reason: str = ""


class Previewer:
    """Foretells the calls of one account."""

    def __init__(self, settings: AccountSettings, store: Store, line: AccountLine, cordial: CordialLists) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._cordial = cordial

    async def of_segment(self, segment_id: int, max_calls: int) -> Preview:
        """Return what is owed for a segment; raises `ServiceError` NOT_FOUND without such a segment."""
        segment, segments = await self._find(segment_id)
        # One contact more than is shown tells whether that was all.
        works = await self._owed(segment_id, max_calls + 1)
        return await self._preview(segment, segments, works, max_calls)

    async def of_members(self, segment_id: int, contacts: Sequence[str], max_calls: int) -> Preview:
        """Return what a rebuild sends for these members first; raises `ServiceError` NOT_FOUND without such a segment."""
        segment, segments = await self._find(segment_id)
        works = [ContactWork(contact, (Change(segment.id, wanted=True),)) for contact in contacts]
        again = segment.list_held_for is not None and segment.list_held_for.is_ended_by_rebuild
        return await self._preview(segment, segments, works, max_calls, again=again)

    async def of_delivery(self, delivery: Delivery, max_calls: int) -> Preview:
        """Return what would be done for a page that is kept nowhere; a drain is shown without its calls."""
        segments = await self._segments()
        known = [each for each in segments.values() if each.heap_id == delivery.segment_id]
        segment = known[0] if known else _unseen_segment(delivery)
        # Wanted as long as any of its user ids is added (R4).
        wanted_of = {contact_of(user, delivery.identity): True for user in delivery.add}
        for user in delivery.remove:
            wanted_of.setdefault(contact_of(user, delivery.identity), False)
        works = [
            ContactWork(contact, (Change(segment.id, wanted),))
            for contact, wanted in islice(wanted_of.items(), max_calls + 1)
        ]
        return await self._preview(segment, segments, works, max_calls)

    async def _segments(self) -> dict[int, Segment]:
        return {each.id: each for each in await self._store.segments() if each.account == self._settings.name}

    async def _find(self, segment_id: int) -> tuple[Segment, dict[int, Segment]]:
        segments = await self._segments()
        segment = segments.get(segment_id)
        if segment is None:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        return segment, segments

    async def _owed(self, segment_id: int, most: int) -> list[ContactWork]:
        works: dict[str, ContactWork] = {}
        cursor = ClaimCursor()
        while len(works) < most:
            claimed = await self._store.claim(self._settings.name, segment_id, cursor, _CLAIM_LIMIT)
            works |= {work.contact: work for stretch in claimed.stretches for work in stretch.works}
            cursor = claimed.cursor
            if claimed.exhausted:
                break
        return list(works.values())[:most]

    async def _preview(
        self,
        segment: Segment,
        segments: dict[int, Segment],
        works: list[ContactWork],
        max_calls: int,
        *,
        again: bool = False,
    ) -> Preview:
        """Return what would be sent of these; `again`: to a list that is created again, under its name."""
        others = {each.list_name.lower() for each in segments.values() if each.id != segment.id}
        forecast = await self._forecast(segment, others, again=again)
        list_names = {each.id: each.list_name for each in segments.values() if each.list_state is not ListState.HELD}
        list_names = {segment_id: name for segment_id, name in list_names.items() if name}
        list_names[segment.id] = forecast.name
        calls: list[PlannedCall] = []
        if forecast.fate is ListFate.CREATE:
            calls.append(_planned(requests.create_list(forecast.name)))
        if forecast.fate is not ListFate.HOLD:
            calls += [call for work in works for call in self._calls(work, list_names)]
        return Preview(
            account=segment.account,
            segment_name=segment.name,
            list_name=forecast.name,
            fate=forecast.fate,
            reason=forecast.reason,
            calls=calls[:max_calls],
            more_calls=len(calls) > max_calls,
            as_import=segment.pending > self._settings.bulk_threshold
            and await are_files_permitted(self._settings, self._store.trials),
            dry_run=self._settings.dry_run,
        )

    def _calls(self, work: ContactWork, list_names: dict[int, str]) -> list[PlannedCall]:
        planned: list[PlannedCall] = []
        for changes in changes_of_calls(work, list_names):
            memberships = {list_names[change.segment_id]: change.wanted for change in changes}
            first, *others = contact_requests(self._settings, work.contact, memberships)
            planned += [_planned(first), *(_planned(request, _IF_UNKNOWN) for request in others)]
        return planned

    async def _forecast(self, segment: Segment, taken: set[str], *, again: bool) -> _Forecast:
        if segment.list_state is ListState.READY:
            return _Forecast(segment.list_name, ListFate.USE, segment.list_reason)
        if (segment.list_id and not again) or segment.list_held_for is HeldFor.CREATION_IN_DOUBT:
            return _Forecast(segment.list_name, ListFate.HOLD, segment.list_reason)
        status = self._line.status()
        if status.state is AccountState.PAUSED:
            return self._unknown(segment, status.reason)
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                return await self._ask(segment, taken, again=again)
        except TimeoutError:
            return self._unknown(segment, "Cordial does not answer in time")

    async def _ask(self, segment: Segment, taken: set[str], *, again: bool) -> _Forecast:
        chosen = names.ListName(segment.list_name)
        if segment.list_state is not ListState.CREATING and not again:
            # The store keeps no name for a segment it has not seen.
            # Made for this question: what Cordial has may change until the next.
            namer = ListNamer(self._settings, self._store, self._cordial)
            found = await namer.choose(segment, taken if segment.id == _UNSEEN else frozenset())
            if found is None:
                return self._unknown(segment, "Cordial gives no answer")
            chosen = found
        existing = await self._cordial.named(chosen.name)
        if isinstance(existing, NoAnswer):
            return self._unknown(segment, existing.words)
        if existing is None:
            return _Forecast(chosen.name, ListFate.CREATE, chosen.note)
        if segment.list_state is ListState.CREATING:
            return _Forecast(existing.name, ListFate.USE)
        if self._settings.adopt_existing_lists:
            return _Forecast(existing.name, ListFate.TAKE_OVER, chosen.note)
        return _Forecast(existing.name, ListFate.HOLD, words.not_ours(segment, existing.name))

    def _unknown(self, segment: Segment, reason: str) -> _Forecast:
        return _Forecast(segment.list_name or names.wanted_name(segment, self._settings).name, ListFate.UNKNOWN, reason)


def _planned(request: Request, condition: str = "") -> PlannedCall:
    return PlannedCall(request.method, requests.VERSION_PATH + request.path, request.body, condition)


def _unseen_segment(delivery: Delivery) -> Segment:
    return Segment(
        id=_UNSEEN,
        account=delivery.account,
        heap_id=delivery.segment_id,
        name=delivery.segment_name,
        list_state=ListState.UNRESOLVED,
        list_name="",
        list_id="",
        list_reason="",
        list_named_after="",
        members=0,
        settled=0,
        pending=0,
        waiting=0,
        dead=0,
        created_at_ms=delivery.received_at_ms,
    )
