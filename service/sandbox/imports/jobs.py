"""The import jobs of one account: created by a call, carried out in the background, asked for by their ids."""

import asyncio
import random
from collections.abc import Mapping

from service.sandbox.answers import RECORD_NOT_FOUND, Answer, RefusalError, import_error, json_answer
from service.sandbox.imports.faults import ImportFaults
from service.sandbox.imports.job import ImportJob
from service.sandbox.imports.options import ImportOptions
from service.sandbox.imports.request import read_request
from service.sandbox.imports.running import ImportRun
from service.sandbox.imports.source import can_connect, has_size
from service.sandbox.state import SandboxState

# Cordial keeps jobs for 60 days; a stand-in keeps the last ones of its short life.
_MAX_JOBS = 1000
_JOBS_PER_PAGE = 25
# Job ids look like Cordial's: 24 hexadecimal digits.
_FIRST_JOB_NUMBER = 0x5F6B1434_F778AC14_00000001


class ImportJobs:
    """The jobs by their ids, and the script of what goes wrong with them.

    `created` counts the jobs since the start or the last reset; the latest thousand are kept. The same `seed` gives the
    same order of rows.
    """

    def __init__(self, state: SandboxState, options: ImportOptions, seed: int) -> None:
        self.faults = ImportFaults()
        # Rows with these addresses are rejected, in every file.
        self.refused_addresses: set[str] = set()
        self._state = state
        self._options = options
        self._seed = seed
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Stop and forget all jobs and scripted faults."""
        for task in self._tasks:
            task.cancel()
        self.faults.clear()
        self.refused_addresses.clear()
        self.jobs: dict[str, ImportJob] = {}
        self.created = 0
        self._random = random.Random(self._seed)  # noqa: S311  an order must be repeatable, not unguessable

    async def close(self) -> None:
        """Stop all jobs where they are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, body: Mapping[str, object]) -> Answer:
        """Answer `POST /v2/contactimports` with the new job's id.

        Raises `RefusalError`: 406 when the body is at fault, 201 with an error in place of the id when the file's
        server is.
        """
        request = read_request(body)
        fault = self.faults.take()
        if fault.refused or not await can_connect(request.url):
            raise RefusalError(import_error(f"Can't connect to the server ({request.url.host})"))
        if self._options.asks_for_size and not await has_size(request.url):
            raise RefusalError(import_error(f"Couldn't get the size of the file ({request.url.path})"))
        job = ImportJob(f"{_FIRST_JOB_NUMBER + self.created:024x}", request, fault)
        self.created += 1
        self._keep(job)
        task = asyncio.create_task(
            ImportRun(job, self._state, self._options, self._draw(), self.refused_addresses).run()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_answer(201, {"jobId": job.id})

    def get(self, job_id: str, fields: str = "") -> Answer:
        """Answer `GET /v2/jobs/{id}`, whole or with the comma-separated `fields` only."""
        job = self.jobs.get(job_id)
        if job is None:
            return RECORD_NOT_FOUND
        document = job.document()
        wanted = [name for name in fields.split(",") if name]
        return json_answer(200, {name: document[name] for name in wanted if name in document} if wanted else document)

    def find(self, query: Mapping[str, str]) -> Answer:
        """Answer `GET /v2/jobs`: a page of the jobs, the newest first, of one name and status if the query says so.

        The contract's jobs have no id there.
        """
        page, per_page = _number(query, "page", 1), _number(query, "per_page", _JOBS_PER_PAGE)
        found = [
            document
            for document in (job.document() for job in reversed(self.jobs.values()))
            if query.get("jobName") in (None, document["jobName"]) and query.get("status") in (None, document["status"])
        ]
        shown = found[(page - 1) * per_page : page * per_page]
        return json_answer(200, shown) if shown else RECORD_NOT_FOUND

    def _keep(self, job: ImportJob) -> None:
        self.jobs[job.id] = job
        if len(self.jobs) > _MAX_JOBS:
            oldest = next((kept.id for kept in self.jobs.values() if kept.ended), None)
            if oldest is not None:
                del self.jobs[oldest]

    def _draw(self) -> random.Random:
        return random.Random(self._random.random())  # noqa: S311  as above; a run must not depend on its neighbours


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdecimal() and int(text) else default
