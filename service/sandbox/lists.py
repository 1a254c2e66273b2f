"""The list endpoints, by the rules of Cordial's contract."""

import re
from collections.abc import Mapping

from service.sandbox.answers import (
    LIST_DOES_NOT_EXIST,
    LIST_NOT_FOUND,
    RECORD_NOT_FOUND,
    SUCCESS,
    Answer,
    RefusalError,
    error,
    json_answer,
)
from service.sandbox.deviations import Deviation
from service.sandbox.state import AccountList, SandboxState

# The contract's message leaves out underscores, its examples use them: it is worded like a rule that allows them.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SHORT_NAME = 64
_NAME_FAULT = error(422, "Name must contain only letters, numbers, and dashes. Should not exceed 128 characters")
_NAME_TAKEN = error(422, "Name must be unique")
# A list is a key in the body of a contact write; a list called like one of the other keys could never be written.
_RESERVED = frozenset(
    {"_id", "attributes", "channels", "cid", "email", "forcesubscribe", "identifyby", "lists", "suppresstriggers"}
)


def create_list(state: SandboxState, body: Mapping[str, object]) -> Answer:
    """Answer `POST /v2/accountlists`."""
    name = _checked_name(state, body, current=None)
    account_list = state.create_list(name, enhanced=_checked_enhanced(body, default=False))
    return _success(account_list)


def find_lists(state: SandboxState, name: str | None) -> Answer:
    """Answer `GET /v2/accountlists`: all of them, or the one called `name` as an array of one."""
    if name is None:
        return json_answer(200, [_document(account_list) for account_list in state.lists.values()])
    account_list = state.lists_by_name.get(name)
    return RECORD_NOT_FOUND if account_list is None else json_answer(200, [_document(account_list)])


def get_list(state: SandboxState, list_id: str) -> Answer:
    """Answer `GET /v2/accountlists/{id}`."""
    return json_answer(200, _document(_find(state, list_id, LIST_DOES_NOT_EXIST)))


def count_list(state: SandboxState, list_id: str) -> Answer:
    """Answer `GET /v2/accountlists/{id}/count`."""
    account_list = _find(state, list_id, LIST_DOES_NOT_EXIST)
    return json_answer(200, {**_document(account_list), "count": len(account_list.members)})


def update_list(state: SandboxState, list_id: str, body: Mapping[str, object]) -> Answer:
    """Answer `PUT /v2/accountlists/{id}`: another name, or date tracking on or off; members stay."""
    account_list = _find(state, list_id, LIST_NOT_FOUND)
    name = _checked_name(state, body, current=account_list)
    enhanced = _checked_enhanced(body, default=account_list.enhanced)
    if Deviation.RENAME_EMPTIES in state.deviations and name != account_list.name:
        account_list.members.clear()
    state.rename_list(account_list, name)
    account_list.enhanced = enhanced
    return json_answer(200, [_document(account_list)])


def clear_list(state: SandboxState, list_id: str) -> Answer:
    """Answer `PUT /v2/accountlists/{id}/clear`: nobody is on the list afterwards, no contact is deleted."""
    account_list = _find(state, list_id, LIST_DOES_NOT_EXIST)
    account_list.members.clear()
    return _success(account_list)


def delete_list(state: SandboxState, list_id: str) -> Answer:
    """Answer `DELETE /v2/accountlists/{id}`."""
    state.delete_list(_find(state, list_id, RECORD_NOT_FOUND))
    return SUCCESS


def _find(state: SandboxState, list_id: str, missing: Answer) -> AccountList:
    account_list = state.lists.get(int(list_id)) if list_id.isdecimal() else None
    if account_list is None:
        raise RefusalError(missing)
    return account_list


def _checked_name(state: SandboxState, body: Mapping[str, object], current: AccountList | None) -> str:
    name = body.get("name")
    if name is None:
        raise RefusalError(error(422, "The name field is required."))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RefusalError(_NAME_FAULT)
    if Deviation.NO_UNDERSCORE in state.deviations and "_" in name:
        raise RefusalError(_NAME_FAULT)
    if Deviation.SHORT_NAMES in state.deviations and len(name) > _SHORT_NAME:
        raise RefusalError(_NAME_FAULT)
    if name.lower() in _RESERVED:
        raise RefusalError(error(422, f"{name.lower()} is not allowed for list names."))
    if name in state.attributes or state.lists_by_name.get(name, current) is not current:
        raise RefusalError(_NAME_TAKEN)
    return name


def _checked_enhanced(body: Mapping[str, object], *, default: bool) -> bool:
    enhanced = body.get("enhanced", default)
    if not isinstance(enhanced, bool):
        raise RefusalError(error(422, "The enhanced field must be true or false."))
    return enhanced


def _document(account_list: AccountList) -> dict[str, object]:
    return {"id": account_list.id, "name": account_list.name, "enhanced": account_list.enhanced}


def _success(account_list: AccountList) -> Answer:
    return json_answer(200, {"success": True, "id": account_list.id})
