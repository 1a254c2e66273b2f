"""What the API needs of the stage that sends."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.model.accounts import AccountStatus
from service.model.imports import DoubtEnd, ImportsStatus
from service.model.lists import VerifyResult
from service.model.proof import AudiencePage
from service.model.trial import TrialProgress, TrialResult
from service.model.views import Preview


class ListSteering(Protocol):
    """The lists of one account."""

    async def approve(self, segment_id: int, actor: str) -> bool:
        """Record a person's yes to what a list is held for, in the audit too; return whether it was held for that.

        Raises `ServiceError` (`NOT_FOUND`).
        """

    async def recreate(self, segment_id: int) -> None:
        """Let a list that was deleted in Cordial be created anew. Raises `ServiceError` (`NOT_FOUND`)."""


class MemberReading(Protocol):
    """Who is on the lists of one account, by Cordial's own record.

    Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` while it cannot be read.
    """

    async def page(self, segment_id: int, page: int) -> AudiencePage:
        """Return a page of who is on a list, by its audience in Cordial, if it has one; nobody after the last."""

    async def read(self, segment_id: int, contacts: Sequence[str]) -> list[bool | None]:
        """Return for each contact whether Cordial has it on a list, None where it does not say."""


class Foretelling(Protocol):
    """What the calls of one account would be."""

    async def of_segment(self, segment_id: int, max_calls: int) -> Preview:
        """Return what would be sent for a segment, without sending it. Raises `ServiceError` (`NOT_FOUND`)."""

    async def of_members(self, segment_id: int, contacts: Sequence[str], max_calls: int) -> Preview:
        """Return what a rebuild would send for these members first. Raises `ServiceError` (`NOT_FOUND`)."""


class Trying(Protocol):
    """The trials of one account."""

    async def begin(self, contacts: Sequence[str], subscribed: str, actor: str) -> None:
        """Begin a trial with these addresses, after it is in the audit. Raises `ServiceError` (`CONFLICT`)."""

    async def shown(self) -> tuple[TrialProgress | None, Sequence[TrialResult]]:
        """Return how far the last trial of this run of the service is, and all that trials have shown so far."""


class AccountSending(Protocol):
    """The sending of one account."""

    @property
    def lists(self) -> ListSteering:
        """What may be done about its lists."""

    @property
    def members(self) -> MemberReading:
        """Reads who is on them."""

    @property
    def previewer(self) -> Foretelling:
        """What would be sent."""

    @property
    def trials(self) -> Trying:
        """What was tried on the real account."""

    async def verify(self, segment_id: int) -> VerifyResult:
        """Compare what should be on a list with what Cordial counts there, now.

        Raises `ServiceError`: `NOT_FOUND` without such a list, `CONFLICT` while it cannot be counted.
        """

    def pause(self) -> None:
        """Make no more calls for the account."""

    def resume(self) -> None:
        """Make calls for the account again."""


class Sending(Protocol):
    """The stage that sends."""

    def account(self, name: str) -> AccountSending:
        """Return what sends for an account. Raises `ServiceError` (`NOT_FOUND`)."""

    def statuses(self) -> Mapping[str, AccountStatus]:
        """Return what each account's sending is doing."""

    def imports_statuses(self) -> Mapping[str, ImportsStatus]:
        """Return which lists of each account travel as files, and whether it rests from imports."""

    def calls(self) -> Mapping[str, int]:
        """Return how many calls each account has made since the start."""

    async def end_doubt(self, import_id: int, said: DoubtEnd, actor: str) -> int:
        """Have single calls send what is in doubt of an import, because of what a person says; return how many contacts.

        That is in the audit, too.

        Raises `ServiceError` (`NOT_FOUND`) where no such import is under way.
        """

    def withdraw(self, account: str, contacts: Collection[str]) -> None:
        """Make no call for these contacts with what was wanted until now."""
