"""Pages keep coming while the configuration changes again and again: none is lost, none refused, no call made too often."""

import asyncio
from collections import Counter

import aiohttp

from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.options import SandboxOptions
from service.sandbox.server import running_sandbox
from tests.command_fixtures import WEBHOOK_SECRET, eventually
from tests.reload_fixtures import RELOADED, Reloadable

RELOADS = 8
USERS_PER_PAGE = 20


class Sender:
    """Posts page after page of a segment of its own to one account, as Heap does."""

    def __init__(self, service: Reloadable, account: str, number: int) -> None:
        self.account = account
        self.segment = f"Segment {account} {number}"
        self.number = number
        self.answers: Counter[int] = Counter()
        self.users: set[str] = set()
        self._service = service

    @property
    def list_name(self) -> str:
        return self.segment.replace(" ", "")

    async def run(self, stop: asyncio.Event) -> None:
        webhook = f"{self._service.url}/webhooks/heap/{self.account}"
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                # Each page shares half of its users with the one before, and the segments of an account share them.
                first = self.answers.total() * USERS_PER_PAGE // 2
                users = [f"{self.account}{first + index}@example.com" for index in range(USERS_PER_PAGE)]
                task = f"{self.segment} {self.answers.total()}"
                [page] = build_pages(self.number, self.segment, users, task_id=task)
                answer = await post_page(session, webhook, WEBHOOK_SECRET, page)
                self.answers[answer.status] += 1
                if answer.status == 200:
                    self.users |= set(users)
                await asyncio.sleep(0.1)


async def test_a_stream_of_pages_survives_a_stream_of_reloads(tmp_path):
    async with running_sandbox(SandboxOptions(journal=True)) as cordial:
        service = Reloadable(tmp_path, cordial.url, "steady", "changing", "leaving")
        service.account_defaults["requests_per_second"] = 400
        async with service.running():
            staying = [Sender(service, name, number) for name in ("steady", "changing") for number in (1, 2)]
            leaving = Sender(service, "leaving", 1)
            stop = asyncio.Event()
            tasks = [asyncio.create_task(sender.run(stop)) for sender in (*staying, leaving)]
            for turn in range(RELOADS):
                service.accounts["changing"] = {"requests_per_second": 300 + turn}
                if turn % 2:
                    service.accounts["leaving"] = {}
                else:
                    del service.accounts["leaving"]
                # Two signals in a row ask for no more than one does.
                service.write()
                service.send_signal()
                await service.reload()
                if "leaving" not in service.accounts:
                    await eventually(lambda: _is_refused_more_than(leaving, turn // 2), expected=True)  # noqa: B023  awaited here
            arriving = Sender(service, "arriving", 1)
            service.accounts["arriving"] = {}
            await service.reload()
            # That reload may still be the second one of the last two signals.
            await eventually(lambda: _is_served(service, "arriving"), expected=True)
            tasks.append(asyncio.create_task(arriving.run(stop)))
            await asyncio.sleep(0.5)
            stop.set()
            await asyncio.gather(*tasks)

            senders = [*staying, leaving, arriving]
            await eventually(lambda: _owed(service), 0)
            for sender in senders:
                assert cordial.state.members(sender.list_name) == sorted(sender.users), sender.segment
            assert {status for sender in (*staying, arriving) for status in sender.answers} == {200}
            assert set(leaving.answers) == {200, 403}
            documents = await service.account_documents()
            assert {account["failed"] for account in documents.values()} == {0}
        assert cordial.journal.max_in_flight_per_contact == 1
        # Nothing was sent twice for being handed from old settings to new ones: a page asks for each user once.
        asked = sum(sender.answers[200] * USERS_PER_PAGE for sender in senders)
        calls = [call for call in cordial.journal.calls if call.contact]
        assert len(calls) <= asked
        told = [line["event"] for line in service.lines()]
        assert told.count(RELOADED) >= RELOADS
        assert not [event for event in told if event.endswith(("failed", "refused", "not_reloaded"))]


async def _is_refused_more_than(sender: Sender, times: int) -> bool:
    return sender.answers[403] > times


async def _is_served(service: Reloadable, account: str) -> bool:
    documents = await service.account_documents()
    return account in documents and documents[account]["state"] != "not_configured"


async def _owed(service: Reloadable) -> int:
    """How much has been accepted and not settled, pages that were not looked at yet included."""
    documents = await service.account_documents()
    _, page = await service.ask("syncs?limit=200")
    owed: int = sum(each["pending"] + each["waiting"] for each in documents.values())
    unfolded: int = sum(sync["unfolded_pieces"] for sync in page["items"])
    return owed + unfolded
