"""One import job: what is known of it, and how Cordial describes it."""

import time
from enum import StrEnum

import msgspec

from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.request import ImportRequest
from service.sandbox.imports.rows import RowOutcome


class JobStatus(StrEnum):
    """Where a job stands, by the words of Cordial's contract."""

    SCHEDULED = "Scheduled"
    THROTTLED = "Throttled"
    PENDING = "Pending"
    PROCESSING = "Processing"
    FAILED = "Failed"
    DONE = "Done"


class ImportJob(msgspec.Struct):
    """A job; times are Unix seconds, `None` until they come. `failure` says why it failed, to people only."""

    id: str
    request: ImportRequest
    fault: ImportFault
    status: JobStatus = JobStatus.SCHEDULED
    total_items: int = 0
    completed_items: int = 0
    outcomes: dict[RowOutcome, int] = msgspec.field(default_factory=lambda: dict.fromkeys(RowOutcome, 0))
    started_at_seconds: float | None = None
    ended_at_seconds: float | None = None
    failure: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in (JobStatus.DONE, JobStatus.FAILED)

    def document(self) -> dict[str, object]:
        """Return what `GET /v2/jobs/{id}` answers: counts of rows, without a word about which; a result at the end."""
        times = {"start": self.started_at_seconds, "end": self.ended_at_seconds}
        document: dict[str, object] = {
            "status": self.status,
            "jobName": "ImportContacts",
            "totalItems": self.total_items,
            "completedItems": self.completed_items,
            "times": {name: _timestamp(seconds) for name, seconds in times.items() if seconds is not None},
            "metadata": {
                "importName": self.request.name,
                "lists": [*self.request.add_to, *self.request.remove_from],
            },
        }
        if self.ended:
            document["result"] = {"totalRecords": self.completed_items} | {
                str(name): rows for name, rows in self.outcomes.items()
            }
        return document


def _timestamp(unix_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_seconds))
