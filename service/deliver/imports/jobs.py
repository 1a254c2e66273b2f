"""Jobs at Cordial: one call each to give a part over, to ask for its job, and to find a job whose id was never told."""

import asyncio
import secrets
from collections.abc import Callable
from typing import NamedTuple

import structlog

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import Request
from service.deliver.imports.judging import Job, find_job, read_job, read_job_id
from service.deliver.imports.request import create_import, digest_of, import_name
from service.deliver.line import AccountLine, Permit
from service.errors import in_words
from service.model.imports import ImportPart
from service.store.port import Imports

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_JOBS_PER_PAGE = 100
_MAX_PAGES = 5


class Posted(NamedTuple):
    """What came of giving a part to Cordial: that it `is_running`, or why it is not known to be.

    `may_repeat`: the same again might do better. `is_refusal`: Cordial said no, as opposed to nothing. `is_withheld`: it was
    not asked.
    """

    is_running: bool
    reason: str = ""
    may_repeat: bool = False
    is_refusal: bool = False
    is_withheld: bool = False


class Seen(NamedTuple):
    """What Cordial says of a job: the job, None where it does not know it or said nothing; and its words then."""

    job: Job | None
    is_unknown: bool = False
    reason: str = ""


class Jobs:
    """The jobs of one account."""

    def __init__(
        self, settings: AccountSettings, store: Imports, line: AccountLine, *, throttle_patience_seconds: float
    ) -> None:
        self._settings = settings
        self._store = store
        self._line = line
        self._throttle_patience_seconds = throttle_patience_seconds

    async def post(self, part: ImportPart, columns: list[str], is_current: Callable[[], bool]) -> Posted:
        """Give a part to Cordial, as long as `is_current` says so of the names of its lists (R10) and of its contacts (R5).

        Whatever is returned or raised, the store says how far that has come.
        """
        name = secrets.token_urlsafe(32)
        digest = digest_of(name)
        try:
            request = create_import(
                self._settings, part.strategy, columns, import_name=import_name(part, digest), file_name=name
            )
        except (OSError, LookupError) as error:
            return Posted(
                is_running=False,
                reason=f"the password of import files cannot be read: {in_words(error)}",
                is_refusal=True,
            )
        await self._store.set_posting(part, digest)
        answer = await self._patiently(request, Permit(is_current))
        if answer is None:
            reason = "Cordial's rate limit leaves no room for an import"
            return Posted(is_running=False, reason=reason, is_refusal=True)
        if answer.kind is AnswerKind.WITHHELD:
            return Posted(
                is_running=False,
                reason="a list's name may belong to another list now, or somebody in its file is to be erased",
                is_withheld=True,
            )
        if answer.kind is AnswerKind.DONE:
            job_id, reason = read_job_id(answer.body)
            if not job_id:
                reason = f"Cordial did not accept the import: {reason}"
                return Posted(is_running=False, reason=reason, is_refusal=True, may_repeat=True)
            await self._store.set_running(part, digest, job_id)
            log.info("import.posted", account=self._settings.name, job=job_id, contacts=part.contacts)
            return Posted(is_running=True)
        is_refusal = answer.kind is not AnswerKind.UNAVAILABLE
        did_not = "accept the import" if is_refusal else "say that it accepted the import"
        reason = f"Cordial did not {did_not}: {answer.message or answer.reason}"
        return Posted(is_running=False, reason=reason, is_refusal=is_refusal)

    async def see(self, part: ImportPart, hinted_id: str = "") -> Seen:
        """Ask how the part's job is, by its id, or by the import's name where the id was never told.

        `hinted_id` may be the id: it is believed if the job of that id bears the import's name.
        """
        if part.job_id:
            return await self._see_by_id(part.job_id)
        if hinted_id and (seen := await self._see_by_id(hinted_id, import_name(part, part.name_digest or b""))).job:
            return seen
        return await self._see_by_name(part)

    async def _see_by_id(self, job_id: str, name: str = "") -> Seen:
        answer = await self._line.call(requests.get_job(job_id), forgive_forbidden=True)
        if answer.kind is AnswerKind.DONE:
            return Seen(find_job([answer.body], name) if name else read_job(answer.body))
        return Seen(None, answer.kind is AnswerKind.NOT_FOUND, answer.message or answer.reason)

    async def _see_by_name(self, part: ImportPart) -> Seen:
        """Cordial's contract: the list of jobs names each one's import. That a job is not in it proves nothing.

        It is a side question: where it is not answered, nothing else waits for that.
        """
        name = import_name(part, part.name_digest or b"")
        for page in range(1, _MAX_PAGES + 1):
            answer = await self._line.ask(requests.list_imports(page, _JOBS_PER_PAGE))
            if answer.kind is not AnswerKind.DONE:
                return Seen(None, reason=answer.message or answer.reason)
            jobs = answer.body if isinstance(answer.body, list) else []
            if found := find_job(jobs, name):
                return Seen(found)
            if len(jobs) < _JOBS_PER_PAGE:
                break
        return Seen(None, reason="no answer to the request, and it is not in Cordial's list of jobs")

    async def _patiently(self, request: Request, permit: Permit) -> Answer | None:
        """Make the call; return None if Cordial keeps it waiting too long, and then it was never made."""
        call = asyncio.create_task(self._line.call(request, permit, forgive_forbidden=True))
        try:
            slowed_seconds = 0.0
            while not call.done():
                await asyncio.wait({call}, timeout=_LOOK_SECONDS)
                is_slowed = self._line.is_slowed(request.operation) and not self._line.is_calling(call)
                slowed_seconds = slowed_seconds + _LOOK_SECONDS if is_slowed else 0.0
                if slowed_seconds >= self._throttle_patience_seconds:
                    return None
            return call.result()
        finally:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
