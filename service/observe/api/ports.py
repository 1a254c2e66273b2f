"""What the API needs of the rest of the service."""

from collections.abc import Mapping
from typing import Protocol

from service.model.accounts import AccountStatus
from service.model.changes import FailureSelection
from service.model.imports import BulkStatus, ImportState, ImportView, Journey
from service.model.lists import ListState, VerifyResult
from service.model.views import (
    AuditView,
    DeliveryView,
    FailureGroupView,
    FailureView,
    MemberView,
    OwedView,
    Preview,
    RecordedAccount,
    SegmentView,
    SyncState,
    SyncView,
)


class Reader(Protocol):
    """What is kept. `after` is the id of the last row of the page before; `limit` the most rows to return.

    Every method raises `ServiceError` (503) when the answer would take too long.
    """

    async def syncs(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: SyncState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SyncView]:
        """Return syncs, the newest first."""

    async def sync(self, sync_id: int) -> SyncView | None:
        """Return one sync."""

    async def segments(
        self,
        *,
        account: str | None = None,
        state: ListState | None = None,
        search: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[SegmentView]:
        """Return segments and their lists, the oldest first."""

    async def segment(self, list_id: int) -> SegmentView | None:
        """Return one segment and its list."""

    async def failures(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        reason: str | None = None,
        dead: bool | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[FailureView]:
        """Return changes that did not go through, the newest first."""

    async def failure_groups(self, *, account: str | None = None, list_id: int | None = None) -> list[FailureGroupView]:
        """Return the failures grouped by list and reason, the largest groups first."""

    async def accounts(self) -> list[RecordedAccount]:
        """Return every account by name, those no longer configured included."""

    async def deliveries(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        sync_id: int | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[DeliveryView]:
        """Return accepted pages, the newest first."""

    async def member(self, list_id: int, contact: str) -> MemberView | None:
        """Return what the ledger knows of a contact (`key:value`) and a list."""

    async def owed(self, list_id: int) -> OwedView:
        """Return how many additions and removals of a list are still to be sent."""

    async def has_unfolded(self, list_id: int) -> bool:
        """Tell whether pages of the list were accepted that are not in the ledger yet."""

    async def imports(
        self,
        *,
        account: str | None = None,
        list_id: int | None = None,
        state: ImportState | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[ImportView]:
        """Return imports, the newest first."""

    async def journey(self, list_id: int, contact: str) -> Journey | None:
        """Return the import in which a contact (`key:value`) of a list's account travels at the moment, if any."""

    async def audit(self, *, after: int | None = None, limit: int) -> list[AuditView]:
        """Return what people did, the latest first."""

    async def version(self) -> int:
        """Return a number that is another one whenever something was written since."""


class Ledger(Protocol):
    """The actions on what is kept. Each writes its own line into the audit, with `actor` as who did it."""

    async def retry_failures(self, selection: FailureSelection, actor: str) -> int:
        """Give the selected failures their attempts anew; return how many."""

    async def rebuild(self, segment_id: int, *, include_removed: bool, actor: str) -> int:
        """Send a segment's members again; return how many. Raises `KeyError` for an unknown segment."""

    async def set_paused(self, account: str, *, paused: bool, actor: str) -> bool:
        """Note durably that an operator pauses or resumes an account; return whether that changed anything."""

    async def record(self, actor: str, action: str, target: str, changes: int) -> None:
        """Write a line into the audit."""


class Sending(Protocol):
    """The stage that sends."""

    def statuses(self) -> Mapping[str, AccountStatus]:
        """Return what each account's sending is doing."""

    def bulk_statuses(self) -> Mapping[str, BulkStatus]:
        """Return which lists of each account travel as files, and whether it rests from imports."""

    def calls(self) -> Mapping[str, int]:
        """Return how many calls each account has made since the start."""

    async def verify(self, account: str, segment_id: int) -> VerifyResult:
        """Compare what should be on a list with what Cordial counts there, now.

        Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` while it cannot be counted.
        """

    async def preview(self, account: str, segment_id: int, most_calls: int) -> Preview:
        """Return what would be sent for a segment, without sending it; raises `ServiceError` (`NOT_FOUND`)."""

    async def approve_list(self, account: str, segment_id: int) -> bool:
        """Let a segment through that is held for being new; return whether it was. Raises `ServiceError` (`NOT_FOUND`)."""

    async def recreate_list(self, account: str, segment_id: int) -> None:
        """Let a list that was deleted in Cordial be created anew."""

    def pause(self, account: str) -> None:
        """Make no more calls for the account."""

    def resume(self, account: str) -> None:
        """Make calls for the account again."""
