"""The files of imports as Cordial fetches them: under a name nobody can guess, once, and only while their job runs."""

import asyncio
import base64
import contextlib
import hmac
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp_apispec import docs

from service.config.settings import SecretReference
from service.deliver.imports.request import FILES_PATH, USER, digest_of
from service.store.port import Imports

log = structlog.get_logger()

# Of files fetched whole: far more than there are accounts whose job runs.
_MAX_REMEMBERED = 10_000
_MAX_STATUS_BYTES = 65_536
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROUTE = FILES_PATH + r"/{name:[A-Za-z0-9_-]{43}}.csv"
_NOT_CACHED = {hdrs.CACHE_CONTROL: "no-store"}
_TAGS = ["Import files"]
_NAME = {
    "in": "path",
    "name": "name",
    "required": True,
    "schema": {"type": "string"},
    "description": "as Cordial was told",
}


class Fetcher(Protocol):
    """What is asked of the account a file belongs to."""

    def admits(self, authorization: str | None) -> bool:
        """Tell whether a request with that `Authorization` may fetch a file whose name it knows."""

    def hint(self, name_digest: bytes, job_id: str) -> None:
        """Look at the job of that file soon: Cordial says that it is over, and perhaps its id."""


class SmallFile:
    """A file of a few rows in memory: a trial's. `fetched` is set once somebody begins to fetch it."""

    def __init__(self, account: str, content: str) -> None:
        self.account = account
        self.content = content
        self.fetched = asyncio.Event()


class SmallFiles:
    """The files in memory, each for as long as its block lasts."""

    def __init__(self) -> None:
        self._files: dict[bytes, SmallFile] = {}

    @contextlib.contextmanager
    def offered(self, name: str, file: SmallFile) -> Iterator[None]:
        """Offer a file under a name that nobody can guess."""
        self._files[digest_of(name)] = file
        try:
            yield
        finally:
            del self._files[digest_of(name)]

    def find(self, name_digest: bytes) -> SmallFile | None:
        """Return the file whose name has that digest."""
        return self._files.get(name_digest)


class ImportFiles:
    """Answers those who know a file's name."""

    def __init__(
        self,
        store: Imports,
        account: Callable[[str], Fetcher | None],
        small: SmallFiles,
        *,
        may_fetch_again_seconds: float,
    ) -> None:
        self._store = store
        self._account = account
        self._small = small
        self._may_fetch_again_seconds = may_fetch_again_seconds
        self._fetched_at: dict[bytes, float] = {}

    @docs(
        tags=_TAGS,
        summary="Fetch the file of an import",
        description="For Cordial alone: the name is part of the import's request, and valid while its job runs.",
        parameters=[_NAME],
        responses={
            200: {"description": "CSV without a header: address, then 1 or 0 for each list"},
            401: {"description": "the account also requires a password"},
            404: {"description": "there is no such file, or it is no longer valid"},
        },
    )
    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the rows, read from the store as they are sent."""
        digest = digest_of(request.match_info["name"])
        if (small := self._small.find(digest)) is not None:
            self._admit(request, self._account(small.account))
            if request.method != hdrs.METH_HEAD:
                small.fetched.set()
            return web.Response(text=small.content, content_type="text/csv", headers=_NOT_CACHED)
        file = await self._store.file(digest)
        account = self._account(file.account) if file else None
        if file is None or account is None or self._is_used_up(digest):
            raise web.HTTPNotFound
        self._admit(request, account)
        response = web.StreamResponse(headers=_NOT_CACHED)
        response.content_type, response.charset = "text/csv", "utf-8"
        response.content_length = file.size_bytes
        if request.method == hdrs.METH_HEAD:
            await response.prepare(request)
            return response
        # In the store before the first row leaves: a name that was taken back in between leads nowhere.
        if not await self._store.note_fetched(file):
            raise web.HTTPNotFound
        await response.prepare(request)
        async for lines in self._store.lines(file):
            await response.write(lines.encode())
        await response.write_eof()
        self._note_whole(digest)
        log.info("import.fetched", account=file.account, size_bytes=file.size_bytes)
        return response

    @docs(
        tags=_TAGS,
        summary="Receive the end of an import's job",
        description="For Cordial alone. The service then asks for the job. It reads only the job's id.",
        parameters=[_NAME],
        responses={
            204: {"description": "taken"},
            404: {"description": "there is no such file, or it is no longer valid"},
        },
    )
    async def status(self, request: web.Request) -> web.Response:
        """Take the hint."""
        digest = digest_of(request.match_info["name"])
        if self._small.find(digest) is not None:
            return web.Response(status=204)
        file = await self._store.file(digest)
        account = self._account(file.account) if file else None
        if account is None:
            raise web.HTTPNotFound
        account.hint(digest, _job_id(await request.content.read(_MAX_STATUS_BYTES)))
        return web.Response(status=204)

    def _admit(self, request: web.Request, account: Fetcher | None) -> None:
        if account is None:
            raise web.HTTPNotFound
        if not account.admits(request.headers.get(hdrs.AUTHORIZATION)):
            raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="import files"'})

    def _note_whole(self, digest: bytes) -> None:
        self._fetched_at.setdefault(digest, time.monotonic())
        while len(self._fetched_at) > _MAX_REMEMBERED:
            del self._fetched_at[next(iter(self._fetched_at))]

    def _is_used_up(self, digest: bytes) -> bool:
        now = time.monotonic()
        return now - self._fetched_at.get(digest, now) > self._may_fetch_again_seconds


def add_routes(app: web.Application, files: ImportFiles) -> None:
    """Add the paths under which Cordial finds files, and says that a job is over."""
    app.router.add_get(_ROUTE, files.get)
    app.router.add_post(_ROUTE + "/status", files.status)


def _job_id(body: bytes) -> str:
    """Return the job's id as far as what Cordial sends at a job's end tells it: its contract leaves the form open."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    job_id = document.get("jobId") if isinstance(document, dict) else None
    return job_id if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id) else ""


def admits(passwords: Sequence[SecretReference], authorization: str | None) -> bool:
    """Tell whether `Authorization` holds one of the passwords, as HTTP Basic; anything does where there is none."""
    if not passwords:
        return True
    given = (authorization or "").encode()
    fits = [_is_same(given, password) for password in passwords]
    return any(fits)


def _is_same(given: bytes, password: SecretReference) -> bool:
    try:
        expected = base64.b64encode(f"{USER}:{password.read()}".encode())
    except (OSError, LookupError) as error:
        log.warning("import.password_unreadable", reason=str(error))
        return False
    return hmac.compare_digest(given, b"Basic " + expected)
