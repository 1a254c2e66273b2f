"""Who is on a list by Cordial's own record: page by page through a saved audience, or one contact after the other (R11)."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import AnswerKind, list_names_of
from service.deliver.line import AccountLine
from service.deliver.lists.keeper import ListKeeper
from service.errors import ErrorCode, ServiceError
from service.model.accounts import AccountState
from service.model.contacts import EMAIL, contact_of
from service.model.lists import Segment
from service.model.proof import AudiencePage
from service.store.port import Lists

_PER_PAGE = 500
# Limits count these calls apart from those that write, so a few at a time are enough.
_AT_ONCE = 8
_NAMES_SECONDS = 30.0


class MemberReader:
    """Reads who is on the lists of one account, when somebody asks."""

    def __init__(self, settings: AccountSettings, store: Lists, line: AccountLine, lists: ListKeeper) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._lists = lists

    async def page(self, segment_id: int, page: int) -> AudiencePage:
        """Return a page, from 1 on, of the audience that stands for a list; the page after the last has nobody.

        Raises `ServiceError`: NOT_FOUND without such a list, CONFLICT where it has no audience, the audience is of
        something else, or Cordial does not answer.
        """
        segment, name = await self._named(segment_id)
        key = self._settings.audience_keys.get(segment.heap_id)
        if key is None:
            raise ServiceError(
                ErrorCode.CONFLICT,
                f'the list has no audience: name its key in [accounts.{segment.account}.audience_keys] "{segment.heap_id}"',
            )
        answer = await self._line.ask(requests.audience_page(key, page, _PER_PAGE))
        if answer.kind is AnswerKind.NOT_FOUND:
            return AudiencePage([])
        if answer.kind is not AnswerKind.DONE or not isinstance(answer.body, list):
            raise ServiceError(ErrorCode.CONFLICT, f"Cordial returned no page: {answer.message or answer.reason}")
        for document in answer.body:
            names = list_names_of(document)
            if names is not None and name not in names:
                raise ServiceError(
                    ErrorCode.CONFLICT,
                    f"the audience {key} contains contacts that are not on {name}; save one that does not",
                )
        return AudiencePage([list(self._contacts_of(document)) for document in answer.body])

    async def read(self, segment_id: int, contacts: Sequence[str]) -> list[bool | None]:
        """Return for each contact (`key:value`) whether Cordial has it on the list; None where it does not say.

        Raises `ServiceError`: NOT_FOUND without such a list, CONFLICT while it cannot be read.
        """
        _, name = await self._named(segment_id)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def read(contact: str) -> bool | None:
            with self._line.permit(contact) as permit:
                async with turn:
                    answer = await self._line.ask(requests.get_contact(contact), permit)
            if answer.kind is AnswerKind.NOT_FOUND:
                return False
            names = answer.contact.list_names if answer.contact is not None else None
            return None if names is None else name in names

        return list(await asyncio.gather(*(read(contact) for contact in contacts)))

    async def _named(self, segment_id: int) -> tuple[Segment, str]:
        """Return a segment and the name that its list has in Cordial now."""
        if self._line.status().state is AccountState.PAUSED:
            raise ServiceError(ErrorCode.CONFLICT, self._line.status().why_paused)
        found = [segment for segment in await self._store.segments() if segment.id == segment_id]
        if not found or found[0].account != self._settings.name:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        try:
            with self._lists.names.keeping([segment_id]):
                async with asyncio.timeout(_NAMES_SECONDS):
                    names = await self._lists.seen([segment_id])
        except TimeoutError:
            names = {}
        if segment_id not in names:
            raise ServiceError(ErrorCode.CONFLICT, f"the list cannot be read: it is {found[0].list_state.value}")
        return found[0], names[segment_id]

    def _contacts_of(self, document: Any) -> Iterator[str]:
        """Yield the contacts (`key:value`) that somebody may be in the ledger, by each key that the account uses."""
        automatic = self._settings.identify_by == "auto"
        keys = [*self._settings.identities.values(), EMAIL] if automatic else [self._settings.identify_by]
        attributes = document.get("attributes")
        for key in dict.fromkeys(keys):
            if key == EMAIL:
                channels = document.get("channels")
                email = channels.get("email") if isinstance(channels, dict) else None
                value = email.get("address") if isinstance(email, dict) else None
            else:
                value = document.get(key, attributes.get(key) if isinstance(attributes, dict) else None)
            if isinstance(value, str | int) and not isinstance(value, bool):
                yield contact_of(str(value), key)
