"""One part of an import at Cordial: given over as a job, followed until it is over, across our own restarts."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import Request
from service.deliver.imports.judging import Job, JobStatus, read_job, read_job_id
from service.deliver.imports.request import create_import
from service.deliver.line import AccountLine
from service.deliver.retry import backoff_seconds
from service.model.imports import ImportPart, PartState
from service.store.port import Imports

log = structlog.get_logger()

_FIRST_POLL_SECONDS = 1.0
_LONGEST_POLL_SECONDS = 60.0
_POLL_GROWTH = 2.0
# A hint may be anybody's: it never makes us ask more often than this.
_SHORTEST_POLL_SECONDS = 0.5
# For so long a job may stand still: before it has fetched its file, when giving up costs nothing, and after.
_PATIENCE_UNFETCHED_SECONDS = 900.0
_PATIENCE_FETCHED_SECONDS = 3_600.0
# For so long Cordial may tell us to wait before it takes a job; single calls go on meanwhile, for others.
_THROTTLE_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 1.0
_MOST_POSTS = 5
_MOST_UNKNOWN = 5
_REPOST_CAP_SECONDS = 30.0


class Unserved(NamedTuple):
    """Why a part came to nothing; `may_repeat` where the same again might do better."""

    reason: str
    may_repeat: bool


class JobRunner:
    """Runs the jobs of one account, one at a time."""

    def __init__(self, settings: AccountSettings, store: Imports, line: AccountLine) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._hinted = asyncio.Event()

    def hint(self) -> None:
        """Ask for the job soon: somebody says that it is over."""
        self._hinted.set()

    async def run(self, part: ImportPart, columns: Sequence[str]) -> Job | Unserved:
        """See a part through: give it to Cordial, unless that is done, and wait for its end."""
        if part.state is not PartState.RUNNING:
            job_id = await self._post(part, columns)
            if isinstance(job_id, Unserved):
                await self._store.void_name(part)
                return job_id
        else:
            job_id = part.job_id
        job = await self._follow(part, job_id)
        await self._store.void_name(part)
        return job

    async def _post(self, part: ImportPart, columns: Sequence[str]) -> str | Unserved:
        """Give a part to Cordial until it says which job it is.

        Where an answer is lost the part is given again under another name. If Cordial did begin the first job, both say
        the same of every contact, and a file that nobody has fetched yet cannot be fetched under the old name.
        """
        reason = ""
        for attempt in range(_MOST_POSTS):
            if attempt:
                await asyncio.sleep(backoff_seconds(attempt, 1.0, _REPOST_CAP_SECONDS, lambda: 1.0))
            name = secrets.token_urlsafe(32)
            await self._store.set_posting(part, digest_of(name))
            try:
                request = create_import(self._settings, part, columns, name)
            except (OSError, LookupError) as error:
                return Unserved(f"the password of import files cannot be read: {error}", may_repeat=False)
            answer = await self._patiently(request)
            if answer is None:
                return Unserved("Cordial's rate limit leaves no room for an import", may_repeat=False)
            if answer.kind is AnswerKind.DONE:
                job_id, reason = read_job_id(answer.body)
                if not job_id:
                    return Unserved(f"Cordial did not take the import: {reason}", may_repeat=True)
                await self._store.set_running(part, job_id)
                log.info("import.posted", account=self._settings.name, job=job_id, contacts=part.contacts)
                return job_id
            reason = answer.message or answer.reason
            if answer.kind is not AnswerKind.UNAVAILABLE:
                break
        return Unserved(f"Cordial did not take the import: {reason}", may_repeat=False)

    async def _patiently(self, request: Request) -> Answer | None:
        """Make the call; return None if Cordial keeps it waiting too long."""
        call = asyncio.create_task(self._line.call(request, forgive_forbidden=True))
        try:
            slowed_seconds = 0.0
            while not call.done():
                await asyncio.wait({call}, timeout=_LOOK_SECONDS)
                is_slowed = self._line.slowed_seconds > 0 and not self._line.is_calling(call)
                slowed_seconds = slowed_seconds + _LOOK_SECONDS if is_slowed else 0.0
                if slowed_seconds >= _THROTTLE_PATIENCE_SECONDS:
                    return None
            return call.result()
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    async def _follow(self, part: ImportPart, job_id: str) -> Job | Unserved:
        loop = asyncio.get_running_loop()
        wait, unknown = _FIRST_POLL_SECONDS, 0
        progress: tuple[str, int | None] | None = None
        moved_at = loop.time()
        while True:
            await self._wait_for_hint(wait)
            wait = min(wait * _POLL_GROWTH, _LONGEST_POLL_SECONDS)
            answer = await self._line.call(requests.get_job(job_id), forgive_forbidden=True)
            if answer.kind is AnswerKind.DONE:
                job, unknown = read_job(answer.body), 0
                if job.status is JobStatus.DONE:
                    return job
                if job.status is JobStatus.FAILED:
                    return Unserved("Cordial says the job failed", may_repeat=True)
                if job.progress != progress:
                    progress, moved_at = job.progress, loop.time()
            elif answer.kind is AnswerKind.NOT_FOUND:
                unknown += 1
            is_fetched = await self._is_fetched(part)
            if unknown >= _MOST_UNKNOWN and not is_fetched:
                return Unserved("Cordial does not know the job it named", may_repeat=True)
            patience = _PATIENCE_FETCHED_SECONDS if is_fetched else _PATIENCE_UNFETCHED_SECONDS
            if loop.time() - moved_at > patience:
                said = progress[0] if progress else answer.message or answer.reason
                return Unserved(f"the job has not moved for {patience / 60:.0f} minutes: {said}", may_repeat=False)

    async def _wait_for_hint(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, _SHORTEST_POLL_SECONDS))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds - _SHORTEST_POLL_SECONDS)):
                await self._hinted.wait()
        self._hinted.clear()

    async def _is_fetched(self, part: ImportPart) -> bool:
        current = await self._store.current(self._settings.name)
        known = {each.id: each for each in current.parts} if current else {}
        return part.id in known and known[part.id].fetched_at_ms is not None


def digest_of(name: str) -> bytes:
    """Return what the store knows of a file's name: enough to recognise it, too little to make it."""
    return hashlib.sha256(name.encode()).digest()


def columns_of(segment_ids: Sequence[int], names: Mapping[int, str]) -> list[str] | None:
    """Return the lists' names in the order of the columns, or None if one has none now."""
    columns = [names[segment_id] for segment_id in segment_ids if segment_id in names]
    return columns if len(columns) == len(segment_ids) else None
