"""The drawing of a member's states says what the code does."""

import re
import sqlite3
from pathlib import Path

import msgspec
import pytest

from service.errors import StoreFaultError
from service.model.changes import MemberState
from service.model.lists import LIST_TRANSITIONS, HeldFor, ListState, Segment
from service.store.sqlite import queries
from service.store.sqlite.ledger import TRANSITIONS, LedgerTransaction, Standing

ROOT = Path(__file__).parents[2]
MEMBERS, LISTS = (ROOT / "docs" / "states.md").read_text(encoding="utf-8").split("\n## The states of a list\n")
ARROW = re.compile(r"^ +(\S+) --> (\S+):", re.MULTILINE)
SQL = sorted((ROOT / "service" / "store" / "sqlite" / "queries").glob("*.sql"))


def drawn_state(name: str) -> MemberState | None:
    return None if name in {"[*]", "forgotten"} else MemberState(name)


def test_the_drawing_and_the_code_have_the_same_transitions():
    arrows = ARROW.findall(MEMBERS)
    assert {(drawn_state(old), drawn_state(new)) for old, new in arrows} == TRANSITIONS
    assert len(arrows) == len(TRANSITIONS)


def drawn_standing(name: str) -> ListState | HeldFor:
    return HeldFor(name) if name in set(HeldFor) else ListState(name)


def test_the_drawing_of_lists_and_the_code_have_the_same_transitions():
    arrows = [(old, new) for old, new in ARROW.findall(LISTS) if old != "[*]"]
    assert {(drawn_standing(old), drawn_standing(new)) for old, new in arrows} == LIST_TRANSITIONS
    assert len(arrows) == len(LIST_TRANSITIONS)


def test_every_standing_of_a_list_is_explained(schema):
    explained = set(re.findall(r"^\| `(\w+)` \|", LISTS, re.MULTILINE))
    assert explained == {*HeldFor, *ListState} - {ListState.HELD}
    (definition,) = schema.execute("SELECT sql FROM sqlite_schema WHERE name = 'segment'").fetchone()
    allowed = re.search(r"list_held_for IN \(([^)]+)\)", definition)
    assert allowed is not None
    assert set(re.findall(r"'(\w+)'", allowed[1])) == set(HeldFor)


def test_a_list_is_held_for_something_and_something_holds_it():
    segment = Segment(1, "acme", "7", "Readers", ListState.READY, "Readers", "101", "", "Readers", 0, 0, 0, 0, 0, 0)
    for state, held_for in ((ListState.HELD, None), (ListState.READY, HeldFor.DELETED)):
        with pytest.raises(ValueError, match="cannot be held for"):
            msgspec.structs.replace(segment, list_state=state, list_held_for=held_for)


@pytest.fixture
def schema():
    connection = sqlite3.connect(":memory:")
    for _, script in queries.migrations():
        connection.executescript(script)
    yield connection
    connection.close()


def test_the_states_of_the_store_are_those_of_the_program(schema):
    states = dict(schema.execute("SELECT name, number FROM member_state"))
    assert states.keys() == set(MemberState)
    (definition,) = schema.execute("SELECT sql FROM sqlite_schema WHERE name = 'member'").fetchone()
    allowed = re.search(r"CHECK \(state IN \(([\d, ]+)\)\)", definition)
    assert allowed is not None
    assert {int(number) for number in allowed[1].split(",")} == set(states.values())


def test_a_transition_that_is_not_drawn_is_refused(schema):
    ledger = LedgerTransaction(schema, 0, 0)
    dead, settled = Standing(MemberState.DEAD, True, 1), Standing(MemberState.SETTLED, True, 1)
    with pytest.raises(StoreFaultError, match="no member may go from dead to settled"):
        ledger._count(1, 1, dead, settled)


def test_no_statement_elsewhere_changes_a_member():
    """The kind of fault this ends: made pending in one place, and queued, counted and woken in another, or not."""
    writing = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+member\b")
    assert [path.name for path in SQL if writing.search(path.read_text(encoding="utf-8"))] == ["ledger.sql"]
    in_python = [path for path in (ROOT / "service").rglob("*.py") if writing.search(path.read_text(encoding="utf-8"))]
    assert in_python == []


def test_statements_name_states_and_do_not_number_them():
    numbered = re.compile(r"\b(old_)?state\s*(=|<>|!=|IN)\s*\(?\s*\d")
    assert [path.name for path in SQL if numbered.search(path.read_text(encoding="utf-8"))] == []
