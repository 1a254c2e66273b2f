import asyncio
import time

import aiohttp
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import SandboxOptions
from tests.sandbox_fixtures import calling

JANE = "email:jane@example.com"


@pytest.fixture
async def cordial():
    async with calling(SandboxOptions(journal=True)) as caller:
        await caller.create_list("Readers")
        yield caller


async def test_the_next_calls_get_the_scripted_answer(cordial):
    cordial.sandbox.faults.add(
        Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", times=2),
        Fault(FaultKind.ANSWER, method="POST", status=429, headers={"Retry-After": "7"}),
    )
    assert (await cordial.call("GET", "/v2/accountlists")).status == 200
    replies = [await cordial.add("jane@example.com", Readers=True) for _ in range(4)]
    assert [reply.status for reply in replies] == [503, 503, 429, 201]
    assert replies[2].headers["Retry-After"] == "7"
    assert replies[0].json["error"] is True
    assert [call.applied for call in cordial.sandbox.journal.calls[-4:]] == [False, False, False, True]
    assert cordial.sandbox.faults.script == []


async def test_one_contact_can_fail_for_ever(cordial):
    cordial.sandbox.faults.add(
        Fault(FaultKind.ANSWER, contact=JANE, status=500, times=None),
        Fault(FaultKind.ANSWER, contact="email:joe@example.com", status=422, times=None),
    )
    for _ in range(3):
        assert (await cordial.add(" Jane@example.com", Readers=True)).status == 500
        assert (await cordial.call("PUT", "/v2/contacts/email:jane%40example.com", {})).status == 500
        refused = await cordial.add("joe@example.com", Readers=True)
        assert (refused.status, list(refused.json)) == (422, ["error", "errorKey", "messages"])
        assert (await cordial.add("jim@example.com", Readers=True)).status == 201
    assert await cordial.members("Readers") == ["jim@example.com"]
    cordial.sandbox.faults.clear()
    assert (await cordial.add("jane@example.com")).status == 201


async def test_a_proxy_in_front_answers_in_html(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.HTML, status=403))
    reply = await cordial.add("jane@example.com")
    assert reply.status == 403
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "<html>" in reply.text


async def test_a_status_that_only_proxies_know_can_be_answered(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.ANSWER, status=522), Fault(FaultKind.HTML, status=520))
    assert [(await cordial.add("jane@example.com")).status for _ in range(2)] == [522, 520]


async def test_a_key_can_be_refused_for_a_while(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.ANSWER, status=401))
    refused = await cordial.add("jane@example.com")
    assert (refused.status, refused.json) == (401, {"error": "Access Denied: Authentication Failure"})
    assert (await cordial.add("jane@example.com")).status == 201


async def test_a_body_can_be_anything(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.ANSWER, status=200, body='{"errors": ["odd"]}'))
    reply = await cordial.add("jane@example.com")
    assert (reply.status, reply.json) == (200, {"errors": ["odd"]})


@pytest.mark.parametrize(
    ("kind", "members"), [(FaultKind.RESET, []), (FaultKind.APPLY_THEN_RESET, ["jane@example.com"])]
)
async def test_a_connection_is_reset_before_or_after_the_effect(cordial, kind, members):
    cordial.sandbox.faults.add(Fault(kind))
    with pytest.raises(aiohttp.ClientConnectionError):
        await cordial.add("jane@example.com", Readers=True)
    assert await cordial.members("Readers") == members
    cut = cordial.sandbox.journal.calls[-1]
    assert (cut.status, cut.applied) == (None, bool(members))


async def test_a_hanging_call_goes_on_if_somebody_still_waits(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.HANG, seconds=0.2))
    started = time.monotonic()
    assert (await cordial.add("jane@example.com", Readers=True)).status == 201
    assert time.monotonic() - started >= 0.2
    assert await cordial.members("Readers") == ["jane@example.com"]


async def test_a_hanging_call_has_no_effect_once_the_caller_has_left(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.HANG, seconds=0.5))
    with pytest.raises(TimeoutError):
        await cordial.call(
            "POST",
            "/v2/contacts",
            {"channels": {"email": {"address": "jane@example.com"}}, "Readers": True},
            timeout=aiohttp.ClientTimeout(total=0.1),
        )
    while cordial.sandbox.journal.total < 2:  # noqa: ASYNC110  the journal only counts, it tells nobody
        await asyncio.sleep(0.01)
    assert await cordial.members("Readers") == []
    assert cordial.sandbox.journal.by_status[None] == 1


async def test_a_late_call_takes_effect_after_the_caller_has_left(cordial):
    cordial.sandbox.faults.add(Fault(FaultKind.LATE, seconds=0.3))
    with pytest.raises(TimeoutError):
        await cordial.call(
            "POST",
            "/v2/contacts",
            {"channels": {"email": {"address": "jane@example.com"}}, "Readers": True},
            timeout=aiohttp.ClientTimeout(total=0.1),
        )
    while cordial.sandbox.journal.total < 2:  # noqa: ASYNC110  the journal only counts, it tells nobody
        await asyncio.sleep(0.01)
    assert await cordial.members("Readers") == ["jane@example.com"]
    assert (await cordial.contact("email:jane%40example.com"))["lists"] == ["Readers"]


async def statuses_with_random_faults(seed: int) -> list[int | None]:
    async with calling(SandboxOptions(error_rate=0.5, seed=seed)) as cordial:
        found: list[int | None] = []
        for number in range(60):
            try:
                found.append((await cordial.add(f"user{number}@example.com")).status)
            except aiohttp.ClientConnectionError:
                found.append(None)
        return found


async def test_random_faults_are_mixed_and_repeat_with_the_seed():
    first = await statuses_with_random_faults(seed=1)
    assert first == await statuses_with_random_faults(seed=1)
    assert first != await statuses_with_random_faults(seed=2)
    assert {201, 429, 500, 502, 503, None} == set(first)
    assert 15 < first.count(201) < 45


async def test_latency_holds_every_call():
    async with calling(SandboxOptions(latency_ms=50)) as cordial:
        started = time.monotonic()
        await cordial.call("GET", "/v2/accountlists")
        assert time.monotonic() - started >= 0.05


async def test_simultaneous_calls_for_one_contact_are_seen():
    async with calling(SandboxOptions(latency_ms=100)) as cordial:
        await asyncio.gather(*(cordial.add(f"user{number}@example.com", custID=f"C-{number}") for number in range(5)))
        assert cordial.sandbox.journal.max_in_flight_per_contact == 1
        # The same contact by three of its names.
        await asyncio.gather(
            cordial.add("USER1@example.com"),
            cordial.call("PUT", "/v2/contacts/email:user1%40example.com", {}),
            cordial.call("PUT", "/v2/contacts/custID:C-1", {}),
            cordial.add("user2@example.com"),
        )
        assert cordial.sandbox.journal.max_in_flight_per_contact == 3


async def test_the_journal_keeps_every_call(cordial):
    await cordial.add("jane@example.com", Readers=True, suppressTriggers=True)
    await cordial.call("PUT", "/v2/contacts/email:jane%40example.com", {"Readers": False})
    created, updated = cordial.sandbox.journal.calls[-2:]
    assert (created.method, created.endpoint, created.contact, created.status) == ("POST", "/v2/contacts", JANE, 201)
    assert list(created.body) == ["channels", "Readers", "suppressTriggers"]
    assert (updated.endpoint, updated.contact, updated.body) == ("/v2/contacts/{key}", JANE, {"Readers": False})
    assert created.arrived_at_seconds <= created.finished_at_seconds <= updated.arrived_at_seconds
    assert cordial.sandbox.journal.by_status == {200: 2, 201: 1}


async def test_without_a_journal_only_the_last_calls_are_kept():
    async with calling() as cordial:
        for _ in range(120):
            await cordial.call("GET", "/v2/accountlists")
        journal = cordial.sandbox.journal
        assert (journal.total, len(journal.recent), journal.calls) == (120, 100, [])
