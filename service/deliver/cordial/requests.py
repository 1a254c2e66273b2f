"""Cordial's requests as its contract has them, one function a call; `AccountLine` makes the calls. Pure, no I/O."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from service.config.settings import AccountSettings

VERSION_PATH = "/v2"


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request; `path` follows `/v2`, and `endpoint` with the method is what Cordial's limits count by.

    `contact` is the contact (`key:value`) that the request is about, if it is about one.
    """

    method: str
    path: str
    endpoint: str
    body: dict[str, Any] | None = None
    contact: str = ""

    @property
    def operation(self) -> str:
        """The (method, endpoint), such as `PUT contacts`."""
        return f"{self.method} {self.endpoint}"

    @property
    def subject(self) -> str:
        """Whom or what the request is about."""
        return self.contact or self.path

    @property
    def lists(self) -> tuple[str, ...]:
        """The names of the lists that a contact's request puts it on or takes it off."""
        if not self.contact or self.body is None:
            return ()
        return tuple(key for key, value in self.body.items() if isinstance(value, bool) and key != "suppressTriggers")

    @property
    def is_repeatable(self) -> bool:
        """Whether it makes no difference that Cordial carries the request out twice, right after each other."""
        return self.method != "POST" or bool(self.contact)

    @property
    def writes(self) -> bool:
        """Whether the request may change something in Cordial."""
        return self.method != "GET"


def contact_requests(settings: AccountSettings, contact: str, memberships: Mapping[str, bool]) -> list[Request]:
    """Return what sets memberships of a contact: the first request, then what follows while Cordial knows no such contact.

    `contact` is `key:value`, `memberships` goes by the lists' names.
    """
    if not settings.create_contacts or not any(memberships.values()):
        return [update_contact(settings, contact, memberships)]
    upsert = _upsert_contact(contact, _keys(settings, memberships))
    if contact.startswith("email:"):
        return [upsert]
    # By a secondary key most contacts exist, and only the update is sure to be understood.
    return [update_contact(settings, contact, memberships), upsert]


def update_contact(settings: AccountSettings, contact: str, memberships: Mapping[str, bool]) -> Request:
    """Set memberships of a contact that exists; never creates one."""
    return Request("PUT", _contact_path(contact), "contacts", _keys(settings, memberships), contact)


def repeated_request(settings: AccountSettings, contact: str, memberships: Mapping[str, bool], method: str) -> Request:
    """Return what sets memberships of a contact again that is known to exist, by the method given where that serves."""
    served = contact_requests(settings, contact, memberships)
    return next((request for request in served if request.method == method), served[0])


def without_lists(request: Request) -> Request:
    """Return a contact's request as it is if it changes no membership."""
    body = {key: value for key, value in (request.body or {}).items() if key not in request.lists}
    return msgspec.structs.replace(request, body=body)


def find_lists(name: str) -> Request:
    """Ask for the lists of that name; Cordial answers 404 where there is none."""
    return Request("GET", f"/accountlists?name={quote(name, safe='')}", "accountlists")


def all_lists() -> Request:
    """Ask for all lists of the account."""
    return Request("GET", "/accountlists", "accountlists")


def get_list(list_id: str) -> Request:
    """Ask for one list by Cordial's id."""
    return Request("GET", f"/accountlists/{quote(list_id, safe='')}", "accountlists/id")


def count_list(list_id: str) -> Request:
    """Ask for one list with the count of its contacts."""
    return Request("GET", f"/accountlists/{quote(list_id, safe='')}/count", "accountlists/count")


def create_list(name: str) -> Request:
    """Create a list that also tracks when each contact joined."""
    return Request("POST", "/accountlists", "accountlists", {"name": name, "enhanced": True})


def rename_list(list_id: str, name: str) -> Request:
    """Give a list another name; its members stay."""
    path = f"/accountlists/{quote(list_id, safe='')}"
    return Request("PUT", path, "accountlists/id", {"name": name, "enhanced": True})


def contact_attributes() -> Request:
    """Ask for the account's contact attributes: they share a namespace with lists."""
    return Request("GET", "/accountcontactattributes", "accountcontactattributes")


def get_contact(contact: str) -> Request:
    """Ask for one contact (`key:value`); the answer names the lists that it is on."""
    return Request("GET", _contact_path(contact), "contacts", contact=contact)


def audience_page(key: str, page: int, per_page: int) -> Request:
    """Ask for a page of the contacts of a saved audience, in an order that stays; 404 where there is none."""
    path = f"/contacts?audience-key={quote(key, safe='')}&page={page}&per_page={per_page}&sort_by=cID&sort_dir=asc"
    return Request("GET", path, "contacts/search")


def get_job(job_id: str) -> Request:
    """Ask for a job of Cordial's, such as an import."""
    return Request("GET", f"/jobs/{quote(job_id, safe='')}", "jobs/id")


def list_imports(page: int, per_page: int) -> Request:
    """Ask for a page of the account's import jobs, each with its import's name; 404 where there is none."""
    return Request("GET", f"/jobs?jobName=ImportContacts&page={page}&per_page={per_page}", "jobs")


def _keys(settings: AccountSettings, memberships: Mapping[str, bool]) -> dict[str, Any]:
    # Sent always: Cordial's two contracts name opposite defaults.
    return {**memberships, "suppressTriggers": settings.suppress_triggers}


def _contact_path(contact: str) -> str:
    key, _, value = contact.partition(":")
    return f"/contacts/{quote(key, safe='')}:{quote(value, safe='')}"


def _upsert_contact(contact: str, keys: dict[str, Any]) -> Request:
    """Set keys of a contact, creating it if there is none; its subscriptions are left alone (R14)."""
    key, _, value = contact.partition(":")
    by_email = {"channels": {"email": {"address": value}}}
    identity: dict[str, Any] = by_email if key == "email" else {key: value, "identifyBy": [key]}
    return Request("POST", "/contacts", "contacts", {**identity, **keys}, contact)
