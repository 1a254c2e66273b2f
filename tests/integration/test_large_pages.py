"""Large pages are understood in a process of their own, which may fail without losing any."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from service.receive.page_reader import Timings
from tests.webhook_fixtures import Service, compact, page, running, two_accounts

USERS = [f"user{number}@example.com" for number in range(20_000)]


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service
    assert processes() == []


def processes() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        # It may end while it is looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "service.receive.page_process" in child.cmdline():
                found.append(child)
    return found


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  looked at from outside; nobody sets an event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("odd", [None, 12345, True, {"a": 1}, "undefined", "x" * 300, " UPPER@x.com ", "\x00"])
async def test_a_large_page_becomes_the_same_delivery_as_a_small_one(service, odd):
    for padding in ("", " " * 300_000):
        body = compact(page([*USERS[:3], odd], [USERS[1]])) + padding.encode()
        assert (await service.post(body))[0] == 200
    small, large = service.inbox.deliveries
    for field in set(small.__struct_fields__) - {"digest", "received_at_ms", "signed_at_ms"}:
        assert getattr(large, field) == getattr(small, field), field


async def test_what_is_wrong_with_a_large_page_is_told_as_with_a_small_one(service):
    wrong = [
        b"{",
        b"[" * 200_000,
        compact({"action_type": "other"}),
        compact(page() | {"action_type": "segment.users.drain"}),
        compact(page(number=-1)),
        # The account globex has an id_token; the last one holds half a surrogate pair.
        compact(page()),
        compact(page()).replace(b'"id_token":"token"', b'"id_token":"\\ud800"'),
    ]
    for body in wrong:
        answers = []
        for padding in (b"", b" " * 300_000):
            account = "globex" if b"drain" not in body else "acme"
            secret = "whsec globex" if account == "globex" else "whsec one"
            answers.append((await service.post(body + padding, path=f"/webhooks/heap/{account}", secret=secret))[:2])
        assert answers[0] == answers[1]
        assert answers[0][0] in {400, 403, 422}


async def test_a_process_that_dies_loses_no_page_and_the_next_one_starts_another(service):
    await service.post(page(USERS, task="first"))
    [process] = processes()
    process.send_signal(signal.SIGSTOP)
    with capture_logs() as lines:
        asked = asyncio.create_task(service.post(page(USERS, task="second")))
        await until(service.webhook._page_reader._turn.locked)
        process.kill()
        status, answer, headers = await asked
    assert (status, answer["error"]["code"]) == (503, "not_ready")
    assert int(headers["Retry-After"]) > 0
    [line] = [line for line in lines if line["event"] == "page_process.failed"]
    assert line["exit_status"] == -signal.SIGKILL
    assert (await service.post(page(USERS, task="second")))[0] == 200
    assert [each.task_id for each in service.inbox.deliveries] == ["first", "second"]


async def test_a_process_that_has_died_between_two_pages_is_replaced(service):
    await service.post(page(USERS, task="first"))
    [process] = processes()
    process.kill()
    await until(lambda: not processes())
    answers = [(await service.post(page(USERS, task="second")))[0] for _ in range(2)]
    assert answers[-1] == 200
    assert [each.task_id for each in service.inbox.deliveries] == ["first", "second"]


async def test_a_process_that_does_not_answer_is_ended(tmp_path):
    async with running(*two_accounts(tmp_path), page_timings=Timings(page_seconds=5.0)) as service:
        await service.post(page(USERS, task="first"))
        [process] = processes()
        process.send_signal(signal.SIGSTOP)
        assert (await service.post(page(USERS, task="second")))[0] == 503
        assert processes() == []
        assert (await service.post(page(USERS, task="second")))[0] == 200


async def test_the_process_ends_when_no_more_large_pages_come(tmp_path):
    async with running(*two_accounts(tmp_path), page_timings=Timings(idle_seconds=0.05)) as service:
        for task in ("first", "second"):
            assert (await service.post(page(USERS, task=task)))[0] == 200
            await until(lambda: not processes())


async def test_a_signal_to_all_processes_of_the_service_breaks_no_page(service):
    await service.post(page(USERS, task="first"))
    [process] = processes()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    assert (await service.post(page(USERS, task="second")))[0] == 200
    assert processes() == [process]


async def test_a_sender_that_goes_away_while_its_page_is_read_holds_up_nobody(service):
    await service.post(page(USERS, task="first"))
    [process] = processes()
    process.send_signal(signal.SIGSTOP)
    asked = asyncio.create_task(service.post(page(USERS, task="second")))
    await until(service.webhook._page_reader._turn.locked)
    asked.cancel()
    process.send_signal(signal.SIGCONT)
    assert (await service.post(page(USERS, task="third")))[0] == 200


async def test_the_process_gets_no_secret_from_the_service(service, monkeypatch):
    monkeypatch.setenv("HEAP_SECRET", "whsec")
    await service.post(page(USERS))
    [process] = processes()
    assert "HEAP_SECRET" not in process.environ()
    assert os.environ["HEAP_SECRET"]


async def test_small_pages_pass_by_while_a_large_one_is_read(service):
    await service.post(page(USERS, task="first"))
    [process] = processes()
    process.send_signal(signal.SIGSTOP)
    large = asyncio.create_task(service.post(page(USERS, task="large")))
    await until(service.webhook._page_reader._turn.locked)
    for number in range(20):
        assert (await service.post(page([f"{number}@x.com"], task=f"small-{number}")))[0] == 200
    assert not large.done()
    process.send_signal(signal.SIGCONT)
    assert (await large)[0] == 200
