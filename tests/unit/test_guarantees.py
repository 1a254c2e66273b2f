"""Every promise in `docs/guarantees.md` and `docs/security.md` is held by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUARANTEES = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs/security.md").read_text(encoding="utf-8")
# Every rule of the design has its part, in order.
RULES = range(1, 18)


def named_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize("text", [GUARANTEES, SECURITY], ids=["guarantees", "security"])
def test_every_test_named_exists(text):
    named = named_in(text)
    assert len(named) > len(RULES)
    assert text.count("::") == len(named)
    assert [
        f"{file}::{name}" for file, name in named if not (ROOT / file).is_file() or name not in defined_in(ROOT / file)
    ] == []


def test_every_rule_is_held_by_a_test():
    parts = re.split(r"(?m)^#+ ", GUARANTEES)
    held = {part.split()[0]: named_in(part) for part in parts if re.match(r"R\d+ ", part)}
    assert list(held) == [f"R{number}" for number in RULES]
    assert all(held.values())


def test_every_threat_is_held_by_a_test():
    rows = [line for line in SECURITY.splitlines() if re.match(r"\| (?!what |---)", line)]
    assert len(rows) > len(RULES)
    assert [row for row in rows if not named_in(row)] == []


def test_every_file_of_the_security_tests_is_named():
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests/security").glob("test_*.py")}
    assert files - {file for file, _ in named_in(SECURITY)} == set()
