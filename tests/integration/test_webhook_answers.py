import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from structlog.testing import capture_logs

from service.config.secrets import Timings
from service.model.deliveries import Action
from tests.webhook_fixtures import JSON, OTHER_SECRET, SECRET, Service, account, compact, page, running, two_accounts


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service


async def test_a_page_is_accepted_and_kept_as_it_was_meant(service):
    body = page([" Zoe@Example.COM", "b@x.com", "zoe@example.com", "c@x.com"], ["B@x.com"])
    status, answer, _ = await service.post(body)
    assert status == 200
    assert answer == {
        "status": "accepted",
        "sync_task_id": "task-1",
        "page_number": 1,
        "added": 4,
        "removed": 1,
        "rejected": 0,
    }
    [delivery] = service.inbox.deliveries
    assert (delivery.account, delivery.action) == ("acme", Action.SYNC)
    assert (delivery.segment_id, delivery.segment_name) == ("15225086", "Heap Test Segment")
    assert (delivery.task_id, delivery.page_number, delivery.total_pages) == ("task-1", 1, 2)
    assert list(delivery.add) == ["b@x.com", "zoe@example.com", "c@x.com", " Zoe@Example.COM"]
    assert list(delivery.remove) == ["B@x.com"]
    assert abs(delivery.received_at_ms - time.time() * 1000) < 60_000


async def test_a_page_signed_before_a_newer_drain_is_answered_as_superseded(service):
    drain = page() | {"action_type": "segment.users.drain", "id_token": "token-globex"}
    late = page(["a@x.com"], id_token="token-globex")
    path = "/webhooks/heap/globex"
    assert (await service.post(drain, path=path, secret="whsec globex", age_seconds=80))[1]["status"] == "accepted"
    status, answer, _ = await service.post(late, path=path, secret="whsec globex", age_seconds=200)
    assert (status, answer["status"], answer["added"]) == (200, "superseded", 1)
    assert [answered.outcome for answered in service.answered] == ["accepted", "superseded"]
    assert (await service.post(late, path=path, secret="whsec globex", age_seconds=200))[1]["status"] == "duplicate"


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
    for secret in (SECRET, OTHER_SECRET):
        status, _, _ = await service.post(page([secret]), secret=secret)
        assert status == 200


async def test_a_replaced_secret_file_counts_once_the_old_value_has_expired(tmp_path):
    async with running(account(tmp_path, "acme", SECRET), secret_timings=Timings(max_age=0.0)) as service:
        assert (await service.post(page(["a"])))[0] == 200
        (tmp_path / "acme-0").write_text("renewed")
        assert (await service.post(page(["b"])))[0] == 403
        assert (await service.post(page(["b"]), secret="renewed"))[0] == 200


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
    async with running(account(tmp_path, "acme", SECRET)) as service:
        status, _, _ = await service.post(page(["a@x.com"]), path="/webhooks/heap")
        assert status == 200
        assert service.inbox.deliveries[0].account == "acme"


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
    assert (delivery.page_number, delivery.total_pages, list(delivery.add), list(delivery.remove)) == (1, 1, [], [])
    status, answer, _ = await service.post(drain)
    assert (status, answer["error"]["code"]) == (422, "unknown_action")
    assert "allow_drain" in answer["error"]["message"]


async def test_a_full_backlog_is_429_and_says_when_to_come_back(tmp_path):
    async with running(*two_accounts(tmp_path), max_backlog=2) as service:
        assert (await service.post(page(["a@x.com", "b@x.com"])))[0] == 200
        status, answer, headers = await service.post(page(["c@x.com"]))
        assert (status, answer["error"]["code"]) == (429, "backlog_full")
        assert int(headers["Retry-After"]) > 0


async def test_a_store_that_is_locked_is_503_and_takes_the_page_afterwards(service):
    with contextlib.closing(sqlite3.connect(service.database, isolation_level=None)) as other_program:
        other_program.execute("BEGIN EXCLUSIVE")
        status, answer, headers = await service.post(page(["a@x.com"]))
        assert (status, answer["error"]["code"]) == (503, "store_unavailable")
        assert int(headers["Retry-After"]) > 0
    assert (await service.post(page(["a@x.com"])))[1]["status"] == "accepted"


async def test_a_stopping_service_takes_nothing_and_asks_to_come_back(service):
    service.is_stopping = True
    status, answer, headers = await service.post(page(["a@x.com"]))
    assert (status, answer["error"]["code"]) == (503, "stopping")
    assert int(headers["Retry-After"]) > 0
    assert service.inbox.deliveries == []


async def test_a_secret_that_cannot_be_read_is_503_and_not_the_senders_fault(tmp_path):
    settings = account(tmp_path, "acme", SECRET, OTHER_SECRET)
    (tmp_path / "acme-1").unlink()
    async with running(settings) as service:
        with capture_logs() as lines:
            status, answer, headers = await service.post(page(["a@x.com"]), secret=OTHER_SECRET)
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert int(headers["Retry-After"]) > 0
        assert {line["event"]: line for line in lines}["webhook_secret.unreadable"]["place"].endswith("acme-1")
        assert (await service.post(page(["a@x.com"])))[0] == 200


async def test_an_identity_nobody_has_mapped_waits_for_the_operator(tmp_path):
    config = {"fields": [{"field_type": "identity_mapping", "value": {"id": "customer_number"}}]}
    settings = account(tmp_path, "acme", SECRET, identify_by="auto", identities={"uid": "customerId"})
    async with running(settings) as service:
        status, answer, headers = await service.post(page(["A1"], customer_config=config))
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert "customer_number" in answer["error"]["message"]
        assert int(headers["Retry-After"]) > 0
        config["fields"][0]["value"] = {"id": "uid"}
        assert (await service.post(page(["A1"], customer_config=config)))[0] == 200
        assert (service.inbox.deliveries[0].identity, list(service.inbox.deliveries[0].add)) == ("customerId", ["A1"])


async def test_an_unforeseen_failure_is_500_without_detail_and_is_logged(service, monkeypatch):
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("the inner workings")

    monkeypatch.setattr("service.store.sqlite.accepting.append_delivery", fail)
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
