"""Conditions: when they begin and end, that a restart neither loses nor repeats one, and that each is explained."""

import re

import pytest

from service.deliver.cordial.evidence import TABLE
from service.model.conditions import CATALOGUE, Fact, RecordedCondition, grouped, some_of_each, to_condition
from service.model.stopped import STOPPED
from service.observe.conditions import Conditions
from service.observe.facts import max_still_seconds
from tools.conditions_reference import COPY, OPERATIONS, with_reference

HOUR_MS = 3_600_000


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_condition_has_its_part_in_the_operations(name):
    operations = OPERATIONS.read_text(encoding="utf-8")
    assert re.search(rf"(?m)^##+ {re.escape(CATALOGUE[name].part)}$", operations), CATALOGUE[name].part
    assert re.search(rf"(?m)^### {name}$", operations)
    assert to_condition(Fact(name), 0).runbook == f"docs/operations.md#{name}"


def test_the_operations_say_of_conditions_what_the_service_says():
    operations = OPERATIONS.read_text(encoding="utf-8")
    assert operations == with_reference(operations), "run make docs"
    assert COPY.read_text(encoding="utf-8") == operations, "run make docs"


@pytest.mark.parametrize(
    ("fact", "title"),
    [
        (
            Fact("account_stopped", "globex", detail="unauthorized: Access Denied"),
            "Cordial rejects the API key for globex",
        ),
        (Fact("account_stopped", "globex", detail="http_503: HTTP 503"), "Cordial is down (503) for globex"),
        (Fact("account_stopped", "globex", detail="not_json: HTTP 200"), "Cordial does not serve the account (globex)"),
        (
            Fact("people_failed", "acme", "Active Users", people=1),
            "1 person could not be added or removed (acme Active Users)",
        ),
        (
            Fact("people_failed", "acme", "Buyers", people=1_062),
            "1,062 people could not be added or removed (acme Buyers)",
        ),
        (Fact("list_held", "acme", "Active\r\nUsers"), "The list is held (acme Active Users)"),
        (Fact("sqlite_affected"), "This SQLite has the WAL-reset bug"),
    ],
)
def test_what_is_so_is_said_in_a_few_words(fact, title):
    assert to_condition(fact, 0).title == title


def test_what_to_do_fits_the_reason_for_which_an_account_is_stopped():
    """An outage is waited for, a wrong key is not; and the runbook has a row for each."""
    told = {
        reason: to_condition(Fact("account_stopped", "acme", detail=f"{reason}: {reason}"), 0).what_to_do
        for reason in (*STOPPED, "http_503", "http_418")
    }
    assert {each for each, words in told.items() if words.startswith("Wait: ")} == {
        *("unreachable", "timeout", "not_json", "unexpected_answer", "http_503")
    }
    assert [each for each, words in told.items() if "API key" in words] == ["unauthorized", "forbidden"]
    part = OPERATIONS.read_text(encoding="utf-8").partition("## An account is stopped")[2].partition("\n## ")[0]
    assert [each for each in STOPPED if not re.search(rf"(?m)^\|[^|]*`{each}`", part)] == []
    # Whatever Cordial answers to everybody, one of these is the reason; one unknown list is no account's trouble.
    answers = {row.reason for row in TABLE} - {"", "throttled", "unknown_key", "not_found"}
    assert answers <= STOPPED.keys()


def test_each_condition_has_a_place_on_the_dashboard():
    condition = to_condition(Fact("list_held", "acme", 'Füße & "more"'), 0)
    assert condition.place == "#/conditions/list_held?account=acme&subject=F%C3%BC%C3%9Fe+%26+%22more%22"
    of_list = to_condition(Fact("list_held", "acme", "Buyers", list_id=7), 0)
    assert of_list.place == "#/conditions/list_held?account=acme&list=7"
    assert to_condition(Fact("disk_low"), 0).place == "#/conditions/disk_low"


def held(number: int, *, account: str = "acme", people: int = 0):
    fact = Fact("list_awaits_approval", account, f"Segment {number}", "a new segment", people, number)
    return to_condition(fact, 1_000_000 + number)


def test_many_of_a_kind_in_one_account_are_read_as_one():
    others = [held(1, account="globex"), held(2, account="globex"), to_condition(Fact("disk_low"), 0)]
    many = [held(number, people=number) for number in range(1, 51)]
    first, *rest = grouped([*many, *others])
    assert rest == others
    assert (
        first.title == "The segment is new and waits for approval (acme: Segment 1, Segment 2, Segment 3 and 47 more)"
    )
    assert (first.subject, first.detail) == (
        "Segment 1, Segment 2, Segment 3 and 47 more",
        "50 in all; the largest concerns 50 people",
    )
    assert (first.since, first.command) == (many[0].since, "heap-cordial approve LIST")
    # Who is on two lists would count twice, and there is no place for many.
    assert (first.people, first.list_id, first.place) == (0, None, "#/conditions")
    assert grouped(many[:3]) == many[:3]
    # Where more last than are told one by one, all are counted.
    [first] = grouped(many, {"list_awaits_approval": {"acme": 1_100, "globex": 2}})
    assert first.subject == "Segment 1, Segment 2, Segment 3 and 1,097 more"
    assert first.detail == "1,100 in all"
    [first] = grouped(many[:1], {"list_awaits_approval": {"acme": 10}})
    assert (first.subject, first.detail) == (
        "Segment 1 and 9 more",
        "10 in all",
    )


def test_of_very_many_conditions_some_of_each_kind_and_account_are_shown_first():
    many = [held(number) for number in range(1, 900)]
    others = [held(number, account="globex") for number in range(1, 3)] + [to_condition(Fact("disk_low"), 0)]
    shown = some_of_each([*many, *others], 200)
    assert shown == [*many[:197], *others]
    assert some_of_each(many[:200], 200) == many[:200]


@pytest.mark.parametrize(("rate", "seconds"), [("auto", 5), (25, 5), (1, 5), (0.1, 50), (0.01, 500)])
def test_an_account_is_not_stuck_as_long_as_its_own_rate_makes_it_wait(rate, seconds):
    """At one call in 100 seconds, a minute without a result is no trouble of anybody's."""
    assert max_still_seconds(rate) == pytest.approx(seconds)


class Log:
    def __init__(self) -> None:
        self.open: list[RecordedCondition] = []
        self.over: list[RecordedCondition] = []

    async def lasting(self) -> list[RecordedCondition]:
        return self.open

    async def history(
        self, limit: int, *, kind=None, account=None, subject=None, list_id=None
    ) -> list[RecordedCondition]:
        asked = {"id": kind, "account": account, "subject": subject, "list_id": list_id}
        given = {name: value for name, value in asked.items() if value is not None}
        return [each for each in self.over if all(getattr(each, name) == given[name] for name in given)][:limit]

    async def record(self, begun, ended, changed) -> None:
        written = {each.key: each for each in (*self.open, *begun)} | {each.key: each for each in changed}
        self.open = [each for key, each in written.items() if key not in {other.key for other in ended}]
        self.over += ended

    async def facts(self, _accounts) -> list[Fact]:
        return []


async def test_a_condition_begins_once_lasts_over_a_restart_and_ends():
    log, facts, now = Log(), [Fact("account_paused", "acme")], [1_000_000]
    conditions = Conditions(log, lambda: facts, dict, lambda: now[0])
    for _ in range(2):
        conditions = Conditions(log, lambda: facts, dict, lambda: now[0])
        await conditions._ask()
        await conditions._record(with_changes=True)
        [condition] = conditions.current()
        assert (condition.id, condition.since.timestamp()) == ("account_paused", 1_000)
        now[0] += 60_000
    facts.clear()
    # It is over from now on, also for who asks before that is written down.
    assert conditions.current() == []
    [over] = await conditions.history(kind="account_paused")
    assert over.ended_at is not None
    assert await conditions.history(kind="disk_low") == []
    await conditions._record(with_changes=True)
    assert (conditions.current(), log.open) == ([], [])
    [over] = await conditions.history()
    assert over.ended_at is not None
    assert over.ended_at.timestamp() == 1_120


async def test_what_somebody_was_told_of_is_kept_although_it_was_over_before_the_next_look():
    """Who mends it at once must not read afterwards that there never was such a condition."""
    log, facts = Log(), [Fact("people_failed", "acme", "Buyers", people=1, list_id=1)]
    conditions = Conditions(log, lambda: facts, dict, lambda: 1_000)
    await conditions._ask()
    assert [each.id for each in conditions.current()] == ["people_failed"]
    facts.clear()
    [over] = await conditions.history()
    assert over.ended_at is not None
    await conditions._record(with_changes=True)
    assert ([each.id for each in log.over], log.open, conditions.kept()) == (["people_failed"], [], [])
    await conditions._record(with_changes=True)
    assert len(log.over) == 1


def test_a_fact_is_told_only_once_its_patience_is_over():
    now = [0]
    conditions = Conditions(Log(), lambda: [Fact("list_not_ready", "acme", "Buyers")], dict, lambda: now[0])
    assert conditions.current() == []
    now[0] += 60_000
    assert [each.id for each in conditions.current()] == ["list_not_ready"]


@pytest.mark.parametrize("hours", [5, -5])
async def test_when_the_clock_is_set_what_begins_then_has_its_time_and_its_patience(hours):
    """A machine's clock may be set right while the service runs; people read the right one."""
    log, facts, steady, set_by = Log(), [Fact("account_stopped", "acme")], [10 * HOUR_MS], [0]
    conditions = Conditions(log, lambda: facts, dict, lambda: steady[0] + set_by[0], steady_ms=lambda: steady[0])
    await conditions._ask()
    await conditions._record(with_changes=True)
    set_by[0] = hours * HOUR_MS
    facts[:] = [Fact("list_not_ready", "globex", "Buyers")]
    assert conditions.current() == [], "its patience is not over"
    await conditions._record(with_changes=True)
    steady[0] += 60_000
    [told] = conditions.current()
    assert told.since.timestamp() * 1000 == (10 + hours) * HOUR_MS
    [over] = await conditions.history()
    assert over.ended_at is not None
    assert over.ended_at.timestamp() * 1000 == (10 + hours) * HOUR_MS


def test_what_a_store_that_cannot_write_causes_is_not_told_besides():
    """Nobody is sent to Cordial's answers, or to restart the service, because a disk is full."""
    now = [0]
    caused = [Fact("account_stuck", "acme"), Fact("pages_stuck", "acme", "Buyers"), Fact("changes_old", "acme")]
    facts = [*caused, Fact("store_trouble", detail="database or disk is full"), Fact("people_failed", "acme", "Buyers")]
    conditions = Conditions(Log(), lambda: facts, dict, lambda: now[0])
    conditions.current()
    now[0] += 60_000
    assert [each.id for each in conditions.current()] == ["store_trouble", "people_failed"]


async def test_a_condition_is_of_its_list_whatever_the_segment_is_called():
    """Two segments may have one name, and one may be renamed: neither is the end of anything."""
    log = Log()
    facts = [
        Fact("list_held", "acme", "Same", "why", 3, list_id=1),
        Fact("list_held", "acme", "Same", "why", 4, list_id=2),
    ]
    conditions = Conditions(log, lambda: facts, dict, lambda: 1_000)
    await conditions._ask()
    await conditions._record(with_changes=True)
    assert [each.people for each in conditions.current()] == [3, 4]
    facts[0] = Fact("list_held", "acme", "Renamed", "why", 5, list_id=1)
    await conditions._record(with_changes=True)
    assert {(each.subject, each.people) for each in log.open} == {("Renamed", 5), ("Same", 4)}
    assert log.over == []


async def test_what_there_is_no_room_for_is_not_told_as_over():
    log = Log()
    facts = [
        Fact("sqlite_affected"),
        *(Fact("list_held", "acme", str(number), list_id=number) for number in range(999)),
    ]
    conditions = Conditions(log, lambda: facts, dict, lambda: 1_000)
    await conditions._ask()
    await conditions._record(with_changes=True)
    facts += [Fact("list_held", "acme", str(number), list_id=number) for number in range(999, 1_500)]
    facts.insert(0, Fact("store_trouble"))
    await conditions._record(with_changes=True)
    assert log.over == []
    assert conditions.current()[0].id == "store_trouble"
    lasting = conditions.lasting()
    assert (len(lasting.conditions), lasting.by_kind()["list_held"]) == (1_000, 1_500)
    del facts[100:]
    await conditions._record(with_changes=True)
    assert len(conditions.current()) == 100
    assert len(log.over) == 901


async def look(conditions: Conditions) -> None:
    await conditions._ask()
    await conditions._record(with_changes=True)
