"""The command `send`, run as a program against the real webhook."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from service.config.settings import AccountSettings, SecretReference
from service.errors import ServiceError, StoreUnavailableError
from service.model.deliveries import Delivery, Receipt, ReceiptStatus
from service.receive.routes import Webhook, add_routes
from service.sandbox.sender import build_pages, post_page
from service.web.errors import error_middleware
from tests.ports import free_port


@pytest.fixture(autouse=True)
def _unlimited_width(monkeypatch):
    # Those who run tests side by side give it a width, and then it breaks its lines.
    monkeypatch.delenv("COLUMNS", raising=False)


class Receiver:
    """The webhook on a port of its own, keeping what it accepts after failing `failures_to_come` times."""

    def __init__(self, secret_file: Path) -> None:
        self.secret_file = secret_file
        self.deliveries: list[Delivery] = []
        self.failures_to_come = 0
        account = AccountSettings(
            name="acme",
            heap_secrets=(SecretReference(file=str(secret_file)),),
            cordial_api_key=SecretReference(environment="UNUSED"),
        )
        app = web.Application(middlewares=[error_middleware])
        add_routes(app, Webhook({"acme": account}, self, max_body_bytes=1_000_000, is_stopping=lambda: False))
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/webhooks/heap/acme"))

    async def accept(self, delivery: Delivery) -> Receipt:
        if self.failures_to_come:
            self.failures_to_come -= 1
            error: ServiceError = StoreUnavailableError("disk full")
            error.retry_after_seconds = 0
            raise error
        self.deliveries.append(delivery)
        return Receipt(ReceiptStatus.ACCEPTED, delivery_id=len(self.deliveries), segment_id=1)

    async def send(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command and return its exit status, standard output and standard error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import argparse, sys; from service.sandbox.sender import register;"
            "parser = argparse.ArgumentParser(); register(parser.add_subparsers());"
            "namespace = parser.parse_args(); sys.exit(namespace.run(namespace))",
            "send",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()


@pytest.fixture
async def receiver(tmp_path) -> AsyncIterator[Receiver]:
    secret_file = tmp_path / "secret"
    secret_file.write_text("whsec with spaces \n")
    running = Receiver(secret_file)
    async with running.server:
        yield running


async def test_users_named_on_the_command_line_arrive(receiver):
    status, output, errors = await receiver.send(
        "--url", receiver.url, "--secret-file", str(receiver.secret_file), "--segment", "Zoë's Segment",
        "--add", "a@x.com", "b@x.com", "--add", "c@x.com", "--remove", "d@x.com", "--task", "t-1",
    )  # fmt: skip
    assert (status, errors) == (0, "")
    assert output.startswith("page 1 of 1: 200 ")
    [delivery] = receiver.deliveries
    assert (list(delivery.add), list(delivery.remove)) == (["a@x.com", "b@x.com", "c@x.com"], ["d@x.com"])
    assert (delivery.segment_name, delivery.task_id) == ("Zoë's Segment", "t-1")
    assert delivery.segment_id.isdigit()


async def test_files_are_sent_in_pages_of_one_sync(receiver, tmp_path):
    (tmp_path / "add.csv").write_text("\ufeffid,name\n" + "".join(f"u{number}@x.com,x\n" for number in range(5)) + "\n")
    (tmp_path / "remove.csv").write_text('"gone, too@x.com"\nlast@x.com')
    status, output, _ = await receiver.send(
        "--url", receiver.url, "--secret-file", str(receiver.secret_file), "--segment", "S", "--segment-id", "77",
        "--file", str(tmp_path / "add.csv"), "--remove-file", str(tmp_path / "remove.csv"), "--page-size", "3",
    )  # fmt: skip
    assert status == 0
    assert len(output.splitlines()) == 3
    assert [(list(each.add), list(each.remove)) for each in receiver.deliveries] == [
        (["u0@x.com", "u1@x.com", "u2@x.com"], []),
        (["u3@x.com", "u4@x.com"], ["gone, too@x.com"]),
        ([], ["last@x.com"]),
    ]
    assert [(each.page_number, each.total_pages) for each in receiver.deliveries] == [(1, 3), (2, 3), (3, 3)]
    assert len({each.task_id for each in receiver.deliveries}) == 1
    assert {each.segment_id for each in receiver.deliveries} == {"77"}


async def test_a_page_refused_for_a_moment_is_sent_again(receiver):
    receiver.failures_to_come = 1
    status, output, errors = await receiver.send(
        "--url", receiver.url, "--secret-file", str(receiver.secret_file), "--segment", "S", "--add", "a@x.com"
    )
    assert status == 0
    assert "503" in errors
    assert "200" in output
    assert len(receiver.deliveries) == 1


async def test_a_page_that_is_not_taken_fails_the_command_and_stops_no_other(receiver):
    receiver.failures_to_come = 1
    status, output, errors = await receiver.send(
        "--url", receiver.url, "--secret-file", str(receiver.secret_file), "--segment", "S",
        "--add", "a@x.com", "b@x.com", "--page-size", "1", "--attempts", "1",
    )  # fmt: skip
    assert status == 1
    assert [line.split(":")[1].split()[0] for line in output.splitlines()] == ["503", "200"]
    assert "1 of 2 pages were not taken" in errors
    assert [list(each.add) for each in receiver.deliveries] == [["b@x.com"]]


@pytest.mark.parametrize("content", [None, "", b"\xff"])
async def test_a_secret_that_cannot_be_read_is_told_in_one_line(receiver, tmp_path, content):
    file = tmp_path / "other"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, output, errors = await receiver.send(
        "--url", receiver.url, "--secret-file", str(file), "--segment", "S", "--add", "a@x.com"
    )
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1


async def test_what_comes_back_is_told_whatever_it_is(receiver):
    [body] = build_pages(1, "S", ["a@x.com"], task_id="t")
    secret = "whsec with spaces "
    async with ClientSession() as session:
        assert (await post_page(session, receiver.url, secret, body)).status == 200
        assert (await post_page(session, receiver.url, "wrong", body)).status == 403
        assert (await post_page(session, receiver.url, secret, body, timestamp_ms=1)).status == 403
        receiver.failures_to_come = 1
        refused = await post_page(session, receiver.url, secret, body)
        assert (refused.status, refused.retry_after_seconds) == (503, 0)
        silent = await post_page(session, f"http://127.0.0.1:{free_port()}/", secret, body)
        assert silent.status == 0
        assert silent.text


user_lists = st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=20)


@given(add=user_lists, remove=user_lists, page_size=st.integers(1, 7))
def test_pages_hold_every_user_once_and_in_order(add, remove, page_size):
    bodies = build_pages("s", "Zoë", add, remove, task_id="t", page_size=page_size, id_token="token")
    pages = [json.loads(body) for body in bodies]
    assert [user["id"] for page in pages for user in page["data"]["add"]] == add
    assert [user["id"] for page in pages for user in page["data"]["remove"]] == remove
    sizes = [len(page["data"]["add"]) + len(page["data"]["remove"]) for page in pages]
    assert sizes[:-1] == [page_size] * (len(pages) - 1)
    assert sizes[-1] <= page_size
    numbers = [page["data"]["sync_info"]["page_number"] for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    assert {page["data"]["sync_info"]["total_pages"] for page in pages} == {len(pages)}
    assert "Zoë".encode() in bodies[0]
    assert bodies[0] == json.dumps(pages[0], separators=(",", ":"), ensure_ascii=False).encode()
