"""What Cordial is asked about lists, and what its answers say, typed: nothing else reads an answer about a list.

An answer that does not say what was asked for is no answer: nothing is concluded from it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.line import AccountLine

# More contacts than any list has. What is larger, negative or no whole number is no count.
_MAX_COUNT = 10_000_000_000
_MAX_NAME_CHARACTERS = 512
_MAX_ID_CHARACTERS = 64


class FoundList(NamedTuple):
    """A list as Cordial describes it."""

    id: str
    name: str
    enhanced: bool = True


class Directory(msgspec.Struct, frozen=True):
    """All lists that Cordial had at one moment, by their ids: ids and names seen together."""

    lists: Mapping[str, FoundList]

    def named(self, name: str) -> FoundList | None:
        """Return the list of that name, if need be in another letter case: whether Cordial tells these apart is unknown."""
        return _named(self.lists.values(), name)


class Counted(NamedTuple):
    """How many contacts Cordial counts on a list, and the name that the list has; empty if the answer has none."""

    number: int
    name: str


class Missing(NamedTuple):
    """Cordial says that there is no such list."""

    words: str


class NoAnswer(NamedTuple):
    """Cordial did not say what was asked for."""

    words: str


class Refused(NamedTuple):
    """Cordial refused what was asked of it: nothing was done."""

    words: str


class CordialLists:
    """Asks Cordial about the lists of one account."""

    def __init__(self, line: AccountLine, side_question_seconds: float) -> None:
        self._line = line
        # The longest wait for an answer that is useful but not needed.
        self._side_question_seconds = side_question_seconds

    async def all(self) -> Directory | NoAnswer:
        """Return all lists."""
        answer = await self._line.call(requests.all_lists())
        if answer.kind is AnswerKind.NOT_FOUND:
            return Directory({})
        if answer.kind is not AnswerKind.DONE or not isinstance(answer.body, list):
            return _no_answer(answer)
        return Directory({found.id: found for found in map(_read_list, answer.body) if found is not None})

    async def named(self, name: str) -> FoundList | NoAnswer | None:
        """Return the list of that name, letter case aside; None if there is none."""
        answer = await self._line.call(requests.find_lists(name))
        if answer.kind is AnswerKind.NOT_FOUND:
            return None
        if answer.kind is not AnswerKind.DONE:
            return _no_answer(answer)
        rows = answer.body if isinstance(answer.body, list) else [answer.body]
        return _named([found for found in map(_read_list, rows) if found is not None], name)

    async def by_id(self, list_id: str) -> FoundList | Missing | NoAnswer:
        """Return the list of that id."""
        answer = await self._line.call(requests.get_list(list_id))
        if answer.kind is AnswerKind.NOT_FOUND:
            return Missing(_words(answer))
        found = _read_list(answer.body) if answer.kind is AnswerKind.DONE else None
        return found if found is not None and found.id == list_id else _no_answer(answer)

    async def count(self, list_id: str) -> Counted | Missing | NoAnswer:
        """Return how many contacts are on the list of that id, and its name."""
        answer = await self._line.call(requests.count_list(list_id))
        if answer.kind is AnswerKind.NOT_FOUND:
            return Missing(_words(answer))
        if answer.kind is not AnswerKind.DONE or not isinstance(answer.body, dict):
            return _no_answer(answer)
        count, found = answer.body.get("count"), _read_list(answer.body)
        if type(count) is not int or not 0 <= count <= _MAX_COUNT:
            return NoAnswer("its answer has no count of contacts")
        if found is not None and found.id != list_id:
            return NoAnswer("it answered about another list")
        return Counted(count, found.name if found is not None else "")

    async def create(self, name: str) -> str | Refused | NoAnswer:
        """Create a list; return the id that Cordial gave it. After `NoAnswer` it may exist nevertheless."""
        answer = await self._line.call(requests.create_list(name))
        if answer.kind is AnswerKind.REFUSED:
            return Refused(_words(answer))
        list_id = _read_id(answer.body) if answer.kind is AnswerKind.DONE else ""
        return list_id or _no_answer(answer)

    async def rename(self, list_id: str, name: str) -> Refused | NoAnswer | None:
        """Give a list another name; its members stay. None means that it has the name now."""
        answer = await self._line.call(requests.rename_list(list_id, name))
        if answer.kind is AnswerKind.DONE:
            return None
        return Refused(_words(answer)) if answer.kind is AnswerKind.REFUSED else _no_answer(answer)

    async def attribute_keys(self) -> frozenset[str] | NoAnswer:
        """Return the keys of contact attributes, none if the API key may not read them: the permission is optional.

        They share a namespace with lists. Returns within seconds once the account is served.
        """
        # A refusal means a missing permission only while the account is served. It must not
        # pause the account, so the question itself is not asked over the line.
        served = await self._line.call(requests.all_lists())
        if served.kind not in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
            return _no_answer(served)
        try:
            async with asyncio.timeout(self._side_question_seconds):
                answer = await self._line.ask(requests.contact_attributes())
        except TimeoutError:
            return NoAnswer("it does not answer in time")
        if answer.kind is AnswerKind.DONE:
            rows = answer.body if isinstance(answer.body, list) else []
            return frozenset(str(row.get("key") or row.get("name")) for row in rows if isinstance(row, dict))
        is_temporary = answer.kind in {AnswerKind.THROTTLED, AnswerKind.UNAVAILABLE} and answer.status not in {403, 404}
        return _no_answer(answer) if is_temporary else frozenset()


def _named(lists: Iterable[FoundList], name: str) -> FoundList | None:
    found = [each for each in lists if each.name.lower() == name.lower()]
    exact = [each for each in found if each.name == name]
    return next(iter(exact or found), None)


def _read_list(row: Any) -> FoundList | None:
    list_id = _read_id(row)
    name = row.get("name") if list_id else None
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_CHARACTERS:
        return None
    return FoundList(list_id, name, row.get("enhanced") is not False)


def _read_id(row: Any) -> str:
    """Return the id that a document holds, empty if it holds none."""
    value = row.get("id") if isinstance(row, dict) else None
    text = str(value) if isinstance(value, str) or type(value) is int else ""
    return text if len(text) <= _MAX_ID_CHARACTERS else ""


def _no_answer(answer: Answer) -> NoAnswer:
    return NoAnswer(_words(answer) or "the answer does not contain what was asked for")


def _words(answer: Answer) -> str:
    # They become a part of a sentence.
    return answer.message.rstrip(".") or answer.reason
