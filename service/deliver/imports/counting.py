"""Whether the lists hold what an import was to put on them, by Cordial's own count: jobs name no row that was lost."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from service.bulk import Expected
from service.deliver.account import AccountLine
from service.deliver.answers import AnswerKind
from service.deliver.imports.judging import shortfall
from service.deliver.lists import ListKeeper


class Registry(Protocol):
    """What counting needs of the store's imports."""

    async def expected_counts(self, account: str) -> list[Expected]:
        """Return what each list of the account's import must hold at least once all of it took effect."""


class ListCounter:
    """Counts the lists of one account's import."""

    def __init__(self, account: str, registry: Registry, line: AccountLine, lists: ListKeeper) -> None:
        self._account = account
        self._registry = registry
        self._line = line
        self._lists = lists

    async def shortfall(self, waits_seconds: Sequence[float]) -> str:
        """Return which list holds fewer than it must, by Cordial's count; empty if none does, or none can be told.

        Each of the waits is followed by a count; a shortfall that one of them no longer finds is none.
        """
        missed = ""
        for wait in waits_seconds:
            await asyncio.sleep(wait)
            missed = await self._find_shortfall()
            if not missed:
                break
        return missed

    async def _find_shortfall(self) -> str:
        for expected in await self._registry.expected_counts(self._account):
            counted = await self._count(expected.list_id)
            list_name = self._lists.ready_names().get(expected.segment_id, "the list")
            if counted is not None and (missed := shortfall(expected.count, counted, list_name)):
                return missed
        return ""

    async def _count(self, list_id: str) -> int | None:
        answer = await self._line.call(lambda: self._line.client.count_list(list_id))
        counted = answer.body.get("count") if answer.kind is AnswerKind.DONE and isinstance(answer.body, dict) else None
        return counted if isinstance(counted, int) else None
