"""What the bulk path needs of the store's imports."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from service.deliver.imports import counting, jobs
from service.model.imports import ImportPart, OpenImport, Strategy

BetweenClaims = Callable[[], AbstractAsyncContextManager[Collection[str]]]


class Registry(jobs.Registry, counting.Registry, Protocol):
    """What the bulk path needs of the store's imports."""

    def arriving_users(self, segment_id: int) -> int:
        """Return about how many users are still to come of syncs whose pages are arriving or being folded."""

    def inbox_users(self) -> int:
        """Return how many users wait to be folded."""

    async def open(self, account: str) -> OpenImport | None:
        """Return the account's import after a start; one whose gathering was cut short is taken back."""

    async def gather(
        self, account: str, segment_ids: Sequence[int], between_claims: BetweenClaims, most_contacts: int
    ) -> OpenImport | None:
        """Take all pending changes of the segments into an import; None when nothing suits a file."""

    async def cut(self, account: str, part: ImportPart, most_contacts: int) -> None:
        """Cut a part into smaller ones."""

    async def send_again(self, part: ImportPart, strategy: Strategy, *, missing: int = 0, failed: bool = False) -> None:
        """Have the part sent (again) as a job of that strategy."""

    async def note_reason(self, part: ImportPart, reason: str) -> None:
        """Note why contacts of the import are left to single calls."""

    async def settle(self, account: str, part: ImportPart, on_settled: Callable[[int], None]) -> None:
        """Settle a part's changes, where still wanted as they were sent; say after each step how many."""

    async def release(self, account: str, part: ImportPart) -> None:
        """Leave a part's changes to single calls."""

    async def release_leaving(self, account: str, part: ImportPart) -> None:
        """Leave those of a part's changes to single calls that take contacts off lists."""
