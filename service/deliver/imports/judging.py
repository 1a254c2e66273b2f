"""What a job's answer means for the changes that travelled with it. Pure, no I/O.

Cordial's contract counts the rows it updated, inserted, ignored (because of the strategy), rejected, and refused for a
unique constraint (`error`), and names none of them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from service.deliver.cordial.answers import words_of
from service.model.imports import Expected, ImportPart, Strategy

# Refused rows are looked for where at most one row of so many is refused. Otherwise calls are as quick.
_ROWS_FOR_EACH_REFUSED = 32

# More than any job has; what is larger or negative counts as not said.
_MAX_FIGURE = 10_000_000_000
_MAX_ID_CHARACTERS = 200


class JobStatus(StrEnum):
    """What a job is doing, as far as that matters: a status we do not know is taken for `running`."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Job(NamedTuple):
    """A job as Cordial describes it; a figure it does not give is None."""

    status: JobStatus
    said: str
    completed: int | None = None
    total: int | None = None
    ignored: int | None = None
    rejected: int | None = None
    error: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether it does nothing more."""
        return self.status is not JobStatus.RUNNING

    @property
    def progress(self) -> tuple[str, int | None]:
        """What changes while a job moves on."""
        return self.said, self.completed


class NextStep(StrEnum):
    """What to do with a part whose job is over.

    `settle`: its changes took effect. `create`: send it again for those contacts that Cordial did not know. `search`: it
    took effect but for some rows, which are to be looked for. `release`: single calls send it, and learn what is
    wrong with whom.
    """

    SETTLE = "settle"
    CREATE = "create"
    SEARCH = "search"
    RELEASE = "release"


class Judgement(NamedTuple):
    """The next step for a part; `missing` is how many rows had no effect, `reason` why it is not settled.

    `refused` of the missing rows were refused or not counted. `count_decides` where the figures leave it open: if Cordial's
    count of the lists shows that all rows took effect, the part is settled.
    """

    step: NextStep
    reason: str = ""
    missing: int = 0
    refused: int = 0
    count_decides: bool = False


def read_job(body: Any) -> Job:
    """Read a job; whatever is not as the contract has it counts as not said."""
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    said = str(fields.get("status") or "")
    result = fields.get("result")
    figures: Mapping[str, Any] = result if isinstance(result, dict) else {}
    status = {"done": JobStatus.DONE, "failed": JobStatus.FAILED}.get(said.lower(), JobStatus.RUNNING)
    total = _figure(figures, "totalRecords")
    return Job(
        status,
        said,
        completed=_figure(fields, "completedItems"),
        total=_figure(fields, "totalItems") if total is None else total,
        ignored=_figure(figures, "ignored"),
        rejected=_figure(figures, "rejected"),
        error=_figure(figures, "error"),
    )


def find_job(jobs: Sequence[Any], import_name: str) -> Job | None:
    """Return the job of that import among those of Cordial's list."""
    for body in jobs:
        metadata = body.get("metadata") if isinstance(body, dict) else None
        if isinstance(metadata, dict) and metadata.get("importName") == import_name:
            return read_job(body)
    return None


def read_job_id(body: Any) -> tuple[str, str]:
    """Return the job's id, or an empty one and why there is none: Cordial's contract puts errors inside a 201, too."""
    job_id = body.get("jobId") if isinstance(body, dict) else None
    if isinstance(job_id, dict):
        return "", words_of(job_id) or str(job_id.get("errorKey") or "it names no reason")[:_MAX_ID_CHARACTERS]
    text = str(job_id) if isinstance(job_id, str) or type(job_id) is int else ""
    return (text, "") if 0 < len(text) <= _MAX_ID_CHARACTERS else ("", "its answer names no job")


def judge(part: ImportPart, job: Job, *, creates_contacts: bool) -> Judgement:
    """Judge a job that is done."""
    if job.total is None or job.ignored is None:
        return Judgement(NextStep.RELEASE, "Cordial gave no figures", count_decides=True)
    rows = part.contacts if part.strategy is Strategy.UPDATE_ONLY else part.joining
    refused = (job.rejected or 0) + (job.error or 0)
    short = refused + max(0, rows - job.total)
    if part.strategy is Strategy.UPDATE_ONLY:
        return _judge_update(part, job.ignored, short, creates_contacts=creates_contacts)
    # Contacts that only leave lists are not in this file: being unknown, they are on none. Where rows were refused, by
    # either job, these may be among the rows refused, and still on their lists.
    short += part.refused
    leaving_only = 0 if short else part.contacts - part.joining
    not_created = part.missing - max(0, job.total - job.ignored - refused) - leaving_only
    if not_created <= 0:
        return Judgement(NextStep.SETTLE)
    if short:
        return _search(
            part, not_created, f"Cordial refused {not_created:,} rows of {part.contacts:,}, and names none of them"
        )
    # Unless "ignored" also meant that there was nothing to change.
    reason = f"{not_created} contacts were neither updated nor created"
    return _search(part, not_created, reason)._replace(count_decides=True)


def rows_without_effect(part: ImportPart, job: Job) -> int | None:
    """Return how many rows of a job that updates had no effect; None where its figures do not tell."""
    if job.status is not JobStatus.DONE or job.total is None or job.ignored is None:
        return None
    return min(part.contacts, job.ignored + (job.rejected or 0) + (job.error or 0) + max(0, part.contacts - job.total))


def shortfall(expected: Expected, counted: int, list_name: str) -> str:
    """Say that a list holds fewer than it must; empty if it does not."""
    if counted >= expected.least:
        return ""
    return f"Cordial counts {counted} contacts on {list_name}, where at least {expected.least} must be"


def excess(expected: Expected, counted: int, list_name: str) -> str:
    """Say that a list holds more than it may although the import was to take some off it; empty if it does not."""
    if counted <= expected.most or not expected.removals:
        return ""
    return f"Cordial counts {counted} contacts on {list_name}, where at most {expected.most} may be"


def _judge_update(part: ImportPart, ignored: int, short: int, *, creates_contacts: bool) -> Judgement:
    unknown = ignored if part.joining else 0
    if unknown and creates_contacts:
        return Judgement(NextStep.CREATE, missing=ignored + short, refused=short)
    if not unknown + short:
        return Judgement(NextStep.SETTLE)
    reasons = [f"Cordial refused or did not count {short:,} rows of {part.contacts:,}"] if short else []
    reasons += [f"Cordial does not know {unknown} of the contacts"] if unknown else []
    return _search(part, unknown + short, f"{' and '.join(reasons)}, and names none of them")


def _search(part: ImportPart, missing: int, reason: str) -> Judgement:
    """Look for the rows where they are few, else leave the part to calls."""
    step = NextStep.SEARCH if missing * _ROWS_FOR_EACH_REFUSED <= part.contacts else NextStep.RELEASE
    return Judgement(step, reason, missing)


def _figure(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_FIGURE else None
