"""The webhook on a port of its own, with a store on a file of its own, and a sender that signs."""

import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.config.settings import AccountSettings, SecretReference, ServerSettings
from service.model.deliveries import Delivery, Receipt
from service.receive.answers import Answered
from service.receive.routes import Webhook, add_routes
from service.receive.signature import sign
from service.store.sqlite.store import SqliteStore
from service.supervision import Supervisor
from service.web.errors import error_middleware
from service.web.server import GuardedRunner
from tests.new_store import put_new_store

MAX_BODY_BYTES = 1_000_000
SECRET = "whsec one"
OTHER_SECRET = "whsec two"
JSON = "application/json"


class GuardedServer(TestServer):
    """aiohttp's server for tests, with our side of its connections."""

    async def _make_runner(self, **_options: Any) -> GuardedRunner:
        return GuardedRunner(self.app, ServerSettings(), Supervisor(), shutdown_timeout=1.0)


class Inbox:
    """The store on a file of its own; remembers what it was given and did not know yet."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.deliveries: list[Delivery] = []

    async def accept(self, delivery: Delivery) -> Receipt:
        receipt = await self._store.accept(delivery)
        if not receipt.is_duplicate:
            self.deliveries.append(delivery)
        return receipt


class Service:
    """The webhook on a port of its own, and what can be seen of it from outside."""

    def __init__(self, accounts: list[AccountSettings], store: SqliteStore, database: Path, **timings: Any) -> None:
        self.database = database
        self.inbox = Inbox(store)
        self.answered: list[Answered] = []
        self.is_stopping = False
        self.webhook = Webhook(
            {account.name: account for account in accounts},
            self.inbox,
            max_body_bytes=MAX_BODY_BYTES,
            is_stopping=lambda: self.is_stopping,
            on_answer=self.answered.append,
            **timings,
        )
        app = web.Application(middlewares=[error_middleware, self.webhook.note_misdirected])
        add_routes(app, self.webhook)
        self.client: TestClient[web.Request, web.Application] = TestClient(GuardedServer(app))

    async def post(
        self,
        body: Any,
        *,
        path: str = "/webhooks/heap/acme",
        secret: str = SECRET,
        age_seconds: float = 0,
        headers: dict[str, str] | None = None,
        send: Any = None,
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Sign `body` (text, or a value to be written as JSON) and post it, or `send` in its place."""
        raw = body if isinstance(body, bytes) else compact(body)
        timestamp = str(int((time.time() - age_seconds) * 1000))
        signed = {"Heap-Hash": sign(secret, timestamp, raw), "Content-Type": JSON} | (headers or {})
        async with self.client.post(path, data=raw if send is None else send, headers=signed) as response:
            assert response.content_type == JSON
            return response.status, await response.json(), dict(response.headers)


@contextlib.asynccontextmanager
async def running(*accounts: AccountSettings, max_backlog: int = 1_000_000, **timings: Any) -> AsyncIterator[Service]:
    """Serve these accounts, with an empty store, for as long as the context lasts; `timings` are those of `Webhook`."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "store.db"
        names = [account.name for account in accounts]
        put_new_store(database)
        store = await SqliteStore.open(database, names, max_backlog=max_backlog)
        service = Service(list(accounts), store, database, **timings)
        try:
            async with service.client:
                yield service
        finally:
            await store.close()


def two_accounts(directory: Path) -> list[AccountSettings]:
    """Return `acme`, which has two secrets, and `globex`, which has an id_token and allows drains."""
    return [
        account(directory, "acme", SECRET, OTHER_SECRET),
        account(directory, "globex", "whsec globex", heap_id_token="token-globex", allow_drain=True),
    ]


def account(directory: Path, name: str, *secrets: str, **settings: Any) -> AccountSettings:
    references = []
    for position, secret in enumerate(secrets):
        file = directory / f"{name}-{position}"
        file.write_text(secret)
        references.append(SecretReference(file=str(file)))
    return AccountSettings(
        name=name, heap_secrets=tuple(references), cordial_api_key=SecretReference(environment="UNUSED"), **settings
    )


def page(add: Any = (), remove: Any = (), *, task: str = "task-1", number: Any = 1, **top: Any) -> dict[str, Any]:
    return {
        "id_token": "token",
        "action_type": "segment.users.sync",
        "customer_config": {},
        "data": {
            "segment": {"id": 15225086, "name": "Heap Test Segment"},
            "sync_info": {"page_number": number, "total_pages": 2, "sync_task_id": task},
            "add": [{"id": user} for user in add],
            "remove": [{"id": user} for user in remove],
        },
    } | top


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
