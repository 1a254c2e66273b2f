"""From an authentic page to the delivery that the rest of the service speaks of. Pure, no I/O."""

import hashlib
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import cast

import msgspec

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.contacts import EMAIL, canonical, number_text
from service.model.deliveries import Action, Delivery, Rejected, UserIds
from service.receive.payload import Absent, Page, is_unicode

# The value of `identify_by` that follows the page's own identity mapping.
AUTOMATIC = "auto"

_MAX_KEPT_REJECTED = 1_000
_RETRY_AFTER_SECONDS = 300

# Heap's own limit for an identity.
MAX_ID_LENGTH = 255

_MAX_VALUE_LENGTH = 64
# What JavaScript writes where it had nothing to write; both occur in real Heap data.
_PLACEHOLDERS = frozenset({"undefined", "null"})
_NEVER_USABLE = _PLACEHOLDERS | {""}
_SPACE_AND_CONTROLS = (*map(chr, range(0x21)), "\x7f")


def to_delivery(
    page: Page, account: AccountSettings, *, body: bytes, timestamp_text: str, received_at_ms: int
) -> Delivery:
    """Make the delivery out of a page of `account`, its raw body and its signature's timestamp.

    An id that stands in both `add` and `remove` is only in `remove`, because within one page removing comes last; each
    id stands once. A drain has no sync of its own: the timestamp names it, it is page 1 of 1, and it has no users and
    no identity. Raises `ServiceError`: `UNKNOWN_ACTION` for a drain where the account does not allow it (R12),
    `NOT_READY` as `resolve_identity` says.
    """
    digest = hashlib.sha256(body).digest()
    if page.sync_info is None:
        if not account.allow_drain:
            message = f"drains are not allowed for this account; to allow them, set allow_drain = true in [accounts.{account.name}]"
            raise ServiceError(ErrorCode.UNKNOWN_ACTION, message, path="$.action_type")
        return Delivery(
            account=account.name,
            action=Action.DRAIN,
            segment_id=page.segment_id,
            segment_name=page.segment_name,
            task_id=f"drain:{timestamp_text}",
            page_number=1,
            total_pages=1,
            digest=digest,
            identity="",
            add=UserIds([]),
            remove=UserIds([]),
            rejected=[],
            rejected_count=0,
            received_at_ms=received_at_ms,
            signed_at_ms=int(timestamp_text),
        )
    identity = resolve_identity(account, page.identity_property)
    added = read_user_ids(page.add, identity, "$.data.add")
    removed = read_user_ids(page.remove, identity, "$.data.remove")
    remove = set(removed.usable)
    rejected = added.rejected + removed.rejected
    return Delivery(
        account=account.name,
        action=Action.SYNC,
        segment_id=page.segment_id,
        segment_name=page.segment_name,
        task_id=page.sync_info.task_id,
        page_number=page.sync_info.page_number,
        total_pages=page.sync_info.total_pages,
        digest=digest,
        identity=identity,
        add=UserIds.of([each for each in added.usable if each not in remove] if remove else added.usable, identity),
        remove=UserIds.of(removed.usable, identity),
        rejected=rejected[:_MAX_KEPT_REJECTED],
        rejected_count=len(rejected),
        received_at_ms=received_at_ms,
        signed_at_ms=int(timestamp_text),
    )


def resolve_identity(account: AccountSettings, identity_property: str | None) -> str:
    """Return the Cordial key that the page's user ids are values of: `email` or a secondary key.

    With `identify_by = "auto"` the Heap property named by the page is looked up in the account's `identities`; a
    property called `email` needs no entry. For any other one nobody but the operator knows the key, and a guess would
    put contacts under a wrong one. Raises `ServiceError` (`NOT_READY`, 503 with `Retry-After`), so that Heap keeps the
    page and sends it again once the entry is there.
    """
    if account.identify_by != AUTOMATIC:
        return account.identify_by
    if identity_property is None:
        raise ServiceError(
            ErrorCode.NOT_READY,
            f"the page names no identity property; set identify_by in [accounts.{account.name}] to a Cordial key",
            path="$.customer_config",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )
    if identity_property in account.identities:
        return account.identities[identity_property]
    if identity_property.strip().lower() == EMAIL:
        return EMAIL
    raise ServiceError(
        ErrorCode.NOT_READY,
        f"no Cordial key is set for the Heap property {identity_property!r}; add it to "
        f"[accounts.{account.name}.identities]",
        path="$.customer_config",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )


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


class ReadIds(msgspec.Struct, frozen=True):
    """The usable ids as they were sent, each once, in the order they came; and the rejected ones with their places."""

    usable: list[str]
    rejected: list[Rejected]


def read_user_ids(values: Sequence[object], identity: str, path: str) -> ReadIds:
    """Sort the ids of one list of a page, given as JSON values (fractions as `Decimal`) or `Absent`.

    Numbers become their decimal text. `path` is the JSON path of the list.
    """
    usable = _take_together(values, identity)
    if usable is not None:
        return ReadIds(usable, [])
    usable, rejected = [], []
    for position, value in enumerate(values):
        text = value if isinstance(value, str) else number_text(value)
        reason = _fault_of_type(value) if text is None else _fault_of_text(text, canonical(text, identity))
        if reason is not None:
            item_path = f"{path}[{position}]" if reason is Reason.NOT_AN_OBJECT else f"{path}[{position}].id"
            rejected.append(Rejected(item_path, reason.value, _printable(value)))
        elif text is not None:
            usable.append(text)
    return ReadIds(list(dict.fromkeys(usable)), rejected)


def _take_together(values: Sequence[object], identity: str) -> list[str] | None:
    """Return all ids as `ReadIds` holds them if every one is usable beyond doubt.

    Pages are nearly always like that, and looking at their ids together is many times faster than at each.
    """
    try:
        together = "".join(cast("Sequence[str]", values))
    except TypeError:  # not all of them are text
        return None
    texts = list(cast("Sequence[str]", values))
    is_plain = together.isascii() and not any(character in together for character in _SPACE_AND_CONTROLS)
    contacts = texts
    if not is_plain or (identity == EMAIL and together != together.lower()):
        contacts = [canonical(text, identity) for text in texts]
    if not is_plain and not "".join(contacts).isprintable():
        return None
    if not _NEVER_USABLE.isdisjoint(contacts if is_plain else map(str.strip, contacts)):
        return None
    if max(map(len, texts), default=0) > MAX_ID_LENGTH:
        return None
    return texts if len(set(texts)) == len(texts) else list(dict.fromkeys(texts))


def _fault_of_text(user_id: str, text: str) -> Reason | None:
    """Judge a user id by what it is as a contact; its length as it was sent."""
    stripped = text.strip()
    if not stripped:
        return Reason.EMPTY
    if stripped in _PLACEHOLDERS:
        return Reason.PLACEHOLDER
    if len(user_id) > MAX_ID_LENGTH:
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
