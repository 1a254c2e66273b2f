"""What a person should know: the closed list of conditions (R16). Pure, no I/O.

To add one: an entry in `CATALOGUE`, one fact in `service/observe/conditions.py` (or the SQL it reads), and a part of
`docs/operations.md` under the heading that the entry names.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much it matters: `critical` stops something now, `warning` will or may, `info` is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Kind(msgspec.Struct, frozen=True):
    """One kind of condition.

    `part` is the heading of docs/operations.md that explains it. A fact is told once it has lasted for
    `patience_seconds`. While one with `stops_pages` lasts, no page can be taken. One that `anybody_can_cause`, without a
    secret, is not told where anybody can read.
    """

    severity: Severity
    meaning: str
    what_to_do: str
    part: str
    patience_seconds: float = 0.0
    stops_pages: bool = False
    anybody_can_cause: bool = False


_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

CATALOGUE: dict[str, Kind] = {
    "store_trouble": Kind(
        _CRITICAL,
        "The store cannot write. No page is taken; Heap sends them again.",
        "Look at the disk and at other programs that use the file.",
        "The store cannot write",
        stops_pages=True,
    ),
    "task_ended": Kind(
        _CRITICAL,
        "A task of the service ended by a fault of the program. The process ends in order and is to be started again.",
        "Keep the log and report it.",
        "It restarts again and again",
        stops_pages=True,
    ),
    "task_silent": Kind(
        _WARNING,
        "A task of the service has not moved for a minute.",
        "If it stays so, keep the log and restart the service.",
        "The service does not answer",
    ),
    "account_stopped": Kind(
        _CRITICAL,
        "Cordial cannot be served for the account. Its changes wait; nothing is lost, and it is tried again by itself.",
        "See what Cordial says: heap-cordial check",
        "An account is paused",
    ),
    "account_paused": Kind(
        _WARNING,
        "A person paused the account. Its changes wait.",
        "When it may send again: heap-cordial resume ACCOUNT",
        "An account is paused",
    ),
    "account_slowed": Kind(
        _INFO,
        "Cordial's rate limit is reached. Sending goes on when Cordial allows it.",
        "Nothing, unless it lasts.",
        "Cordial answers 429",
        patience_seconds=300.0,
    ),
    "account_dry_run": Kind(
        _INFO,
        "The account is in a dry run: nothing is written to Cordial.",
        "See what would be sent: heap-cordial preview LIST. To send it, set dry_run = false.",
        "Nothing is sent, and nothing is wrong",
    ),
    "list_held": Kind(
        _WARNING,
        "The list is held: nothing is sent for it.",
        "Follow the reason that is given.",
        "A list is held",
    ),
    "list_awaits_approval": Kind(
        _WARNING,
        "The segment is new and waits for approval.",
        "Look at it, then: heap-cordial approve LIST",
        "A list is held",
    ),
    "list_not_ready": Kind(
        _WARNING,
        "The segment has changes and still no list in Cordial.",
        "See the log for what Cordial answers.",
        "A list is held",
        patience_seconds=60.0,
    ),
    "list_differs": Kind(
        _WARNING,
        "Cordial counts other contacts on the list than were confirmed.",
        "heap-cordial verify LIST, then heap-cordial rebuild LIST",
        "A list differs",
        patience_seconds=120.0,
    ),
    "changes_old": Kind(
        _WARNING,
        "The oldest change of the account waits for more than six hours.",
        "See what holds it up: heap-cordial status",
        "The backlog grows",
    ),
    "backlog_high": Kind(
        _WARNING,
        "The backlog is near its limit. At the limit, pages are answered 429.",
        "See what holds up sending, or raise max_backlog: the account's, or the store's where no account is named.",
        "Pages are answered 429 or 503",
    ),
    "people_failed": Kind(
        _WARNING,
        "Some people could not be added or removed.",
        "See why: heap-cordial failures. Then: heap-cordial retry",
        "Failures given up",
    ),
    "users_unusable": Kind(
        _INFO,
        "Heap named users whose ids cannot be used.",
        "See which in the syncs of the list: heap-cordial syncs",
        "A list has fewer contacts than the segment has users in Heap",
    ),
    "sync_incomplete": Kind(
        _WARNING,
        "Pages of a sync are missing for an hour.",
        "Ask Heap to send again: Sync now.",
        "A list has fewer contacts than the segment has users in Heap",
    ),
    "heap_silent": Kind(
        _WARNING,
        "A segment that came regularly does not come any more.",
        "Look at the segment's sync in Heap.",
        "Nothing arrives from Heap",
    ),
    "imports_rest": Kind(
        _WARNING,
        "An import came to nothing. Single calls do the work for a time, which is slower.",
        "See the reason: heap-cordial imports",
        "Imports give way to single calls",
    ),
    "clock_suspect": Kind(
        _WARNING,
        "Deliveries are rightly signed, but for another time: this host's clock may be wrong.",
        "Check the host's time synchronisation.",
        "The clock is wrong",
    ),
    "deliveries_refused": Kind(
        _WARNING,
        "Requests to the webhook were refused in the last ten minutes.",
        "See why in the log: delivery.answered",
        "Every page is refused",
        anybody_can_cause=True,
    ),
    "disk_low": Kind(
        _WARNING,
        "Little room is left on the store's disk.",
        "Make room. At 0 no page is taken.",
        "The store cannot write",
    ),
    "certificate_ends": Kind(
        _WARNING,
        "The certificate ends soon. Heap cannot deliver after that.",
        "Renew it and replace the files.",
        "The certificate nears its end",
    ),
    "log_lines_lost": Kind(
        _WARNING,
        "Lines of the log were lost in the last ten minutes: nobody read them in time, or the disk was full.",
        "See to the reader of standard error.",
        "Other warnings",
    ),
}


class Fact(msgspec.Struct, frozen=True):
    """Something that is so now. `subject` names what it is about within the account: a list, a task; `detail` says more."""

    id: str
    account: str = ""
    subject: str = ""
    detail: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same condition, whatever its detail."""
        return self.id, self.account, self.subject


class Condition(msgspec.Struct, frozen=True):
    """A condition that lasts, or one that is over since `ended_at`."""

    id: str
    severity: Severity
    account: str
    subject: str
    detail: str
    since: datetime
    ended_at: datetime | None
    meaning: str
    what_to_do: str
    runbook: str


class RecordedCondition(msgspec.Struct, frozen=True):
    """A condition as the store keeps it; times in Unix ms."""

    id: str
    account: str
    subject: str
    detail: str
    began_at_ms: int
    ended_at_ms: int | None


def worst_first(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions by severity, the oldest of each first."""
    order = list(Severity)
    return sorted(conditions, key=lambda each: (order.index(each.severity), each.since, each.account, each.subject))


def runbook(kind: Kind) -> str:
    """Return where docs/operations.md explains a kind."""
    anchor = "".join(letter for letter in kind.part.lower() if letter.isalnum() or letter in " -").replace(" ", "-")
    return f"docs/operations.md#{anchor}"
