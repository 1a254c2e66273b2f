"""Small changes of SQL, one at a time: comparisons, conditions, order, numbers, texts. Those that SQLite refuses are none."""

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from service.store.sqlite import queries

_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|:?\w+|<=|>=|<>|\|\||->>|\S")
_WORD_BEFORE_SET = re.compile(r"SET|VALUES|SELECT|RETURNING|THEN|ELSE|END", re.IGNORECASE)
_WORD_BEFORE_CONDITION = re.compile(r"WHERE|ON|AND|OR|NOT|WHEN|iif|CASE", re.IGNORECASE)
_OTHERS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "<>": ("=",),
    "=": ("<>",),
    "AND": ("OR",),
    "OR": ("AND",),
    "NOT": ("",),
    "IN": ("NOT IN",),
    "IS": ("IS NOT",),
    "EXISTS": ("NOT EXISTS",),
    "min": ("max",),
    "max": ("min",),
    "+": ("-",),
    "-": ("+",),
    "DISTINCT": ("",),
}
# A word and the one before: they belong together. `SELECT 1` asks whether there is a row, and who asks for one reads one.
_FIXED = {("IN", "NOT"), ("OR", "INSERT"), ("1", "SELECT"), ("1", "LIMIT")}
_ORDER = re.compile(r"ORDER BY [\w.]+")
_NUMBER = re.compile(r"\d+")


class Mutant(NamedTuple):
    """One change: what it is called, the statement it is in, and the statement with it."""

    name: str
    statement: str
    sql: str


class _AnyValues(dict[str, Any]):
    def __missing__(self, _name: str) -> int:
        return 1


def mutants_of(statements: Mapping[str, str]) -> list[Mutant]:
    """Return the mutants of a file's statements that SQLite can run."""
    connection = _with_schema(statements)
    names: Counter[str] = Counter()
    mutants = []
    for statement, sql in statements.items():
        if statement.startswith("create_"):
            continue
        for before, after, mutated in _changes(sql):
            try:
                connection.execute(f"EXPLAIN {mutated}", _AnyValues())
            except sqlite3.Error:
                continue
            name = f"{statement}: {before} -> {after}"
            names[name] += 1
            mutants.append(Mutant(name if names[name] == 1 else f"{name} #{names[name]}", statement, mutated))
    connection.close()
    return mutants


def _with_schema(statements: Mapping[str, str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in queries.migrations():
        connection.executescript(script)
    for file in ("fold", "precedence", "spelling"):
        temporary = {name: sql for name, sql in queries.load(file).items() if name.startswith("create_")}
        for sql in (temporary | {name: sql for name, sql in statements.items() if name.startswith("create_")}).values():
            connection.execute(sql)
    return connection


def _changes(sql: str) -> list[tuple[str, str, str]]:
    """Return (what stands there, what comes in its place, the whole statement)."""
    changes = []
    previous = ""
    is_condition = False
    for found in _TOKEN.finditer(sql):
        token = found.group()
        if token.startswith("--"):
            continue
        if _WORD_BEFORE_CONDITION.fullmatch(token):
            is_condition = True
        elif _WORD_BEFORE_SET.fullmatch(token):
            is_condition = False
        before, after = sql[: found.start()], sql[found.end() :]
        around = before[-40:].split("\n")[-1].lstrip(), after[:40].split("\n")[0].rstrip()
        # `IS NOT` is changed at its second word.
        others = () if token == "IS" and after.lstrip().startswith("NOT") else _others(token, previous, is_condition)
        changes += [(token.join(around), other or "(left out)", f"{before}{other}{after}") for other in others]
        previous = token
    orders = ((found.group(), found.end()) for found in _ORDER.finditer(sql))
    return changes + [(order, f"{order} DESC", f"{sql[:end]} DESC{sql[end:]}") for order, end in orders]


def _others(token: str, previous: str, is_condition: bool) -> tuple[str, ...]:
    if (token, previous) in _FIXED or (token == "=" and not is_condition):
        return ()
    if token.startswith("'"):
        return ("'another'",) if is_condition else ()
    return (str(int(token) + 1),) if _NUMBER.fullmatch(token) else _OTHERS.get(token, ())
