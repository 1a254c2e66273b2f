"""Cordial's REST API, as far as lists need it: one method a call, typed answers, no exception for a status."""

import asyncio
import base64
import time
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from service.clock import wall_ms
from service.config.secrets import CachedSecret
from service.deliver.cordial import requests
from service.deliver.cordial.answers import WITHHELD, Answer, AnswerKind, classify, no_answer
from service.deliver.cordial.requests import Request
from service.deliver.observing import NOT_OBSERVED, CallObserver
from service.deliver.rate.limiter import Limiter, Ticket

# What is read of an answer; Cordial's are small, and a proxy's page may be anything.
_MOST_ANSWER_BYTES = 16_777_216
_encode = msgspec.json.Encoder().encode


_allowed_by: ContextVar[tuple[Limiter, Ticket]] = ContextVar("allowed_by")


class _CountedBody(aiohttp.BytesPayload):
    """A body that tells the limiter when it and the headers before it have been written: only then a call counts.

    aiohttp's tracing tells it too, for a tenth to a fifth of what a call costs.
    """

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await super().write_with_length(writer, content_length)
        _note_written()


class _CountedRequest(aiohttp.ClientRequest):
    """A request that tells it when it has no body."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        response = await super().send(conn)
        if not self.body:
            _note_written()
        return response


def _note_written() -> None:
    limiter, ticket = _allowed_by.get()
    limiter.written(ticket)


def make_session() -> aiohttp.ClientSession:
    """Return the one HTTP session all accounts share; each account bounds its own concurrency."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        request_class=_CountedRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    # aiohttp would repeat a PUT by itself when a connection it reused turns out to be cut: a call that the limiter
    # never allowed, and two at a time for one contact. There is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


class CordialClient:
    """One account's calls to Cordial, each waiting for the account's limiter.

    In a dry run only what reads is called; whatever would write is answered `withheld` without being made.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: CachedSecret,
        limiter: Limiter,
        timeout_seconds: float,
        dry_run: bool = False,
        observer: CallObserver = NOT_OBSERVED,
    ) -> None:
        self._session = session
        self._root = f"{base_url}{requests.VERSION_PATH}"
        self._api_key = api_key
        self._limiter = limiter
        self._observer = observer
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._authorization_of = ("", "")
        self._calling: set[asyncio.Task[Any] | None] = set()
        self.is_dry_run = dry_run

    async def send(self, request: Request) -> Answer:
        """Make a request composed elsewhere."""
        return await self._call(request.method, request.path, request.endpoint, request.body)

    async def find_lists(self, name: str) -> Answer:
        """Return the lists of that name; Cordial says 404 where there is none."""
        return await self._call("GET", f"/accountlists?name={quote(name, safe='')}", "accountlists")

    async def all_lists(self) -> Answer:
        """Return all lists of the account."""
        return await self._call("GET", "/accountlists", "accountlists")

    async def get_list(self, list_id: str) -> Answer:
        """Return one list by Cordial's id."""
        return await self._call("GET", f"/accountlists/{quote(list_id, safe='')}", "accountlists/id")

    async def count_list(self, list_id: str) -> Answer:
        """Return one list with the count of its contacts."""
        return await self._call("GET", f"/accountlists/{quote(list_id, safe='')}/count", "accountlists/count")

    async def create_list(self, name: str) -> Answer:
        """Create a list that also tracks when each contact joined."""
        return await self.send(requests.create_list(name))

    async def rename_list(self, list_id: str, name: str) -> Answer:
        """Give a list another name; its members stay."""
        path = f"/accountlists/{quote(list_id, safe='')}"
        return await self._call("PUT", path, "accountlists/id", {"name": name, "enhanced": True})

    async def contact_attributes(self) -> Answer:
        """Return the account's contact attributes: they share a namespace with lists."""
        return await self._call("GET", "/accountcontactattributes", "accountcontactattributes")

    async def get_job(self, job_id: str) -> Answer:
        """Return a job of Cordial's, such as an import."""
        return await self._call("GET", f"/jobs/{quote(job_id, safe='')}", "jobs/id")

    def is_calling(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether the task has a request on its way, as opposed to waiting for leave to make one."""
        return task in self._calling

    def renew_key(self) -> None:
        """Read the API key anew at the next call: Cordial has refused the one in use."""
        self._api_key.forget()

    async def _call(self, method: str, path: str, endpoint: str, body: dict[str, Any] | None = None) -> Answer:
        if self.is_dry_run and method != "GET":
            # Here, where every call passes, and not where calls are decided on: no way of writing is forgotten.
            return WITHHELD
        operation = f"{method} {endpoint}"
        asked_at = time.perf_counter()
        ticket = await self._limiter.acquire(operation)
        allowed_at = time.perf_counter()
        self._observer.waited(allowed_at - asked_at)
        answer = no_answer("cancelled", "the call was given up")
        task = asyncio.current_task()
        self._calling.add(task)
        try:
            answer = await self._request(method, path, body, ticket)
        finally:
            self._calling.discard(task)
            throttled = answer.kind is AnswerKind.THROTTLED
            self._limiter.answered(ticket, answer.limits, throttled=throttled)
            self._observer.called(operation, answer.kind, answer.status, time.perf_counter() - allowed_at)
        return answer

    async def _request(self, method: str, path: str, body: dict[str, Any] | None, ticket: Ticket) -> Answer:
        try:
            headers = {"Authorization": self._authorization()}
        except (OSError, LookupError) as error:
            return Answer(AnswerKind.UNAUTHORIZED, None, "no_api_key", f"the Cordial API key cannot be read: {error}")
        _allowed_by.set((self._limiter, ticket))
        data = None
        if body is not None:
            data = _CountedBody(_encode(body), content_type="application/json")
        try:
            async with self._session.request(
                method,
                URL(self._root + path, encoded=True),
                data=data,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                return classify(response.status, response.headers, await _read(response), wall_ms())
        except TimeoutError:
            return no_answer("timeout", f"no answer within {self._timeout.total:g} seconds")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return no_answer("unreachable", str(error) or type(error).__name__)

    def _authorization(self) -> str:
        key = self._api_key.get()
        if self._authorization_of[0] != key:
            token = base64.b64encode(f"{key}:".encode()).decode("ascii")
            self._authorization_of = (key, f"Basic {token}")
        return self._authorization_of[1]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, cut where it is larger than any answer of Cordial's (and so no JSON any more)."""
    if (response.content_length or _MOST_ANSWER_BYTES) < _MOST_ANSWER_BYTES:
        return await response.read()
    parts: list[bytes] = []
    size_bytes = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size_bytes += len(part)
        if size_bytes >= _MOST_ANSWER_BYTES:
            break
    return b"".join(parts)
