"""What `docs/api.md` says of the API is what the API does."""

import json
import re
from typing import Any

import pytest_asyncio

from service.errors import ErrorCode
from tests.command_fixtures import ROOT, eventually
from tests.document_fixtures import SERVICE, Terminal, blocks, tried_by_hand

GUIDE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
DEFINE, ACCOUNTS, EXPORTED, FILTERED, PAGED, MEMBER, WATCH, STEER, REFUSED = blocks(GUIDE, "sh")


async def run(terminal: Terminal, block: str) -> str:
    return await terminal.run(DEFINE + block)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def terminal(tmp_path_factory):
    """A terminal beside a service with two settled syncs of one page each."""
    async with tried_by_hand(tmp_path_factory.mktemp("guide")) as (terminal, post, _look, send):
        await terminal.run(post)
        await terminal.run(send)
        syncs = 'ask "$API/syncs?state=done" | grep -o \'"state":"done"\' | wc -l'
        await eventually(lambda: run(terminal, syncs), "2\n")
        yield terminal


async def test_the_guide_runs_as_written(terminal):
    [account] = json.loads(await run(terminal, ACCOUNTS))["items"]
    assert (account["name"], account["state"]) == ("acme", "sending")
    assert (await run(terminal, EXPORTED)).startswith("id,account,list_id,")
    lists, syncs = json_documents(await run(terminal, FILTERED))
    assert [each["list_name"] for each in lists["items"]] == ["HeapTestSegment"]
    assert len(syncs["items"]) == 1
    assert syncs["next"] is not None
    pages = json_documents(await run(terminal, PAGED))
    assert len({each["id"] for page in pages for each in page["items"]}) == len(pages) == 2
    assert json.loads(await run(terminal, MEMBER))["contact"] == "email:jane@example.com"
    assert "event: reset" in await run(terminal, WATCH)


async def test_steering_as_written_is_kept_in_the_audit(terminal):
    paused, resumed, verified, retried, audit = json_documents(await run(terminal, STEER))
    assert (paused["paused"], resumed["paused"]) == (True, False)
    assert verified == {"counted": 1, "expected": 1, "owed": 0, "differs": False}
    assert retried == {"retried": 0, "kept_back": []}
    assert {"account.pause", "account.resume"} <= {each["action"] for each in audit["items"]}


async def test_the_error_shown_is_the_error_given(terminal):
    [shown] = blocks(GUIDE, "json")
    [given] = json_documents(re.sub(r"(?m)^curl: .*$", "", await run(terminal, REFUSED)))
    assert given == json.loads(shown)


async def test_every_address_is_in_the_guide_and_no_other(terminal):
    document = json.loads(await terminal.run(f"curl --silent {SERVICE}/openapi.json"))
    operations = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        if path.startswith("/api/v1")
        for method in methods
    }
    assert set(re.findall(r"(?m)^\| `([A-Z]+ /api/v1[^`]*)` \|", GUIDE)) == operations


def test_every_error_code_is_one_of_ours():
    rows = re.findall(r"(?m)^\| (?:\d+) \| ([^|]+) \|", GUIDE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} <= {code.value for code in ErrorCode}


def json_documents(text: str) -> list[dict[str, Any]]:
    decoder, documents = json.JSONDecoder(), []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        documents.append(document)
    return documents
