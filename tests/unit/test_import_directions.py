"""Which module may import which: the architecture, held."""

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each may import only those before it.
FOUNDATION = ["errors", "clock", "backoff", "flood", "supervision", "model", "config", "web", "log"]
STAGES = {"receive", "store", "deliver", "observe"}
# What stages share. Of these only what is named here: stages are given settings and do not know where those come from,
# nor how connections are made; of the store they know its protocols.
SHARED_BY_STAGES = {*FOUNDATION, "store"}
SHARED_MODULES = {
    "config": {"service.config.settings", "service.config.secrets"},
    "store": {"service.store.port"},
    "web": {"service.web.addresses", "service.web.errors", "service.web.files", "service.web.headers"},
}
COMPOSITION = {"app", "commands", "sandbox", "__main__"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "service").rglob("*.py"))}


@functools.cache
def tree_of(module: str) -> ast.Module:
    # Read when first asked for: every worker collects this file, one runs it.
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def part_of(module: str) -> str:
    """The part of the service that a module belongs to: `service.store.sqlite.writer` to `store`; the package to none."""
    return module.split(".")[1] if "." in module else ""


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=None | str() as source, names=names, level=level):
                base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                full = ".".join([*base, source] if source else base)
                yield full
                yield from (f"{full}.{name.name}" for name in names)


@functools.cache
def imports_of(module: str) -> set[str]:
    """The modules of the service that a module imports; texts that name a module count, as they may be imported."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    texts = {
        node.value for node in ast.walk(tree_of(module)) if isinstance(node, ast.Constant) and node.value in MODULES
    }
    return ({*imported_names(tree_of(module), package)} & MODULES.keys() | texts) - {module}


def parts_imported_by(module: str) -> set[str]:
    return {part_of(other) for other in imports_of(module)} - {part_of(module), ""}


def modules_of(parts: set[str]) -> set[str]:
    return {module for module in MODULES if part_of(module) in parts}


def test_every_part_has_its_place():
    parts = {part_of(module) for module in MODULES} - {""}
    unplaced = parts - {*FOUNDATION} - STAGES - COMPOSITION
    assert not unplaced, f"say above where these stand: {unplaced}"
    assert parts >= STAGES


def test_the_foundation_imports_only_what_stands_below_it():
    for module in modules_of(set(FOUNDATION)):
        below = FOUNDATION[: FOUNDATION.index(part_of(module))]
        assert parts_imported_by(module) <= set(below), module


def test_stages_import_neither_each_other_nor_what_composes_them():
    for module in modules_of(STAGES):
        assert parts_imported_by(module) <= SHARED_BY_STAGES, module
        for part in SHARED_MODULES.keys() - {part_of(module)}:
            imported = {other for other in imports_of(module) if part_of(other) == part}
            assert imported <= {*SHARED_MODULES[part], f"service.{part}"}, module


def test_only_the_commands_entry_imports_the_sandbox():
    importing = {name for name in MODULES if part_of(name) != "sandbox" and "sandbox" in parts_imported_by(name)}
    assert importing == {"service.__main__"}


def test_only_the_composition_knows_several_stages():
    for module in MODULES:
        stages = {part_of(other) for other in imports_of(module) - {"service.store", "service.store.port"}} & STAGES
        assert part_of(module) in COMPOSITION or len(stages | ({part_of(module)} & STAGES)) <= 1, module


def test_the_port_of_the_store_speaks_only_of_the_model():
    assert {part_of(other) for other in imports_of("service.store.port")} <= {"model", ""}


def test_the_store_has_no_other_protocols():
    for module in modules_of({"store"}) - {"service.store.port"}:
        classes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef)]
        assert "Protocol" not in [ast.unparse(base) for each in classes for base in each.bases], module


def test_modules_do_not_import_in_circles():
    # A package's own __init__ is imported along with each of its modules; only what it imports itself counts.
    order = TopologicalSorter({module: imports_of(module) for module in MODULES})
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' -> '.join(error.args[1])}")


SQL = re.compile(
    r"\A\s*(select\s.+\sfrom|insert\s+(or\s+\w+\s+)?into|update\s+\w+\s+set|delete\s+from|create\s+(table|index)|"
    r"drop\s+(table|index)|alter\s+table|begin(\s+immediate|\s+exclusive)?\s*;?\s*\Z|pragma\s+\w+|vacuum\b|replace\s+into)",
    re.IGNORECASE | re.DOTALL,
)


def sql_in(tree: ast.AST) -> list[str]:
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [text for text in texts if SQL.match(text)]


def test_sql_lives_only_under_store():
    for module in [name for name in MODULES if part_of(name) != "store"]:
        assert sql_in(tree_of(module)) == [], module
        assert not {"sqlite3", "aiosqlite"} & set(imported_names(tree_of(module), "")), module


def test_queries_lie_only_under_store():
    assert {path.relative_to(ROOT).parts[:2] for path in (ROOT / "service").rglob("*.sql")} <= {("service", "store")}


@pytest.mark.parametrize(
    "text", ["SELECT a\nFROM b", "insert or ignore into x values (1)", "PRAGMA journal_mode", "BEGIN IMMEDIATE"]
)
def test_sql_is_recognised(text):
    assert sql_in(ast.parse(f"x = {text!r}")) == [text]


@pytest.mark.parametrize(
    "text", ["Select a list", "Update the list", "begin here", "deleted from Cordial", "Pragmatic"]
)
def test_prose_in_code_is_not_taken_for_sql(text):
    assert sql_in(ast.parse(f"x = {text!r}")) == []


def test_imports_are_recognised_in_every_form():
    code = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom ..h import i\ndef x():\n    import j"
    names = set(imported_names(ast.parse(code), "p.q"))
    assert {"a.b", "c.d", "p.q.e", "p.q.f.g", "p.h.i", "j"} <= names
