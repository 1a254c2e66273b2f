"""One simulation: the whole service, a stand-in for each account, a sender like Heap and an operator, as a plan has it."""

import asyncio
import contextlib
import contextvars
import hashlib
import itertools
import logging
import random
import secrets
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Coroutine, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import aiosqlite.core
import msgspec
import structlog
from aiohttp import web

from service.app import Service, running_service
from service.clock import Boot, SteadyClock
from service.commands.reloading import Reloader
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.model.accounts import AccountState
from service.model.deliveries import Delivery, Receipt, ReceiptStatus
from service.model.guard import RemovalGuard
from service.sandbox.cordial import Sandbox
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import SANDBOX, make_application
from service.store.sqlite.store import SqliteStore
from service.supervision import Supervisor
from tests.hostile_fixtures import drain_page
from tests.simulation.checks import CallChecks, StoreChecks, owed, reading
from tests.simulation.clocks import CLOCK
from tests.simulation.injection import Injector
from tests.simulation.loop import LIFE, InlineQueue, NoThread, SimulationLoop
from tests.simulation.network import Call, Network, Weather
from tests.simulation.plans import LONGEST_ON_THE_WAY_SECONDS, Event, Plan

HEAP_SECRET = "whsec one"
API_KEY = "page key"
SERVICE_PORT = 8080
SERVICE_URL = f"http://127.0.0.1:{SERVICE_PORT}"
_FIRST_CORDIAL_PORT = 9001
# Beyond this, whatever is still owed is never coming.
_PATIENCE_SECONDS = 3 * 3_600.0
_QUIET_SECONDS = 90.0
# In how many strides one sleeps through an outage that is a long one; and how long a stride is at rest, and when nothing is owed.
_LONG_OUTAGE_SECONDS = 600
_STRIDES_OF_AN_OUTAGE = 100
_STRIDE_AT_REST_SECONDS = 4.0
_QUIET_STRIDE_SECONDS = 10.0
# After that, all calls are made with the settings that were read last.
_CHANGE_OVER_SECONDS = 120.0
# aiohttp counts on the order in which asyncio calls back, which we shuffle: a connection may be lost between a request's
# arrival and the moment that its handler wakes.
_OUT_OF_ORDER = "web_protocol.py:666"
_MAX_STEPS = 4_000_000
_DONE = 200
# The API's answer about an account that is out of the configuration: nothing was done.
_NOT_FOUND = 404
_OUTAGES = {
    "401": Fault(FaultKind.ANSWER, status=401, times=None),
    "403": Fault(FaultKind.ANSWER, status=403, times=None),
    "404": Fault(FaultKind.HTML, status=404, times=None),
    # In Cordial's own words, for everybody.
    "record not found": Fault(FaultKind.ANSWER, status=404, times=None),
    "html": Fault(FaultKind.HTML, status=200, times=None),
    "500": Fault(FaultKind.ANSWER, status=500, times=None),
    "503": Fault(FaultKind.ANSWER, status=503, times=None),
}


class Result(msgspec.Struct):
    """What came of a simulation; `trace` is the same for the same plan. `failed`: what was made to fail, if it was reached."""

    seed: int
    found: list[str]
    steps: int
    virtual_seconds: float
    calls: int
    trace: str
    failed: str = ""


def database_of(folder: Path, crashes: int) -> Path:
    """Return where the store lies after so many crashes."""
    return folder / f"store-{crashes}" / "heap-cordial.db"


class World:
    """Carries out one plan."""

    def __init__(self, plan: Plan, folder: Path, *, tells: bool = False) -> None:
        self.plan = plan
        self._tells = tells
        self._folder = folder
        self._chance = random.Random(plan["seed"])  # noqa: S311  what happens must be repeatable, not unguessable
        self.found: list[str] = []
        self.network = Network(self._chance)
        self.loop = SimulationLoop(self._chance, self.network, shuffles=plan["shuffles"])
        self._ports = {name: _FIRST_CORDIAL_PORT + number for number, name in enumerate(plan["accounts"])}
        self.calls = CallChecks({port: name for name, port in self._ports.items()}, self.found)
        self.calls.is_so = self._is_so
        self.store = StoreChecks(self.found)
        self.cordial: dict[str, Sandbox] = {}
        # Lists of others in Cordial, with who is on them; and names that lists of ours had.
        self._foreign: dict[tuple[str, int], set[str]] = {}
        self._once_ours: dict[str, set[str]] = {name: set() for name in plan["accounts"]}
        self.lives = 0
        self._crashes = 0
        self._operators = {name: asyncio.Lock() for name in plan["accounts"]}
        self.service: Service | None = None
        self._stop_asked = asyncio.Event()
        self._is_up = asyncio.Event()
        self._is_down = asyncio.Event()
        self._is_down.set()
        self._crash_at: int | None = None
        self._crashed = asyncio.Event()
        self._trace = hashlib.blake2b(digest_size=8)
        self._posts: list[tuple[str, bytes]] = []
        self._senders: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._accounts = self._account_settings()
        # Accounts that are out of the configuration at the moment, and segments whose list somebody has deleted.
        self._gone: set[str] = set()
        self._deleted: set[tuple[str, str]] = set()
        # Accounts whose Cordial calls rows done that it has lost, and lists of theirs that somebody has rebuilt since.
        self._misled: set[str] = set()
        self._rebuilt: set[int] = set()
        self._reload_asked = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        # Lets one call fail: then the process may end by itself, as long as it comes to rest after another start.
        self._injector = Injector(**plan["inject"]) if "inject" in plan else None
        self.calls.is_repeat_wrong = self._injector is None

    @property
    def database(self) -> Path:
        return database_of(self._folder, self._crashes)

    def run(self) -> Result:
        """Carry out the plan and return what was found."""
        began_at = CLOCK.now
        self.network.observer.began = self._call_began
        self.network.observer.ended = self._call_ended
        self.network.observer.refused = self.calls.refused
        self.loop.on_step = self._after_step
        self.loop.set_exception_handler(self._unhandled)
        try:
            self.loop.run_until_complete(self._run())
        except Exception as error:  # noqa: BLE001  a simulation that cannot end is a finding like any other
            self.found.append(f"the simulation ended by {type(error).__name__}: {error}")
        return Result(
            self.plan["seed"],
            list(dict.fromkeys(self.found)),
            self.loop.steps,
            CLOCK.now - began_at,
            self.calls.calls,
            self._trace.hexdigest(),
            self._injector.failed if self._injector else "",
        )

    # The parts.

    def spawn(self, life: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something as a part of a life."""
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        return self.loop.create_task(work, context=context)

    async def _run(self) -> None:
        await self.spawn("cordial", self._start_cordial())
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        self._start_life()
        await self._is_up.wait()
        began_at = CLOCK.now
        for event in self.plan["events"]:
            await asyncio.sleep(max(0.0, began_at + event["at_ms"] / 1000 - CLOCK.now))
            await getattr(self, f"_do_{event['kind']}")(event)
            self._look()
            if self.found:
                return
        await self._come_to_rest()

    async def _start_cordial(self) -> None:
        for name, port in self._ports.items():
            options = SandboxOptions(
                latency_ms=self.plan["latency_ms"], seed=self.plan["seed"], imports=ImportOptions(delay_seconds=1)
            )
            application = make_application(options)
            self.cordial[name] = application[SANDBOX]
            # A list of the same id and name in another Cordial would be taken for the same list.
            self.cordial[name].state._list_ids = itertools.count((port - _FIRST_CORDIAL_PORT + 1) * 1_000)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()

    def _start_life(self) -> None:
        self.lives += 1
        self.calls.new_life(after_crash=self._crashed.is_set())
        self._stop_asked.clear()
        self._is_down.clear()
        self._crashed.clear()
        life = f"service-{self.lives}"
        task = self.spawn(life, self._live())
        self._others.add(task)
        task.add_done_callback(self._life_ended)

    async def _live(self) -> None:
        supervisor, reloader = Supervisor(), Reloader(self.settings)
        async with running_service(self.settings(), supervisor, reload=reloader.reload) as service:
            self.service = service
            reloading = supervisor.start("reloading", reloader.reload_when_asked(service, self._reload_asked))
            self._is_up.set()
            waits = [asyncio.ensure_future(self._stop_asked.wait()), asyncio.ensure_future(supervisor.failed.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._is_up.clear()
            if supervisor.failed.is_set() and self._injector is None:
                self.found.append(f"R15: {', '.join(supervisor.ended)} ended unasked")
            reloading.cancel()
            await asyncio.wait([reloading])

    def _life_ended(self, task: asyncio.Task[None]) -> None:
        self.service = None
        self._is_up.clear()
        self._is_down.set()
        error = None if task.cancelled() else task.exception()
        if self._stop_asked.is_set() and error is None:
            return
        if self._injector is None:
            self.found.append(f"R13: a life of the service ended by {error!r} at {_place_of(error)}")
        # As whoever runs the service does: systemd, or a container's engine.
        self.loop.call_later(1.0, self._start_life)

    def settings(self) -> Settings:
        """Return the configuration as it is now."""
        return Settings(
            server=ServerSettings(
                host="127.0.0.1",
                port=SERVICE_PORT,
                shutdown_grace_seconds=5,
                api_keys=(SecretReference(file=str(self._folder / "api-key")),),
            ),
            store=StoreSettings(path=str(self.database), settle_interval_seconds=self.plan["settle_interval_seconds"]),
            log=LogSettings(),
            accounts={name: account for name, account in self._accounts.items() if name not in self._gone},
        )

    def _account_settings(self) -> dict[str, AccountSettings]:
        for file, secret in (("heap-secret", HEAP_SECRET), ("key", DEFAULT_API_KEY), ("api-key", API_KEY)):
            (self._folder / file).write_text(secret)
        made = {}
        for name, chosen in self.plan["accounts"].items():
            values = dict(chosen)
            if "hold_removals" in values:
                values["hold_removals"] = RemovalGuard(**values["hold_removals"])
            if values.pop("imports"):
                values |= {"public_url": SERVICE_URL, "bulk_threshold": 4, "bulk_untested": True}
            made[name] = AccountSettings(
                name=name,
                heap_secrets=(SecretReference(file=str(self._folder / "heap-secret")),),
                cordial_api_key=SecretReference(file=str(self._folder / "key")),
                cordial_base_url=f"http://127.0.0.1:{self._ports[name]}",
                timestamp_tolerance_seconds=604_800,
                **values,
            )
            self.calls.rates[name] = rate_of(made[name])
        return made

    # At every step.

    def _after_step(self) -> None:
        if self._crash_at is not None and self.loop.steps >= self._crash_at:
            self._crash_at = None
            self._crash()
        if self.loop.steps > _MAX_STEPS:
            raise RuntimeError("too many steps")

    def _crash(self) -> None:
        """Kill the service: whatever is on disk stays, and everything else is gone."""
        before = self.database
        self.loop.cut_off(f"service-{self.lives}")
        self.calls.crashed()
        self._crashes += 1
        self.database.parent.mkdir()
        for suffix in ("", "-wal", ".acknowledged"):
            file = before.with_name(before.name + suffix)
            if file.exists():
                shutil.copyfile(file, self.database.with_name(file.name))
        self.service = None
        self._is_up.clear()
        self._is_down.set()
        self._reload_asked = asyncio.Event()
        self._crashed.set()

    def _look(self) -> None:
        for (account, list_id), members in self._foreign.items():
            if set(self.cordial[account].state.lists[list_id].members) != members:
                self.found.append(f"R10: list {list_id} of {account} is somebody else's, and was written to")
        if self.database.exists():
            self.store.look(self.database)

    def _is_so(self, account: str, contact: str, memberships: Mapping[str, bool]) -> bool:
        state = self.cordial[account].state
        found = state.find("email", contact.split(":", 1)[1])
        on_lists = {each.name for each in state.lists_of(found)} if found else set()
        return all((name in on_lists) == wanted for name, wanted in memberships.items())

    def _call_began(self, call: Call) -> None:
        self._trace.update(f"{CLOCK.now:.5f} {call.port} {call.method} {call.path}\n".encode())
        self.calls.began(call)

    def _call_ended(self, call: Call) -> None:
        if self._tells:
            print(f"{CLOCK.now:.3f} {call.number} {call.life} {call.method} {call.path} {call.body!r} {call.status}")  # noqa: T201
        self.calls.ended(call)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        place = _place_of(error)
        if place.endswith(_OUT_OF_ORDER):
            return
        self.found.append(f"unhandled: {context.get('message')}: {error!r} at {place} {context.get('task', '')}")

    # What plans can say.

    async def _do_page(self, event: Event) -> None:
        name = f"Segment {event['segment']}" + (" renamed" if event["renamed"] else "")
        [body] = build_pages(
            event["segment"], name, event["add"], event["remove"], task_id=f"task-{event['task']}", page_size=10_000
        )
        body = body.replace(b'"page_number":1', b'"page_number":%d' % event["page"])
        self._send(event["account"], body, event["late_ms"])

    async def _do_flip(self, event: Event) -> None:
        await self._do_page(event)
        await self._do_page(event | event["then"])

    async def _do_repeat(self, event: Event) -> None:
        if self._posts:
            account, body = self._posts[event["which"] % len(self._posts)]
            self._send(account, body, event["late_ms"])

    async def _do_drain(self, event: Event) -> None:
        self._send(event["account"], drain_page(f"Segment {event['segment']}", event["segment"]), 0)

    async def _do_fault(self, event: Event) -> None:
        self.cordial[event["account"]].faults.add(msgspec.convert(event["fault"], Fault))

    async def _do_import_fault(self, event: Event) -> None:
        if "lose_share" in event["fault"]:
            self._misled.add(event["account"])
        self.cordial[event["account"]].imports.faults.add(msgspec.convert(event["fault"], ImportFault))

    async def _do_weather(self, event: Event) -> None:
        port = SERVICE_PORT if event["to"] == "service" else self._ports[event["to"]]
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in event["weather"].items()
        }
        self.network.weather[port] = Weather(**values)
        self.loop.call_later(event["seconds"], self.network.weather.pop, port, None)

    async def _do_outage(self, event: Event) -> None:
        faults, port = self.cordial[event["account"]].faults, self._ports[event["account"]]
        if event["how"] == "unreachable":
            self.network.weather[port] = Weather(refused=1.0, cut_request=1.0)
        else:
            faults.clear()
            faults.add(_OUTAGES[event["how"]])
        # As a machine sleeps that has better things to do.
        if event["seconds"] >= _LONG_OUTAGE_SECONDS:
            self.loop.coarseness = event["seconds"] / _STRIDES_OF_AN_OUTAGE
        await asyncio.sleep(event["seconds"])
        self.loop.coarseness = 0.0
        self.network.weather.pop(port, None)
        faults.clear()

    async def _do_clock(self, event: Event) -> None:
        CLOCK.step_wall(event["seconds"])
        if event["reboot"]:
            CLOCK.reboot()
        if event["restart"]:
            # Only a process that starts believes the new time.
            await self._do_stop({"down_seconds": 0.01})

    async def _do_crash(self, event: Event) -> None:
        if self._is_down.is_set():
            return
        self._crash_at = self.loop.steps + event["after_steps"]
        await self._crashed.wait()
        self._look()
        await asyncio.sleep(event["down_seconds"])
        self._start_life()

    async def _do_stop(self, event: Event) -> None:
        await self._stop()
        await asyncio.sleep(event["down_seconds"])
        self._start_life()

    async def _stop(self) -> None:
        await self._is_up.wait()
        self._stop_asked.set()
        if not await self._is_down_within(120):
            self.found.append("R13: the service did not stop within two minutes")

    async def _is_down_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_down.wait()
        return self._is_down.is_set()

    async def _do_reload(self, event: Event) -> None:
        name = event["account"]
        self._accounts[name] = msgspec.structs.replace(self._accounts[name], **event["change"])
        if event["change"].get("dry_run"):
            self._other(self._end_dry_run(name))
        rate = event["change"].get("requests_per_second")
        if rate is not None:
            # Calls on their way are made as before.
            self.calls.rates[name] = max(rate, self.calls.rates[name])
            self._other(self._change_rate(name))
        self._reload_asked.set()

    async def _change_rate(self, name: str) -> None:
        await asyncio.sleep(_CHANGE_OVER_SECONDS)
        self.calls.rates[name] = rate_of(self._accounts[name])

    async def _do_go(self, event: Event) -> None:
        """An account is taken out of the configuration, and comes back."""
        self._gone.add(event["account"])
        self._reload_asked.set()
        self._other(self._come_back(event["account"], event["seconds"]))

    async def _come_back(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._gone.discard(name)
        self._reload_asked.set()

    async def _end_dry_run(self, name: str) -> None:
        await asyncio.sleep(5)
        self._accounts[name] = msgspec.structs.replace(self._accounts[name], dry_run=False)
        self._reload_asked.set()

    async def _do_pause(self, event: Event) -> None:
        self._other(self._pause(event["account"], event["seconds"]))

    async def _pause(self, account: str, seconds: float) -> None:
        async with self._operators[account]:
            if await self._steer(account, "pause") == _DONE:
                self.calls.paused.add(account)
            await asyncio.sleep(seconds)
            await self._resume(account)

    async def _resume(self, account: str) -> None:
        self.calls.paused.discard(account)
        for _ in range(100):
            self.calls.resuming.add(account)
            status = await self._steer(account, "resume")
            self.calls.resuming.discard(account)
            if status != _NOT_FOUND:
                self.calls.resumed(account)
            if status == _DONE:
                return
            await asyncio.sleep(1)

    async def _steer(self, account: str, action: str) -> int:
        """Ask for it; return the status. Without an answer (0) it may be done until long afterwards: wait for that."""
        status = await self._ask("POST", f"accounts/{account}/{action}", {})
        if not status:
            await asyncio.sleep(LONGEST_ON_THE_WAY_SECONDS)
        return status

    async def _do_rebuild(self, event: Event) -> None:
        self._other(self._list_action(event, "rebuild", {"include_removed": event["include_removed"]}))

    async def _do_verify(self, event: Event) -> None:
        self._other(self._list_action(event, "verify", {}))

    async def _list_action(self, event: Event, action: str, body: dict[str, Any]) -> None:
        for list_id in self._list_ids(event["account"], str(event["segment"])):
            self.calls.forget_told(event["account"])
            await self._ask("POST", f"lists/{list_id}/{action}", body)
            self.calls.forget_told(event["account"])

    async def _do_forget(self, event: Event) -> None:
        user = event["user"]
        for account in self.plan["accounts"]:
            self.store.forgotten.add((account, user))
        self.calls.forget_told(users=[user])
        self._other(self._forget(user))

    async def _forget(self, user: str) -> None:
        for _ in range(60):
            status = await self._ask("POST", "forget", {"user": user})
            self.calls.forget_told(users=[user])
            if status in {200, 202}:
                return
            await asyncio.sleep(1)

    async def _do_disk(self, event: Event) -> None:
        self.loop.disk_factor = event["factor"]
        self.loop.call_later(event["seconds"], setattr, self.loop, "disk_factor", 1.0)

    async def _do_foreign(self, event: Event) -> None:
        """Somebody makes a list in Cordial that is called like a segment's; then the segment's page comes."""
        self._make_foreign_list(event)
        await self._do_page(event)

    def _make_foreign_list(self, event: Event) -> None:
        account = event["account"]
        state, name = (
            self.cordial[account].state,
            f"Segment{event['segment']}" + ("renamed" if event["renamed"] else ""),
        )
        # Where it had been ours, calls by its name may be on their way.
        if name in self._names_used(account):
            return
        account_list = state.create_list(name, enhanced=event["enhanced"])
        for number in range(2):
            address = f"keeper{account_list.id}-{number}@example.com"
            account_list.members[state.create_contact(f"email:{address}", address).cid] = 1
        self._foreign[account, account_list.id] = set(account_list.members)

    def _names_used(self, account: str) -> set[str]:
        """Return the names of all lists, and those that the service may be about to create."""
        names = set(self.cordial[account].state.lists_by_name)
        with reading(self.database) as connection:
            rows = connection.execute(
                "SELECT list_name FROM segment s JOIN account a ON a.id = s.account_id WHERE a.name = ?", (account,)
            )
            return names | {row[0] for row in rows} | self._once_ours[account]

    async def _do_rename_list(self, event: Event) -> None:
        """Somebody renames a list of ours in Cordial."""
        account = event["account"]
        state = self.cordial[account].state
        name = f"Segment{event['segment']}"
        account_list = state.lists_by_name.get(name)
        if account_list is not None and (account, account_list.id) not in self._foreign:
            self._once_ours[account].add(name)
            state.rename_list(account_list, f"Other-{account_list.id}")
            self.calls.forget_told(account)

    async def _do_delete_list(self, event: Event) -> None:
        """Somebody deletes a list of ours in Cordial."""
        account = event["account"]
        state = self.cordial[account].state
        account_list = state.lists_by_name.get(f"Segment{event['segment']}")
        if account_list is not None and (account, account_list.id) not in self._foreign:
            state.delete_list(account_list)
            self._deleted.add((account, str(event["segment"])))
            self.calls.forget_told(account)

    async def _do_approve(self, _event: Event) -> None:
        self._other(self._approve_all())

    def _move_foreign_lists_away(self) -> None:
        for account, list_id in self._foreign:
            state = self.cordial[account].state
            state.rename_list(state.lists[list_id], f"Foreign-{list_id}")

    # Those who speak with the service.

    def _send(self, account: str, body: bytes, late_ms: int) -> None:
        self._posts.append((account, body))
        task = self.spawn("heap", self._post(account, body, late_ms))
        self._senders.add(task)
        task.add_done_callback(self._senders.discard)

    async def _post(self, account: str, body: bytes, late_ms: int) -> None:
        """Send a page as Heap does, again and again until it is taken."""
        assert self._session is not None
        await asyncio.sleep(late_ms / 1000)
        users = [user["id"] for part in ("add", "remove") for user in msgspec.json.decode(body)["data"].get(part, [])]
        is_drain = b"segment.users.drain" in body
        longest = 3.0
        while True:
            # What a page says may be sent from the moment that it is on its way.
            self.calls.forget_told(account, None if is_drain else users)
            answer = await post_page(self._session, f"{SERVICE_URL}/webhooks/heap/{account}", HEAP_SECRET, body)
            self.calls.forget_told(account, None if is_drain else users)
            if answer.status == 200:
                self.store.acknowledged.add((account, hashlib.sha256(body).digest()))
                return
            # A clock that was set between the signing and the look at it makes a page too old, or too new.
            if answer.status and answer.status not in {403, 429, 503}:
                self.found.append(f"R2: an authentic page was answered {answer.status}: {answer.text}")
                return
            await asyncio.sleep(self._chance.uniform(0.2, longest))
            longest = min(120.0, longest * 1.3)

    def _other(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.spawn("operator", work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _ask(self, method: str, path: str, body: Any = None) -> int:
        """Ask the API; return the status, 0 without an answer."""
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                f"{SERVICE_URL}/api/v1/{path}",
                json=body,
                headers={"Authorization": aiohttp.encode_basic_auth(API_KEY, "")},
            ) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    def _list_ids(self, account: str, heap_id: str) -> list[int]:
        with reading(self.database) as connection:
            rows = connection.execute(
                "SELECT s.id FROM segment s JOIN account a ON a.id = s.account_id WHERE a.name = ? AND heap_id = ?",
                (account, heap_id),
            ).fetchall()
        return [row[0] for row in rows]

    # The end.

    async def _come_to_rest(self) -> None:
        """End all trouble; then nothing may be owed any more, and every list be exact."""
        if self._injector is not None:
            await asyncio.sleep(5)
            self._injector.is_on = False
        self.network.weather.clear()
        self.loop.disk_factor = 1.0
        for sandbox in self.cordial.values():
            sandbox.faults.clear()
            sandbox.imports.faults.clear()
        for account in self.plan["accounts"]:
            self._accounts[account] = msgspec.structs.replace(self._accounts[account], dry_run=False)
            self._other(self._pause(account, 0.0))
        self._gone.clear()
        self._reload_asked.set()
        self._move_foreign_lists_away()
        for account, segment in self._deleted:
            self._other(self._list_action({"account": account, "segment": segment}, "rebuild", {}))
        deadline = CLOCK.now + _PATIENCE_SECONDS
        quiet_since: float | None = None
        began_at = CLOCK.now
        while True:
            await asyncio.sleep(5.0 if CLOCK.now < began_at + 60 and quiet_since is None else 20.0)
            self.loop.coarseness = _STRIDE_AT_REST_SECONDS
            await self._approve_all()
            wrong = self._what_is_wrong()
            if self.found:
                return
            if wrong:
                quiet_since = None
            else:
                quiet_since = CLOCK.now if quiet_since is None else quiet_since
                self.loop.coarseness = _QUIET_STRIDE_SECONDS
                if CLOCK.now - quiet_since >= _QUIET_SECONDS:
                    break
            if CLOCK.now > deadline:
                self.found += wrong
                return
        self._look()
        await self._stop()
        self._look()

    async def _approve_all(self) -> None:
        """Say what only a person can say: that a list or a sync is wanted, nobody else's, made again, or sent again."""
        with reading(self.database) as connection:
            held = connection.execute(
                "SELECT id, list_held_for FROM segment "
                "WHERE list_held_for IN ('awaiting_approval', 'creation_in_doubt', 'deleted')"
            ).fetchall()
            held_syncs = connection.execute("SELECT id FROM sync WHERE guard = 'held'").fetchall()
            differing = connection.execute(
                "SELECT list_id, account FROM condition "
                "WHERE kind IN ('list_differs', 'list_strangers') AND ended_at_ms IS NULL"
            ).fetchall()
        for list_id, held_for in held:
            if held_for == "deleted":
                self.calls.forget_told()
                await self._ask("POST", f"lists/{list_id}/rebuild", {})
                self.calls.forget_told()
            else:
                await self._ask("POST", f"lists/{list_id}/approve", {})
        for list_id, account in differing:
            # That a count differs shows; who it is, only reading each would.
            if account in self._misled and list_id not in self._rebuilt:
                self._rebuilt.add(list_id)
                self.calls.forget_told()
                await self._ask("POST", f"lists/{list_id}/rebuild", {"include_removed": True})
                self.calls.forget_told()
        for (sync_id,) in held_syncs:
            # Only now does what it says count, also of those whom an earlier sync has put on the list meanwhile.
            self.calls.forget_told()
            await self._ask("POST", f"syncs/{sync_id}/approve", {})
            self.calls.forget_told()

    def _what_is_wrong(self) -> list[str]:
        if self._senders:
            return [f"{len(self._senders)} pages were never taken"]
        with reading(self.database) as connection:
            return self._wrong_in(connection)

    def _wrong_in(self, connection: sqlite3.Connection) -> list[str]:
        wrong = [f"owed for ever: {number} {what}" for what, number in owed(connection).items()]
        statuses = self.service.deliverer.statuses() if self.service else {}
        wrong += [
            f"R7: {account} is stopped for ever: {status.reason}"
            for account, status in statuses.items()
            if status.state is AccountState.PAUSED
        ]
        if wrong:
            return wrong
        dead = connection.execute("SELECT contact, reason, message FROM failure WHERE dead").fetchall()
        lists = {
            (account, heap_id): found
            for account, heap_id, *found in connection.execute(
                "SELECT a.name, heap_id, list_state, list_id, list_reason FROM segment s JOIN account a ON a.id = s.account_id"
            )
        }
        self.found += [
            f"R7: dead without evidence: {contact}: {reason}: {message}" for contact, reason, message in dead
        ]
        for place, expected in self.store.expected(connection).items():
            account = place[0]
            state, list_id, reason = lists[place]
            # By its id, for that is what makes it ours: who renames it in Cordial need not be noticed while nothing is sent.
            ours_there = self.cordial[account].state.lists.get(int(list_id)) if list_id else None
            on_list = set(self.cordial[account].state.members(ours_there.name)) if ours_there else set()
            name = ours_there.name if ours_there else "none"
            unsure = {user for forgotten_of, user in self.store.forgotten if forgotten_of == account}
            if on_list - unsure != expected - unsure:
                wrong.append(
                    f"R11: list {name} of {place} ({state} {reason}) differs: missing {sorted(expected - on_list - unsure)}, "
                    f"too many {sorted(on_list - expected - unsure)}"
                )
        for account, sandbox in self.cordial.items():
            if sandbox.state.subscription_changes or any(
                contact.subscribe_status != "none" for contact in sandbox.state.contacts.values()
            ):
                self.found.append(f"R14: somebody of {account} was subscribed")
            ours = [list_id for list_id in sandbox.state.lists if (account, list_id) not in self._foreign]
            # A creation whose answer is lost may be carried out late, when somebody has renamed the list made instead.
            if len(ours) > 3 + self.calls.lost_creations[account]:
                self.found.append(f"R10: {account} has {len(ours)} lists")
        return wrong


def simulate(plan: Plan, folder: Path, *, tells: bool = False) -> Result:
    """Carry out a plan in this process, which is good for nothing else afterwards; `tells` of every call and log line."""
    CLOCK.start()
    chance = random.Random(plan["seed"] + 1)  # noqa: S311  as above
    random.seed(plan["seed"])
    secrets.token_bytes = lambda number=None: chance.randbytes(number or 32)  # type: ignore[assignment]
    SteadyClock.boot = _boot  # type: ignore[method-assign]
    aiosqlite.core.SimpleQueue = InlineQueue  # type: ignore[attr-defined, assignment]
    aiosqlite.core.Thread = NoThread  # type: ignore[attr-defined, assignment]
    found: list[str] = []
    # What a failure that was planted leaves in the log is as it should be.
    logged = [] if "inject" in plan else found
    structlog.configure(processors=[lambda _logger, _method, event: _watch_log(logged, event, tells=tells)])
    logging.getLogger().addHandler(_Handler(logged))
    world: World | None = None
    real_accept = SqliteStore.accept

    async def accept(self: SqliteStore, delivery: Delivery) -> Receipt:
        assert world is not None
        page = (delivery.account, delivery.segment_id, delivery.task_id, delivery.page_number, delivery.digest)
        # Tries that come within one millisecond may be signed at different ones: the first is kept, or else the one accepted.
        world.store.deliveries.setdefault((*page, delivery.received_at_ms), delivery)
        receipt = await real_accept(self, delivery)
        if receipt.status is ReceiptStatus.ACCEPTED:
            world.store.deliveries[(*page, delivery.received_at_ms)] = delivery
        if receipt.status is not ReceiptStatus.DUPLICATE:
            # Long before its sender hears of it, where the answer is slow.
            world.calls.named(delivery.account, [*delivery.add, *delivery.remove])
        return receipt

    SqliteStore.accept = accept  # type: ignore[method-assign]
    world = World(plan, folder, tells=tells)
    world.found = found
    if world._injector is not None:
        world._injector.install()
    world.calls._found = world.store._found = found
    asyncio.set_event_loop(world.loop)
    return world.run()


def rate_of(account: AccountSettings) -> float:
    """Return how many calls a second are allowed; as many as there are where the service finds that out."""
    found = account.requests_per_second
    return float("inf") if isinstance(found, str) else found


def _boot(self: SteadyClock) -> Boot | None:  # noqa: ARG001  a method's name
    return Boot(str(CLOCK.boots), int((CLOCK.now - CLOCK.booted_at) * 1000))


def _place_of(error: BaseException | None) -> str:
    """Return where an exception came from, the innermost of our own lines last."""
    if error is None:
        return "nowhere"
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def _watch_log(found: list[str], event: MutableMapping[str, Any], *, tells: bool) -> str:
    if tells:
        print(f"{CLOCK.now:.3f} {event['event']} {event}")  # noqa: T201
    error = event.get("exc_info")
    if error or event["event"] in {"task.ended", "store.fault", "store.failed", "fold.put_off"}:
        thrown = error if isinstance(error, BaseException) else sys.exception()
        found.append(f"log: {event['event']} {event.get('reason', '')} {thrown!r} at {_place_of(thrown)}")
    raise structlog.DropEvent


class _Handler(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(f"log of a library: {record.getMessage()} {record.exc_info}")
