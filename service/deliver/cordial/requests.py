"""Cordial's requests for contacts and lists, as its contract has them: composed here, sent by `cordial.py`. Pure, no I/O."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from service.config.settings import AccountSettings

VERSION_PATH = "/v2"


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request; `path` follows `/v2`, and `endpoint` with the method is what Cordial's limits count by."""

    method: str
    path: str
    endpoint: str
    body: dict[str, Any] | None = None


def contact_requests(settings: AccountSettings, contact: str, memberships: Mapping[str, bool]) -> list[Request]:
    """Return what sets memberships of a contact: the first request, then what follows while Cordial knows no such contact.

    `contact` is `key:value`, `memberships` goes by the lists' names.
    """
    # Sent always: Cordial's two contracts name opposite defaults.
    keys = {**memberships, "suppressTriggers": settings.suppress_triggers}
    update = _update_contact(contact, keys)
    if not settings.create_contacts or not any(memberships.values()):
        return [update]
    upsert = _upsert_contact(contact, keys)
    # By a secondary key most contacts exist, and only the update is sure to be understood.
    return [upsert] if contact.startswith("email:") else [update, upsert]


def create_list(name: str) -> Request:
    """Return what creates a list that also tracks when each contact joined."""
    return Request("POST", "/accountlists", "accountlists", {"name": name, "enhanced": True})


def _update_contact(contact: str, keys: dict[str, Any]) -> Request:
    """Set keys of a contact that exists; never creates one."""
    key, _, value = contact.partition(":")
    return Request("PUT", f"/contacts/{quote(key, safe='')}:{quote(value, safe='')}", "contacts", keys)


def _upsert_contact(contact: str, keys: dict[str, Any]) -> Request:
    """Set keys of a contact, creating it if there is none; its subscriptions are left alone (R14)."""
    key, _, value = contact.partition(":")
    by_email = {"channels": {"email": {"address": value}}}
    identity: dict[str, Any] = by_email if key == "email" else {key: value, "identifyBy": [key]}
    return Request("POST", "/contacts", "contacts", {**identity, **keys})
