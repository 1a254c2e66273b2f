"""What a person should know: the closed list of conditions (R16). Pure, no I/O.

To add one: an entry in `CATALOGUE`, one fact in `service/observe/facts.py` or in the SQL of the store, and a part of
`docs/operations.md` under the heading that the entry names.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlencode

import msgspec

from service.model import stopped
from service.model.lists import is_to_rebuild


class Severity(StrEnum):
    """How much it matters: `critical` stops something now, `warning` will or may, `info` is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """The place in the order of severities, from 0 for the worst."""
        return list(Severity).index(self)


class Kind(msgspec.Struct, frozen=True):
    """One kind of condition.

    `command` helps, with {account} and {list} to be filled in; empty where no command does. A list is named by its id: a name
    may be that of several. `part` is the heading of docs/operations.md that explains it. A fact is told once it has lasted
    for `patience_seconds`, and not at all while one of `explained_by` lasts for its account or for all. While one with `stops_pages`
    lasts, no page can be taken. One that `anybody_can_cause`, without a secret, is not told where anybody can read. One with
    `longest_days` is reported for about so long, whether it is mended or not.
    """

    severity: Severity
    meaning: str
    what_to_do: str
    part: str
    command: str = ""
    patience_seconds: float = 0.0
    explained_by: tuple[str, ...] = ()
    stops_pages: bool = False
    anybody_can_cause: bool = False
    longest_days: int = 0


_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO
# While the store cannot write, nothing that is read or sent can be noted, so everything of every account stands still.
_NOT_WRITING = ("store_trouble", "store_damaged")
_NOT_SENDING = ("account_stopped", "account_paused", "account_dry_run", *_NOT_WRITING)

CATALOGUE: dict[str, Kind] = {
    "store_trouble": Kind(
        _CRITICAL,
        "The store cannot write. No page is accepted; Heap sends them again.",
        "Look at the disk and at other programs that use the file.",
        "The store cannot write",
        stops_pages=True,
    ),
    "store_damaged": Kind(
        _CRITICAL,
        "The store's file is damaged. No page is accepted; Heap sends them again.",
        "Stop the service and restore the file from a backup.",
        "The store cannot write",
        stops_pages=True,
    ),
    "pages_missing": Kind(
        _CRITICAL,
        "Pages that were answered 200 are missing from the store: its write-ahead log was removed, or an older file took its "
        "place. Heap does not send them again by itself.",
        "Press Sync now in Heap for each segment. This is shown for a week.",
        "The store cannot write",
        longest_days=7,
    ),
    "task_ended": Kind(
        _CRITICAL,
        "A task of the service ended because of a fault in the program. The process stops in order and must be started again.",
        "Keep the log and report it.",
        "It restarts again and again",
        stops_pages=True,
    ),
    "account_stopped": Kind(
        _CRITICAL,
        "Cordial does not serve the account: the service has stopped sending for it. Its changes wait. Nothing is lost, and the "
        "service tries again by itself.",
        stopped.WHAT_TO_DO,
        "An account is stopped",
        command="heap-cordial check",
    ),
    "account_stuck": Kind(
        _CRITICAL,
        "The account may send and has changes to send, but nothing has moved for a minute.",
        "See the log for what Cordial answers. If this lasts, restart the service and report it.",
        "Nothing moves",
        command="heap-cordial status",
        patience_seconds=60.0,
        explained_by=_NOT_SENDING,
    ),
    "pages_stuck": Kind(
        _CRITICAL,
        "Pages were accepted, but nothing has read their users for ten minutes.",
        "See the log for fold.put_off or fold.failed. Nothing is lost. If this lasts, report it.",
        "Nothing moves",
        explained_by=_NOT_WRITING,
    ),
    "account_paused": Kind(
        _WARNING,
        "A person paused the account. Its changes wait.",
        "Resume the account when it may send again.",
        "An account is paused",
        command="heap-cordial resume {account}",
    ),
    "account_slowed": Kind(
        _INFO,
        "Cordial's rate limit is reached. Sending goes on when Cordial allows it.",
        "You need not do anything. If it lasts, lower requests_per_second or ask Cordial for a higher limit.",
        "Cordial answers 429",
        patience_seconds=300.0,
    ),
    "account_dry_run": Kind(
        _INFO,
        "The account is in a dry run: nothing is written to Cordial.",
        "Look at what would be sent. To send it, set dry_run = false and reload.",
        "Nothing is sent, and nothing is wrong",
        command="heap-cordial preview LIST",
    ),
    "account_awaits_trial": Kind(
        _INFO,
        "public_url is set, but no trial has shown that files subscribe nobody. Single calls do the work, which is slower.",
        "Make a trial of the account with test contacts of your own; see docs/trial.md.",
        "An import did not finish",
        command="heap-cordial trial --help",
    ),
    "account_not_configured": Kind(
        _INFO,
        "The store has changes of an account that is not in the configuration. They wait.",
        "To send them, add the account again under its old name.",
        "Change the configuration while it runs",
    ),
    "list_held": Kind(
        _WARNING,
        "The list is held: nothing is sent for it.",
        "Follow the reason that is given.",
        "A list is held",
        command="heap-cordial lists",
    ),
    "list_awaits_approval": Kind(
        _WARNING,
        "The segment is new and waits for approval. Nothing of it is sent.",
        "Look at what would be sent, then approve it.",
        "A list is held",
        command="heap-cordial approve {list}",
    ),
    "removals_held": Kind(
        _WARNING,
        "A sync would remove an unusual share of the list. It is held, and later syncs of the segment wait behind it.",
        "See whether the segment was meant to shrink. Approve the sync, or discard it.",
        "A sync is held",
        command="heap-cordial syncs --state held",
    ),
    "list_not_ready": Kind(
        _WARNING,
        "The service cannot get the segment's list in Cordial. Its changes wait.",
        "See the reason. The service tries again by itself.",
        "A list is held",
        patience_seconds=60.0,
        explained_by=_NOT_SENDING,
    ),
    "list_strangers": Kind(
        _WARNING,
        "Cordial counts more contacts on the list than it has confirmed. Others added people, or Cordial lost a removal that it "
        "reported as done.",
        "See who they are. To remove those who have left the segment, rebuild the list with --include-removed. To remove "
        'others, set strangers = "remove".',
        "A list differs",
        command="heap-cordial verify {list} --members",
        patience_seconds=120.0,
        explained_by=_NOT_SENDING,
    ),
    "list_differs": Kind(
        _WARNING,
        "Cordial counts fewer contacts on the list than it has confirmed.",
        "Verify the list again. If the numbers still differ, rebuild it: all members are sent again.",
        "A list differs",
        command="heap-cordial verify {list}",
        patience_seconds=120.0,
        explained_by=_NOT_SENDING,
    ),
    "list_not_counted": Kind(
        _WARNING,
        "Cordial has not counted the list since its last sync, for more than an hour. Nobody knows whether it is exact.",
        "Verify the list now, and see the log for list.not_counted.",
        "A list differs",
        command="heap-cordial verify {list}",
        explained_by=_NOT_SENDING,
    ),
    "changes_old": Kind(
        _WARNING,
        "The oldest change of the account has waited for more than four hours.",
        "See what delays it.",
        "The backlog grows",
        command="heap-cordial status",
        patience_seconds=60.0,
        explained_by=_NOT_SENDING,
    ),
    "backlog_high": Kind(
        _WARNING,
        "The backlog is near its limit. At the limit, pages are answered 429.",
        "See what delays sending, or raise max_backlog: that of the account, or that of the store if no account is named.",
        "Pages are answered 429 or 503",
        command="heap-cordial status",
    ),
    "people_failed": Kind(
        _WARNING,
        "Some people could not be added to the list or removed from it.",
        "See what Cordial answered, correct the cause, then retry.",
        "People could not be added",
        command="heap-cordial failures",
    ),
    "users_unusable": Kind(
        _INFO,
        "Some people are not on the list, because their ids cannot be used.",
        "See which ones, and correct the property in Heap. They are reported as long as the pages that named them are kept.",
        "A list has fewer contacts than the segment has users in Heap",
        command="heap-cordial unusable --list {list}",
    ),
    "sync_incomplete": Kind(
        _WARNING,
        "Pages of a sync have been missing for an hour, so their users are missing too.",
        "Press Sync now in Heap. This ends when the pages come, with a newer sync of as many pages, or after a week.",
        "A list has fewer contacts than the segment has users in Heap",
        longest_days=7,
    ),
    "heap_silent": Kind(
        _WARNING,
        "The segment's sync is overdue: nothing has come from Heap for much longer than usual.",
        "Look at the segment's sync in Heap. This is no longer reported after two weeks.",
        "Nothing arrives from Heap",
        longest_days=14,
    ),
    "imports_rest": Kind(
        _WARNING,
        "No new file is sent for up to an hour: the last import failed, or nobody knows how it ended. Single calls send what is not "
        "in a file, which is slower.",
        "See the reason. To use files again at once, press Use files again on the account's page, or resume the account in a terminal.",
        "An import did not finish",
        command="heap-cordial imports",
    ),
    "rows_unnamed": Kind(
        _INFO,
        "Cordial refused some rows of a file and did not say which. Everybody else is on the list.",
        "You need not do anything: the service looks for them. To name them at once, download the rejected rows in Cordial's web interface.",
        "An import did not finish",
        command="heap-cordial imports rejected --help",
    ),
    "import_in_doubt": Kind(
        _WARNING,
        "Cordial has the file of an import, but nobody knows whether it runs it. The people in it wait.",
        "Look for the job in Cordial, then tell the service what you saw.",
        "An import did not finish",
        command="heap-cordial imports",
        patience_seconds=300.0,
    ),
    "contacts_in_doubt": Kind(
        _WARNING,
        "Calls were cut off a quarter of an hour ago, and the service has not read their contacts back from Cordial yet.",
        "See the log for contact.not_read. Their newest state was sent. If a late call changed it, the service corrects that when it reads them.",
        "Other warnings",
        patience_seconds=900.0,
        explained_by=_NOT_SENDING,
    ),
    "members_differed": Kind(
        _INFO,
        "In the last day, contacts that the service read back differed from what Cordial had confirmed. They were sent again.",
        "If this happens again and again, look for an automation or another program that changes the list.",
        "A list differs",
    ),
    "clock_suspect": Kind(
        _WARNING,
        "Pages have a valid signature but another time: the clock of this machine may be wrong.",
        "Check the machine's time synchronisation.",
        "The clock is wrong",
    ),
    "deliveries_refused": Kind(
        _WARNING,
        "Requests to the webhook were refused in the last ten minutes.",
        "Look for delivery.answered in the log: it has the reason.",
        "Every page is refused",
        anybody_can_cause=True,
    ),
    "disk_low": Kind(
        _WARNING,
        "The store's disk is nearly full.",
        "Make room. When the disk is full, no page is accepted.",
        "The store cannot write",
    ),
    "wal_large": Kind(
        _WARNING,
        "The store's write-ahead log is large: another program keeps a read transaction open on the file.",
        "Look for a backup tool or a shell that has the file open.",
        "It is slow",
        patience_seconds=300.0,
    ),
    "certificate_ends": Kind(
        _WARNING,
        "The certificate ends soon. Heap cannot deliver after that.",
        "Renew it and replace the files.",
        "The certificate nears its end",
    ),
    "certificate_refused": Kind(
        _WARNING,
        "The certificate's files were replaced by a pair that cannot be used. The service still uses the old certificate.",
        "Replace the files with a pair that belongs together. The service then uses it by itself.",
        "The certificate nears its end",
        command="heap-cordial check",
    ),
    "configuration_refused": Kind(
        _WARNING,
        "The service refused a changed configuration and keeps the old one. A restart would fail.",
        "Correct the configuration, then reload it.",
        "Change the configuration while it runs",
        command="heap-cordial check",
    ),
    "restart_needed": Kind(
        _INFO,
        "The configuration was reloaded, but some changed keys need a restart. Until then they keep their old values.",
        "Restart the service when you can.",
        "Change the configuration while it runs",
    ),
    "loop_lag": Kind(
        _WARNING,
        "The service has too little CPU: everything in it waits for half a second or more.",
        "Give it more CPU, or lower requests_per_second.",
        "It is slow",
    ),
    "task_silent": Kind(
        _WARNING,
        "A task of the service has not moved for a minute.",
        "If this lasts, keep the log, restart the service and report it.",
        "The service does not answer",
    ),
    "log_lines_lost": Kind(
        _WARNING,
        "Lines of the log were lost in the last ten minutes: nobody read them in time, or the disk was full.",
        "Look at what reads standard error, and at the disk.",
        "Other warnings",
    ),
    "notices_fail": Kind(
        _WARNING,
        "A target does not accept its notices. They wait, and the service tries again.",
        "Test the target to see the reason.",
        "Notices do not arrive",
        command="heap-cordial notices test",
        patience_seconds=60.0,
    ),
    "sqlite_affected": Kind(
        _INFO,
        "This SQLite has the WAL-reset bug. The service avoids it, but another program that checkpoints may lose pages.",
        "Use a newer SQLite (3.51.3, 3.50.7 or 3.44.6) where another program checkpoints the store, as Litestream does.",
        "Other warnings",
    ),
}


# The kind, the account, and the list's id, or else the subject.
ConditionKey = tuple[str, str, str | int]

# So many conditions of one kind in one account people read one by one, and so many subjects are named of more.
_MAX_ALIKE = 3


class Fact(msgspec.Struct, frozen=True):
    """Something that is so now.

    `subject` names what it is about within the account: a segment, a task. `detail` says more. `people`: how many wait or are
    concerned, 0 where that is not known. `list_id`: the list's id in the API, None where it is about no list.
    """

    id: str
    account: str = ""
    subject: str = ""
    detail: str = ""
    people: int = 0
    list_id: int | None = None

    @property
    def key(self) -> ConditionKey:
        """What makes it the same condition, whatever its detail."""
        return condition_key(self.id, self.account, self.subject, self.list_id)


class Condition(msgspec.Struct, frozen=True):
    """A condition that lasts, or one that is over since `ended_at`.

    `title` says in a few words what is so, and of what. `subject` is what people call it: a segment by its name in Heap.
    `people`: how many wait or are concerned, 0 where that is not known. `command` may help, and is empty where none does.
    `runbook`: where the documentation explains it. `place`: where the dashboard shows it, to be put behind the dashboard's
    address. `list_id`: the list that it is about, if it is about one.
    """

    id: str
    severity: Severity
    title: str
    account: str
    subject: str
    detail: str
    people: int
    list_id: int | None
    since: datetime
    ended_at: datetime | None
    meaning: str
    what_to_do: str
    command: str
    runbook: str
    place: str


class RecordedCondition(msgspec.Struct, frozen=True):
    """A condition as the store keeps it, as it was seen last; times in Unix ms."""

    id: str
    account: str
    subject: str
    detail: str
    people: int
    list_id: int | None
    began_at_ms: int
    ended_at_ms: int | None

    @property
    def key(self) -> ConditionKey:
        """What makes it the same condition, whatever its detail."""
        return condition_key(self.id, self.account, self.subject, self.list_id)

    def as_condition(self) -> Condition:
        """Return it with all that its kind says, which must be one of the catalogue."""
        fact = Fact(self.id, self.account, self.subject, self.detail, self.people, self.list_id)
        return to_condition(fact, self.began_at_ms, self.ended_at_ms)


def condition_key(kind: str, account: str, subject: str, list_id: int | None) -> ConditionKey:
    """Return what makes it the same condition: a list is the same whatever its segment is called, and several have one name."""
    return kind, account, subject if list_id is None else list_id


def of_difference(count_differs_by: int) -> str:
    """Return the kind of condition if Cordial counts so many more contacts on a list than it confirmed, or fewer (negative)."""
    return "list_strangers" if count_differs_by > 0 else "list_differs"


def worst_first(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions by severity, the oldest of each first."""
    return sorted(conditions, key=lambda each: (each.severity.rank, each.since, each.account, each.subject))


def some_of_each(conditions: Sequence[Condition], most: int) -> list[Condition]:
    """Return at most so many, in their order: the first of each kind and account before the second of any."""
    seen: Counter[tuple[str, str]] = Counter()
    places = []
    for place, each in enumerate(conditions):
        places.append((seen[each.id, each.account], place))
        seen[each.id, each.account] += 1
    return [conditions[place] for place in sorted(place for _, place in sorted(places)[:most])]


def grouped(
    conditions: Sequence[Condition], numbers: Mapping[str, Mapping[str, int]] = MappingProxyType({})
) -> list[Condition]:
    """Return conditions as people read them: more than three of one kind in one account are one, at the place of the first.

    `numbers`: how many last of each kind in each account, where not all of them may be among these.
    """
    alike: dict[tuple[str, str], list[Condition]] = {}
    for each in conditions:
        alike.setdefault((each.id, each.account), []).append(each)
    found: list[Condition] = []
    for (kind, account), group in alike.items():
        number = numbers.get(kind, {}).get(account, len(group))
        found += [_as_one(group, number)] if number > _MAX_ALIKE else group
    return found


def _as_one(group: Sequence[Condition], number: int) -> Condition:
    """Return one condition that stands for so many of a kind in one account."""
    first = group[0]
    named = [each.subject for each in group[:_MAX_ALIKE]]
    subject = f"{', '.join(named)} and {number - len(named):,} more"
    words, _ = in_two(first.meaning)
    # Who is on two lists is concerned twice, so people are not added up. Of those that are not here only the number is known.
    people = max(each.people for each in group) if number == len(group) else 0
    largest = f"; the largest concerns {people:,} {'person' if people == 1 else 'people'}" if people else ""
    return msgspec.structs.replace(
        first,
        title=_with_subject(words, f"{first.account}: {subject}" if first.account else subject),
        subject=subject,
        detail=f"{number:,} in all{largest}",
        people=0,
        list_id=None,
        since=min(each.since for each in group),
        command=CATALOGUE[first.id].command.format(account=first.account, list="LIST"),
        place="#/conditions",
    )


def to_condition(fact: Fact, began_at_ms: int, ended_at_ms: int | None = None) -> Condition:
    """Return a fact that has lasted since then (Unix ms) with all that its kind says."""
    kind = CATALOGUE[fact.id]
    command = "heap-cordial rebuild {list}" if fact.id == "list_held" and is_to_rebuild(fact.detail) else kind.command
    return Condition(
        id=fact.id,
        severity=kind.severity,
        title=_title(fact),
        account=fact.account,
        subject=fact.subject,
        detail=fact.detail,
        people=fact.people,
        list_id=fact.list_id,
        since=_moment(began_at_ms),
        ended_at=None if ended_at_ms is None else _moment(ended_at_ms),
        meaning=kind.meaning,
        what_to_do=stopped.stop_of(fact.detail).what_to_do if fact.id == "account_stopped" else kind.what_to_do,
        command=command.format(account=fact.account, list="" if fact.list_id is None else f"id:{fact.list_id}"),
        runbook=runbook(fact.id),
        place=_place(fact),
    )


def in_two(meaning: str) -> tuple[str, str]:
    """Return the first clause of a kind's meaning without its stop, and the rest."""
    words, _, more = meaning.replace(": ", ". ", 1).partition(". ")
    return words.removesuffix("."), f"{more[:1].upper()}{more[1:]}"


# What is so of one person, and of several.
_OF_PEOPLE = {
    "people_failed": ("1 person could not be added or removed", "{:,} people could not be added or removed"),
    "users_unusable": (
        "1 person is not on the list, because the id cannot be used",
        "{:,} people are not on the list, because their ids cannot be used",
    ),
}


def _title(fact: Fact) -> str:
    if fact.id == "account_stopped" and (title := stopped.stop_of(fact.detail).title):
        return title.format(account=fact.account)
    words, _ = in_two(CATALOGUE[fact.id].meaning)
    if fact.people and fact.id in _OF_PEOPLE:
        words = _OF_PEOPLE[fact.id][fact.people > 1].format(fact.people)
    return _with_subject(words, f"{fact.account} {fact.subject}")


def _with_subject(words: str, subject: str) -> str:
    # A segment may be called anything; a line break in it must not begin another header of an e-mail.
    about = " ".join(subject.split())
    return f"{words} ({about})" if about else words


def _place(fact: Fact) -> str:
    what = ("subject", fact.subject) if fact.list_id is None else ("list", fact.list_id)
    about = urlencode({name: value for name, value in (("account", fact.account), what) if value})
    return f"#/conditions/{fact.id}{about and f'?{about}'}"


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def runbook(name: str) -> str:
    """Return where the documentation explains a kind of condition."""
    return f"docs/operations.md#{name}"
