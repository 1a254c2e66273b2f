"""Choosing the name of a segment's list: the rule of `names.py`, and what of Cordial and the store stands in its way."""

from typing import Any

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.line import AccountLine
from service.deliver.lists import names
from service.model.lists import Segment
from service.store.port import Lists


class ListNamer:
    """Names the lists of one account."""

    def __init__(self, settings: AccountSettings, store: Lists, line: AccountLine) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._attributes: set[str] | None = None

    async def choose(self, segment: Segment) -> names.ListName | None:
        """Return the name the segment's list should have; None while Cordial cannot say what stands in its way."""
        chosen = self._settings.list_names.get(segment.heap_id, "")
        wanted = names.list_name(segment.name, segment.heap_id, prefix=self._settings.list_prefix, chosen=chosen)
        attributes = await self._attribute_keys(wanted.name)
        if attributes is None:
            return None
        if wanted.name in attributes:
            wanted = names.beside_attribute(wanted.name)
        base, turn = wanted.name, 0
        while wanted.name in attributes or await self._store.list_name_taken(segment.id, wanted.name):
            turn += 1
            wanted = names.beside_other_segment(base, segment.heap_id, turn)
        return wanted

    async def _attribute_keys(self, wanted: str) -> set[str] | None:
        """Return the keys of contact attributes, none if the API key may not read them: the permission is optional.

        None while Cordial gives no answer.
        """
        if self._attributes is not None:
            return self._attributes
        # Only where the account is served does a refusal mean that it is this permission that is missing. It must not
        # pause the account, so the question itself is not asked over the line.
        served = await self._line.call(requests.find_lists(wanted))
        if served.kind not in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
            return None
        answer = await self._line.ask(requests.contact_attributes())
        if answer.kind is AnswerKind.DONE:
            rows = answer.body if isinstance(answer.body, list) else []
            self._attributes = {str(row.get("key") or row.get("name")) for row in rows if isinstance(row, dict)}
            return self._attributes
        is_temporary = answer.kind in {AnswerKind.THROTTLED, AnswerKind.UNAVAILABLE} and answer.status not in {403, 404}
        return None if is_temporary else set()


def list_named(answer: Answer, name: str) -> dict[str, Any] | None:
    """Return the list of that name, exactly or but for letter case: whether Cordial tells these apart is unknown."""
    rows = answer.body if answer.kind is AnswerKind.DONE else None
    if isinstance(rows, dict):
        rows = [rows]
    found = [row for row in rows or [] if isinstance(row, dict) and str(row.get("name", "")).lower() == name.lower()]
    exact = [row for row in found if row.get("name") == name]
    return next(iter(exact or found), None)
