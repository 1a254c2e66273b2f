"""The contact endpoints, by the rules of Cordial's contract."""

import time
from collections.abc import Mapping

from service.model.contacts import EMAIL, canonical
from service.sandbox.addressing import Target, target_of_body, target_of_path
from service.sandbox.answers import (
    NO_SUCH_PATH,
    RECORD_NOT_FOUND,
    SUCCESS,
    Answer,
    RefusalError,
    contact_error,
    json_answer,
)
from service.sandbox.deviations import Deviation
from service.sandbox.schema import CREATE_FLAGS, UPDATE_FLAGS, ChannelValues, check_keys, read_channels
from service.sandbox.state import Contact, SandboxState

_CHANNELS_REQUIRED = contact_error("channels", "The channels field is required.")
_NO_ADDRESS = contact_error("channels.email.address", "Address not exists")
_LATE_SECONDS = 3
_DEFAULT_PER_PAGE = 25
_MAX_PER_PAGE = 1000


def post_contact(state: SandboxState, body: Mapping[str, object]) -> Answer:
    """Answer `POST /v2/contacts`: update the contact if there is one, else create it.

    The answer does not tell which of both happened; neither does Cordial's.
    """
    check_keys(state, body, CREATE_FLAGS)
    channels = read_channels(body)
    target = target_of_body(state, body)
    _check_unique(state, target.contact, channels, body)
    contact = target.contact
    if contact is None:
        contact = _create(state, target, channels, body)
        if Deviation.SUBSCRIBES_CREATED in state.deviations:
            state.set_subscribe_status(contact, "subscribed")
    _write(state, contact, channels, body)
    return json_answer(201, {"success": True, "message": "contact created", "cID": contact.cid})


def put_contact(state: SandboxState, path_key: str, body: Mapping[str, object]) -> Answer:
    """Answer `PUT /v2/contacts/{key}`: update a contact, never create one."""
    target = target_of_path(state, path_key)
    if target.contact is None and Deviation.CREATES_ON_PUT in state.deviations:
        state.create_contact(target.label, target.label.partition(":")[2])
    contact = _find(state, path_key)
    check_keys(state, body, UPDATE_FLAGS)
    channels = read_channels(body)
    _check_unique(state, contact, channels, body)
    _write(state, contact, channels, body)
    return SUCCESS


def get_contact(state: SandboxState, path_key: str) -> Answer:
    """Answer `GET /v2/contacts/{key}`."""
    return json_answer(200, _document(state, _find(state, path_key)))


def delete_contact(state: SandboxState, path_key: str) -> Answer:
    """Answer `DELETE /v2/contacts/{key}`."""
    state.delete_contact(_find(state, path_key))
    return SUCCESS


def find_contacts(state: SandboxState, query: Mapping[str, str]) -> Answer:
    """Answer `GET /v2/contacts`: a page of contacts in the order of their creation, or the one with `email`.

    An empty page is a 404. `audience-key` names an audience "is on this list" by the list's name; `sort_by` changes nothing,
    for the order is that of the ids; `return_count` is not offered.
    """
    page = _whole_number(query, "page", 1)
    per_page = min(_whole_number(query, "per_page", _DEFAULT_PER_PAGE), _MAX_PER_PAGE)
    if EMAIL in query:
        contact = state.find(EMAIL, canonical(query[EMAIL], EMAIL))
        found = [] if contact is None else [contact]
    elif "audience-key" in query:
        audience = state.lists_by_name.get(query["audience-key"])
        found = [state.contacts[cid] for cid in sorted(audience.members)] if audience else []
    else:
        found = list(state.contacts.values())
    found = found[(page - 1) * per_page : page * per_page]
    return json_answer(200, [_document(state, contact) for contact in found]) if found else RECORD_NOT_FOUND


def _find(state: SandboxState, path_key: str) -> Contact:
    if Deviation.NO_SLASH in state.deviations and "/" in path_key:
        raise RefusalError(NO_SUCH_PATH)
    contact = target_of_path(state, path_key).contact
    if contact is None:
        raise RefusalError(RECORD_NOT_FOUND)
    return contact


def _create(state: SandboxState, target: Target, channels: ChannelValues, body: Mapping[str, object]) -> Contact:
    if body.get("channels") is None:
        raise RefusalError(_CHANNELS_REQUIRED)
    if channels.address is None:
        raise RefusalError(_NO_ADDRESS)
    return state.create_contact(target.label or f"{EMAIL}:{channels.address}", channels.address)


def _check_unique(
    state: SandboxState, contact: Contact | None, channels: ChannelValues, body: Mapping[str, object]
) -> None:
    identifiers = {key: str(body[key]) for key in state.secondary_keys if body.get(key) is not None}
    if channels.address is not None:
        identifiers[EMAIL] = channels.address
    for key, value in identifiers.items():
        if state.find(key, value) not in (None, contact):
            raise RefusalError(contact_error(key, "unique constraint error"))


def _write(state: SandboxState, contact: Contact, channels: ChannelValues, body: Mapping[str, object]) -> None:
    _write_channels(state, contact, channels, force_subscribe=body.get("forceSubscribe") is True)
    lists = [key for key in body if key in state.lists_by_name]
    ignored = lists[1:] if Deviation.ONE_LIST_A_CALL in state.deviations else []
    for key, value in body.items():
        if key in ignored:
            continue
        if key in state.lists_by_name:
            members = state.lists_by_name[key].members
            if value:
                members.setdefault(contact.cid, int(time.time()))
            else:
                members.pop(contact.cid, None)
        elif key in state.secondary_keys:
            state.set_identifier(contact, key, value)
        elif key in state.attributes:
            contact.attributes = (contact.attributes or {}) | {key: value}


def _write_channels(state: SandboxState, contact: Contact, channels: ChannelValues, *, force_subscribe: bool) -> None:
    if channels.address is not None and channels.address != contact.email:
        state.change_email(contact, channels.address)
    status = channels.subscribe_status
    # Someone who has unsubscribed stays so, without an error, unless the caller insists.
    held_back = status == "subscribed" and contact.subscribe_status == "unsubscribed" and not force_subscribe
    if status is not None and not held_back:
        state.set_subscribe_status(contact, status)
    if channels.further is not None:
        further = contact.further_channels = contact.further_channels or {}
        for name, values in channels.further.items():
            further[name] = further.get(name, {}) | values


def _document(state: SandboxState, contact: Contact) -> dict[str, object]:
    further = contact.further_channels or {}
    email = {"address": contact.email, "subscribeStatus": contact.subscribe_status} | further.get(EMAIL, {})
    lists = list(state.lists_of(contact))
    if Deviation.READS_LATE in state.deviations:
        lists = [each for each in lists if each.members[contact.cid] + _LATE_SECONDS < time.time()]
    return {
        "_id": contact.cid,
        "attributes": {"cID": contact.cid} | (contact.identifiers or {}) | (contact.attributes or {}),
        "channels": further | {EMAIL: email},
        "lists": [account_list.name for account_list in lists],
        "listJoinDate": {
            account_list.name: _timestamp(account_list.members[contact.cid])
            for account_list in lists
            if account_list.enhanced
        },
    }


def _timestamp(unix_seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(unix_seconds))


def _whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise RefusalError(contact_error(name, f"The {name} must be a whole number from 1."))
    return int(text)
