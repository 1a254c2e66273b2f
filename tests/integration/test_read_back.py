"""What Cordial carries out late, or holds otherwise than it has confirmed, is found by reading it back, and mended (R5, R11)."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from service.deliver.proof import read_back
from service.model.conditions import CATALOGUE
from service.model.proof import ReadBackReason
from service.sandbox.faults import Fault, FaultKind
from tests.import_fixtures import ask
from tests.service_fixtures import ACCOUNT, CONTACT_WRITES, World, delivering, users

pytestmark = pytest.mark.usefixtures("quick_retries")

GET_CONTACT = "GET /v2/contacts/{key}"
JANE, JOE = "jane@example.com", "joe@example.com"


async def in_doubt(world: World) -> int:
    return (await world.service.store.proofs.in_doubt()).get(ACCOUNT, 0)


async def nobody_in_doubt(world: World) -> None:
    async with asyncio.timeout(30):
        while await in_doubt(world) or world.service.store.backlog.total:  # noqa: ASYNC110  nobody sets an event
            await asyncio.sleep(0.01)


async def conditions(world: World) -> dict[str, int]:
    """Return how many people each condition is about, by the API, as it is now."""
    await world.service.conditions.look()
    return {each["id"]: each["people"] for each in (await ask(world, "conditions"))["items"]}


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_add_that_cordial_carries_out_after_the_removal_is_mended(tmp_path, monkeypatch, restarted):
    soon = msgspec.structs.replace(CATALOGUE["contacts_in_doubt"], patience_seconds=0.0)
    monkeypatch.setitem(CATALOGUE, "contacts_in_doubt", soon)
    async with delivering(tmp_path, request_timeout_seconds=0.3, in_doubt_seconds=2) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.LATE, contact=f"email:{JANE}", seconds=1.5))
        await world.deliver("Readers", [JANE])
        await world.until(lambda: not world.cordial.faults.script)
        await world.deliver("Readers", remove=[JANE])
        await world.settled()
        assert world.members("Readers") == [JOE]
        assert await in_doubt(world) == 1
        assert [account.in_doubt for account in await world.service.reader.accounts()] == [1]
        assert (await conditions(world))["contacts_in_doubt"] == 1
        if restarted:
            await world.restart()
        await world.until(lambda: world.members("Readers") == sorted([JANE, JOE]))
        await nobody_in_doubt(world)
        assert world.members("Readers") == [JOE]
        assert {call.contact for call in world.calls(GET_CONTACT)} == {f"email:{JANE}"}
        assert "contacts_in_doubt" not in await conditions(world)


class Gateway:
    """Stands before Cordial; answers the next call for Jane by itself, and passes it on all the same, `seconds` later."""

    def __init__(self, cordial_url: str, seconds: float) -> None:
        self._cordial_url = cordial_url
        self._seconds = seconds
        self._late: asyncio.Task[None] | None = None
        self.answer: web.Response | None = None
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Gateway"]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            runner = web.AppRunner(web.Application(), access_log=None)
            runner.app.router.add_route("*", "/{path:.*}", self._pass_on)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
                if self._late is not None:
                    await self._late
            finally:
                await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        is_janes = JANE.partition("@")[0] in request.raw_path or JANE.encode() in body
        if self.answer is not None and is_janes and request.method != "GET":
            answer, self.answer = self.answer, None
            self._late = asyncio.create_task(self._send_late(request, body))
            return answer
        return await self._send(request, body)

    async def _send_late(self, request: web.Request, body: bytes) -> None:
        await asyncio.sleep(self._seconds)
        await self._send(request, body)

    async def _send(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with self._session.request(
            request.method, self._cordial_url + request.raw_path, data=body, headers=headers
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": "application/json"}
            )


@pytest.mark.parametrize(("status", "body"), [(503, "<html>"), (500, "<html>"), (202, '{"status": "accepted"}')])
async def test_a_call_that_a_gateway_has_answered_and_passes_on_late_is_mended(tmp_path, status, body):
    async with delivering(tmp_path, in_doubt_seconds=2) as world, Gateway(world.cordial.url, 1.5).running() as gateway:
        await world.restart(cordial_base_url=gateway.url)
        await world.deliver("Readers", [JANE, JOE])
        await world.settled()
        gateway.answer = web.Response(status=status, text=body)
        await world.deliver("Readers", [], [JANE])
        await world.until(lambda: gateway.answer is None)
        await world.deliver("Readers", [JANE])
        await world.settled()
        await world.until(lambda: world.members("Readers") == [JOE])
        await nobody_in_doubt(world)
        await world.until(lambda: world.members("Readers") == [JANE, JOE])
        await world.stop()


async def test_a_removal_that_cordial_carries_out_after_the_add_is_mended(tmp_path):
    async with delivering(tmp_path, request_timeout_seconds=0.3, in_doubt_seconds=2) as world:
        await world.deliver("Readers", [JANE])
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.LATE, contact=f"email:{JANE}", seconds=1.5))
        await world.deliver("Readers", remove=[JANE])
        await world.until(lambda: not world.cordial.faults.script)
        await world.deliver("Readers", [JANE])
        await world.settled()
        await world.until(lambda: world.members("Readers") == [])
        await nobody_in_doubt(world)
        assert world.members("Readers") == [JANE]


@pytest.mark.parametrize(
    ("fault", "doubts"),
    [
        (Fault(FaultKind.RESET), 1),
        (Fault(FaultKind.APPLY_THEN_RESET), 1),
        (Fault(FaultKind.HTML, status=504), 1),
        (Fault(FaultKind.HTML, status=503), 1),
        (Fault(FaultKind.ANSWER, status=500), 0),
        (Fault(FaultKind.ANSWER, status=429, headers={"Retry-After": "0"}), 0),
    ],
)
async def test_a_contact_is_in_doubt_where_the_end_of_its_call_is_unknown(tmp_path, fault, doubts):
    async with delivering(tmp_path, in_doubt_seconds=1) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(msgspec.structs.replace(fault, contact=f"email:{JANE}", method="POST"))
        await world.deliver("Readers", [JANE])
        await world.settled()
        assert await in_doubt(world) == doubts
        await nobody_in_doubt(world)
        assert len(world.calls(GET_CONTACT)) == doubts
        assert world.members("Readers") == sorted([JANE, JOE])


async def test_a_call_that_never_began_puts_nobody_in_doubt(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        await world.restart(cordial_base_url="http://127.0.0.1:9")
        await world.deliver("Readers", [JANE])
        await world.until(lambda: world.service.deliverer.statuses()[ACCOUNT].seconds > 0)
        assert await in_doubt(world) == 0


async def test_calls_cut_by_a_stop_are_in_doubt_at_the_next_start(tmp_path):
    async with delivering(tmp_path, in_doubt_seconds=7) as world:
        world.grace_seconds = 0.1
        await world.deliver("Readers", [JOE])
        await world.settled()
        await world.restart()
        world.cordial.faults.add(Fault(FaultKind.LATE, contact=f"email:{JANE}", seconds=6))
        await world.deliver("Readers", [JANE])
        await world.until(lambda: not world.cordial.faults.script)
        await world.stop()
        assert world.rows("SELECT contact, reason FROM read_back") == [(f"email:{JANE}", "lost_answer")]
        assert world.rows("SELECT * FROM claimed") == []
        await world.start()
        await world.deliver("Readers", remove=[JANE])
        await world.settled()
        await world.until(lambda: world.members("Readers") == sorted([JANE, JOE]))
        await nobody_in_doubt(world)
        assert world.members("Readers") == [JOE]


async def test_without_permission_to_read_what_is_wanted_is_sent_again(tmp_path):
    async with delivering(tmp_path, request_timeout_seconds=0.3, in_doubt_seconds=2) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(
            Fault(FaultKind.LATE, contact=f"email:{JANE}", seconds=1.5),
            Fault(FaultKind.ANSWER, method="GET", endpoint="/v2/contacts/{key}", status=403, times=None),
        )
        await world.deliver("Readers", [JANE])
        await world.until(lambda: len(world.cordial.faults.script) == 1)
        await world.deliver("Readers", remove=[JANE])
        await world.settled()
        await world.until(lambda: world.members("Readers") == sorted([JANE, JOE]))
        await nobody_in_doubt(world)
        await world.until(lambda: world.members("Readers") == [JOE])
        assert not world.service.deliverer.pauses()[ACCOUNT]


async def test_a_reading_is_not_believed_if_the_ledger_changed_meanwhile(tmp_path):
    async with delivering(tmp_path, request_timeout_seconds=0.3, in_doubt_seconds=1) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(
            Fault(FaultKind.RESET, contact=f"email:{JANE}", method="POST"),
            # It reads the contact only after this, so the answer is of after the change.
            Fault(FaultKind.HANG, method="GET", endpoint="/v2/contacts/{key}", seconds=0.25),
        )
        await world.deliver("Readers", [JANE])
        await world.settled()
        await world.until(lambda: not world.cordial.faults.script)
        await world.deliver("Readers", remove=[JANE])
        await nobody_in_doubt(world)
        assert world.members("Readers") == [JOE]
        assert len(world.calls(GET_CONTACT)) >= 2


async def test_who_is_walked_past_is_compared_and_mended(tmp_path):
    async with delivering(tmp_path, proof_reads_per_hour=100_000) as world:
        await world.deliver("Readers", users(8))
        await world.settled()
        writes = len(world.calls(*CONTACT_WRITES))
        readers = world.cordial.state.lists_by_name["Readers"]
        with capture_logs() as lines:
            contact = world.cordial.state.find("email", users(8)[3])
            assert contact is not None
            readers.members.pop(contact.cid)
            await world.until(lambda: world.members("Readers") == sorted(users(8)))
        mended = [line for line in lines if line["event"] == "contact.mended"]
        assert [(line["missing_on"], line["wrongly_on"]) for line in mended] == [(["Readers"], [])]
        assert users(8)[3] not in str(lines)
        await world.settled()
        assert len(world.calls(*CONTACT_WRITES)) == writes + 1
        async with asyncio.timeout(30):
            while (found := await world.service.reader.segment(1)) is None or found.read_back < 8:  # noqa: ASYNC110  nobody sets an event
                await asyncio.sleep(0.01)
        assert (found.read_back, found.read_back_differ) == (8, 1)
        assert (await conditions(world))["members_differed"] == 1
        await world.restart(proof_reads_per_hour=0, proof_sample=0)
        with contextlib.closing(sqlite3.connect(world._store_file)) as a_day_later, a_day_later:
            a_day_later.execute("UPDATE member_read SET at_ms = at_ms - 90000000")
        assert "members_differed" not in await conditions(world)


async def test_the_walk_goes_on_where_it_stopped(tmp_path):
    async with delivering(tmp_path, proof_reads_per_hour=1) as world:
        await world.deliver("Readers", users(5))
        await world.settled()
        for number in range(6):
            await world.until(lambda: len(world.calls(GET_CONTACT)) > number)  # noqa: B023  awaited at once
            await world.restart()
        read = [call.contact for call in world.calls(GET_CONTACT)]
        in_order = [f"email:{user}" for user in sorted(users(5))]
        start = in_order.index(read[0])
        assert read[:6] == [in_order[(start + number) % 5] for number in range(6)]


async def test_an_erasure_is_over_only_when_no_late_call_can_undo_it(tmp_path):
    async with delivering(tmp_path, request_timeout_seconds=0.3, in_doubt_seconds=2) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.LATE, contact=f"email:{JANE}", seconds=1.5))
        await world.deliver("Readers", [JANE])
        await world.until(lambda: not world.cordial.faults.script)
        await world.settled()
        await world.forget(JANE)
        await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
        assert world.members("Readers") == [JOE]
        assert world.rows("SELECT contact FROM member") == [(f"email:{JOE}",)]
        assert world.rows("SELECT contact FROM read_back") == []
        assert world.rows("SELECT 1 FROM claimed WHERE contacts LIKE '%jane%'") == []


async def test_a_stranger_who_is_erased_while_read_is_not_written_any_more(tmp_path):
    async with delivering(tmp_path, strangers="remove", proof_sample=0, proof_reads_per_hour=0) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        stranger = world.cordial.state.create_contact(f"email:{JANE}", JANE)
        world.cordial.state.lists_by_name["Readers"].members[stranger.cid] = 1
        world.cordial.faults.add(Fault(FaultKind.HANG, contact=f"email:{JANE}", method="GET", seconds=1.0))
        proofs = world.service.store.proofs
        await proofs.ask(ACCOUNT, [f"email:{JANE}"], ReadBackReason.NAMED, 0)
        await world.until(lambda: not world.cordial.faults.script)
        await world.forget(JANE, keep_on_lists=True)
        await world.until(lambda: not world.rows("SELECT 1 FROM erasure"))
        # One contact is read after the other: once Joe is, Jane's turn is over.
        await proofs.ask(ACCOUNT, [f"email:{JOE}"], ReadBackReason.NAMED, 1)
        await world.until(lambda: f"email:{JOE}" in {call.contact for call in world.calls(GET_CONTACT)})
        assert [call.contact for call in world.contact_calls()] == [f"email:{JOE}"]
        assert world.members("Readers") == [JANE, JOE]
        assert world.rows("SELECT 1 FROM claimed WHERE contacts LIKE '%jane%'") == []
        assert world.rows("SELECT 1 FROM read_back WHERE contact LIKE '%jane%'") == []


async def test_who_is_erased_while_a_reading_waits_is_not_read(tmp_path):
    async with delivering(tmp_path, requests_per_second=4, proof_sample=0, proof_reads_per_hour=0) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        [(segment_id,)] = world.rows("SELECT id FROM segment")
        asked = [f"email:{user}" for user in (*users(16), JANE)]
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(world.service.deliverer.account(ACCOUNT).members.read(segment_id, asked))
            await world.until(lambda: world.calls(GET_CONTACT))
            await world.forget(JANE)
        assert reading.result() == [False] * 16 + [None]
        assert [call.contact for call in world.calls(GET_CONTACT)] == asked[:-1]


async def test_of_each_sync_a_few_are_read_back_on_and_off(tmp_path):
    async with delivering(tmp_path, proof_sample=4) as world:
        await world.deliver("Readers", users(30))
        await world.until(lambda: len(world.calls(GET_CONTACT)) >= 4)
        await world.deliver("Readers", remove=users(3))
        await world.until(lambda: len(world.calls(GET_CONTACT)) >= 7)
        read = [call.contact for call in world.calls(GET_CONTACT)]
        assert len(read) == 7
        assert len(set(read[:4])) == 4
        assert sorted(read[4:]) == [f"email:{user}" for user in users(3)]


async def test_many_in_doubt_are_read_with_one_look_at_the_lists(tmp_path):
    async with delivering(tmp_path) as world:
        await world.deliver("Readers", users(60))
        await world.settled()
        looks = len(world.calls("GET /v2/accountlists"))
        await world.service.store.proofs.ask(ACCOUNT, [f"email:{user}" for user in users(60)], ReadBackReason.CRASH, 0)
        await nobody_in_doubt(world)
        assert len(world.calls(GET_CONTACT)) == 60
        assert len(world.calls("GET /v2/accountlists")) - looks <= 3


async def test_a_resume_ends_the_wait_after_readings_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(read_back, "_BACKOFF_FIRST_SECONDS", 3_600.0)
    monkeypatch.setattr(read_back, "_BACKOFF_LAST_SECONDS", 3_600.0)
    async with delivering(tmp_path, in_doubt_seconds=1) as world:
        await world.deliver("Readers", [JOE])
        await world.settled()
        world.cordial.faults.add(Fault(FaultKind.RESET, contact=f"email:{JANE}", method="POST"))
        world.cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{JANE}", method="GET", status=503))
        await world.deliver("Readers", [JANE])
        await world.until(lambda: not world.cordial.faults.script)
        assert await in_doubt(world) == 1
        world.service.deliverer.account(ACCOUNT).resume()
        await nobody_in_doubt(world)
