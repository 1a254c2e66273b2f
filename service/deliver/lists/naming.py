"""Naming lists by the rule of `names.py`: asks Cordial and the store which names something else has already (R10)."""

import asyncio
from collections.abc import Container

import structlog

from service.config.settings import AccountSettings
from service.deliver.lists.names import ListName, names_in_turn, wanted_name
from service.deliver.lists.questions import CordialLists, NoAnswer
from service.model.lists import Segment
from service.store.port import Lists

log = structlog.get_logger()

# So often Cordial is asked for its attributes before lists get their names without, and so long until it is asked again.
_MAX_ATTRIBUTE_TRIES = 3
_UNREAD_SECONDS = 600.0
_ATTRIBUTES_UNREAD = "not compared with Cordial's contact attributes, which could not be read"


class ListNamer:
    """Names the lists of one account."""

    def __init__(self, settings: AccountSettings, store: Lists, cordial: CordialLists) -> None:
        self._settings = settings
        self._store = store
        self._cordial = cordial
        self._attributes: frozenset[str] | None = None
        self._failures = 0
        self._unread_until = float("-inf")

    async def choose(self, segment: Segment, taken: Container[str] = frozenset()) -> ListName | None:
        """Return the name the segment's list should have; None while it is worth asking Cordial again for attributes.

        `taken` are names in lower case that it cannot have, besides those that the store knows of.
        """
        attributes = await self._attribute_keys()
        if attributes is None:
            return None
        possible = names_in_turn(wanted_name(segment, self._settings), segment.heap_id, attributes)
        chosen = next(possible)
        while chosen.name.lower() in taken or await self._store.list_name_taken(segment.id, chosen.name):
            chosen = next(possible)
        return chosen if chosen.note or self._attributes is not None else ListName(chosen.name, _ATTRIBUTES_UNREAD)

    async def _attribute_keys(self) -> frozenset[str] | None:
        """Return the keys of contact attributes, none if they cannot be read; None while it is worth asking again.

        A side question: the permission to read them is optional, and Cordial refuses a list with an attribute's name
        anyway. So it has an end, a default, and a line in the log.
        """
        now = asyncio.get_running_loop().time()
        if self._attributes is not None:
            return self._attributes
        if now < self._unread_until:
            return frozenset()
        answer = await self._cordial.attribute_keys()
        if not isinstance(answer, NoAnswer):
            self._attributes, self._failures = answer, 0
            return answer
        self._failures += 1
        if self._failures % _MAX_ATTRIBUTE_TRIES:
            return None
        self._unread_until = now + _UNREAD_SECONDS
        log.warning("list.attributes_unread", account=self._settings.name, reason=answer.words, hint=_ATTRIBUTES_UNREAD)
        return frozenset()
