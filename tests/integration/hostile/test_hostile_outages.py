"""Cordial is away, in every way it can be: nothing is given up, few calls are made, and it goes on by itself (R7)."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.deliver.circuit import Circuit
from service.model.accounts import AccountState
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import DEFAULT_API_KEY
from tests.command_fixtures import clean_environment, run_command
from tests.hostile_fixtures import LONG, HostileWorld, hostile_world, log_lines, page
from tests.service_fixtures import ACCOUNT, users

DAY_SECONDS = 86_400
CONCURRENCY = 8
OUTAGE_SECONDS = 10 if LONG else 0.8
PROBE_CAP_SECONDS = 0.4

WAYS = {
    "hangs": Fault(FaultKind.HANG, seconds=30, times=None),
    "503": Fault(FaultKind.ANSWER, status=503, times=None),
    "401": Fault(FaultKind.ANSWER, status=401, times=None),
    "HTML 502": Fault(FaultKind.HTML, status=502, times=None),
    "HTML 403": Fault(FaultKind.HTML, status=403, times=None),
    "HTML 200": Fault(FaultKind.HTML, status=200, times=None),
    "resets": Fault(FaultKind.RESET, times=None),
}

pytestmark = pytest.mark.usefixtures("quick_retries")


class Gate:
    """A port in front of Cordial that can be closed: connections are refused, those that stand are cut."""

    def __init__(self, target: str) -> None:
        self._target_port = int(target.rsplit(":", 1)[1])
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


@contextlib.asynccontextmanager
async def gated_world(tmp_path: Path) -> AsyncIterator[tuple[HostileWorld, Gate]]:
    async with hostile_world(tmp_path, start=False, max_concurrency=CONCURRENCY) as world:
        gate = Gate(world.cordial.url)
        await gate.open()
        await world.start(cordial_base_url=gate.url)
        try:
            yield world, gate
        finally:
            await world.stop()
            await gate.close()


async def suffer(world: HostileWorld, calls: Callable[[], int]) -> None:
    """Deliver into the outage and hold what is promised while it lasts; `calls` counts those made so far."""
    before, began = calls(), time.monotonic()
    await world.accepted(page(users(60), task="in the outage"))
    await world.readiness("account_stopped: ")
    await asyncio.sleep(OUTAGE_SECONDS)
    made, lasted = calls() - before, time.monotonic() - began
    # Those that were on their way when it began, and then one probe at a time, never two within half an interval.
    assert made <= CONCURRENCY + 5 + 4 + lasted / (PROBE_CAP_SECONDS / 2)
    assert world.dead_letters() == []
    waiting = world.rows("SELECT contact FROM member WHERE state IN (1, 2) ORDER BY contact")
    assert [contact for (contact,) in waiting] == sorted(f"email:{user}" for user in users(60))
    assert world.service.store.backlog.total == 60
    [(state, reason)] = world.rows("SELECT state, state_reason FROM account")
    assert (state, bool(reason)) == ("paused", True)


async def recover(world: HostileWorld) -> None:
    """The next call is due within one probe interval, and what waited is delivered."""
    status = world.service.deliverer.statuses()[ACCOUNT]
    assert (status.state, status.seconds <= PROBE_CAP_SECONDS) == (AccountState.PAUSED, True)
    await world.settled()
    assert world.members("Readers") == sorted(["before@example.com", *users(60)])
    assert world.dead_letters() == []
    await world.readiness(None)


@pytest.mark.parametrize("way", WAYS)
async def test_an_outage_ends_without_a_dead_letter(tmp_path, way):
    with log_lines() as lines:
        async with hostile_world(tmp_path, max_concurrency=CONCURRENCY, request_timeout_seconds=0.3) as world:
            await world.accepted(page(["before@example.com"], task="before"))
            await world.settled()
            world.cordial.faults.add(WAYS[way])
            await suffer(world, lambda: len(world.cordial.journal.calls) + len(world.cordial.journal._in_flight))
            world.cordial.faults.clear()
            await recover(world)
    assert len(lines("account.stopped")) == len(lines("account.resumed")) == 1


async def test_refused_connections_end_without_a_dead_letter(tmp_path):
    async with gated_world(tmp_path) as (world, gate):
        await world.accepted(page(["before@example.com"], task="before"))
        await world.settled()
        await gate.close()
        await suffer(world, lambda: int(world.service.deliverer.account("acme").line.calls))
        await gate.open()
        await recover(world)


async def test_an_outage_outlives_a_restart(tmp_path):
    async with hostile_world(tmp_path, max_concurrency=CONCURRENCY) as world:
        await world.accepted(page(["before@example.com"], task="before"))
        await world.settled()
        world.cordial.faults.add(WAYS["503"])
        await suffer(world, lambda: len(world.cordial.journal.calls))
        await world.restart()
        await world.readiness("account_stopped: ")
        world.cordial.faults.clear()
        await recover(world)


async def test_a_wrong_key_is_told_everywhere_and_a_right_one_needs_no_restart(tmp_path):
    configuration = tmp_path / "config.toml"
    with log_lines() as lines:
        async with hostile_world(tmp_path, start=False) as world:
            world.key_file.write_text("a wrong key")
            configuration.write_text(
                f'[store]\npath = "{world.store_file}"\n[accounts.{ACCOUNT}]\nheap_secret_file = "{tmp_path}/heap-secret"\n'
                f'cordial_api_key_file = "{world.key_file}"\n'
            )
            await world.start()
            await world.accepted(page(users(3)))
            message = await world.readiness("account_stopped: unauthorized: Access Denied")
            assert "a wrong key" not in message
            await world.until(lambda: world.rows("SELECT 1 FROM account WHERE state = 'paused'"))
            status = await run_command("status", "--config", str(configuration), environment=clean_environment())
            assert (
                f"account    {ACCOUNT}: not known now; last time: stopped, unauthorized: Access Denied" in status.output
            )
            world.key_file.write_text(DEFAULT_API_KEY)
            await world.settled()
            assert world.members("Readers") == users(3)
            await world.readiness(None)
            assert world.dead_letters() == []
    [paused] = lines("account.stopped")
    assert (paused["account"], paused["reason"], paused["status"]) == (ACCOUNT, "unauthorized", 401)
    assert "API key" in paused["hint"]
    assert "a wrong key" not in str(paused)


def test_a_day_of_outage_costs_few_probes(monkeypatch):
    """With the constants as they ship: at most two calls a minute and an account, at least one."""
    monkeypatch.undo()
    now = 0.0
    chance = random.Random(7)  # noqa: S311  repeatable, not unguessable
    circuit = Circuit(lambda: now, chance.random)
    for _ in range(5):
        circuit.failed("http_503", decisive=False, probe=False)
    assert circuit.is_open
    probes, longest_wait = 0, 0.0
    while now < DAY_SECONDS:
        longest_wait = max(longest_wait, circuit.next_probe_at - now)
        now = circuit.next_probe_at
        probes += 1
        circuit.failed("http_503", decisive=False, probe=True)
    assert DAY_SECONDS / 60 <= probes <= DAY_SECONDS / 30 + 10
    assert longest_wait <= 60
    assert circuit.passed()
