"""What the documents name exists, where they lead is there, and whoever is woken at night finds each alert and event."""

import ast
import contextlib
import errno
import io
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from service.__main__ import make_parser
from service.config.keys import NAMED, SECTIONS, keys_of
from service.model import lists as reasons
from service.model.lists import HeldFor, ListState, Segment

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def without_code(markdown: str) -> str:
    """The document without its fenced code, so that nothing in it passes for a heading or a link."""
    return re.sub(r"(?ms)^(> )?```.*?^(> )?```$", "", markdown)


# Where links lead


def links_in(markdown: str) -> list[str]:
    """The targets of links within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_code(markdown)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors_of(markdown: str) -> set[str]:
    """The anchors that GitHub makes of the headings; of a heading that comes again, only the first is told."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_code(markdown))
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_links_and_anchors_are_found():
    markdown = "# It's `a_b`, c\n\n[x](y.md#z) [w](https://example.com) `[not](this)`\n\n```sh\n# no heading\n```\n"
    assert links_in(markdown) == ["y.md#z"]
    assert anchors_of(markdown) == {"its-a_b-c"}


@every_document
def test_every_link_leads_to_a_file_and_a_heading_of_it(document):
    for link in links_in(text_of(document)):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(text_of(target)), link


def test_every_document_is_linked_from_the_index():
    index = {(DOCS / link.partition("#")[0]).resolve() for link in links_in(text_of(DOCS / "README.md"))}
    setups = DOCS / "setups"
    shown_there = {(setups / link).resolve() for link in links_in(text_of(setups / "README.md"))}
    files = {path for path in DOCS.rglob("*") if path.is_file()} - {DOCS / "README.md"}
    pictures = {path for path in files if path.suffix == ".png"}
    assert {str(path.relative_to(ROOT)) for path in files - pictures - index - shown_there} == set()
    assert {ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "config.toml")} <= index


# What they name


@cache
def help_of(command: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        make_parser().parse_args([command, "--help"])
    return shown.getvalue()


def calls_in(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of ours in code, with its options."""
    joined = markdown.replace("\\\n", " ")
    for command, rest in re.findall(r"(?m)(?:heap-cordial|-m service) ([a-z]+)(?![a-z-])([^`\n|;&]*)", joined):
        yield command, re.findall(r"(?<= )--[a-z][a-z-]*", rest)


def test_options_of_commands_are_found():
    found = list(calls_in("`heap-cordial send --url X \\\n  --add Y | cat --number` and `heap-cordial check`"))
    assert found == [("send", ["--url", "--add"]), ("check", [])]


@every_document
def test_every_option_of_a_command_exists(document):
    code = "\n".join(re.findall(r"(?ms)^```sh\n.*?^```$|`[^`\n]+`", text_of(document)))
    for command, options in calls_in(code):
        for option in options:
            assert re.search(rf"{option}\b", help_of(command)), f"heap-cordial {command} {option}"


@every_document
def test_every_variable_is_of_a_key(document):
    keys = {f"{section}__{key}".upper() for section, table in SECTIONS.items() for key in keys_of(table)}
    keys_of_named = {key.upper() for table in NAMED.values() for key in keys_of(table)}
    for name in re.findall(r"HEAP_CORDIAL__([A-Z0-9_]+[A-Z0-9])\b", text_of(document)):
        named = re.match(r"(?:ACCOUNTS|API_KEYS|NOTICES)__[A-Z_]+?__([A-Z_]+?)(?:__\w+)?\Z", name)
        assert name in keys or name == "SECTION__KEY" or (named and named[1] in keys_of_named), name


@every_document
def test_every_file_of_the_repository_exists(document):
    code = re.findall(r"`((?:service|tests|benchmarks|tools|docs|requirements)/[\w./-]+)`", text_of(document))
    assert [path for path in code if not (ROOT / path).exists()] == []


# The night


def test_every_alert_is_explained_and_no_other():
    [group] = yaml.safe_load(text_of(DOCS / "alerts.yml"))["groups"]
    assert set(re.findall(r"`(HeapCordial\w+)`", OPERATIONS)) == {rule["alert"] for rule in group["rules"]}


def logged(*levels: str) -> set[str]:
    """The events that the service logs at these levels."""
    files = [path for path in (ROOT / "service").rglob("*.py") if "sandbox" not in path.parts]
    calls = (node for path in files for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.Call))
    events = (
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in levels
        and call.args
        and isinstance(call.args[0], ast.Constant)
    )
    return {str(event) for event in events if re.fullmatch(r"[a-z_]+\.[a-z_]+", str(event))}


def test_every_event_that_warns_is_explained():
    alarming = logged("warning", "error", "exception", "critical")
    assert len(alarming) > 30
    assert {event for event in alarming if f"`{event}`" not in OPERATIONS} == set()


def test_every_event_that_is_named_is_logged():
    # Of a delivery the level depends on the answer, so that no call of `logged` finds it.
    every = logged("debug", "info", "warning", "error", "exception", "critical") | {"delivery.answered"}
    families = {event.split(".")[0] for event in every}
    for document in DOCUMENTS:
        named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", text_of(document)))
        settings = {f"{section}.{key}" for section, table in SECTIONS.items() for key in keys_of(table)}
        events = {name for name in named - settings if name.split(".")[0] in families and not name.endswith(".md")}
        assert events <= every, document.name


def rows_of(title: str) -> list[str]:
    """The first cells of the first table under a heading of the operations."""
    part = re.split(r"(?m)^##+ ", OPERATIONS.split(f"## {title}\n")[1])[0]
    return [cell.strip() for cell in re.findall(r"(?m)^\| ([^|]+) \|", part)][2:]


def test_every_reason_for_not_opening_the_store_is_explained():
    files = [ROOT / f"service/store/sqlite/{name}.py" for name in ("files", "opening", "store")]
    nodes = [node for path in files for node in ast.walk(ast.parse(text_of(path)))]
    raised = [
        "".join(part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("StoreOpenError")
    ]
    assert len(raised) > 8
    phrases = [phrase for cell in rows_of("The service does not start") for phrase in re.findall(r"`([^`]+)`", cell)]
    assert [words for words in raised if not any(phrase in words for phrase in phrases)] == []
    known = [*raised, os.strerror(errno.EADDRINUSE).lower()]
    assert [phrase for phrase in phrases if not any(phrase in words for words in known)] == []


def test_every_reason_for_holding_a_list_is_explained():
    segment = Segment(1, "acme", "15225086", "NAME", ListState.UNRESOLVED, "", "", "", "", 0, 0, 0, 0, 0, 0)
    given = {
        HeldFor.AWAITING_APPROVAL: reasons.awaits_approval(),
        HeldFor.NOT_OURS: reasons.not_ours(segment, "NAME"),
        HeldFor.NAME_REFUSED: reasons.name_refused(segment, "NAME", "words"),
        HeldFor.CREATION_IN_DOUBT: reasons.creation_in_doubt("NAME", "101"),
        HeldFor.DELETED: reasons.deleted("NAME"),
        HeldFor.NOT_ACCEPTED: reasons.not_accepted("NAME"),
        HeldFor.NAME_CONFLICT: reasons.name_conflict("NAME", "OTHER"),
        HeldFor.OTHER_CORDIAL: reasons.other_cordial("NAME", "https://one", "https://two"),
    }
    assert given.keys() == set(HeldFor)
    assert all(held_for.what_to_do for held_for in HeldFor)
    plain = [words.replace(" NAME", "") for words in given.values()]
    explained = rows_of("A list is held")
    assert len(explained) == len(plain)
    assert [words for words, cell in zip(plain, explained, strict=True) if not words.startswith(cell)] == []
