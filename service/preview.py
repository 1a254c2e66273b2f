"""What would be sent to Cordial, ready to be looked at before it is. Pure, no I/O."""

from enum import StrEnum
from typing import Any

import msgspec


class ListFate(StrEnum):
    """What would be done to get a segment its list.

    `use`: it is there and ours. `create`: there is none of the name. `take_over`: one of the name exists that this
    service did not create, and `adopt_existing_lists` allows its use. `hold`: nothing is sent until an operator decides;
    the reason says what. `unknown`: Cordial cannot be asked now.
    """

    USE = "use"
    CREATE = "create"
    TAKE_OVER = "take_over"
    HOLD = "hold"
    UNKNOWN = "unknown"


class PlannedCall(msgspec.Struct, frozen=True):
    """A call to Cordial exactly as it would go out, the API key aside; made only under `condition` if that is not empty."""

    method: str
    path: str
    body: dict[str, Any] | None
    condition: str = ""


class Preview(msgspec.Struct, frozen=True):
    """What would be done for one segment: its list, and the first calls.

    `reason` says why the list is called or held as it is, empty where there is nothing to say. `more_calls`: not all
    calls are shown. `as_import`: so much is owed that it travels as a file, and `calls` is what the file stands for. `dry_run`: none of it is sent until the account's dry run ends.
    """

    account: str
    segment_name: str
    list_name: str
    fate: ListFate
    reason: str
    calls: list[PlannedCall]
    more_calls: bool
    as_import: bool
    dry_run: bool
