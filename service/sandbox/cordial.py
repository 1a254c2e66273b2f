"""The stand-in Cordial at work: how one call goes from the request to its answer."""

import asyncio
import base64
import socket
import struct
import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from service.sandbox.addressing import Target
from service.sandbox.answers import (
    AUTHENTICATION_FAILED,
    BODY_UNREADABLE,
    UNSUPPORTED_MEDIA_TYPE,
    Answer,
    RefusalError,
    too_many_requests,
)
from service.sandbox.faults import Fault, FaultKind, Faults
from service.sandbox.imports.jobs import ImportJobs
from service.sandbox.journal import CallRecord, Journal
from service.sandbox.limits import RateLimiter
from service.sandbox.operations import Call, Operation
from service.sandbox.options import SandboxOptions
from service.sandbox.state import SandboxState

_NO_TARGET = Target("")
_NO_CALL = Call("", {}, {})
_BODY_DECODER = msgspec.json.Decoder(dict[str, object])
# Closing a socket that lingers for zero seconds sends a reset instead of an orderly end.
_LINGER_ZERO_SECONDS = struct.pack("ii", 1, 0)


class _Outcome(msgspec.Struct, frozen=True, gc=False):
    """The answer, or `None` for a reset, and whether the call has been carried out."""

    answer: Answer | None
    applied: bool = False


class Sandbox:
    """One account of the stand-in; `clock` gives monotonic seconds."""

    def __init__(self, options: SandboxOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self.state = SandboxState(options.secondary_keys, options.attributes, options.deviations)
        self.imports = ImportJobs(self.state, options.imports, options.seed)
        self.faults = Faults(options.error_rate, options.seed)
        self.journal = Journal(keep_all=options.journal)
        self._clock = clock
        self.change_key(options.api_key)
        self._latency_seconds = options.latency_ms / 1000
        self._limiter: RateLimiter | None = None
        if options.rate:
            limit = max(1, round(options.rate * options.rate_window_seconds))
            self._limiter = RateLimiter(limit, options.rate_window_seconds, clock)

    def change_key(self, api_key: str) -> None:
        """Accept this API key from now on, and no other."""
        self._authorization = "Basic " + base64.b64encode(f"{api_key}:".encode()).decode()

    def reset(self) -> None:
        """Forget contacts, lists, imports, calls, used-up limits and scripted faults."""
        self.imports.reset()
        self.state.reset()
        self.faults.clear()
        self.journal.reset()
        if self._limiter is not None:
            self._limiter.reset()

    async def serve(self, request: web.Request, operation: Operation) -> web.Response:
        """Answer one call as Cordial would, and record it."""
        arrived_at_seconds = self._clock()
        call, target, headers = _NO_CALL, _NO_TARGET, {}
        try:
            self._authenticate(request)
            headers = self._take(operation)
            call = await _read_call(request, operation)
        except RefusalError as refusal:
            outcome = _Outcome(refusal.answer)
        else:
            target = self._target(operation, call)
            outcome = await self._attend(request, operation, call, target)
        answer = outcome.answer
        self.journal.record(
            CallRecord(
                operation.method,
                operation.endpoint,
                target.label,
                call.body,
                None if answer is None else answer.status,
                outcome.applied,
                arrived_at_seconds,
                self._clock(),
            )
        )
        if answer is None:
            _reset_connection(request)
            return web.Response()
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Content-Type": "application/json", **headers, **answer.headers},
        )

    def _authenticate(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != self._authorization:
            raise RefusalError(AUTHENTICATION_FAILED)

    def _take(self, operation: Operation) -> dict[str, str]:
        if self._limiter is None:
            return {}
        decision = self._limiter.take(operation.method, operation.endpoint)
        if not decision.allowed:
            raise RefusalError(too_many_requests(decision.headers()))
        return decision.headers() if self.options.rate_headers_on_success else {}

    def _target(self, operation: Operation, call: Call) -> Target:
        if operation.target is None:
            return _NO_TARGET
        try:
            return operation.target(self.state, call)
        except RefusalError:
            # The operation itself will refuse the call, for this or for an earlier reason.
            return _NO_TARGET

    async def _attend(self, request: web.Request, operation: Operation, call: Call, target: Target) -> _Outcome:
        fault = self.faults.pick(operation.method, operation.endpoint, target.label, call.body)
        # A contact may be addressed by several keys; its own label is the same for all of them.
        occupied = target.label if target.contact is None else target.contact.label
        self.journal.enter(occupied)
        try:
            # Without latency this is one turn of the event loop: calls that came together are seen together.
            await asyncio.sleep(self._latency_seconds)
            if fault is None:
                return await self._carry_out(operation, call)
            return await self._go_wrong(request, operation, call, fault)
        finally:
            self.journal.leave(occupied)

    async def _go_wrong(self, request: web.Request, operation: Operation, call: Call, fault: Fault) -> _Outcome:
        if fault.kind is FaultKind.APPLY_THEN_RESET:
            applied = (await self._carry_out(operation, call)).applied
            await self.faults.hold(fault.seconds)
            return _Outcome(None, applied)
        await self.faults.hold(fault.seconds)
        if fault.kind is FaultKind.LATE or (fault.kind is FaultKind.HANG and request.transport is not None):
            return await self._carry_out(operation, call)
        if fault.kind in (FaultKind.HANG, FaultKind.RESET):
            return _Outcome(None)
        return _Outcome(fault.answer())

    async def _carry_out(self, operation: Operation, call: Call) -> _Outcome:
        try:
            answer = operation.run(self.state, call)
            return _Outcome(answer if isinstance(answer, Answer) else await answer, applied=True)
        except RefusalError as refusal:
            return _Outcome(refusal.answer)


async def _read_call(request: web.Request, operation: Operation) -> Call:
    path_value = next(iter(request.match_info.values()), "")
    if not operation.takes_body:
        return Call(path_value, request.query, {})
    if request.content_type != "application/json":
        raise RefusalError(UNSUPPORTED_MEDIA_TYPE)
    try:
        return Call(path_value, {}, _BODY_DECODER.decode(await request.read()))
    except msgspec.DecodeError:
        raise RefusalError(BODY_UNREADABLE) from None


def _reset_connection(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO_SECONDS)
    transport.abort()
