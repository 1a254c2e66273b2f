"""Calls to Cordial over TLS: to a server whose certificate is trusted, and no word to any other."""

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator

from yarl import URL

from service.sandbox.server import running_sandbox
from tests.command_fixtures import PATIENCE_SECONDS, ROOT, Installation, eventually, wait_until_started
from tests.tls_fixtures import LOCALHOST, Pair, make_pair

JANE = "jane@example.com"


class Terminator:
    """Takes TLS off what comes and passes it on; `heard` is what clients said."""

    def __init__(self, pair: Pair, behind: URL) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*pair)
        self._behind = behind
        self.heard = b""
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Terminator"]:
        server = await asyncio.start_server(self._pass_on, LOCALHOST, 0, ssl=self._context)
        self.url = f"https://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._behind.host, self._behind.port)
        with contextlib.closing(writer), contextlib.closing(inner_writer), contextlib.suppress(OSError):
            await asyncio.gather(self._copy(reader, inner_writer, hear=True), self._copy(inner_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hear: bool = False) -> None:
        while part := await reader.read(65_536):
            self.heard += part if hear else b""
            writer.write(part)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(installation: Installation, trusted: Pair) -> AsyncIterator[None]:
    """Run the service in a process of its own, which trusts this certificate alone from its first line on."""
    environment = installation.environment | {"SSL_CERT_FILE": str(trusted.certificate), "SSL_CERT_DIR": "/nowhere"}
    with installation.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service", "serve", env=environment, cwd=ROOT, stderr=log
        )
    try:
        await wait_until_started(process, installation.log)
        yield
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_a_server_with_a_trusted_certificate_is_called(tmp_path):
    pair = make_pair(tmp_path, "cordial")
    async with running_sandbox() as cordial, Terminator(pair, URL(cordial.url)).running() as outside:
        installation = Installation(tmp_path, outside.url)
        async with serving(installation, pair):
            await installation.deliver("Active Users", (JANE,), task="t")
            await eventually(lambda: installation.figures("settled"), [1])
        assert cordial.state.members("ActiveUsers") == [JANE]


async def test_a_server_with_another_certificate_is_told_nothing(tmp_path):
    trusted, shown = make_pair(tmp_path, "cordial"), make_pair(tmp_path, "somebody")
    async with running_sandbox() as cordial, Terminator(shown, URL(cordial.url)).running() as outside:
        installation = Installation(tmp_path, outside.url)
        async with serving(installation, trusted):
            await installation.deliver("Active Users", (JANE,), task="t")
            await eventually(installation.account_states, ["paused"])
            assert await installation.figures("settled", "pending") == [0, 1]
        assert outside.heard == b""
    assert "certificate" in installation.log.read_text().lower()
