"""A service with several accounts in a configuration file, which a test changes while the service runs."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from service.sandbox.heap_pages import PageAnswer, build_pages, post_page
from tests.command_fixtures import API_KEY, PATIENCE_SECONDS, WEBHOOK_SECRET, Installation, clean_environment

RELOADED, REFUSED = "configuration.reloaded", "configuration.refused"


class Reloadable(Installation):
    """`accounts` has the settings of each account beyond its secrets, `sections` those of everything else.

    Nothing takes effect before `write`, and `reload`.
    """

    def __init__(self, folder: Path, cordial_url: str, *accounts: str) -> None:
        super().__init__(folder, cordial_url)
        self.environment = clean_environment()
        self.config = folder / "config.toml"
        self.sections: dict[str, dict[str, Any]] = {
            "server": {
                "host": "127.0.0.1",
                "port": self.port,
                "shutdown_grace_seconds": 5,
                "api_key_file": str(folder / "api-key"),
            },
            "store": {"path": str(self.database)},
            "log": {"level": "info"},
        }
        self.account_defaults: dict[str, Any] = {
            "heap_secret_file": str(self.secret_file),
            "cordial_api_key_file": str(self.key_file),
            "cordial_base_url": cordial_url,
            "proof_reads_per_hour": 0,
            "proof_sample": 0,
        }
        self.accounts: dict[str, dict[str, Any]] = {name: {} for name in accounts}
        self._told = 0

    def write(self) -> None:
        """Put the configuration into its file, at one blow as a careful editor does."""
        tables = self.sections | {
            f"accounts.{name}": self.account_defaults | account for name, account in self.accounts.items()
        }
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in table.items())
            for name, table in tables.items()
        )
        draft = self.config.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.config)

    @contextlib.asynccontextmanager
    async def running(self, *, first: str = "") -> AsyncIterator[None]:
        """Run `serve` with the file as it stands then; it must end with status 0. `first`: see `serving`."""
        self.write()
        async with self.serving("--config", str(self.config), first=first):
            yield

    def send_signal(self, number: signal.Signals = signal.SIGHUP) -> None:
        assert self.process is not None
        # Past asyncio, whose own way may take the exit status away from whoever waits for it.
        # It may have ended and that not be known here yet.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    async def reload(self, *, outcome: str = RELOADED) -> list[dict[str, Any]]:
        """Write the file, send SIGHUP, and return what the log says of the configuration up to the outcome."""
        self.write()
        self.send_signal()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while outcome not in [line["event"] for line in self._news()]:  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.02)
        news = self._news()
        self._told += len(news)
        return news

    def lines(self) -> list[dict[str, Any]]:
        """Return what the log says."""
        text = self.log.read_text(encoding="utf-8")
        # The last line may still be on its way.
        return [msgspec.json.decode(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _news(self) -> list[dict[str, Any]]:
        told = [line for line in self.lines() if line["event"].startswith("configuration.")]
        return told[self._told :]

    async def post(
        self,
        account: str,
        add: Sequence[str],
        remove: Sequence[str] = (),
        *,
        task: str,
        segment: str = "Active Users",
        secret: str = WEBHOOK_SECRET,
    ) -> PageAnswer:
        """Post one signed page to an account."""
        segment_id = sum(segment.encode())
        [page] = build_pages(segment_id, segment, add, remove, task_id=task)
        async with aiohttp.ClientSession(connector=self.connector()) as session:
            return await post_page(session, f"{self.url}/webhooks/heap/{account}", secret, page)

    async def ask(self, path: str, key: str = API_KEY) -> tuple[int, Any]:
        """Return the status and the document with which the API answers."""
        headers = {"Authorization": aiohttp.encode_basic_auth(key)}
        async with (
            aiohttp.ClientSession(headers=headers, connector=self.connector()) as session,
            session.get(f"{self.url}/api/v1/{path}") as answer,
        ):
            return answer.status, await answer.json()

    async def has_condition(self, name: str, detail: str = "") -> bool:
        """Return whether a condition lasts whose detail begins so."""
        status, page = await self.ask("conditions")
        assert status == 200, page
        return any(each["id"] == name and each["detail"].startswith(detail) for each in page["items"])

    async def account_documents(self) -> dict[str, dict[str, Any]]:
        """Return what the API says of each account."""
        status, page = await self.ask("accounts")
        assert status == 200, page
        return {account["name"]: account for account in page["items"]}


def keys_told(news: list[dict[str, Any]]) -> list[str]:
    """Return the keys of the configuration that a reload named as changed."""
    return [key for line in news if line["event"] == RELOADED for key in line["changed"]]
