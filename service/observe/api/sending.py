"""What the API needs of the stage that sends."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.model.accounts import AccountStatus
from service.model.imports import DoubtEnd, ImportsStatus
from service.model.lists import VerifyResult
from service.model.proof import AudiencePage
from service.model.trial import TrialProgress, TrialResult
from service.model.views import Preview


class Sending(Protocol):
    """The stage that sends."""

    def statuses(self) -> Mapping[str, AccountStatus]:
        """Return what each account's sending is doing."""

    def imports_statuses(self) -> Mapping[str, ImportsStatus]:
        """Return which lists of each account travel as files, and whether it rests from imports."""

    def calls(self) -> Mapping[str, int]:
        """Return how many calls each account has made since the start."""

    async def verify(self, account: str, segment_id: int) -> VerifyResult:
        """Compare what should be on a list with what Cordial counts there, now.

        Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` while it cannot be counted.
        """

    async def audience_page(self, account: str, segment_id: int, page: int) -> AudiencePage:
        """Return a page of who is on a list, by its audience in Cordial; nobody after the last.

        Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` where it has no audience or cannot be read.
        """

    async def read_members(self, account: str, segment_id: int, contacts: Sequence[str]) -> list[bool | None]:
        """Return for each contact whether Cordial has it on a list, None where it does not say.

        Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` while it cannot be read.
        """

    async def preview(self, account: str, segment_id: int, max_calls: int) -> Preview:
        """Return what would be sent for a segment, without sending it; raises `ServiceError` (`NOT_FOUND`)."""

    async def end_doubt(self, import_id: int, said: DoubtEnd, actor: str) -> int:
        """Have single calls send what is in doubt of an import, because of what a person says; return how many contacts.

        That is in the audit, too.

        Raises `ServiceError` (`NOT_FOUND`) where no such import is under way.
        """

    async def begin_trial(self, account: str, contacts: Sequence[str], subscribed: str, actor: str) -> None:
        """Begin a trial of an account with these addresses, after it is in the audit. Raises `ServiceError` (`NOT_FOUND`, `CONFLICT`)."""

    async def trial(self, account: str) -> tuple[TrialProgress | None, Sequence[TrialResult]]:
        """Return how far the last trial of this run of the service is, and all that trials have shown so far.

        Raises `ServiceError` (`NOT_FOUND`).
        """

    async def approve_list(self, account: str, segment_id: int, actor: str) -> bool:
        """Record a person's yes to what a list is held for, in the audit too; return whether it was held for that.

        Raises `ServiceError` (`NOT_FOUND`).
        """

    async def recreate_list(self, account: str, segment_id: int) -> None:
        """Let a list that was deleted in Cordial be created anew."""

    def withdraw(self, account: str, contacts: Collection[str]) -> None:
        """Make no call for these contacts with what was wanted until now."""

    def pause(self, account: str) -> None:
        """Make no more calls for the account."""

    def resume(self, account: str) -> None:
        """Make calls for the account again."""
