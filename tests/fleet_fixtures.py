"""A large service in this process: twenty accounts with fifty lists each, in every state, and 10,000 people who failed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from service.app import Service, running_service
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.model.changes import Failure, Outcome, OutcomeKind
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import running_sandbox
from tests.service_fixtures import API_KEY, HEAP_SECRET

ACCOUNTS = [f"shop-{number:02}" for number in range(20)]
LISTS_EACH = 50
FAILURES = 10_000
# What is not as in the other accounts.
WRONG_KEY, PAUSED, DRY_RUN, TO_APPROVE, SLOW, FAILED, PAGES_MISSING = ACCOUNTS[:7]
_SPECIAL: dict[str, dict[str, Any]] = {
    DRY_RUN: {"dry_run": True},
    TO_APPROVE: {"hold_new_segments": True},
    SLOW: {"requests_per_second": 2},
}
_TOLD = {"account_stopped", "account_paused", "list_awaits_approval", "people_failed"}
_GENEROUS_SECONDS = 120.0


class Fleet:
    """The service and what Heap posts to it."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.service = service
        # The store's id of the list whose people failed.
        self.failed_list = 0
        self._session = session

    async def deliver(
        self, account: str, segment: int, add: list[str], *, pages: int = 1, first: int | None = None
    ) -> None:
        """Post a sync of a segment in so many pages, or only the first of them."""
        built = build_pages(
            segment,
            f"Segment {segment:02} of {account}",
            add,
            (),
            task_id=f"{account} {segment}",
            page_size=-(-len(add) // pages),
        )
        for page in built[:first]:
            url = f"{self.service.url}/webhooks/heap/{account}"
            answer = await post_page(self._session, url, HEAP_SECRET, page)
            assert answer.status == 200, answer

    async def act(self, path: str) -> None:
        """Do what a button of the dashboard does."""
        url = f"{self.service.url}/api/v1/{path}"
        authorization = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}
        async with self._session.post(url, json={}, headers=authorization) as answer:
            assert answer.status == 200, await answer.text()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds."""
        async with asyncio.timeout(_GENEROUS_SECONDS):
            while not condition():  # noqa: ASYNC110  conditions are looked at from outside; nobody sets an event
                await asyncio.sleep(0.05)

    async def fail(self, account: str, segment: int, number: int) -> None:
        """Have Cordial refuse so many people of one list, as the store keeps it after the calls."""
        store = self.service.store
        await self.act(f"accounts/{account}/pause")
        people = [f"person{each:05}@example.com" for each in range(number)]
        await self.deliver(account, segment, people, pages=-(-number // 1_000))
        await self.until(lambda: store.backlog.total_of(account) >= number and not store.backlog.unfolded_of(account))
        [found] = [each for each in await store.segments() if (each.account, each.heap_id) == (account, str(segment))]
        self.failed_list = found.id
        refusals = [
            Failure("invalid_contact", "The contact cannot be written.", 422),
            Failure("rejected", "The address is on Cordial's suppression list.", 400),
        ]
        for start in range(0, number, 500):
            await store.settle([
                Outcome(account, f"email:{each}", found.id, True, OutcomeKind.DEAD, refusals[start % 1_000 // 500], 1, 1)
                for each in people[start : start + 500]
            ])  # fmt: skip
        await self.act(f"accounts/{account}/resume")


def _settings(directory: Path, urls: dict[str, str]) -> Settings:
    files = {"key": DEFAULT_API_KEY, "wrong-key": "a wrong key", "secret": HEAP_SECRET, "api-key": API_KEY}
    references = {name: SecretReference(file=str(directory / name)) for name in files}
    for name, text in files.items():
        (directory / name).write_text(text)
    defaults: dict[str, Any] = {
        "requests_per_second": 5_000,
        "max_concurrency": 8,
        "proof_reads_per_hour": 0,
        "proof_sample": 0,
        "bulk_threshold": 1_000_000,
        "max_attempts": 1,
    }
    accounts = {
        name: AccountSettings(
            name=name,
            heap_secrets=(references["secret"],),
            cordial_api_key=references["wrong-key" if name == WRONG_KEY else "key"],
            cordial_base_url=url,
            **(defaults | _SPECIAL.get(name, {})),
        )
        for name, url in urls.items()
    }
    server = ServerSettings(host="127.0.0.1", port=0, shutdown_grace_seconds=5, api_keys=(references["api-key"],))
    return Settings(
        server=server,
        store=StoreSettings(path=str(directory / "heap-cordial.db")),
        log=LogSettings(),
        accounts=accounts,
    )


@contextlib.asynccontextmanager
async def running_fleet(directory: Path) -> AsyncIterator[Fleet]:
    """Run it, filled and at rest but for the account that is slow."""
    async with contextlib.AsyncExitStack() as stack:
        # Each account has a Cordial of its own.
        sandboxes = [await stack.enter_async_context(running_sandbox(SandboxOptions())) for _ in ACCOUNTS]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        settings = _settings(directory, {name: each.url for name, each in zip(ACCOUNTS, sandboxes, strict=True)})
        fleet = Fleet(await stack.enter_async_context(running_service(settings)), session)
        await fleet.act(f"accounts/{PAUSED}/pause")
        for account in ACCOUNTS:
            for segment in range(1, LISTS_EACH + 1):
                if account == FAILED and segment == 1:
                    await fleet.fail(account, segment, FAILURES)
                elif account == PAGES_MISSING and segment == 1:
                    await fleet.deliver(
                        account, segment, [f"{each}@example.com" for each in range(6)], pages=3, first=2
                    )
                else:
                    await fleet.deliver(account, segment, [f"{each}@example.com" for each in range(3)])
        # What a person should know is told once it has lasted.
        await fleet.until(lambda: len({each.id for each in fleet.service.conditions.current()} & _TOLD) == len(_TOLD))
        yield fleet
