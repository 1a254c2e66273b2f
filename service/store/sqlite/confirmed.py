"""Finding contacts whose membership Cordial has confirmed, for proof calls (R7), without looking through the ledger each time.

The ledger has no index of who is settled: it would double the cost of a settlement. So some contacts of each list are
remembered when they settle. The ledger is looked through only where none is remembered, as after a start; and where that
finds nobody, not again before somebody settles.
"""

import json
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.store.sqlite import queries

_SQL = queries.load("confirmed")

# Of each list, for those on it and for those off it.
_MAX_REMEMBERED = 16
_REMEMBERED_OF_A_BATCH = 4
_MAX_GIVEN = 8
# A reader looks at so many members in milliseconds.
_MEMBERS_PER_STEP = 5_000


class Way(NamedTuple):
    """A membership that can be confirmed: of which segment, and whether on the list or off it."""

    segment_id: int
    wanted: bool


class ConfirmedContacts:
    """Knows some confirmed contacts of each list; `read` runs a function on a connection that only reads."""

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read
        self._remembered: defaultdict[Way, list[str]] = defaultdict(list)
        # The ways in which all confirmed contacts are remembered: a look into the ledger would find nobody else.
        self._has_all: set[Way] = set()

    def note(self, settled: Mapping[Way, Sequence[str]]) -> None:
        """Remember some of the contacts that were settled, now that it is durable."""
        for way, contacts in settled.items():
            chosen = random.sample(contacts, min(len(contacts), _REMEMBERED_OF_A_BATCH))
            if not self._remember(way, chosen) or len(chosen) < len(contacts):
                self._has_all.discard(way)

    async def find(self, account_id: int, way: Way, *, near: str, apart_from: str, or_in_import: bool) -> list[str]:
        """Return a few contacts but `apart_from` that are settled in this way, and that no import carries unless `or_in_import`.

        `near` is among them if it is one.
        """
        values = {
            "account_id": account_id,
            "segment_id": way.segment_id,
            "wanted": way.wanted,
            "apart": apart_from,
            "or_in_import": or_in_import,
        }
        found = await self._still_settled(values, [near, *self._remembered[way]])
        if found or way in self._has_all:
            return found
        self._remembered[way].clear()
        self._has_all.add(way)
        after: str | None = ""
        while after is not None:
            position = {**values, "after": after, "limit": _MEMBERS_PER_STEP}
            after, contacts = await self._read(lambda connection: _look(connection, position))  # noqa: B023
            if contacts:
                chosen = random.sample(contacts, min(len(contacts), _MAX_REMEMBERED))
                if not self._remember(way, chosen) or len(chosen) < len(contacts):
                    self._has_all.discard(way)
                if found := await self._still_settled(values, chosen):
                    if after is not None:
                        self._has_all.discard(way)
                    return found
        return []

    def _remember(self, way: Way, contacts: Sequence[str]) -> bool:
        """Remember contacts, some in the place of others; return whether nobody had to make room."""
        remembered = self._remembered[way]
        for contact in contacts:
            if contact in remembered:
                continue
            if len(remembered) >= _MAX_REMEMBERED:
                # Some old, some new: those of one batch may be gone from Cordial together.
                remembered[random.randrange(_MAX_REMEMBERED)] = contact  # noqa: S311  no secret
                return False
            remembered.append(contact)
        return True

    async def _still_settled(self, values: Mapping[str, Any], contacts: Sequence[str]) -> list[str]:
        asked = {**values, "contacts": json.dumps(list(dict.fromkeys(contacts))), "limit": _MAX_GIVEN}
        rows = await self._read(lambda connection: connection.execute(_SQL["still_settled"], asked).fetchall())
        return [contact for (contact,) in rows]


def _look(connection: sqlite3.Connection, position: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Return where to look on, None at the end, and the contacts found on the way."""
    last, members, found = connection.execute(_SQL["look"], position).fetchone()
    return (last if members == position["limit"] else None), json.loads(found)
