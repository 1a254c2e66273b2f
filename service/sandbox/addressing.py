"""Which contact a call is about, by the rules of Cordial's contract."""

from collections.abc import Mapping

import msgspec

from service.model.contacts import EMAIL, canonical
from service.sandbox.answers import SEARCH_FIELD_INCORRECT, RefusalError, contact_error
from service.sandbox.deviations import Deviation
from service.sandbox.state import Contact, SandboxState

_EMAIL_PATH = "channels.email.address"


class Target(msgspec.Struct, frozen=True, gc=False):
    """The contact a call addresses, if it exists, and how the call addresses it: `key:value`, normalised."""

    label: str
    contact: Contact | None = None


def target_of_path(state: SandboxState, path_key: str) -> Target:
    """Return whom `{key}` in a path means: `email:address`, `SECONDARY:value` or a contact's id; already decoded.

    Raises `RefusalError` when the part before the colon is no key that contacts can be addressed by.
    """
    key, colon, value = path_key.partition(":")
    if not colon:
        return Target(f"cID:{path_key}", state.contacts.get(path_key))
    if key in (EMAIL, _EMAIL_PATH):
        key = EMAIL
        value = value.strip() if Deviation.CASE_MATTERS in state.deviations else canonical(value, EMAIL)
    elif not state.is_identifier(key):
        raise RefusalError(SEARCH_FIELD_INCORRECT)
    return Target(f"{key}:{value}", state.find(key, value))


def target_of_body(state: SandboxState, body: Mapping[str, object]) -> Target:
    """Return whom the body of `POST /v2/contacts` means: `identifyBy` in its order, or the e-mail address.

    The first key with an existing contact decides; without any, the first that the body has a value for.
    Raises `RefusalError` when `identifyBy` is not a list of keys that contacts can be addressed by.
    """
    keys = body.get("identifyBy", (EMAIL,))
    if not isinstance(keys, list | tuple) or not keys:
        raise RefusalError(contact_error("identifyBy", "The identifyBy field must be an array of secondary keys."))
    first: Target | None = None
    for raw_key in keys:
        key = EMAIL if raw_key == _EMAIL_PATH else raw_key
        if not isinstance(key, str) or not state.is_identifier(key):
            raise RefusalError(SEARCH_FIELD_INCORRECT)
        value = _value_of(body, key)
        if value is not None:
            target = Target(f"{key}:{value}", state.find(key, value))
            if target.contact is not None:
                return target
            first = first or target
    return first or Target("")


def _value_of(body: Mapping[str, object], key: str) -> str | None:
    if key != EMAIL:
        value = body.get(key)
        return None if value is None else str(value)
    channels = body.get("channels")
    email = channels.get(EMAIL) if isinstance(channels, dict) else None
    address = email.get("address") if isinstance(email, dict) else None
    return canonical(address, EMAIL) if isinstance(address, str) else None
