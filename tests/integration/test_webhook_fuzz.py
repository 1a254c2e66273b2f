"""Whatever is sent, the webhook neither breaks nor lets anything in that is not signed."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.config.settings import AccountSettings, SecretReference
from service.receive.routes import Webhook, add_routes
from service.receive.signature import sign
from service.store.sqlite.store import SqliteStore
from service.web.errors import error_middleware
from tests.webhook_fixtures import GuardedServer

SECRETS = {"acme": "whsec acme", "globex": "whsec globex"}

# The server is shared by all examples of a test: what the store keeps of one is nothing to the next.
fuzzing = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Running:
    """A webhook that synchronous examples can call."""

    def __init__(self, runner: asyncio.Runner, client: TestClient[web.Request, web.Application]) -> None:
        self._runner = runner
        self._client = client

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async def send() -> tuple[int, dict[str, Any]]:
            async with self._client.post(path, data=body, headers=headers) as response:
                return response.status, await response.json()

        return self._runner.run(send())


@pytest.fixture
def webhook(tmp_path, monkeypatch) -> Iterator[Running]:
    accounts = {}
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"SECRET_OF_{name}", secret)
        accounts[name] = AccountSettings(
            name=name,
            heap_secrets=(SecretReference(environment=f"SECRET_OF_{name}"),),
            cordial_api_key=SecretReference(environment="UNUSED"),
            heap_id_token=f"token of {name}",
        )

    async def start() -> tuple[SqliteStore, TestClient[web.Request, web.Application]]:
        store = await SqliteStore.open(tmp_path / "store.db", accounts, max_backlog=1_000_000)
        app = web.Application(middlewares=[error_middleware])
        add_routes(app, Webhook(accounts, store, max_body_bytes=100_000, is_stopping=lambda: False))
        client: TestClient[web.Request, web.Application] = TestClient(GuardedServer(app))
        await client.start_server()
        return store, client

    with asyncio.Runner() as runner:
        store, client = runner.run(start())
        yield Running(runner, client)
        runner.run(client.close())
        runner.run(store.close())


paths = st.sampled_from(["/webhooks/heap", "/webhooks/heap/acme", "/webhooks/heap/globex", "/webhooks/heap/unknown"])
# What a client library lets through: no line breaks, and within Latin-1.
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80)
hash_headers = header_texts | st.builds(
    "ts:{},hmac:{}".format,
    st.integers(0, 10**14),
    st.from_regex(r"[A-Za-z0-9+/]{43}=", fullmatch=True) | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
users = st.lists(st.fixed_dictionaries({"id": any_json}) | any_json, max_size=5)
near_pages = st.fixed_dictionaries(
    {
        "id_token": st.sampled_from(["token of acme", "token of globex"]) | any_json,
        "action_type": st.sampled_from(["segment.users.sync", "segment.users.drain"]) | any_json,
        "data": st.fixed_dictionaries(
            {
                "segment": st.fixed_dictionaries({"id": st.integers() | any_json, "name": st.text() | any_json}),
                "sync_info": st.fixed_dictionaries(
                    {"page_number": st.integers(1, 9), "total_pages": st.integers(1, 9), "sync_task_id": st.text()}
                )
                | any_json,
                "add": users | any_json,
                "remove": users | any_json,
            }
        )
        | any_json,
    },
    optional={"customer_config": any_json},
).map(lambda document: json.dumps(document, ensure_ascii=True).encode())
bodies = st.binary(max_size=300) | any_json.map(lambda value: json.dumps(value).encode()) | near_pages


@fuzzing
@given(path=paths, body=bodies, header=hash_headers, content_type=st.just("application/json") | header_texts)
def test_nothing_unsigned_gets_in(webhook, path, body, header, content_type):
    status, answer = webhook.post(path, body, {"Heap-Hash": header, "Content-Type": content_type})
    assert status in {400, 403, 415}
    assert set(answer) == {"error"}


@fuzzing
@given(path=paths, body=bodies, secret=st.text(max_size=20))
def test_nothing_signed_with_another_secret_gets_in(webhook, path, body, secret):
    header = sign(secret, str(int(time.time() * 1000)), body)
    status, answer = webhook.post(path, body, {"Heap-Hash": header, "Content-Type": "application/json"})
    assert status == 403
    assert set(answer) == {"error"}


@fuzzing
@given(account=st.sampled_from(sorted(SECRETS)), body=bodies, named=st.booleans())
def test_whatever_is_signed_is_accepted_or_refused_but_never_breaks_the_service(webhook, account, body, named):
    header = sign(SECRETS[account], str(int(time.time() * 1000)), body)
    path = f"/webhooks/heap/{account}" if named else "/webhooks/heap"
    status, answer = webhook.post(path, body, {"Heap-Hash": header, "Content-Type": "application/json"})
    assert status in {200, 400, 403, 422}
    assert ("error" in answer) == (status != 200)


@fuzzing
@given(users=users)
def test_an_authentic_page_is_accepted_whatever_its_users_are(webhook, users):
    document = {
        "id_token": "token of acme",
        "action_type": "segment.users.sync",
        "data": {
            "segment": {"id": 1, "name": "S"},
            "sync_info": {"page_number": 1, "total_pages": 1, "sync_task_id": "t"},
            "add": users,
        },
    }
    body = json.dumps(document, allow_nan=True).replace("NaN", "1.5").replace("Infinity", "1e999").encode()
    header = sign(SECRETS["acme"], str(int(time.time() * 1000)), body)
    status, answer = webhook.post(
        "/webhooks/heap/acme", body, {"Heap-Hash": header, "Content-Type": "application/json"}
    )
    assert status == 200
    assert answer["added"] + answer["rejected"] <= len(users)
