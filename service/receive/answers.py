"""What the webhook answers, and what is told of each answer inside the service."""

from typing import Literal

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from service.flood import BoundedLog
from service.model.deliveries import Delivery
from service.model.views import Preview

_log = structlog.get_logger()

_OK = 200
_NEW = {"accepted", "superseded"}
_MAX_LOGGED_NAME = 100


class WebhookAnswer(msgspec.Struct, frozen=True):
    """The answer to a page that is durable, with the users of the page that are to be added and removed.

    Users that stand twice count once, those in both lists as removed. `rejected` counts those that cannot be synced.
    `superseded`: newer syncs or a newer drain have already spoken of all of them, so the page changes nothing. With `dry_run`
    the page is kept nowhere, and `preview` says what would be sent for it.
    """

    status: Literal["accepted", "duplicate", "superseded", "dry_run"]
    sync_task_id: str
    page_number: int
    added: int
    removed: int
    rejected: int
    preview: Preview | UnsetType = UNSET


class Answered(msgspec.Struct, frozen=True):
    """One request to the webhook and how it ended.

    `outcome` is `accepted`, `duplicate`, `superseded`, `dry_run`, an error code, or `client_gone` with status 499. `account` is
    that of the address, or the only one there is; where neither tells, it is known once the page's `id_token` was read.
    `delivery` is known once the page was understood. `is_authentic`: the signature held, so only Heap can have sent it.
    `reason` explains a refusal beyond its code.
    """

    status: int
    outcome: str
    reason: str | None
    account: str | None
    delivery: Delivery | None
    is_authentic: bool
    body_bytes: int
    duration_seconds: float


def to_answer(
    status: Literal["accepted", "duplicate", "superseded", "dry_run"],
    delivery: Delivery,
    preview: Preview | UnsetType = UNSET,
) -> WebhookAnswer:
    """Return the answer to a delivery that was understood."""
    return WebhookAnswer(
        status=status,
        sync_task_id=delivery.task_id,
        page_number=delivery.page_number,
        added=len(delivery.add),
        removed=len(delivery.remove),
        rejected=delivery.rejected_count,
        preview=preview,
    )


def log_answer(answered: Answered, bounded_log: BoundedLog) -> None:
    """Write the one line that tells everything of a delivery; it holds no user ids."""
    fields: dict[str, object] = {"account": answered.account}
    delivery = answered.delivery
    if delivery is not None:
        fields |= {
            "action": delivery.action.value,
            "segment_id": delivery.segment_id,
            "segment_name": delivery.segment_name[:_MAX_LOGGED_NAME],
            "task": delivery.task_id,
            "page": delivery.page_number,
            "total_pages": delivery.total_pages,
            "added": len(delivery.add),
            "removed": len(delivery.remove),
            "rejected": delivery.rejected_count,
        }
    fields |= {
        "status": answered.status,
        "outcome": answered.outcome,
        "bytes": answered.body_bytes,
        "duration_ms": round(answered.duration_seconds * 1000, 3),
    }
    if answered.reason is not None:
        fields["reason"] = answered.reason
    if answered.outcome in _NEW:
        _log.info("delivery.answered", **fields)
        return
    # Whatever is not new can be sent again as often as anybody likes who has recorded it. Who has the secret is not hidden
    # behind who has not.
    kind = f"{answered.outcome} {answered.account if answered.is_authentic else ''}"
    write = bounded_log.info if answered.status == _OK else bounded_log.warning
    write("delivery.answered", kind, **fields)
