"""Documents in pieces, and a terminal in which their commands run as they are written."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, clean_environment, eventually
from tests.ports import free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRY_BY_HAND = (ROOT / "docs/try-by-hand.md").read_text(encoding="utf-8")
SERVICE, CORDIAL = "http://127.0.0.1:8080", "http://127.0.0.1:8081"


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
            await eventually(lambda: answers(self.own(url)), expected=True)
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


async def answers(url: str) -> bool:
    try:
        headers = {"Authorization": aiohttp.encode_basic_auth("my-api-key")}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@contextlib.asynccontextmanager
async def tried_by_hand(folder: Path) -> AsyncIterator[tuple[Terminal, str, str, str]]:
    """The walk of `docs/try-by-hand.md` up to the running service: the terminal, and the blocks that post, look and send."""
    prepare, sandbox, serve, post, look, send = blocks(TRY_BY_HAND, "sh")
    terminal = Terminal(folder)
    await terminal.run(prepare)
    async with terminal.running(sandbox, CORDIAL), terminal.running(serve, f"{SERVICE}/readyz"):
        yield terminal, post, look, send
