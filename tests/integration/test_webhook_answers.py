import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from service.errors import BacklogFullError, StoreUnavailableError
from service.http_errors import error_middleware
from service.model import Action, Delivery, Receipt
from service.receive.answers import Answered
from service.receive.routes import Webhook, add_routes
from service.receive.signature import sign
from service.settings import AccountSettings, SecretReference

MAX_BODY_BYTES = 1_000_000
SECRET = "whsec one"
JSON = "application/json"


class ListInbox:
    """Keeps every delivery, knows repeats, and fails on request."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.failure: Exception | None = None

    async def accept(self, delivery: Delivery) -> Receipt:
        if self.failure is not None:
            raise self.failure
        known = [each.digest for each in self.deliveries]
        if delivery.digest in known:
            return Receipt(duplicate=True, delivery_id=known.index(delivery.digest), segment_id=1)
        self.deliveries.append(delivery)
        return Receipt(duplicate=False, delivery_id=len(self.deliveries) - 1, segment_id=1)


class Service:
    """The webhook on a port of its own, and what can be seen of it from outside."""

    def __init__(self, accounts: list[AccountSettings]) -> None:
        self.inbox = ListInbox()
        self.answered: list[Answered] = []
        self.is_stopping = False
        webhook = Webhook(
            {account.name: account for account in accounts},
            self.inbox,
            max_body_bytes=MAX_BODY_BYTES,
            is_stopping=lambda: self.is_stopping,
            on_answer=self.answered.append,
        )
        app = web.Application(middlewares=[error_middleware])
        add_routes(app, webhook)
        self.client: TestClient[web.Request, web.Application] = TestClient(TestServer(app))

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


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def account(directory: Path, name: str, *secrets: str, **settings: Any) -> AccountSettings:
    references = []
    for position, secret in enumerate(secrets):
        file = directory / f"{name}-{position}"
        file.write_text(secret)
        references.append(SecretReference(file=str(file)))
    return AccountSettings(
        name=name, heap_secrets=tuple(references), cordial_api_key=SecretReference(environment="UNUSED"), **settings
    )


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    running = Service(
        [
            account(tmp_path, "acme", SECRET, "whsec two"),
            account(tmp_path, "globex", "whsec globex", heap_id_token="token-globex", allow_drain=True),
        ]
    )
    async with running.client:
        yield running


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


async def test_a_page_is_accepted_and_kept_as_it_was_meant(service):
    body = page([" Zoë@Example.COM", "b@x.com", "zoë@example.com", "c@x.com"], ["B@x.com"])
    status, answer, _ = await service.post(body)
    assert status == 200
    assert answer == {
        "status": "accepted",
        "sync_task_id": "task-1",
        "page_number": 1,
        "added": 2,
        "removed": 1,
        "rejected": 0,
    }
    [delivery] = service.inbox.deliveries
    assert (delivery.account, delivery.action) == ("acme", Action.SYNC)
    assert (delivery.segment_id, delivery.segment_name) == ("15225086", "Heap Test Segment")
    assert (delivery.task_id, delivery.page_number, delivery.total_pages) == ("task-1", 1, 2)
    assert (delivery.add, delivery.remove) == (["zoë@example.com", "c@x.com"], ["b@x.com"])
    assert abs(delivery.received_at_ms - time.time() * 1000) < 60_000


async def test_a_repeat_is_answered_as_a_duplicate(service):
    first = await service.post(page(["a@x.com"]))
    repeat = await service.post(page(["a@x.com"]))
    other = await service.post(page(["b@x.com"]))
    assert [answer["status"] for _, answer, _ in (first, repeat, other)] == ["accepted", "duplicate", "accepted"]
    assert [status for status, _, _ in (first, repeat, other)] == [200, 200, 200]
    assert len(service.inbox.deliveries) == 2


async def test_users_that_cannot_be_synced_are_counted_and_cost_nobody_else(service):
    body = page(["a@x.com", "", None, "undefined", 7])
    body["data"]["remove"] = [{"id": "b@x.com"}, {}, "c@x.com"]
    status, answer, _ = await service.post(body)
    assert (status, answer["added"], answer["removed"], answer["rejected"]) == (200, 2, 1, 5)
    assert [(each.path, each.reason) for each in service.inbox.deliveries[0].rejected] == [
        ("$.data.add[1].id", "empty"),
        ("$.data.add[2].id", "null"),
        ("$.data.add[3].id", "placeholder"),
        ("$.data.remove[1].id", "missing"),
        ("$.data.remove[2]", "not_an_object"),
    ]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.heap+json", "Application/JSON"]
)
async def test_json_by_any_of_its_names_is_taken(service, content_type):
    status, _, _ = await service.post(page(["a@x.com"]), headers={"Content-Type": content_type})
    assert status == 200


async def test_either_of_two_secrets_will_do(service):
    for secret in (SECRET, "whsec two"):
        status, _, _ = await service.post(page([secret]), secret=secret)
        assert status == 200


async def test_a_replaced_secret_file_counts_once_the_old_value_has_expired(tmp_path, monkeypatch):
    monkeypatch.setattr("service.secrets._MAX_AGE_SECONDS", 0.0)
    running = Service([account(tmp_path, "acme", SECRET)])
    async with running.client:
        assert (await running.post(page(["a"])))[0] == 200
        (tmp_path / "acme-0").write_text("renewed")
        assert (await running.post(page(["b"])))[0] == 403
        assert (await running.post(page(["b"]), secret="renewed"))[0] == 200


async def test_a_large_page_is_taken_and_small_ones_pass_it_by(service):
    users = [f"user{number}@example.com" for number in range(20_000)]
    large = asyncio.create_task(service.post(page(users)))
    small = [(await service.post(page([f"{number}@x.com"])))[0] for number in range(5)]
    status, answer, _ = await large
    assert small == [200] * 5
    assert (status, answer["added"]) == (200, 20_000)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_taken_and_signed_as_the_json_it_holds(service, encoding, compress):
    body = compact(page(["a@x.com"]))
    status, _, _ = await service.post(body, send=compress(body), headers={"Content-Encoding": encoding})
    assert status == 200
    assert service.inbox.deliveries[0].add == ["a@x.com"]


async def test_a_chunked_body_is_taken(service):
    body = compact(page(["a@x.com"]))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50):
            yield body[start : start + 50]
            await asyncio.sleep(0)

    status, _, _ = await service.post(body, send=pieces())
    assert status == 200


@pytest.mark.parametrize("value", [None, "", "nonsense", "ts:1,hmac:abc", "ts:x,hmac:" + "0" * 64])
async def test_an_unreadable_header_is_400(service, value):
    body = compact(page(["a@x.com"]))
    headers = {"Content-Type": JSON} | ({} if value is None else {"Heap-Hash": value})
    async with service.client.post("/webhooks/heap/acme", data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "header_unreadable"


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":NaN}', b"\xff\xfe", b"[" * 100_000, b'{"data":' * 50_000])
async def test_an_authentic_body_that_is_no_json_is_400(service, body):
    status, answer, _ = await service.post(body)
    assert (status, answer["error"]["code"]) == (400, "body_unreadable")


async def test_a_badly_compressed_body_is_400(service):
    body = compact(page(["a@x.com"]))
    status, answer, _ = await service.post(body, send=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (400, "body_unreadable")


async def test_whatever_is_not_authentic_gets_one_and_the_same_403(service):
    good = page(["a@x.com"])
    tampered = compact(good).replace(b"a@x.com", b"e@x.com")
    answers = [
        await service.post(good, secret="wrong"),
        await service.post(good, secret="whsec globex"),
        await service.post(good, send=tampered),
        await service.post(good, age_seconds=301),
        await service.post(good, age_seconds=-301),
        await service.post(good, path="/webhooks/heap/unknown"),
        await service.post(good, path="/webhooks/heap/%00%ff"),
        await service.post(good, path="/webhooks/heap"),
        await service.post(good, path="/webhooks/heap/globex", secret="whsec globex"),
        await service.post(page(["a"], id_token="token-globex"), path="/webhooks/heap"),
        await service.post(b"no json", path="/webhooks/heap"),
        await service.post(b"no json", secret="wrong"),
        await service.post(compact(good), send=json.dumps(good, indent=1).encode()),
    ]
    assert {status for status, _, _ in answers} == {403}
    assert {msgspec.json.encode(answer) for _, answer, _ in answers} == {
        b'{"error":{"code":"forbidden","message":"the delivery is not authentic"}}'
    }
    assert {frozenset(headers) for _, _, headers in answers} == {frozenset(answers[0][2])}
    assert service.inbox.deliveries == []


async def test_the_id_token_picks_the_account_where_the_address_does_not(service):
    body = page(["a@x.com"], id_token="token-globex")
    for path in ("/webhooks/heap", "/webhooks/heap/globex"):
        status, _, _ = await service.post(body, path=path, secret="whsec globex")
        assert status == 200
    assert [delivery.account for delivery in service.inbox.deliveries] == ["globex"]


async def test_an_id_token_is_found_beside_broken_text(service):
    body = compact(page(["a@x.com", "bad"], id_token="token-globex")).replace(b"bad", b"\\ud800")
    status, answer, _ = await service.post(body, path="/webhooks/heap", secret="whsec globex")
    assert (status, answer["added"], answer["rejected"]) == (200, 1, 1)


async def test_the_only_account_needs_no_naming(tmp_path):
    running = Service([account(tmp_path, "acme", SECRET)])
    async with running.client:
        status, _, _ = await running.post(page(["a@x.com"]), path="/webhooks/heap")
        assert status == 200
        assert running.inbox.deliveries[0].account == "acme"


async def test_a_body_that_says_it_is_too_large_is_413_before_it_is_sent(service):
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    header = sign(SECRET, str(int(time.time() * 1000)), b"")
    lines = [
        "POST /webhooks/heap/acme HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {JSON}",
        f"Content-Length: {MAX_BODY_BYTES + 1}",
        f"Heap-Hash: {header}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


async def test_a_body_of_the_largest_size_is_taken(service):
    body = compact(page(["a@x.com"]))
    exact = body[:-1] + b" " * (MAX_BODY_BYTES - len(body)) + body[-1:]
    assert (await service.post(exact))[0] == 200
    status, answer, _ = await service.post(exact + b" ")
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


async def test_a_chunked_body_without_end_is_413(service):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50 * MAX_BODY_BYTES:
            yield b" " * 50_000
            sent += 50_000

    headers = {"Content-Type": JSON, "Heap-Hash": sign(SECRET, "1", b"")}
    async with ClientSession() as session:
        url = service.client.make_url("/webhooks/heap/acme")
        async with session.post(url, data=endless(), headers=headers) as response:
            assert response.status == 413
            assert sent < 50 * MAX_BODY_BYTES


async def test_a_small_body_that_unfolds_without_end_is_413(service):
    body = b" " * (100 * MAX_BODY_BYTES)
    status, answer, _ = await service.post(b"{}", send=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert service.answered[0].body_bytes == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_what_is_not_declared_to_be_json_is_415(service, content_type):
    status, answer, _ = await service.post(page(["a@x.com"]), headers={"Content-Type": content_type})
    assert (status, answer["error"]["code"]) == (415, "not_json")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (page(action_type="segment.users.replace"), "unknown_action", "$.action_type"),
        (page(action_type=None), "unknown_shape", "$.action_type"),
        (page(data=[]), "unknown_shape", "$.data"),
        (page(number=-1), "unknown_shape", "$.data.sync_info.page_number"),
        ([], "unknown_shape", "$"),
    ],
)
async def test_an_authentic_page_of_unknown_shape_is_422_and_says_where(service, body, code, path):
    status, answer, _ = await service.post(body)
    assert (status, answer["error"]["code"], answer["error"]["path"]) == (422, code, path)
    assert answer["error"]["message"].startswith("expected ")


async def test_a_drain_is_taken_where_it_is_allowed(service):
    drain = {
        "id_token": "token-globex",
        "action_type": "segment.users.drain",
        "customer_config": {},
        "data": {"segment": {"id": "s-1", "name": ""}},
    }
    status, answer, _ = await service.post(drain, path="/webhooks/heap/globex", secret="whsec globex")
    [delivery] = service.inbox.deliveries
    assert (status, answer["status"], answer["page_number"]) == (200, "accepted", 1)
    assert answer["sync_task_id"].startswith("drain:1")
    assert (delivery.action, delivery.segment_id, delivery.segment_name) == (Action.DRAIN, "s-1", "s-1")
    assert (delivery.page_number, delivery.total_pages, delivery.add, delivery.remove) == (1, 1, [], [])
    status, answer, _ = await service.post(drain)
    assert (status, answer["error"]["code"]) == (422, "unknown_action")
    assert "allow_drain" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [(BacklogFullError(10), 429, "backlog_full"), (StoreUnavailableError("disk full"), 503, "store_unavailable")],
)
async def test_back_pressure_says_when_to_come_back_and_then_lets_the_page_in(service, failure, status, code):
    service.inbox.failure = failure
    refused, answer, headers = await service.post(page(["a@x.com"]))
    assert (refused, answer["error"]["code"]) == (status, code)
    assert int(headers["Retry-After"]) > 0
    service.inbox.failure = None
    assert (await service.post(page(["a@x.com"])))[1]["status"] == "accepted"


async def test_a_stopping_service_takes_nothing_and_asks_to_come_back(service):
    service.is_stopping = True
    status, answer, headers = await service.post(page(["a@x.com"]))
    assert (status, answer["error"]["code"]) == (503, "stopping")
    assert int(headers["Retry-After"]) > 0
    assert service.inbox.deliveries == []


async def test_a_secret_that_cannot_be_read_is_503_and_not_the_senders_fault(tmp_path):
    settings = account(tmp_path, "acme", SECRET, "whsec two")
    (tmp_path / "acme-1").unlink()
    running = Service([settings])
    async with running.client:
        with capture_logs() as lines:
            status, answer, headers = await running.post(page(["a@x.com"]), secret="whsec two")
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert int(headers["Retry-After"]) > 0
        assert {line["event"]: line for line in lines}["webhook_secret.unreadable"]["place"].endswith("acme-1")
        assert (await running.post(page(["a@x.com"])))[0] == 200


async def test_an_identity_nobody_has_mapped_waits_for_the_operator(tmp_path):
    config = {"fields": [{"field_type": "identity_mapping", "value": {"id": "customer_number"}}]}
    running = Service([account(tmp_path, "acme", SECRET, identify_by="auto", identities={"uid": "customerId"})])
    async with running.client:
        status, answer, headers = await running.post(page(["A1"], customer_config=config))
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert "customer_number" in answer["error"]["message"]
        assert int(headers["Retry-After"]) > 0
        config["fields"][0]["value"] = {"id": "uid"}
        assert (await running.post(page(["A1"], customer_config=config)))[0] == 200
        assert (running.inbox.deliveries[0].identity, running.inbox.deliveries[0].add) == ("customerId", ["A1"])


async def test_an_unforeseen_failure_is_500_without_detail_and_is_logged(service):
    service.inbox.failure = ZeroDivisionError("the inner workings")
    with capture_logs() as lines:
        status, answer, _ = await service.post(page(["a@x.com"]))
    assert (status, answer["error"]["code"]) == (500, "internal")
    assert "inner workings" not in str(answer)
    assert any(line["event"] == "request.failed" and line["exc_info"] for line in lines)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/webhooks/heap/acme/more", 404, "not_found"),
        ("GET", "/webhooks/heap/acme", 405, "method_not_allowed"),
        ("PUT", "/webhooks/heap", 405, "method_not_allowed"),
    ],
)
async def test_other_addresses_and_methods_have_errors_of_the_same_shape(service, method, path, status, code):
    async with service.client.request(method, path) as response:
        assert response.status == status
        assert (await response.json())["error"]["code"] == code
        assert ("Allow" in response.headers) == (status == 405)


async def test_one_line_tells_everything_of_a_delivery_but_no_user(service):
    with capture_logs() as lines:
        await service.post(page(["secret.person@x.com", None], ["gone@x.com"]))
    [line] = [line for line in lines if line["event"] == "delivery.answered"]
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "delivery.answered",
        "log_level": "info",
        "account": "acme",
        "action": "segment.users.sync",
        "segment_id": "15225086",
        "segment_name": "Heap Test Segment",
        "task": "task-1",
        "page": 1,
        "total_pages": 2,
        "added": 1,
        "removed": 1,
        "rejected": 1,
        "status": 200,
        "outcome": "accepted",
        "bytes": len(compact(page(["secret.person@x.com", None], ["gone@x.com"]))),
    }


async def test_the_log_tells_the_operator_why_a_delivery_was_refused(service):
    body = page(["a@x.com"])
    with capture_logs() as lines:
        await service.post(body, age_seconds=1000)
        await service.post(body, age_seconds=-1000)
        await service.post(compact(body), send=json.dumps(body, indent=1).encode())
        await service.post(body, secret="wrong")
        await service.post(body, path="/webhooks/heap/unknown")
    reasons = [line["reason"] for line in lines if line["event"] == "delivery.answered"]
    assert reasons[0].startswith("stale signature: 100")
    assert reasons[0].endswith("s old")
    assert reasons[1].startswith(("stale signature: 999", "stale signature: 1000"))
    assert reasons[1].endswith("s ahead of this machine's clock")
    assert reasons[2:] == [
        "body was reformatted on the way; look at your proxy",
        "wrong signature",
        "unknown account",
    ]


async def test_each_answer_is_told_to_the_observer(service):
    await service.post(page(["a@x.com", ""]))
    await service.post(page(["a@x.com", ""]))
    await service.post(page(), secret="wrong")
    assert [(each.status, each.outcome, each.account) for each in service.answered] == [
        (200, "accepted", "acme"),
        (200, "duplicate", "acme"),
        (403, "forbidden", "acme"),
    ]
    first = service.answered[0]
    assert first.delivery is not None
    assert (len(first.delivery.add), first.delivery.rejected_count) == (1, 1)
    assert first.body_bytes > 0
    assert first.duration_seconds > 0


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(service):
    _, writer = await asyncio.open_connection(service.client.host, service.client.port)
    header = sign(SECRET, str(int(time.time() * 1000)), b"{}")
    head = f"POST /webhooks/heap/acme HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nHeap-Hash: {header}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await service.post(page(["a@x.com"])))[0] == 200
    assert len(service.inbox.deliveries) == 1
