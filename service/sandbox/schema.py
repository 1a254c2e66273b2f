"""What the body of a contact write may hold, by the rules of Cordial's contract. Pure checks, no effects."""

import re
from collections.abc import Mapping

import msgspec

from service.model.contacts import EMAIL, canonical
from service.sandbox.answers import RefusalError, contact_error, validation_errors
from service.sandbox.deviations import Deviation
from service.sandbox.state import SandboxState

UPDATE_FLAGS = frozenset({"channels", "suppressTriggers", "forceSubscribe"})
CREATE_FLAGS = UPDATE_FLAGS | {"identifyBy"}

_EMAIL_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])"
)
SUBSCRIBE_STATUSES = frozenset({"none", "subscribed", "unsubscribed"})
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str, int, float),
    "number": (int, float),
    "date": (str,),
    "array": (list,),
    "geo": (dict,),
}


class ChannelValues(msgspec.Struct, frozen=True, gc=False):
    """What `channels` says: the normalised address and the status if given, and everything else as it came."""

    address: str | None = None
    subscribe_status: str | None = None
    further: dict[str, dict[str, object]] | None = None


NO_CHANNELS = ChannelValues()


def check_keys(state: SandboxState, body: Mapping[str, object], flags: frozenset[str]) -> None:
    """Raise `RefusalError` unless each key is one of `flags`, a list or an attribute, and its value fits it.

    Keys are case-sensitive; one bad key refuses the whole write.
    """
    errors: dict[str, list[str]] = {}
    for key, value in body.items():
        if key in state.lists_by_name:
            if not isinstance(value, bool):
                errors[key] = [f"The {key} field must be true or false."]
        elif key in state.attributes:
            kind = state.attributes[key]
            if value is not None and (isinstance(value, bool) or not isinstance(value, _TYPES[kind])):
                errors[key] = [f"The {key} field must be of type {kind}."]
        elif key not in flags and Deviation.IGNORES_UNKNOWN_LISTS not in state.deviations:
            errors[key] = [f"key {key} is not part of the schema for this resource"]
    if errors:
        raise RefusalError(validation_errors(errors))
    for flag in ("suppressTriggers", "forceSubscribe"):
        if not isinstance(body.get(flag, False), bool):
            raise RefusalError(contact_error(flag, f"Incorrect value for {flag}"))


def read_channels(body: Mapping[str, object]) -> ChannelValues:
    """Return what `channels` says, or raise `RefusalError`."""
    channels = body.get("channels")
    if channels is None:
        return NO_CHANNELS
    if not isinstance(channels, dict):
        raise RefusalError(contact_error("channels", "The channels field must be an object."))
    further: dict[str, dict[str, object]] = {}
    for name, values in channels.items():
        if not isinstance(values, dict):
            raise RefusalError(contact_error(f"channels.{name}", f"The channels.{name} field must be an object."))
        if name != EMAIL:
            further[name] = values
        elif rest := {key: value for key, value in values.items() if key not in ("address", "subscribeStatus")}:
            further[EMAIL] = rest
    email = channels.get(EMAIL, {})
    return ChannelValues(_address(email), _subscribe_status(email), further or None)


def valid_address(address: object) -> str | None:
    """Return an e-mail address in its normalised form, or `None` if it is none."""
    normalised = canonical(address, EMAIL) if isinstance(address, str) else ""
    return normalised if _EMAIL_ADDRESS.fullmatch(normalised) else None


def _address(email: Mapping[str, object]) -> str | None:
    if "address" not in email:
        return None
    address = valid_address(email["address"])
    if address is None:
        field = "channels.email.address"
        raise RefusalError(contact_error(field, f"The {field} must be a valid email address."))
    return address


def _subscribe_status(email: Mapping[str, object]) -> str | None:
    status = email.get("subscribeStatus")
    if status is None:
        return None
    if not isinstance(status, str) or status not in SUBSCRIBE_STATUSES:
        raise RefusalError(contact_error("channels.email.subscribeStatus", "The selected subscribeStatus is invalid."))
    return status
