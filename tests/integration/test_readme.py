"""What the README and the documents say is tried out, or compared with what runs."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from service import config
from service.configuration.keys import SECTIONS, keys_of
from service.deliver.names import beside_attribute, beside_other_segment, list_name
from service.receive.authentication import Refusal
from service.settings import AccountSettings
from tests.command_fixtures import PATIENCE_SECONDS, ROOT, clean_environment, eventually, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
NAMES = (ROOT / "docs/names.md").read_text(encoding="utf-8")
KEYS = {key for table in (*SECTIONS.values(), AccountSettings) for key in keys_of(table)}
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "service").rglob("*.py")))


def section(markdown: str, title: str) -> str:
    return re.split(r"(?m)^## ", markdown.split(f"\n## {title}\n")[1])[0]


def blocks(markdown: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", markdown)


def inline_code(markdown: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", markdown)))


class Terminal:
    """A folder that looks like the checkout, on ports of its own, and bash in it."""

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(sys.prefix)
        self._folder = folder
        self._ports = {"8080": str(free_port()), "8081": str(free_port())}
        self._environment = clean_environment() | {"HEAP_CORDIAL__SERVER__PORT": self._ports["8080"]}

    def own(self, text: str) -> str:
        """Return the text with this terminal's ports."""
        return re.sub("|".join(self._ports), lambda found: self._ports[found.group()], text)

    async def run(self, block: str) -> str:
        """Run a block to its end and return what it printed; it must succeed."""
        process = await self._start(block)
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == 0, output.decode()
        return output.decode()

    @contextlib.asynccontextmanager
    async def running(self, block: str, url: str) -> AsyncIterator[None]:
        """Run a block that goes on, until the end of the context; begins when `url` answers."""
        process = await self._start(f"exec {block}")
        try:
            await eventually(lambda: _answers(self.own(url)), expected=True)
            yield
        finally:
            process.terminate()
            await process.communicate()
        assert process.returncode == 0

    async def _start(self, block: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            self.own(block),
            cwd=self._folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


async def _answers(url: str) -> bool:
    try:
        headers = {"Authorization": aiohttp.encode_basic_auth("my-api-key")}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def test_a_page_can_be_tried_by_hand_as_written(tmp_path):
    prepare, sandbox, serve, post, look, send = blocks(section(README, "Try a page by hand"), "sh")
    terminal = Terminal(tmp_path)
    await terminal.run(prepare)
    service, cordial = "http://127.0.0.1:8080", "http://127.0.0.1:8081"
    async with terminal.running(sandbox, cordial), terminal.running(serve, f"{service}/readyz"):
        assert '"status":"accepted"' in await terminal.run(post)
        assert '"status":"duplicate"' in await terminal.run(post)
        listing = f"curl --silent '{cordial}/sandbox/lists/HeapTestSegment/contacts'"
        await eventually(
            lambda: terminal.run(listing),
            '{"name":"HeapTestSegment","total":2,"contacts":["jane@example.com","john@example.com"]}',
        )
        looked = await terminal.run(look)
        assert "All is well" in looked
        assert re.search(r"(?m)^HeapTestSegment +2 .* ready$", looked)
        assert '"name":"HeapTestSegment","enhanced":true' in looked
        assert '"removed":1' in await terminal.run(send)
        await eventually(
            lambda: terminal.run(listing), '{"name":"HeapTestSegment","total":1,"contacts":["jane@example.com"]}'
        )
        addresses = {code for code in inline_code(README) if re.fullmatch(r"/[a-z]+(\.json)?", code)} - {"/data"}
        assert {"/livez", "/readyz", "/metrics"} <= addresses
        for address in sorted(addresses):
            assert await _answers(terminal.own(service) + address), address


def test_the_configuration_that_the_readme_shows_can_be_used(tmp_path):
    [shown] = blocks(section(README, "Set it up"), "toml")
    path = tmp_path / "config.toml"
    path.write_text(shown, encoding="utf-8")
    assert list(config.load(path, {}).accounts) == ["acme"]
    # Setting these lines in the file that ships must come to the same.
    shipped = (ROOT / "config.toml").read_text(encoding="utf-8")
    for line in shown.splitlines():
        standing = {f"\n{line}\n", f"\n#{line}\n", re.sub(r'".*"', '""', f"\n{line}\n")}
        [found] = [each for each in standing if each in shipped]
        shipped = shipped.replace(found, f"\n{line}\n")
    shown_settings = config.load(path, {})
    path.write_text(shipped, encoding="utf-8")
    assert config.load(path, {}) == shown_settings


def test_the_variables_that_the_readme_names_are_understood():
    named = dict(re.findall(r"`(HEAP_CORDIAL__[A-Z_]+)=([^`]+)`", README))
    assert len(named) == 2
    account = {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_ENV": "A",
        "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY_ENV": "B",
    }
    settings = config.load(None, account | named)
    assert (settings.server.port, settings.accounts["acme"].requests_per_second) == (9090, 50)


@pytest.mark.parametrize("document", [README, OPERATIONS, NAMES], ids=["README", "operations", "names"])
def test_every_setting_and_every_word_of_the_service_exists(document):
    words = {code.split(" = ")[0] for code in inline_code(document)}
    words = {word for word in words if re.fullmatch(r"[a-z]+(?:[_.][a-z]+)+", word) and not (ROOT / word).exists()}
    assert words
    assert sorted(word for word in words if word not in KEYS and f'"{word}"' not in SOURCE) == []


def test_the_readme_explains_only_settings_that_exist():
    rows = re.findall(r"(?m)^\| (`.*?`) \|", section(README, "Configure it"))
    keys = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert len(keys) > 8
    assert keys <= KEYS


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
