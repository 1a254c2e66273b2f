"""What is told of calls and results to those who watch; told to nobody unless somebody is named."""

from collections.abc import Sequence
from typing import Protocol

from service.model.changes import Outcome


class CallObserver(Protocol):
    """Watches one account's calls; its methods are called for every one, so they must be quick and never raise."""

    def waited(self, seconds: float) -> None:
        """Note for how long a call waited for the rate limiter's permit."""

    def called(self, operation: str, kind: str, status: int | None, seconds: float) -> None:
        """Note a call that is over.

        `operation` is a (method, endpoint) such as `PUT contacts`, `kind` an `AnswerKind`, `status` None without an
        answer, `seconds` how long it took without the wait for the permit.
        """


class ImportObserver(Protocol):
    """Watches one account's imports."""

    def settled(self, changes: int) -> None:
        """Note how many changes that travelled in a file have become settled, durably."""

    def ended(self, *, is_complete: bool) -> None:
        """Note that an import is over; `is_complete` unless some of it was left to single calls."""

    def fell_back(self) -> None:
        """Note that the account tries no import for a time, because one came to nothing."""


class Observer(Protocol):
    """Watches all accounts."""

    def for_account(self, name: str) -> CallObserver:
        """Return what watches an account's calls."""

    def for_imports(self, name: str) -> ImportObserver:
        """Return what watches an account's imports."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Note a batch of results that has become durable."""


class ImportsNotObserved:
    """Nobody watches imports."""

    def settled(self, changes: int) -> None:
        """Note nothing."""

    def ended(self, *, is_complete: bool) -> None:
        """Note nothing."""

    def fell_back(self) -> None:
        """Note nothing."""


class NotObserved:
    """Nobody watches."""

    def for_account(self, _name: str) -> "NotObserved":
        """Return nobody."""
        return self

    def for_imports(self, _name: str) -> ImportsNotObserved:
        """Return nobody."""
        return ImportsNotObserved()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Note nothing."""

    def waited(self, seconds: float) -> None:
        """Note nothing."""

    def called(self, operation: str, kind: str, status: int | None, seconds: float) -> None:
        """Note nothing."""


NOT_OBSERVED = NotObserved()
