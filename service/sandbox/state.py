"""What an account of Cordial holds: contacts, lists, attributes. Pure, in memory, unchecked: the rules are elsewhere."""

import itertools
from collections.abc import Iterator

import msgspec

from service.model.contacts import EMAIL
from service.sandbox.deviations import Deviation

_FIRST_LIST_ID = 101
# Contact ids look like Cordial's: 24 hexadecimal digits.
_FIRST_CONTACT_NUMBER = 0x604F3025_6A442060_00000001


class Contact(msgspec.Struct, gc=False):
    """A contact; `label` is the `key:value` it was created under, `email` the normalised address.

    `further_channels` holds what was written under `channels` beyond the e-mail's address and status. `identifiers`
    are the values of secondary keys, `attributes` those of all other attributes.
    """

    cid: str
    label: str
    email: str
    subscribe_status: str = "none"
    further_channels: dict[str, dict[str, object]] | None = None
    identifiers: dict[str, object] | None = None
    attributes: dict[str, object] | None = None


class AccountList(msgspec.Struct):
    """A list; `members` maps contact ids to the Unix time in seconds at which each joined."""

    id: int
    name: str
    enhanced: bool
    members: dict[str, int]


class SandboxState:
    """The contacts and lists of one account.

    `subscription_changes` is how often a contact's status was changed; each contact begins with `none`.
    """

    def __init__(
        self,
        secondary_keys: tuple[str, ...],
        attributes: dict[str, str],
        deviations: frozenset[Deviation] = frozenset(),
    ) -> None:
        self.deviations = deviations
        self.secondary_keys = frozenset(secondary_keys)
        self.attributes = dict.fromkeys(secondary_keys, "string") | attributes
        self.reset()

    def reset(self) -> None:
        """Forget all contacts and lists."""
        self.contacts: dict[str, Contact] = {}
        self.lists: dict[int, AccountList] = {}
        self.lists_by_name: dict[str, AccountList] = {}
        self.subscription_changes = 0
        self._by_identifier: dict[str, dict[str, Contact]] = {key: {} for key in (EMAIL, *self.secondary_keys)}
        self._contact_numbers = itertools.count(_FIRST_CONTACT_NUMBER)
        self._list_ids = itertools.count(_FIRST_LIST_ID)

    def is_identifier(self, key: str) -> bool:
        """Whether contacts can be addressed by `key`."""
        return key in self._by_identifier

    def find(self, key: str, value: str) -> Contact | None:
        """Return the contact whose `key` has `value`, in its normalised form."""
        return self._by_identifier[key].get(value)

    def create_contact(self, label: str, email: str) -> Contact:
        """Add a contact; the caller has made sure that `email` is free."""
        contact = Contact(f"{next(self._contact_numbers):024x}", label, email)
        self.contacts[contact.cid] = contact
        self._by_identifier[EMAIL][email] = contact
        return contact

    def change_email(self, contact: Contact, email: str) -> None:
        """Give a contact another address; the caller has made sure that it is free."""
        del self._by_identifier[EMAIL][contact.email]
        contact.email = email
        self._by_identifier[EMAIL][email] = contact

    def set_subscribe_status(self, contact: Contact, status: str) -> None:
        """Set the status of the contact's e-mail channel, and count it if that changes anything."""
        if status != contact.subscribe_status:
            contact.subscribe_status = status
            self.subscription_changes += 1

    def set_identifier(self, contact: Contact, key: str, value: object) -> None:
        """Set a secondary key, or take it away with `None`; the caller has made sure that the value is free."""
        identifiers = contact.identifiers = contact.identifiers or {}
        if key in identifiers:
            del self._by_identifier[key][str(identifiers.pop(key))]
        if value is not None:
            identifiers[key] = value
            self._by_identifier[key][str(value)] = contact

    def delete_contact(self, contact: Contact) -> None:
        """Remove a contact, from its lists too."""
        del self.contacts[contact.cid]
        del self._by_identifier[EMAIL][contact.email]
        for key, value in (contact.identifiers or {}).items():
            del self._by_identifier[key][str(value)]
        for account_list in self.lists.values():
            account_list.members.pop(contact.cid, None)

    def create_list(self, name: str, *, enhanced: bool = False) -> AccountList:
        """Add a list; the caller has made sure that the name is free."""
        account_list = AccountList(next(self._list_ids), name, enhanced, {})
        self.lists[account_list.id] = account_list
        self.lists_by_name[name] = account_list
        return account_list

    def rename_list(self, account_list: AccountList, name: str) -> None:
        """Give a list another name; its id and members stay."""
        if Deviation.OLD_NAME_STAYS not in self.deviations:
            del self.lists_by_name[account_list.name]
        account_list.name = name
        self.lists_by_name[name] = account_list

    def delete_list(self, account_list: AccountList) -> None:
        """Remove a list; its contacts stay."""
        del self.lists[account_list.id]
        del self.lists_by_name[account_list.name]

    def lists_of(self, contact: Contact) -> Iterator[AccountList]:
        """Yield the lists a contact is on."""
        return (account_list for account_list in self.lists.values() if contact.cid in account_list.members)

    def members(self, list_name: str, key: str = EMAIL) -> list[str]:
        """Return who is on a list, sorted, each by its value of `key`; those without one are left out.

        Raises `KeyError` when there is no such list or key.
        """
        found = (self.contacts[cid] for cid in self.lists_by_name[list_name].members)
        if key == EMAIL:
            return sorted(contact.email for contact in found)
        if key not in self.secondary_keys:
            raise KeyError(key)
        return sorted(
            str(contact.identifiers[key]) for contact in found if contact.identifiers and key in contact.identifiers
        )
