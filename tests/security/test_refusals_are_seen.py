"""Whatever is refused at the port costs little, has one shape, and is seen in the log and the metrics."""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from service.receive.signature import sign
from tests.webhook_fixtures import JSON, SECRET, Service, compact, page, running, two_accounts

PATIENCE_SECONDS = 30
MEBIBYTE = 1_048_576


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service


async def raw(service: Service, sent: bytes) -> tuple[bytes, dict[str, str]]:
    """Send bytes and return the head of the answer and its error."""
    assert service.client.port is not None
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"}}")
    finally:
        writer.transport.abort()
    return head, json.loads(body)["error"]


def request(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
    signed = "Heap-Hash: " + sign(SECRET, str(int(time.time() * 1000)), body)
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Type: {JSON}", signed, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("method", "path", "status", "outcome"),
    [
        ("POST", "//webhooks/heap/acme", 404, "not_found"),
        ("POST", "/webhooks//heap/acme", 404, "not_found"),
        ("POST", "/Webhooks/Heap/acme", 404, "not_found"),
        ("POST", "/webhook/heap/acme", 404, "not_found"),
        ("POST", "/webhooks/heap/acme/more", 404, "not_found"),
        ("POST", "/webhooks", 404, "not_found"),
        ("PUT", "/webhooks/heap/acme", 405, "method_not_allowed"),
        ("GET", "/webhooks/heap", 405, "method_not_allowed"),
        ("POST", "/webhooks/heap/ACME", 403, "forbidden"),
        ("POST", "/webhooks/heap/nobody/", 403, "forbidden"),
    ],
)
async def test_a_page_that_goes_to_no_address_of_ours_is_logged_and_counted(service, method, path, status, outcome):
    body = compact(page(["a@x.com"]))
    with capture_logs() as lines:
        head, error = await raw(service, request(method, path, body=body))
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert error["code"] == outcome
    [answered] = service.answered
    assert (answered.status, answered.outcome, answered.account) == (status, outcome, None)
    [line] = [line for line in lines if line["event"] == "delivery.answered"]
    assert line["log_level"] == "warning"
    assert line["reason"]


@pytest.mark.parametrize("path", ["/webhooks/heap/acme/", "/webhooks/heap/acme"])
async def test_a_slash_at_the_end_does_no_harm(service, path):
    assert (await service.post(page(["a@x.com"]), path=path))[0] == 200


async def test_an_encoding_that_is_not_supported_is_refused_like_all_else(service):
    body = compact(page(["a@x.com"]))
    status, answer, _ = await service.post(body, send=body, headers={"Content-Encoding": "br"})
    assert (status, answer["error"]["code"]) == (400, "body_unreadable")
    assert service.answered[-1].outcome == "body_unreadable"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x00\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_in_our_form_and_seen(service, sent):
    with capture_logs() as lines:
        head, error = await raw(service, sent)
    assert head.startswith(b"HTTP/1.")
    assert head[9:12] == b"400"
    assert error["code"] == "header_unreadable"
    assert [line["event"] for line in lines] == ["request.unreadable"]
    assert "exc_info" not in lines[0]


@pytest.mark.parametrize("sent", [b"bad\r\n\r\n", request("GET", "/livez"), request("POST", "/webhooks/heap/x")])
async def test_no_answer_names_a_version(service, sent):
    head, _ = await raw(service, sent)
    assert b"Server: heap-cordial\r\n" in head
    assert b"aiohttp" not in head
    assert b"Python" not in head


@pytest.mark.parametrize("path", ["/webhooks/heap", "/webhooks/heap/", "/webhooks/heap/acme", "/webhooks/heap/acme/"])
async def test_an_expectation_that_cannot_be_met_is_an_error_in_our_form_and_seen(service, path):
    with capture_logs() as lines:
        head, error = await raw(service, request("POST", path, "Expect: wonders"))
    assert head.startswith(b"HTTP/1.1 417 ")
    assert error["code"] == "invalid_request"
    [answered] = service.answered
    assert (answered.status, answered.outcome) == (417, "invalid_request")
    assert [line["status"] for line in lines if line["event"] == "delivery.answered"] == [417]


@pytest.mark.parametrize(
    ("method", "path", "lines"),
    [
        ("POST", "/livez", []),
        ("GET", "/livez", []),
        ("POST", "/api/v1/accounts", []),
        ("PUT", "/webhooks/heap/acme", []),
        ("POST", "/webhooks/heap/acme", ["Content-Type: text/plain"]),
    ],
)
async def test_nobody_unfolds_the_body_of_what_is_refused(service, method, path, lines):
    bomb = gzip.compress(b" " * (256 * MEBIBYTE), 1)
    began = time.process_time()
    for _ in range(4):
        await raw(service, request(method, path, "Content-Encoding: gzip", *lines, body=bomb))
    # Unfolding a single one takes more than this on any machine, and this process is the client as well.
    assert time.process_time() - began < 1.0


async def test_a_badly_compressed_unsigned_body_makes_no_noise(service, caplog):
    with capture_logs() as lines:
        for body in (b"no gzip at all", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more"):
            head, error = await raw(
                service, request("POST", "/webhooks/heap/acme", "Content-Encoding: gzip", body=body)
            )
            assert head.startswith(b"HTTP/1.1 400 ")
            assert error["code"] == "body_unreadable"
    assert caplog.records == []
    assert [line["log_level"] for line in lines] == ["warning"] * 3


async def test_a_flood_of_what_anybody_can_send_does_not_fill_the_log(service):
    """Each kind of line is bounded by itself, what is left out is counted, and what is new is always written."""
    flood, body = 300, compact(page(["a@x.com"]))
    with capture_logs() as lines:
        for number in range(flood):
            assert (await service.post(body, secret="wrong"))[0] == 403
            assert (await service.post(page(["a@x.com"]), path="/webhooks/heap/acme/no"))[0] == 404
            assert (await service.post(page(["a@x.com"], task=f"new-{number}")))[0] == 200
            assert (await service.post(body))[0] == 200
            await raw(service, b"nonsense\r\n\r\n")
        await service.client.close()
    written = Counter((line["event"], line.get("outcome")) for line in lines)
    assert written["delivery.answered", "accepted"] == flood + 1
    left_out = {line["left_out"]: line["lines"] for line in lines if line["event"] == "log.left_out"}
    refused = [
        ("delivery.answered", "forbidden"),
        ("delivery.answered", "not_found"),
        ("delivery.answered", "duplicate"),
    ]
    for kind in (*refused, ("request.unreadable", None)):
        assert 100 <= written[kind] < flood
    assert left_out == {
        "delivery.answered": 3 * flood - 1 - sum(written[kind] for kind in refused),
        "request.unreadable": flood - written["request.unreadable", None],
    }
    assert Counter(answered.outcome for answered in service.answered)["forbidden"] == flood
