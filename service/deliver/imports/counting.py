"""Whether the lists hold what an import was to put on them, by Cordial's own count: jobs name no row that was lost."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from service.deliver.imports.judging import excess, shortfall
from service.deliver.lists.keeper import ListKeeper
from service.deliver.lists.questions import Counted
from service.store.port import Imports


class Difference(NamedTuple):
    """What is wrong with a list, in words: it holds fewer than it must, or more than it may; empty where it does not.

    `proves_effect`: each list was counted and none is short, and no list both gains and loses contacts. Where one does, a
    contact that is missing and one that is still there balance.
    """

    shortfall: str = ""
    excess: str = ""
    proves_effect: bool = False


class ListCounter:
    """Counts the lists of one account's import."""

    def __init__(self, account: str, store: Imports, lists: ListKeeper) -> None:
        self._account = account
        self._store = store
        self._lists = lists

    async def compare(self, waits_seconds: Sequence[float]) -> Difference:
        """Return how a list differs from what it must hold, by Cordial's count; nothing if none does, or none can be told.

        Each of the waits is followed by a count; a difference that one of them no longer finds is none. A count that
        Cordial does not give shows neither.
        """
        found = Difference()
        for wait in waits_seconds:
            await asyncio.sleep(wait)
            now = await self._find_difference()
            if now is None:
                continue
            found = now
            if not (found.shortfall or found.excess):
                break
        return found

    async def _find_difference(self) -> Difference | None:
        """Return the first shortfall, or else the first excess; None if there is neither and some list has no count."""
        excess_found = ""
        is_known, balances = True, False
        for expected in await self._store.expected_counts(self._account):
            counted = await self._lists.cordial.count(expected.list_id)
            if not isinstance(counted, Counted):
                is_known = False
                continue
            self._lists.counted(expected.segment_id, counted.name)
            list_name = counted.name or "the list"
            if missed := shortfall(expected, counted.number, list_name):
                return Difference(shortfall=missed)
            excess_found = excess_found or excess(expected, counted.number, list_name)
            balances = balances or bool(expected.additions and expected.removals)
        if not is_known and not excess_found:
            return None
        return Difference(excess=excess_found, proves_effect=is_known and not balances)
