"""Which of a page's user ids can be synced, and as what text. Pure, no I/O."""

import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import cast

import msgspec

from service.model.contacts import EMAIL, canonical, number_text
from service.model.deliveries import Rejected
from service.receive.payload import Absent, is_unicode

# Heap's own limit for an identity.
MAX_ID_LENGTH = 255

_MAX_VALUE_LENGTH = 64
# What JavaScript writes where it had nothing to write; both occur in real Heap data.
_PLACEHOLDERS = frozenset({"undefined", "null"})
_NEVER_USABLE = _PLACEHOLDERS | {""}
_SPACE_AND_CONTROLS = (*map(chr, range(0x21)), "\x7f")


class Reason(StrEnum):
    """Why a user cannot be synced; stable, for people and programs to count by."""

    NOT_AN_OBJECT = "not_an_object"
    MISSING = "missing"
    NULL = "null"
    BOOLEAN = "boolean"
    OBJECT = "object"
    LIST = "list"
    EMPTY = "empty"
    PLACEHOLDER = "placeholder"
    TOO_LONG = "too_long"
    CONTROL_CHARACTERS = "control_characters"
    BROKEN_TEXT = "broken_text"


class UserIds(msgspec.Struct, frozen=True):
    """The usable ids, normalised, each once, in the order they came; and the rejected ones with their places."""

    usable: list[str]
    rejected: list[Rejected]


def read_user_ids(values: Sequence[object], identity: str, path: str) -> UserIds:
    """Sort the ids of one list of a page, given as JSON values (fractions as `Decimal`) or `Absent`.

    What is one contact becomes one text, by the rule of `service.model.contacts`. Numbers become their decimal text.
    `path` is the JSON path of the list.
    """
    usable = _take_together(values, identity)
    if usable is not None:
        return UserIds(usable, [])
    usable, rejected = [], []
    for position, value in enumerate(values):
        text = canonical(value, identity) if isinstance(value, str) else number_text(value)
        reason = _fault_of_type(value) if text is None else _fault_of_text(text)
        if reason is not None:
            item_path = f"{path}[{position}]" if reason is Reason.NOT_AN_OBJECT else f"{path}[{position}].id"
            rejected.append(Rejected(item_path, reason.value, _printable(value)))
        elif text is not None:
            usable.append(text)
    return UserIds(list(dict.fromkeys(usable)), rejected)


def _take_together(values: Sequence[object], identity: str) -> list[str] | None:
    """Return all ids as `UserIds` holds them if every one is usable beyond doubt.

    Pages are nearly always like that, and looking at their ids together is many times faster than at each.
    """
    try:
        together = "".join(cast("Sequence[str]", values))
    except TypeError:  # not all of them are text
        return None
    texts = list(cast("Sequence[str]", values))
    is_plain = together.isascii() and not any(character in together for character in _SPACE_AND_CONTROLS)
    if not is_plain or (identity == EMAIL and together != together.lower()):
        texts = [canonical(text, identity) for text in texts]
    if not is_plain and not "".join(texts).isprintable():
        return None
    unique = set(texts)
    if not _NEVER_USABLE.isdisjoint(unique if is_plain else map(str.strip, unique)):
        return None
    if max(map(len, texts), default=0) > MAX_ID_LENGTH:
        return None
    return texts if len(unique) == len(texts) else list(dict.fromkeys(texts))


def _fault_of_text(text: str) -> Reason | None:
    stripped = text.strip()
    if not stripped:
        return Reason.EMPTY
    if stripped in _PLACEHOLDERS:
        return Reason.PLACEHOLDER
    if len(text) > MAX_ID_LENGTH:
        return Reason.TOO_LONG
    if text.isprintable():
        return None
    if not is_unicode(text):
        return Reason.BROKEN_TEXT
    has_controls = any(unicodedata.category(character) == "Cc" for character in text)
    return Reason.CONTROL_CHARACTERS if has_controls else None


def _fault_of_type(value: object) -> Reason:
    if value is Absent.NOT_AN_OBJECT:
        return Reason.NOT_AN_OBJECT
    if value is Absent.ID_MISSING:
        return Reason.MISSING
    if value is None:
        return Reason.NULL
    if isinstance(value, bool):
        return Reason.BOOLEAN
    if isinstance(value, dict):
        return Reason.OBJECT
    # What is left is a number too long to be written out.
    return Reason.LIST if isinstance(value, list) else Reason.TOO_LONG


def _printable(value: object) -> str:
    """Return a rejected value as text that any store and terminal can hold, cut short."""
    match value:
        case str():
            text = value[:_MAX_VALUE_LENGTH]
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case Absent():
            text = ""
        case dict():
            text = "{…}" if value else "{}"
        case list():
            text = "[…]" if value else "[]"
        case _:
            text = str(value)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text[:_MAX_VALUE_LENGTH]
