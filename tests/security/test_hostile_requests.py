"""Requests that no honest sender makes: ambiguous, half sent, early refused, oddly encoded, absurdly nested."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from service.flood import Budget
from service.receive.body import Timings
from service.receive.signature import sign
from tests.webhook_fixtures import JSON, MAX_BODY_BYTES, SECRET, Service, compact, page, running, two_accounts

PATIENCE_SECONDS = 30
BODY = compact(page(["a@x.com"]))


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service


def signed(body: bytes = BODY, *, age_seconds: float = 0, secret: str = SECRET) -> str:
    return "Heap-Hash: " + sign(secret, str(int((time.time() - age_seconds) * 1000)), body)


def head(*lines: str, path: str = "/webhooks/heap/acme") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")


async def first_answer(service: Service, sent: bytes) -> bytes:
    """Return what is answered to raw bytes, up to the end of the first answer's body; the connection stays half sent."""
    assert service.client.port is not None
    reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            answered = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in answered.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            return answered + await reader.readexactly(int(lengths[0].split(b":")[1]))
    finally:
        writer.transport.abort()


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ([LENGTH, "Transfer-Encoding: chunked"], CHUNKED),
        (["Transfer-Encoding: chunked", LENGTH], CHUNKED),
        ([LENGTH, "Content-Length: 5"], BODY),
        (["Content-Length: +5"], BODY),
        (["Content-Length: -1"], BODY),
        (["Transfer-Encoding: chunked, identity"], CHUNKED),
        (["Transfer-Encoding: identity, chunked", "Transfer-Encoding: x"], CHUNKED),
        (["Transfer-Encoding: xchunked"], CHUNKED),
        (["Transfer-Encoding : chunked"], CHUNKED),
        ([LENGTH, " folded: line"], BODY),
        ([LENGTH, "No colon here"], BODY),
        ([LENGTH, "X: a\x00b"], BODY),
        (["Transfer-Encoding: chunked"], b"zz\r\n" + BODY),
    ],
)
async def test_a_request_that_two_readers_could_read_differently_is_refused(service, lines, body):
    answer = await first_answer(service, head(f"Content-Type: {JSON}", signed(), *lines) + body)
    assert answer[9:12] == b"400", answer
    assert service.inbox.deliveries == []


async def test_a_second_signature_or_a_second_request_in_the_body_gets_nothing_in(service):
    twice = head(f"Content-Type: {JSON}", signed(), signed(), LENGTH) + BODY
    assert (await first_answer(service, twice)).startswith(b"HTTP/1.1 400 ")
    inner = head(f"Content-Type: {JSON}", "Heap-Hash: ts:1,hmac:" + "0" * 64, LENGTH) + BODY
    outer = head(f"Content-Type: {JSON}", f"Content-Length: {len(inner)}", signed(inner)) + inner
    assert (await first_answer(service, outer)).startswith(b"HTTP/1.1 400 ")
    assert service.inbox.deliveries == []


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, [f"Content-Type: {JSON}"]),
        (400, [f"Content-Type: {JSON}", "Heap-Hash: ts:x,hmac:y"]),
        (415, ["Content-Type: text/plain", signed()]),
    ],
)
async def test_what_the_head_gives_away_is_refused_before_the_body_comes(service, status, lines):
    answer = await first_answer(service, head(*lines, "Content-Length: 900000"))
    assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_too_large_and_many_stale_ones_are_refused_before_the_body_comes(service):
    too_large = head(f"Content-Type: {JSON}", signed(), f"Content-Length: {MAX_BODY_BYTES + 1}")
    assert (await first_answer(service, too_large)).startswith(b"HTTP/1.1 413 ")
    # The first ones are read, because those that are authentic tell of a wrong clock.
    while True:
        status, answer, _ = await service.post(page(["a@x.com"]), age_seconds=4_000)
        assert (status, answer["error"]["code"]) == (403, "forbidden")
        if service.answered[-1].body_bytes == 0:
            break
    assert "stale signature: 4000" in str(service.answered[-1].reason)
    assert service.inbox.deliveries == []
    assert (await service.post(page(["a@x.com"])))[0] == 200


async def test_whether_an_account_exists_shows_neither_in_the_answer_nor_in_when_it_comes(service):
    wrong = signed(secret="not the secret")
    heads = {
        name: head(f"Content-Type: {JSON}", wrong, LENGTH, path=f"/webhooks/heap/{name}") for name in ("acme", "nobody")
    }
    answers = []
    for each in heads.values():
        whole = await first_answer(service, each + BODY)
        answers.append([line for line in whole.split(b"\r\n") if not line.startswith(b"Date:")])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first_answer(service, each + BODY[:-1]), 0.2)
    assert answers[0] == answers[1]
    assert answers[0][0] == b"HTTP/1.1 403 Forbidden"


async def test_a_replay_is_a_duplicate_while_fresh_and_refused_when_stale(service):
    request = head(f"Content-Type: {JSON}", signed(), LENGTH) + BODY
    assert b'"accepted"' in await first_answer(service, request)
    assert b'"duplicate"' in await first_answer(service, request)
    stale = head(f"Content-Type: {JSON}", signed(age_seconds=301), LENGTH) + BODY
    assert (await first_answer(service, stale)).startswith(b"HTTP/1.1 403 ")
    assert len(service.inbox.deliveries) == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "unheard-of"])
async def test_a_body_in_an_encoding_we_do_not_read_is_never_taken(service, encoding):
    request = head(f"Content-Type: {JSON}", signed(), f"Content-Encoding: {encoding}", LENGTH) + b"\x1f\x8b" + BODY[2:]
    answer = await first_answer(service, request)
    assert answer[9:12] in {b"400", b"403"}
    assert service.inbox.deliveries == []


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 400_000,
        b'{"a":' * 100_000,
        b'{"data":' + b"9" * 500_000 + b"}",
        b'{"data":1e999999999}',
        json.dumps({str(number * (2**61 - 1)): 0 for number in range(20_000)}).encode(),
    ],
    ids=["deep list", "deep object", "long number", "huge number", "keys of one hash"],
)
@pytest.mark.parametrize("path", ["/webhooks/heap/acme", "/webhooks/heap"])
async def test_absurd_documents_are_refused_whoever_sends_them(service, body, path):
    for secret in (SECRET, "not the secret"):
        status, answer, _ = await service.post(body, secret=secret, path=path)
        assert status in {400, 403, 422}, answer
    assert (await service.post(page(["a@x.com"])))[0] == 200


async def test_a_token_is_found_beside_broken_text_in_a_large_body(service):
    users = [f"user{number}@example.com" for number in range(20_000)]
    body = compact(page(users, id_token="token-globex")).replace(b"user7@", b"us\xff7@", 1)
    status, answer, _ = await service.post(body, path="/webhooks/heap", secret="whsec globex")
    assert status == 200, answer
    assert service.inbox.deliveries[0].account == "globex"


async def test_a_body_that_drips_is_given_up(tmp_path):
    async with running(*two_accounts(tmp_path), body_timings=Timings(first=0.3)) as service:
        assert service.client.port is not None
        reader, writer = await asyncio.open_connection(service.client.host, service.client.port)
        writer.write(head(f"Content-Type: {JSON}", signed(), "Content-Length: 900000"))
        answered = asyncio.create_task(reader.readuntil(b"}}"))
        while not answered.done():
            writer.write(b" ")
            await asyncio.sleep(0.02)
        writer.transport.abort()
    assert answered.result().startswith(b"HTTP/1.1 400 ")
    assert b"too slowly" in answered.result()


async def test_bodies_left_half_sent_do_not_keep_others_out(service):
    assert service.client.port is not None
    half = head(f"Content-Type: {JSON}", signed(), "Content-Length: 1000000") + b" " * 980_000
    stuck = [await asyncio.open_connection(service.client.host, service.client.port) for _ in range(4)]
    for _, writer in stuck:
        writer.write(half)
        await writer.drain()
    large = compact(page(["a@x.com"]))
    large += b" " * (MAX_BODY_BYTES - len(large))
    # The longer they hang, the slower they count as: at first they may look faster than an honest sender.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await service.post(large, send=pieces(large)))[0] != 200:  # noqa: ASYNC110  asking again is what is tested
            await asyncio.sleep(0.1)
    for _, writer in stuck:
        writer.transport.abort()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]
        await asyncio.sleep(0)


def test_causes_are_looked_for_a_few_times_and_then_once_a_second():
    now = 0.0
    budget = Budget(3, 1.0, lambda: now)

    def take_all() -> int:
        taken = 0
        while budget.is_left():
            budget.spend()
            taken += 1
        return taken

    assert take_all() == 3
    now = 0.5
    assert take_all() == 0
    now = 1.5
    assert take_all() == 1
    now = 1_000.0
    assert take_all() == 3
