"""The guard against syncs that remove an unusual share of a list (R17). Pure, no I/O."""

from typing import Annotated

import msgspec
from msgspec import Meta


class RemovalGuard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a sync that removes more than `least` contacts and more than `share` of the list's members.

    With a share of 1 no sync can be held, and none waits.
    """

    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    least: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 100

    @property
    def is_on(self) -> bool:
        """Whether any sync can be held."""
        return self.share < 1

    def is_passed(self, removals: int, members: int) -> bool:
        """Tell whether so many removals from a list of so many members need no approval."""
        return removals <= self.least or removals <= self.share * members
