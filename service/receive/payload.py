"""From the raw body of a delivery to a page: quickly when it is as Heap's spec has it, leniently when it is not.

Lenient, because a page that is refused may never come again: what is loose in Heap's own samples (ids as numbers or
text, absent or empty parts, unknown fields anywhere) is taken, and an id that cannot be used is left for `delivery.py`
to reject alone. Pure, no I/O.
"""

import json
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import NoReturn

import msgspec

from service.errors import ErrorCode, ServiceError
from service.model.contacts import MAX_DIGITS, number_text
from service.model.deliveries import Action
from service.receive.page_schema import MAX_PAGE_NUMBER, HeapCustomerConfig, HeapData, HeapPage, HeapSyncInfo, HeapUser

_MAX_KEY_LENGTH = 255
_IDENTITY_FIELD_TYPE = "identity_mapping"

# Stands for a number that no user id could be, so that only its own user is rejected.
_BEYOND_USE = Decimal("Infinity")

_page_decoder = msgspec.json.Decoder(HeapPage)


class Absent(Enum):
    """Stands among a page's user ids where there is none to read."""

    ID_MISSING = auto()
    NOT_AN_OBJECT = auto()


class SyncInfo(msgspec.Struct, frozen=True):
    """Which page of which sync."""

    task_id: str
    page_number: int
    total_pages: int


class Page(msgspec.Struct, frozen=True):
    """A page whose shape is right; its user ids are still as they came.

    `sync_info` is None exactly for a drain. `identity_property` is the id of the Heap user property the ids are values
    of, if the page says. `add` and `remove` hold text for a page as Heap's spec has it, else any JSON value (fractions as
    `Decimal`) or `Absent`.
    """

    action: Action
    id_token: str | None
    segment_id: str
    segment_name: str
    sync_info: SyncInfo | None
    identity_property: str | None
    add: list[object]
    remove: list[object]


def decode_page(body: bytes) -> Page:
    """Read a page of Heap's segment webhook.

    Raises `ServiceError`: `BODY_UNREADABLE` when it is no JSON, `UNKNOWN_ACTION` for an action Heap's spec does not
    have, `UNKNOWN_SHAPE` with the JSON path of the first part that cannot be understood.
    """
    try:
        typed = _page_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_page(decode_loosely(body))
    return _page_from_typed(typed)


def decode_loosely(body: bytes) -> object:
    """Parse JSON forgivingly: broken UTF-8, halves of surrogate pairs and raw control characters stay in their strings.

    Fractions come as `Decimal`, so that every number keeps all its digits. Raises `ServiceError`
    (`BODY_UNREADABLE`).
    """
    try:
        return json.loads(
            body.decode("utf-8", "surrogateescape"),
            strict=False,
            parse_int=_read_integer,
            parse_float=_read_decimal,
            parse_constant=_refuse_constant,
        )
    except ValueError:
        raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is not JSON") from None
    except RecursionError:
        raise ServiceError(ErrorCode.BODY_UNREADABLE, "the body is nested too deeply") from None


def _read_integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else _BEYOND_USE


def _read_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of many digits
        return _BEYOND_USE


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _page_from_typed(page: HeapPage) -> Page:
    data = page.data
    action = _read_action(page.action_type)
    return Page(
        action=action,
        id_token=page.id_token,
        segment_id=_read_key(data.segment.id, "$.data.segment.id"),
        segment_name=_segment_name(data.segment.name, data.segment.id),
        sync_info=_sync_info_from_typed(data) if action is Action.SYNC else None,
        identity_property=_identity_property_from_typed(page.customer_config),
        add=_ids_from_typed(data.add),
        remove=_ids_from_typed(data.remove),
    )


def _sync_info_from_typed(data: HeapData) -> SyncInfo:
    info: HeapSyncInfo | None = data.sync_info
    if info is None:
        raise _unknown_shape("an object", None, "$.data.sync_info")
    task_id = _read_key(info.sync_task_id, "$.data.sync_info.sync_task_id")
    return SyncInfo(task_id, info.page_number, info.total_pages)


def _identity_property_from_typed(config: HeapCustomerConfig | None) -> str | None:
    for field in (config and config.fields) or ():
        if field.field_type == _IDENTITY_FIELD_TYPE and field.value and field.value.id:
            return field.value.id
    return None


def _ids_from_typed(users: list[HeapUser] | None) -> list[object]:
    return [user.id for user in users or ()]


def _read_page(document: object) -> Page:
    page = _read_object(document, "$")
    action = _read_action(page.get("action_type"))
    data = _read_object(page.get("data"), "$.data")
    segment = _read_object(data.get("segment"), "$.data.segment")
    id_token = page.get("id_token")
    return Page(
        action=action,
        id_token=id_token if isinstance(id_token, str) else None,
        segment_id=_read_key(segment.get("id"), "$.data.segment.id"),
        segment_name=_segment_name(segment.get("name"), segment.get("id")),
        sync_info=_read_sync_info(data.get("sync_info")) if action is Action.SYNC else None,
        identity_property=_read_identity_property(page.get("customer_config")),
        add=_read_ids(data.get("add"), "$.data.add"),
        remove=_read_ids(data.get("remove"), "$.data.remove"),
    )


def _read_action(value: object) -> Action:
    path = "$.action_type"
    if not isinstance(value, str):
        raise _unknown_shape("text", value, path)
    try:
        return Action(value)
    except ValueError:
        known = " or ".join(Action)
        raise ServiceError(ErrorCode.UNKNOWN_ACTION, f"expected {known}", path=path) from None


def _read_sync_info(value: object) -> SyncInfo:
    path = "$.data.sync_info"
    info = _read_object(value, path)
    return SyncInfo(
        task_id=_read_key(info.get("sync_task_id"), f"{path}.sync_task_id"),
        page_number=_read_page_number(info.get("page_number"), f"{path}.page_number"),
        total_pages=_read_page_number(info.get("total_pages"), f"{path}.total_pages"),
    )


def _read_page_number(value: object, path: str) -> int:
    text = value.strip() if isinstance(value, str) else number_text(value)
    if text is not None and text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PAGE_NUMBER)):
        number = int(text)
        if number <= MAX_PAGE_NUMBER:
            return number
    raise _unknown_shape(f"a whole number from 0 to {MAX_PAGE_NUMBER}", value, path)


def _read_identity_property(config: object) -> str | None:
    """Find the identity mapping; a part of the configuration that is not as expected says nothing, and harms nothing."""
    fields = config.get("fields") if isinstance(config, dict) else None
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, dict) and field.get("field_type") == _IDENTITY_FIELD_TYPE:
            value = field.get("value")
            name = value.get("id") if isinstance(value, dict) else None
            if isinstance(name, str) and name:
                return name
    return None


def _read_ids(value: object, path: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _unknown_shape("a list", value, path)
    return [user.get("id", Absent.ID_MISSING) if isinstance(user, dict) else Absent.NOT_AN_OBJECT for user in value]


def _read_key(value: object, path: str) -> str:
    """Read what identifies a segment or a sync: text or a number, on which the store's own keys are built."""
    text = value if isinstance(value, str) else number_text(value)
    if not text or not text.strip() or len(text) > _MAX_KEY_LENGTH or not is_unicode(text):
        raise _unknown_shape(f"text of 1 to {_MAX_KEY_LENGTH} characters or a number", value, path)
    return text


def _segment_name(value: object, segment_id: object) -> str:
    """Return the name to show, or the id where there is none; halves of surrogate pairs become U+FFFD."""
    text = value if isinstance(value, str) else number_text(value)
    if not text or not text.strip():
        return _read_key(segment_id, "$.data.segment.id")
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_unicode(text: str) -> bool:
    """Tell whether the text can be written as UTF-8, i.e. holds no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_object(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _unknown_shape("an object", value, path)
    return value


_JSON_NAMES: dict[type, str] = {
    bool: "a boolean",
    Decimal: "a number",
    dict: "an object",
    int: "a number",
    list: "a list",
    str: "other text",
    type(None): "nothing",
}


def _unknown_shape(expected: str, value: object, path: str) -> ServiceError:
    return ServiceError(ErrorCode.UNKNOWN_SHAPE, f"expected {expected}, got {_JSON_NAMES[type(value)]}", path=path)
