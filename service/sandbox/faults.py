"""What can go wrong with a call: scripted for tests, or drawn at random with a seed."""

import asyncio
import contextlib
import random
from collections.abc import Container
from enum import StrEnum
from http.client import responses

import msgspec

from service.sandbox.answers import AUTHENTICATION_FAILED, RECORD_NOT_FOUND, Answer, contact_error, error

_HTML_PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>Error {0}</h1></body></html>\n"


class FaultKind(StrEnum):
    """How a call goes wrong.

    `answer`: an error of Cordial's with a status. `html`: an HTML page with a status, as from a proxy in front.
    `reset`: the connection is reset before the call took effect. `apply_then_reset`: after it took effect, so the
    caller cannot know. `hang`: the call is held; afterwards it goes on as usual, but without effect if the caller has
    left. `late`: the call is held, and carried out afterwards whether or not the caller is still there.
    """

    ANSWER = "answer"
    HTML = "html"
    RESET = "reset"
    APPLY_THEN_RESET = "apply_then_reset"
    HANG = "hang"
    LATE = "late"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault and the calls it meets.

    A call matches if each of `method`, `endpoint` (such as `/v2/contacts/{key}`), `contact` (`key:value`, an address
    in lower case) and `of_list` (the name of a list that the call puts a contact on or takes it off) is either not given or
    the call's own. `times` is how many calls it meets before it is used up; null
    is for ever. `status` and `headers` are the answer's for `answer` and `html`; `body` replaces the usual body.
    `seconds` is how long the call is held first, or for `apply_then_reset` between the effect and the reset.
    """

    kind: FaultKind
    method: str | None = None
    endpoint: str | None = None
    contact: str | None = None
    of_list: str | None = None
    times: int | None = 1
    status: int = 503
    headers: dict[str, str] = {}
    body: str | None = None
    seconds: float = 0

    def matches(self, method: str, endpoint: str, contact: str, keys: Container[str]) -> bool:
        """Whether the fault is for such a call, whose body has these keys."""
        return (
            self.method in (None, method)
            and self.endpoint in (None, endpoint)
            and self.contact in (None, contact)
            and (self.of_list is None or (bool(contact) and self.of_list in keys))
        )

    def answer(self) -> Answer:
        """Return what the caller gets from `answer` and `html`."""
        if self.kind is FaultKind.HTML:
            headers = {"Content-Type": "text/html; charset=utf-8"} | self.headers
            return Answer(self.status, (self.body or _HTML_PAGE.format(self.status)).encode(), headers)
        body = _usual_body(self.status) if self.body is None else self.body.encode()
        return Answer(self.status, body, self.headers)


def _usual_body(status: int) -> bytes:
    usual = {
        401: AUTHENTICATION_FAILED,
        404: RECORD_NOT_FOUND,
        422: contact_error("contact", "The contact cannot be written."),
    }
    return usual.get(status, error(status, responses.get(status, f"Error {status}"))).body


_RANDOM_MIX = (
    Fault(FaultKind.ANSWER, status=500),
    Fault(FaultKind.ANSWER, status=503),
    Fault(FaultKind.HTML, status=502),
    Fault(FaultKind.ANSWER, status=429, headers={"Retry-After": "1"}),
    Fault(FaultKind.RESET),
    Fault(FaultKind.APPLY_THEN_RESET),
)


class Faults:
    """The script, first match first; calls that no scripted fault meets get a random one with `error_rate`."""

    def __init__(self, error_rate: float, seed: int) -> None:
        self._error_rate = error_rate
        self._random = random.Random(seed)  # noqa: S311  faults must be repeatable, not unguessable
        self._script: list[Fault] = []
        self._let_go = asyncio.Event()

    @property
    def script(self) -> list[Fault]:
        """The faults that still wait for a call, `times` counted down."""
        return list(self._script)

    def add(self, *faults: Fault) -> None:
        """Put faults at the end of the script."""
        self._script.extend(fault for fault in faults if fault.times != 0)

    def clear(self) -> None:
        """Drop the script; random faults go on."""
        self._script.clear()

    async def hold(self, seconds: float) -> None:
        """Return after so long, or when held calls are let go."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._let_go.wait()

    def let_go(self) -> None:
        """Let all calls go on that are held now."""
        self._let_go.set()
        self._let_go = asyncio.Event()

    def pick(self, method: str, endpoint: str, contact: str, keys: Container[str] = ()) -> Fault | None:
        """Return the fault for a call whose body has these keys, if there is one, and count it as met."""
        for position, fault in enumerate(self._script):
            if fault.matches(method, endpoint, contact, keys):
                self._count_down(position, fault)
                return fault
        if self._error_rate and self._random.random() < self._error_rate:
            return self._random.choice(_RANDOM_MIX)
        return None

    def _count_down(self, position: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times == 1:
            del self._script[position]
        else:
            self._script[position] = msgspec.structs.replace(fault, times=fault.times - 1)
