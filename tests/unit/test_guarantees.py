"""Every promise in `docs/guarantees.md` is held by tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
RULES = range(1, 15)


def named_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_test_named_exists():
    named = named_in(TEXT)
    assert len(named) > len(RULES)
    assert [
        f"{file}::{name}" for file, name in named if not (ROOT / file).is_file() or name not in defined_in(ROOT / file)
    ] == []


def test_every_rule_is_held_by_a_test():
    parts = re.split(r"(?m)^#+ ", TEXT)
    held = {part.split()[0]: named_in(part) for part in parts if re.match(r"R\d+ ", part)}
    assert list(held) == [f"R{number}" for number in RULES]
    assert all(held.values())


def test_everything_named_like_a_test_is_looked_up():
    assert TEXT.count("::") == len(named_in(TEXT))
