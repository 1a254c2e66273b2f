"""Heap's page as its spec has it: what the fast decoder expects and what the OpenAPI document shows."""

from typing import Annotated

import msgspec

# What SQLite and every JSON client hold exactly; Heap counts pages from 1.
MAX_PAGE_NUMBER = 2**31 - 1

PageNumber = Annotated[int, msgspec.Meta(ge=0, le=MAX_PAGE_NUMBER)]


# A page holds thousands of these, and none can be part of a reference cycle.
class HeapUser(msgspec.Struct, frozen=True, gc=False):
    """One user: the value of whichever user property the Heap customer matched on, as text or a number."""

    id: str | int


class HeapSegment(msgspec.Struct, frozen=True):
    """The segment; Heap's spec has the id as an integer, Cordial's example as text."""

    id: int | str
    name: str | None = None


class HeapSyncInfo(msgspec.Struct, frozen=True):
    """Which page of which sync this is, counted from 1."""

    page_number: PageNumber
    total_pages: PageNumber
    sync_task_id: str


class HeapData(msgspec.Struct, frozen=True):
    """The segment and who entered and left it; a drain has neither `sync_info` nor users."""

    segment: HeapSegment
    sync_info: HeapSyncInfo | None = None
    add: list[HeapUser] | None = None
    remove: list[HeapUser] | None = None


class HeapProperty(msgspec.Struct, frozen=True):
    """A Heap user property."""

    id: str | None = None
    display_name: str | None = None


class HeapConfigField(msgspec.Struct, frozen=True):
    """One setting the Heap customer made; `identity_mapping` names the user property that the ids are values of."""

    field_type: str | None = None
    field_id: str | None = None
    field_display_name: str | None = None
    value: HeapProperty | None = None


class HeapCustomerConfig(msgspec.Struct, frozen=True):
    """The settings of the Heap customer; may be empty."""

    fields: list[HeapConfigField] | None = None


class HeapPage(msgspec.Struct, frozen=True):
    """One request of Heap's segment webhook: `segment.users.sync` or `segment.users.drain`."""

    action_type: str
    data: HeapData
    id_token: str | None = None
    customer_config: HeapCustomerConfig | None = None
