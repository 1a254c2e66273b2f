"""The stand-in Cordial as a process, with a record of which calls were made again: `python -m tests.crash.stand_in`."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from service.sandbox.journal import CallRecord, Journal
from service.sandbox.operations import CONTACTS
from service.sandbox.options import SandboxOptions
from service.sandbox.server import SANDBOX, make_application

_FLAGS = frozenset({"suppressTriggers", "forceSubscribe"})


class Epoch(msgspec.Struct):
    """The time between two kills of the service; calls that change contacts count, those that read them do not.

    `repeated_calls` are those made again later although they had been answered here. `first_call` is told in failures.
    `first_call_at_seconds` is on the machine's monotonic clock, which all its processes share.
    """

    first_call: str | None = None
    repeated_calls: int = 0
    first_call_at_seconds: float | None = None


class RecordingJournal(Journal):
    """Knows of each membership in which epoch a call last set it and was answered.

    Keeping whole calls would take a gigabyte for a million of them; a hash of 64 bits in their place takes a tenth, and
    that two of a million are the same is one in ten million.
    """

    def __init__(self) -> None:
        super().__init__(keep_all=False)
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was set so far may be set again."""
        self.epochs = [Epoch()]
        self._set_in: dict[int, int] = {}

    def begin_epoch(self) -> None:
        """Note that the service was killed and is about to be started again."""
        self.epochs.append(Epoch())

    def record(self, call: CallRecord) -> None:
        """Note a call that has ended."""
        super().record(call)
        if not call.contact or call.method == "GET":
            return
        epoch = self.epochs[-1]
        if epoch.first_call is None:
            epoch.first_call = f"{call.method} {call.endpoint} for {call.contact}: {call.status} to {call.body}"
            epoch.first_call_at_seconds = call.arrived_at_seconds
        # Who is not found is looked for a second time, and a proof call repeats a membership: both are meant. Whoever is put on
        # a list by PUT is so repeated, because these accounts create contacts, by POST.
        is_proof = call.method == "PUT" and any(value is True for key, value in call.body.items() if key not in _FLAGS)
        if call.status is None or not 200 <= call.status < 300 or is_proof:
            return
        memberships = [
            hash((call.contact, name, value))
            for name, value in call.body.items()
            if isinstance(value, bool) and name not in _FLAGS
        ]
        before = [self._set_in[membership] for membership in memberships if membership in self._set_in]
        if before:
            self.epochs[max(before)].repeated_calls += 1
        self._set_in.update(dict.fromkeys(memberships, len(self.epochs) - 1))


class Gate:
    """Holds calls for contacts back while it is closed; they are on their way as long as the caller can tell."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = 0

    def add_to(self, application: web.Application) -> None:
        """Stand before the application's calls, and be seen at `/crash/gate`."""

        @web.middleware
        async def pass_through(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if request.path.startswith(CONTACTS):
                # Once the caller is gone it could not be read any more.
                await request.read()
                self._waiting += 1
                await self._open.wait()
                self._waiting -= 1
            return await handler(request)

        async def waiting(_request: web.Request) -> web.Response:
            return web.json_response(self._waiting)

        async def close(request: web.Request) -> web.Response:
            self._open.clear()
            return await waiting(request)

        async def open_(request: web.Request) -> web.Response:
            self._open.set()
            return await waiting(request)

        application.middlewares.append(pass_through)
        application.router.add_get("/crash/gate", waiting)
        application.router.add_post("/crash/gate", close)
        application.router.add_delete("/crash/gate", open_)


def _add_routes(application: web.Application, journal: RecordingJournal) -> None:
    async def know(request: web.Request) -> web.Response:
        state = application[SANDBOX].state
        for email in await request.json():
            if state.find("email", email) is None:
                state.create_contact(f"email:{email}", email)
        return web.json_response(len(state.contacts))

    async def epochs(_request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(journal.epochs), content_type="application/json")

    async def begin(request: web.Request) -> web.Response:
        journal.begin_epoch()
        return await epochs(request)

    async def forget(request: web.Request) -> web.Response:
        journal.forget()
        return await epochs(request)

    application.router.add_post("/crash/contacts", know)
    application.router.add_get("/crash/epochs", epochs)
    application.router.add_post("/crash/epochs", begin)
    application.router.add_delete("/crash/epochs", forget)


async def _serve(latency_ms: float) -> None:
    application = make_application(SandboxOptions(latency_ms=latency_ms))
    application[SANDBOX].journal = journal = RecordingJournal()
    _add_routes(application, journal)
    Gate().add_to(application)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0)
    asyncio.run(_serve(parser.parse_args().latency_ms))
