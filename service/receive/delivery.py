"""From an authentic page to the delivery that the rest of the service speaks of. Pure, no I/O."""

import hashlib

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.contacts import EMAIL
from service.model.deliveries import Action, Delivery
from service.receive.payload import Page
from service.receive.user_ids import read_user_ids

# The value of `identify_by` that follows the page's own identity mapping.
AUTOMATIC = "auto"

_MAX_KEPT_REJECTED = 1_000
_RETRY_AFTER_SECONDS = 300


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
            message = f"drains are off for this account; allow_drain in [accounts.{account.name}] switches them on"
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
            add=[],
            remove=[],
            rejected=[],
            rejected_count=0,
            received_at_ms=received_at_ms,
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
        add=[user_id for user_id in added.usable if user_id not in remove] if remove else added.usable,
        remove=removed.usable,
        rejected=rejected[:_MAX_KEPT_REJECTED],
        rejected_count=len(rejected),
        received_at_ms=received_at_ms,
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
