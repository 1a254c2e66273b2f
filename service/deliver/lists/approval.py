"""Holding a segment that is seen for the first time until an operator lets it through.

New is a segment whose list was never looked for, and so never named: that is kept in the store, and so is the approval.
"""

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.lists import ListState, Segment
from service.store.port import Lists

log = structlog.get_logger()


class Approvals:
    """Knows which segments of an account wait for an operator's word."""

    def __init__(self, settings: AccountSettings, store: Lists) -> None:
        self._settings = settings
        self._store = store
        # The store knows them too, but whoever resolves lists may hold an older copy of a segment.
        self._given: set[int] = set()

    def is_awaited(self, segment: Segment) -> bool:
        """Tell whether nothing may be sent for the segment yet."""
        return self._settings.hold_new_segments and not segment.list_named_after and segment.id not in self._given

    async def give(self, segment_id: int) -> bool:
        """Let a segment through, for good; return whether it waited. Raises `ServiceError` NOT_FOUND without such one."""
        for segment in await self._store.segments():
            if segment.id == segment_id and segment.account == self._settings.name:
                break
        else:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        if not self.is_awaited(segment):
            return False
        self._given.add(segment_id)
        approved = msgspec.structs.replace(
            segment, list_state=ListState.UNRESOLVED, list_reason="", list_named_after=segment.name
        )
        await self._store.set_list(approved)
        log.info("list.approved", account=segment.account, segment=segment.name)
        return True
