"""What the README and the documents say is tried out, or compared with what runs."""

import re

import pytest

from service.config import loading
from service.config.keys import NAMED, SECTIONS, keys_of
from service.deliver.lists.names import beside_attribute, beside_other_segment, list_name
from service.receive.authentication import Refusal
from tests.command_fixtures import ROOT, eventually
from tests.document_fixtures import (
    CORDIAL,
    README,
    SERVICE,
    TRY_BY_HAND,
    answers,
    blocks,
    inline_code,
    section,
    tried_by_hand,
)

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
NAMES = (ROOT / "docs/names.md").read_text(encoding="utf-8")
KEYS = {key for table in (*SECTIONS.values(), *NAMED.values()) for key in keys_of(table)}
KEYS |= {f"{section}.{key}" for section, table in SECTIONS.items() for key in keys_of(table)}
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "service").rglob("*.py")))
# What stands in quotes, and what an event of the log calls its values.
WORDS = {*re.findall(r'"([\w.]+)"', SOURCE), *re.findall(r"\b(\w+)=", SOURCE)}


async def test_a_page_can_be_tried_by_hand_as_written(tmp_path):
    async with tried_by_hand(tmp_path) as (terminal, post, look, send):
        assert '"status":"accepted"' in await terminal.run(post)
        assert '"status":"duplicate"' in await terminal.run(post)
        listing = f"curl --silent '{CORDIAL}/sandbox/lists/HeapTestSegment/contacts'"
        await eventually(
            lambda: terminal.run(listing),
            '{"name":"HeapTestSegment","total":2,"contacts":["jane@example.com","john@example.com"]}',
        )
        looked = await terminal.run(look)
        assert "All is well" in looked
        assert re.search(r"(?m)^HeapTestSegment +[a-z]+ +2 .* (exact|not counted|sending)$", looked)
        assert '"name":"HeapTestSegment","enhanced":true' in looked
        assert '"removed":1' in await terminal.run(send)
        await eventually(
            lambda: terminal.run(listing), '{"name":"HeapTestSegment","total":1,"contacts":["jane@example.com"]}'
        )
        addresses = {code for code in inline_code(README + TRY_BY_HAND) if re.fullmatch(r"/[a-z]+(\.json)?", code)} - {
            "/data"
        }
        assert {"/livez", "/readyz", "/metrics"} <= addresses
        for address in sorted(addresses):
            assert await answers(terminal.own(SERVICE) + address), address


def test_the_configuration_that_the_readme_shows_can_be_used(tmp_path):
    [shown] = blocks(section(README, "Set it up"), "toml")
    path = tmp_path / "config.toml"
    path.write_text(shown, encoding="utf-8")
    assert list(loading.load(path, {}).accounts) == ["acme"]
    # Setting these lines in the file that ships must come to the same.
    shipped = (ROOT / "config.toml").read_text(encoding="utf-8")
    for line in shown.splitlines():
        standing = {f"\n{line}\n", f"\n#{line}\n", re.sub(r'".*"', '""', f"\n{line}\n")}
        [found] = [each for each in standing if each in shipped]
        shipped = shipped.replace(found, f"\n{line}\n")
    shown_settings = loading.load(path, {})
    path.write_text(shipped, encoding="utf-8")
    assert loading.load(path, {}) == shown_settings


def test_the_variables_that_the_readme_names_are_understood():
    named = dict(re.findall(r"`(HEAP_CORDIAL__[A-Z_]+)=([^`]+)`", README))
    assert len(named) == 2
    account = {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_ENV": "A",
        "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY_ENV": "B",
        "HEAP_CORDIAL__STORE__PATH": "/data/heap-cordial.db",
    }
    settings = loading.load(None, account | named)
    assert (settings.server.port, settings.accounts["acme"].requests_per_second) == (9090, 50)


@pytest.mark.parametrize(
    "path", ["README.md", "CHANGELOG.md", *(f"docs/{name}.md" for name in ("operations", "names", "api"))]
)
def test_every_setting_and_every_word_of_the_service_exists(path):
    words = {code.split(" = ")[0] for code in inline_code((ROOT / path).read_text(encoding="utf-8"))}
    # Metrics are compared with a scrape, in test_monitoring_documents.py.
    words = {word for word in words if not word.startswith("heap_cordial_")}
    words = {word for word in words if re.fullmatch(r"[a-z]+(?:[_.][a-z]+)+", word) and not (ROOT / word).exists()}
    assert words
    assert sorted(words - KEYS - WORDS) == []


def test_every_reason_for_refusing_a_page_is_explained():
    for refusal in Refusal:
        assert f"`{refusal}" in OPERATIONS, refusal


def test_the_examples_of_names_are_what_the_rule_gives():
    rows = re.findall(r"(?m)^\| `([^`]+)` \| (?:`([^`]+)` )?\| `([^`]+)` \|$", NAMES)
    assert len(rows) == 10
    for segment, prefix, expected in rows:
        assert list_name(segment, "15225086", prefix=prefix).name == expected
    assert f"`{beside_attribute('firstName').name}`" in NAMES
    assert f"`{beside_other_segment('ActiveUsers', '15225086').name}`" in NAMES
